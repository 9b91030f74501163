"""What the processes of a sandbox use together, as /proc tells it."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from server.lambdas.local.process import descendants
from server.lambdas.local.view import SHARED_MEMORY, TEMPORARY

_KILOBYTE = 1024
_TICKS = os.sysconf("SC_CLK_TCK")
_OF_MEMORY = ("RssAnon:", "RssShmem:", "VmSwap:")
_OF_SHARES = ("Pss_Anon:", "Pss_Shmem:", "SwapPss:")
_TIMES = slice(11, 15)
"""utime, stime, cutime and cstime, counted from the field after the name (proc(5))."""


@dataclass(frozen=True, slots=True)
class Usage:
    """At one moment.

    Attributes:
        pids: its processes, outer ones first.
        threads: of all of them.
        memory: bytes of pages that no file is behind. One that several processes share counts for each.
        held: bytes of files in its folders in memory.
        files: how many these are.
        seconds: time of processors since its start.
        runnable: threads that compute, or wait for a processor to do so.
    """

    pids: tuple[int, ...]
    threads: int
    memory: int
    held: int
    files: int
    seconds: float
    runnable: int


def usage(first: int) -> Usage:
    """What a sandbox uses, by its first process."""
    pids = (first, *descendants(first))
    count = memory = runnable = 0
    seconds = 0.0
    for pid in pids:
        numbers = _numbers(Path(f"/proc/{pid}/status"), (*_OF_MEMORY, "Threads:"))
        count += numbers.pop("Threads:", 0)
        memory += sum(numbers.values()) * _KILOBYTE
        seconds += _seconds(pid)
        runnable += sum(_runnable(pid, thread) for thread in threads((pid,)))
    held, files = _folders(first)
    return Usage(pids, count, memory, held, files, seconds, runnable)


def shares(pids: tuple[int, ...]) -> int:
    """Bytes of pages that no file is behind, each counted once. It takes longer than the other count."""
    return sum(sum(_numbers(Path(f"/proc/{pid}/smaps_rollup"), _OF_SHARES).values()) for pid in pids) * _KILOBYTE


def threads(pids: tuple[int, ...]) -> list[int]:
    """The threads of some processes."""
    found: list[int] = []
    for pid in pids:
        with suppress(OSError):
            found += [int(one) for one in os.listdir(f"/proc/{pid}/task")]  # noqa: PTH208 - names are all that is needed
    return found


def _seconds(pid: int) -> float:
    with suppress(OSError, ValueError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(ticks) for ticks in fields[_TIMES]) / _TICKS
    return 0.0


def _runnable(pid: int, thread: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/task/{thread}/stat").read_text().rpartition(")")[2].lstrip()[:1] == "R"
    return False


def _folders(first: int) -> tuple[int, int]:
    held = files = 0
    with suppress(OSError):
        # until a sandbox has a root of its own it has this process's, and so has what is run without one
        if Path(f"/proc/{first}/root").samefile("/"):
            return 0, 0
    for name in (TEMPORARY, SHARED_MEMORY):
        with suppress(OSError):
            told = os.statvfs(f"/proc/{first}/root{name}")
            held += (told.f_blocks - told.f_bfree) * told.f_frsize
            files += told.f_files - told.f_ffree
    return held, files


def _numbers(path: Path, names: tuple[str, ...]) -> dict[str, int]:
    """Lines of a file of /proc that begin with one of some names, as numbers."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    return {words[0]: int(words[1]) for line in lines if (words := line.split()) and words[0] in names}
