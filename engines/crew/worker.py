"""One process of an engine, as its parent has it: begun, asked, ended."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from engines.crew.line import Line, packed
from engines.packs.pack import Pack
from server.settings import PREFIX, Engine

MODULE = "engines.crew"

_GRACE = 5.0
"""Seconds that a process has to end after its parent has hung up; then it is killed."""

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What keeps numpy from starting a thread for each core in each process."""

Piece = tuple[str, Sequence[Any], Mapping[str, Any]]
"""A piece of work: a method of `Work`, and its arguments."""

Answer = tuple[object, Exception | None, float, Sequence[tuple[str, int, Sequence[float], float]]]
"""What it gave or raised, the seconds that it spent in networks, and their runs as `Observer.ran` is told of them."""


class Lost(Exception):
    """A process has ended, or had to be ended. Says how, as the end of a sentence: `was ended by SIGKILL`."""


class NotHeard(Lost):
    """It had ended before, and has not seen what it was asked."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a process is told first.

    Attributes:
        installed: prepared packs.
        settings: of the engine, without its secret.
        observed: somebody wants to know of the runs of networks.
        nice: how much nicer it is than processes of others' engines.
    """

    installed: Sequence[Pack]
    settings: Engine
    observed: bool
    nice: int = 0


class Worker:
    """A process that has begun to load its networks. Not safe in several threads at once, `end` apart.

    It is no fork: gRPC has threads. It sees none of the settings in the environment, which have passwords in them.

    Args:
        beginning: what it is told first.
        patience: seconds that an answer may take, its first one too.

    Raises:
        OSError: no process can be started.
    """

    def __init__(self, beginning: Beginning, patience: float) -> None:
        self._patience = patience
        ours, theirs = socket.socketpair()
        try:
            with theirs, _deaf():
                self._process = subprocess.Popen(  # noqa: S603
                    (sys.executable, "-P", "-m", MODULE, str(theirs.fileno())),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    env=_environment(),
                )
        except BaseException:
            ours.close()
            raise
        # of the kernel, because Python's own would be a further call each time
        seconds = struct.pack("@ll", int(patience), int(patience % 1 * 1e6))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            ours.setsockopt(socket.SOL_SOCKET, option, seconds)
        self._line = Line(ours, wary=True)
        # where it has ended already, its first answer is missed
        with suppress(OSError):
            self._line.send(packed(beginning))

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def begun(self) -> Answer:
        """Wait until it has loaded its networks; what it gives is `Served`.

        Raises:
            Lost: it has ended instead.
        """
        return self._answer()

    def ask(self, piece: bytes) -> Answer:
        """Let it do a piece of work, as `packed` gives it.

        Raises:
            NotHeard: it had ended before.
            Lost: it has ended, or has not answered in time and is ended.
        """
        try:
            self._line.send(piece)
        except BlockingIOError:
            raise self._hung() from None
        except OSError:
            raise NotHeard(self._fate()) from None
        return self._answer()

    def hang_up(self) -> None:
        """Tell it to end, whatever it does."""
        self._line.close()

    def end(self) -> None:
        """Hang up, and wait until it has ended."""
        self.hang_up()
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once."""
        self._line.close()
        self._process.kill()
        self._process.wait()

    def _answer(self) -> Answer:
        try:
            return self._line.receive()  # type: ignore[return-value]
        except BlockingIOError:
            raise self._hung() from None
        except (OSError, EOFError):
            raise Lost(self._fate()) from None

    def _hung(self) -> Lost:
        self.kill()
        return Lost(f"did not answer within {self._patience:g} seconds and was ended")

    def _fate(self) -> str:
        """How it has ended."""
        self.end()
        status = self._process.returncode
        return f"was ended by {_name(-status)}" if status < 0 else f"ended with status {status}"


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes that this thread starts here hear no Ctrl-C and no SIGTERM, not even before they can say so."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _environment() -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
    # what this process imports, wherever it was started
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return own | path | dict.fromkeys(_ONE_THREAD, "1")
