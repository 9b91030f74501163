"""One process of an engine: it loads the networks, and does one piece of work after the other.

Its parent (`engines.crew.worker`) tells it over a socket what to do, whose number is the only argument.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import random
import resource
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from engines.crew.crew import Unexpected
from engines.crew.line import Line, packed
from engines.crew.threads import ThreadCrew
from engines.crew.worker import Answer, Beginning, Piece
from engines.packs.errors import PackError
from engines.runtime.runtime import RuntimeFailure
from engines.runtime.spending import spending
from server.errors import LunaError

_SACRIFICE = 300
"""What the kernel adds to the badness of this process when memory is short: a picture that eats memory ends it first,
and not the server."""

_COURTESY = 5
"""How much nicer this process is than its parent, which has little to do for a call and should do it at once. Where ten
times as many calls come as two cores can take, half of the refusals come within 0.03 s, and without it within 0.9 s;
as many images are answered."""

_NICEST = 19
_TRIES = 20


class Runs:
    """Keeps what an observer is to be told of runs of networks; it travels with the answer."""

    def __init__(self) -> None:
        self._kept: list[tuple[str, int, list[float], float]] = []

    def ran(self, network: str, rows: int, queued: Sequence[float], seconds: float) -> None:
        """See `Observer.ran`."""
        self._kept.append((network, rows, list(queued), seconds))

    def taken(self) -> list[tuple[str, int, list[float], float]]:
        """Those since the last time."""
        kept, self._kept = self._kept, []
        return kept


def main(number: int) -> None:
    """Work until the parent hangs up."""
    # Ctrl-C in a terminal goes to all processes: it is the parent who lets running work end, and then hangs up
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)
    faulthandler.enable()
    # a dump would have the picture in it
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _offer_to_the_kernel()
    os.nice(_COURTESY)
    connection = socket.socket(fileno=number)
    threading.Thread(target=_end_with_the_parent, args=(connection,), daemon=True).start()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with suppress(EOFError, OSError):
        _serve(Line(connection, wary=False))


def _serve(line: Line) -> None:
    beginning: Beginning = line.receive()  # type: ignore[assignment]
    if beginning.nice:
        _stand_behind_others(beginning.nice)
    runs = Runs()
    crew = ThreadCrew(beginning.installed, beginning.settings, observer=runs if beginning.observed else None)
    line.send(_answer(runs, crew.start, 1))
    while True:
        piece: Piece = line.receive()  # type: ignore[assignment]
        method, args, kwargs = piece
        line.send(_answer(runs, crew.do, method, *args, **kwargs))


def _answer(runs: Runs, work: object, *args: object, **kwargs: object) -> bytes:
    """What a piece of work gave or raised, with what it took, ready to be sent."""
    value: object = None
    failure: Exception | None = None
    with spending() as spent:
        try:
            value = work(*args, **kwargs)  # type: ignore[operator]
        except (LunaError, RuntimeFailure, PackError) as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller is told
            failure = _unexpected(error)
    taken = runs.taken()
    try:
        answer: Answer = (value, failure, spent.seconds, taken)
        return packed(answer)
    except Exception as error:  # noqa: BLE001 - an answer that cannot be sent is none
        return packed((None, _unexpected(error), spent.seconds, taken))


def _unexpected(error: Exception) -> Unexpected:
    return Unexpected("".join([f"{type(error).__name__}\n", *traceback.format_exception(error)]))


def _end_with_the_parent(connection: socket.socket) -> None:
    """End this process when the other end of the socket is gone, also in the middle of work."""
    gone = select.poll()
    # asked for nothing, it tells of the end alone
    gone.register(connection, 0)
    gone.poll()
    os._exit(0)


def _stand_behind_others(nice: int) -> None:
    """Be nicer than processes of other engines, also where the kernel's scheduler shares between sessions first."""
    os.nice(nice)
    with suppress(PermissionError):
        os.setsid()
    for _ in range(_TRIES):
        try:
            Path("/proc/self/autogroup").write_text(str(min(_NICEST, _COURTESY + nice)))
        except BlockingIOError:
            # one such change in .1 s is all that the kernel takes of those who are not root
            time.sleep(random.uniform(0.1, 0.3))  # noqa: S311 - no secret
        except OSError:
            return
        else:
            return


def _offer_to_the_kernel() -> None:
    file = Path("/proc/self/oom_score_adj")
    with suppress(OSError, ValueError):
        file.write_text(str(min(1000, int(file.read_text()) + _SACRIFICE)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
