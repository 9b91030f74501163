"""Holds sandboxes to what all their processes together may have: a look every moment, and an end for those over it.

The kernel's own limits are for single processes, but where there is a cgroup. What is counted are pages that no file is
behind, and those of the sandbox's folders in memory; a page that several processes share counts once for each, until
that would be too much, and is then counted by its shares.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from server.lambdas.local.process import Process, descendants
from server.lambdas.local.sandbox import MOST_FILES

LOOK_SECONDS = 0.1
_KILOBYTE = 1024
_OF_MEMORY = ("RssAnon:", "RssShmem:", "VmSwap:")
_OF_SHARES = ("Pss_Anon:", "Pss_Shmem:", "SwapPss:")
_FOLDERS = ("tmp", "dev/shm")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Most:
    """What the processes of one sandbox may have together: bytes of memory, and processes with their threads."""

    memory: int
    processes: int


class Watch:
    """Looks at every sandbox that it is told of."""

    def __init__(self) -> None:
        self._watched: dict[Process, tuple[Most, Callable[[str], None]]] = {}
        self._task: asyncio.Task[None] | None = None

    def add(self, process: Process, most: Most, ended: Callable[[str], None]) -> None:
        """Watch a process until it is over; `ended` is told why it was ended, just before."""
        self._watched[process] = most, ended
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._look_for_ever(), name="watch of lambdas")

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _look_for_ever(self) -> None:
        while self._watched:
            await asyncio.sleep(LOOK_SECONDS)
            for process, (most, ended) in list(self._watched.items()):
                if process.over:
                    del self._watched[process]
                    continue
                reason = excess(process.first, most)
                if reason is not None:
                    ended(reason)
                    process.kill()
                    del self._watched[process]


def excess(first: int, most: Most) -> str | None:
    """What a sandbox has too much of, by its first process; None where all is well."""
    pids = [first, *descendants(first)]
    threads = memory = 0
    for pid in pids:
        numbers = _numbers(Path(f"/proc/{pid}/status"), (*_OF_MEMORY, "Threads:"))
        threads += numbers.pop("Threads:", 0)
        memory += sum(numbers.values()) * _KILOBYTE
    if threads > most.processes:
        return f"it had more than {most.processes} processes and threads"
    held, files = _folders(first)
    if files > MOST_FILES:
        return f"it had more than {MOST_FILES} files in its temporary folders"
    if memory + held > most.memory and _shares(pids) + held > most.memory:
        return f"it used more than {most.memory} bytes of memory"
    return None


def _shares(pids: list[int]) -> int:
    return sum(sum(_numbers(Path(f"/proc/{pid}/smaps_rollup"), _OF_SHARES).values()) for pid in pids) * _KILOBYTE


def _folders(first: int) -> tuple[int, int]:
    """Bytes and files of the folders that a sandbox has in memory."""
    held = files = 0
    with suppress(OSError):
        # until a sandbox has a root of its own it has this process's, and so has what is run without one
        if Path(f"/proc/{first}/root").samefile("/"):
            return 0, 0
    for name in _FOLDERS:
        with suppress(OSError):
            told = os.statvfs(f"/proc/{first}/root/{name}")
            held += (told.f_blocks - told.f_bfree) * told.f_frsize
            files += told.f_files - told.f_ffree
    return held, files


def _numbers(path: Path, names: tuple[str, ...]) -> dict[str, int]:
    """Lines of a file of /proc that begin with one of some names, as numbers."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    return {words[0]: int(words[1]) for line in lines if (words := line.split()) and words[0] in names}
