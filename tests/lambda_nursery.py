"""Starts hosts of lambdas that are killed while they start a sandbox, and tells what of them is left.

Run as a program, so that whatever a killed host leaves behind becomes a child of this process, and of no other one: it
is known without doubt, and ended at the end.
"""

from __future__ import annotations

import array
import asyncio
import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from server.lambdas.local import seccomp, uids
from server.lambdas.local.process import Process, children, descendants
from server.lambdas.local.sandbox import Order, Way

ROOT = Path(__file__).resolve().parents[1]
LEFT_SECONDS = 20.0
"""Sandboxes that were begun may be made and ended within so long."""
_CHILD_SUBREAPER = 36
_MOMENT = 0.0005
_ENOUGH = 0.2
"""Seconds within which a process that is sent a signal ends."""


@dataclass(frozen=True)
class Lives:
    """What is asked of the nursery.

    Attributes:
        way: how programs are kept apart.
        folder: an empty folder.
        moments: seconds after which hosts are killed, one host each, counted from their first process.
        broken_off: seconds after which a host breaks its start off and ends by itself, one host each.
        report: both ends of a pipe, full but for a few bytes, that the sandbox's making is to be told through; one
            more host is killed while somebody waits to write into it, and the pipe is read from then on.
    """

    way: str
    folder: str
    moments: tuple[float, ...] = ()
    broken_off: tuple[float, ...] = ()
    report: tuple[int, int] | None = None


def left(lives: Lives) -> list[str]:
    """Kill hosts, and name the processes that they have left when all that can end by itself has ended."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.lambda_nursery", json.dumps(asdict(lives))],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        pass_fds=lives.report or (),
        check=True,
    )
    return list(json.loads(done.stdout))


def _main(lives: Lives) -> list[str]:
    """Kill hosts; what is left, by number and name. It is ended."""
    assert ctypes.CDLL(None).prctl(_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    try:
        _end_hosts(lives)
        with suppress(TimeoutError):
            _until(lambda: not _waited(), LEFT_SECONDS)
        return [f"{pid} {_name(pid)}" for pid in descendants(os.getpid())]
    finally:
        while _waited():
            for pid in descendants(os.getpid()):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _end_hosts(lives: Lives) -> None:
    way = Way(lives.way)
    order = _order(Path(lives.folder), uids.available().start if os.geteuid() == 0 and way is not Way.NONE else None)
    for moment in lives.moments:
        host = _forked(_live(way, order))
        _until(lambda host=host: bool(children(host)))  # type: ignore[misc]
        time.sleep(moment)
        _kill(host)
    for moment in lives.broken_off:
        os.waitpid(_forked(_break_off(way, order, moment)), 0)
    if lives.report is not None:
        _kill_while_it_is_told(way, order, lives.report)


def _kill_while_it_is_told(way: Way, order: Order, report: tuple[int, int]) -> None:
    told = _held(report[0])
    host = _forked(_live_without_word(way, order, report))
    _until(lambda: _held(report[0]) > told)
    _kill(host)
    time.sleep(_ENOUGH)
    os.set_blocking(report[0], False)
    with suppress(BlockingIOError):
        while os.read(report[0], 4096):
            time.sleep(_MOMENT)


def _order(folder: Path, uid: int | None) -> Order:
    return Order(
        arguments=("-c", "import time; time.sleep(600)"),
        environment={},
        mounts=(),
        folder=folder,
        uid=uid,
        memory=256 << 20,
        processes=8,
        files=64,
        file_bytes=1 << 20,
        temporary=1 << 20,
        filter=seccomp.program(),
    )


def _forked(life: Coroutine[None, None, None]) -> int:
    if pid := os.fork():
        life.close()
        return pid
    asyncio.run(life)
    os._exit(0)


async def _live(way: Way, order: Order) -> None:
    await _start(way, order)
    await asyncio.Event().wait()


async def _live_without_word(way: Way, order: Order, report: tuple[int, int]) -> None:
    os.pipe2 = lambda _flags: (os.dup(report[0]), os.dup(report[1]))
    Process._find_first = lambda _self, _report: asyncio.Event().wait()  # type: ignore[method-assign,assignment]
    await _start(way, order)


async def _break_off(way: Way, order: Order, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await _live(way, order)


async def _start(way: Way, order: Order) -> None:
    await Process.start(way, order, os.open(os.devnull, os.O_WRONLY))


def _kill(host: int) -> None:
    os.kill(host, signal.SIGKILL)
    os.waitpid(host, 0)


def _waited() -> list[int]:
    """Children that have not ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return children(os.getpid())


def _held(pipe: int) -> int:
    """Bytes that a pipe holds."""
    held = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, held)
    return held[0]


def _name(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")[:100]
    return ""


def _until(met: Callable[[], bool], seconds: float = 20.0) -> None:
    ends = time.monotonic() + seconds
    while not met():
        if time.monotonic() > ends:
            raise TimeoutError
        time.sleep(_MOMENT)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_main(Lives(**json.loads(sys.argv[1])))) + "\n")
