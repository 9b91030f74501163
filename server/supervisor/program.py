"""What the supervisor is told, and what it tells."""

from __future__ import annotations

import re
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from signal import Signals

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True)
class Program:
    """One program that is to be kept running.

    Attributes:
        name: Lower-case letters, digits and `-`; names the log file and the events.
        argv: The program's absolute path and its arguments. Everybody on the machine may read them.
        env: The whole environment; None passes on the supervisor's.
        cwd: The working folder; None keeps the supervisor's.
        user: The system account to run as, which only root may change; None keeps the supervisor's.
        before: Awaited before each start: prepares, migrates. An OSError fails that start, any other error the whole.
        ready: Awaited again and again until it is true. An OSError or TimeoutError counts as false. Without it the
            program is ready when it has lived for half a second.
        start_seconds: How long a start may take until the program is ready.
        stop_signal: Asks for an orderly stop.
        stop_seconds: How long that may take.
        kill_signal: Sent when it took longer, and by the kernel when the supervisor itself is killed.
        batch: Let it not interrupt what runs, but wait for its turn (SCHED_BATCH): what comes in meanwhile it does at
            once, which costs less for each.
        depends_on: Programs that have to be ready before this one is first started, and are stopped after it.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] | None = None
    cwd: Path | None = None
    user: str | None = None
    before: Callable[[], Awaitable[None]] | None = None
    ready: Callable[[], Awaitable[bool]] | None = None
    start_seconds: float = 30
    stop_signal: Signals = signal.SIGTERM
    stop_seconds: float = 10
    kill_signal: Signals = signal.SIGKILL
    batch: bool = False
    depends_on: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            message = f"{self.name!r} is no name for a program"
            raise ValueError(message)
        if not self.argv:
            message = f"{self.name} has nothing to run"
            raise ValueError(message)


class Happening(Enum):
    """What happened to a program."""

    STARTED = "started"
    READY = "ready"
    ENDED = "ended"
    RESTARTING = "restarting"
    FAILED = "failed"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    Attributes:
        what: What happened.
        program: To which program.
        pid: Its process, if there is one.
        seconds: READY: how long the start took. RESTARTING: how long until then.
        detail: ENDED: how and why. FAILED: the reason, and the end of its log.
    """

    what: Happening
    program: str
    pid: int | None = None
    seconds: float | None = None
    detail: str = ""


class StartFailed(RuntimeError):
    """A program could not be brought up.

    Attributes:
        program: Its name.
        reason: What happened last.
        tail: The end of its log; empty where it has written nothing, or did not even begin.
    """

    def __init__(self, program: str, reason: str, log: Path, tail: str) -> None:
        self.program = program
        self.reason = reason
        self.tail = tail
        end = f"\n{tail}\nAll of it: {log}" if tail else ""
        super().__init__(f"{program} could not be started: {reason}{end}")
