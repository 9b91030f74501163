"""Processes of an earlier run that are still at work in the data folder.

When a postmaster is killed, its backends notice only when they next wait for something; until then they hold the
shared memory, and PostgreSQL refuses to start. They have no parent any more that could end them.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from signal import Signals
from time import monotonic

Belongs = Callable[[tuple[str, ...]], bool]
"""Tells from its argument vector, which is the title where a process has set one, whether a process is meant."""

PROCESSES = Path("/proc")


def end_leftovers(uid: int, belongs: Belongs, first: Signals, *, patience: float = 5) -> tuple[int, ...]:
    """End all processes of the user `uid` that `belongs` accepts, and wait until they are gone.

    Whoever calls this holds the lock of the data folder: a process found here is nobody's any more. Titles are looked
    at and not working folders or executables, which root may not read of another account without CAP_SYS_PTRACE
    (containers have none).

    Args:
        uid: Owner of the processes.
        belongs: Which of them are meant.
        first: The signal to begin with; after `patience` seconds it is SIGKILL.
        patience: Seconds.

    Returns:
        The process ids that were ended.

    Raises:
        TimeoutError: a process outlives SIGKILL by `patience` seconds (it hangs in the kernel).
    """
    ended: list[int] = []
    for number in (first, signal.SIGKILL):
        deadline = monotonic() + patience
        while found := _find(uid, belongs):
            for pid in found:
                _end(pid, belongs, number, deadline)
            ended += [pid for pid in found if pid not in ended]
            if monotonic() >= deadline:
                break
        else:
            return tuple(ended)
    message = f"Processes of an earlier run cannot be ended: {', '.join(map(str, _find(uid, belongs)))}"
    raise TimeoutError(message)


def arguments(pid: int) -> tuple[str, ...]:
    """The argument vector of a process; empty if it has ended."""
    try:
        raw = (PROCESSES / str(pid) / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ()
    return tuple(os.fsdecode(part) for part in raw.rstrip(b"\0").split(b"\0"))


def _find(uid: int, belongs: Belongs) -> list[int]:
    found: list[int] = []
    for entry in PROCESSES.iterdir():
        if entry.name.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError):
                if entry.stat().st_uid == uid and belongs(arguments(int(entry.name))):
                    found.append(int(entry.name))
    return found


def _end(pid: int, belongs: Belongs, number: Signals, deadline: float) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with closing(os.fdopen(handle, "rb", buffering=0)):
        # The handle keeps the number from meaning another process; that it meant this one is asked after opening it.
        if not belongs(arguments(pid)):
            return
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, number)
        waiting = select.poll()
        waiting.register(handle, select.POLLIN)
        waiting.poll(max(0.0, deadline - monotonic()) * 1000)
