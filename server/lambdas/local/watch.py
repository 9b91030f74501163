"""Holds sandboxes to what all their processes together may have: looks again and again, and ends those over it.

The kernel's own limits are for single processes, but where there is a cgroup (`server.lambdas.local.cgroups`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from server.lambdas.local.priority import Priority
from server.lambdas.local.process import Process
from server.lambdas.local.sandbox import MOST_FILES
from server.lambdas.local.usage import Usage, shares, usage

LOOK_SECONDS = 0.1
CALM_SECONDS = 0.5
"""Between looks at a sandbox that does little and has little."""
_CALM_SHARE = 0.05
_CALM_MEMORY = 0.5

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Most:
    """What the processes of one sandbox may have together: bytes of memory, and processes with their threads."""

    memory: int
    processes: int


@dataclass(slots=True)
class _Watched:
    most: Most
    ended: Callable[[str], None]
    priority: Priority
    next: float
    seconds: float = 0.0


class Watch:
    """Looks at every sandbox that it is told of."""

    def __init__(self) -> None:
        self._watched: dict[Process, _Watched] = {}
        self._task: asyncio.Task[None] | None = None

    def add(self, process: Process, most: Most, priority: Priority, ended: Callable[[str], None]) -> None:
        """Watch a process until it is over; `ended` is told why it was ended, just before."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._watched[process] = _Watched(most, ended, priority, now)
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._look_for_ever(), name="watch of lambdas")

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _look_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        while self._watched:
            await asyncio.sleep(LOOK_SECONDS)
            for process, watched in list(self._watched.items()):
                if process.over:
                    del self._watched[process]
                elif loop.time() >= watched.next:
                    self._look(process, watched, loop.time())

    def _look(self, process: Process, watched: _Watched, now: float) -> None:
        used = usage(process.first)
        reason = excess(used, watched.most)
        if reason is not None:
            watched.ended(reason)
            process.kill()
            del self._watched[process]
            return
        watched.priority.look(used, now)
        calm = (
            used.seconds - watched.seconds <= CALM_SECONDS * _CALM_SHARE
            and used.memory + used.held < watched.most.memory * _CALM_MEMORY
            and not watched.priority.idle
        )
        watched.seconds = used.seconds
        watched.next = now + (CALM_SECONDS if calm else 0.0)


def excess(used: Usage, most: Most) -> str | None:
    """What a sandbox has too much of; None where all is well."""
    # its first process is not its own
    if used.threads > most.processes + 1:
        return f"it had more than {most.processes} processes and threads"
    if used.files > MOST_FILES:
        return f"it had more than {MOST_FILES} files in its temporary folders"
    if used.memory + used.held > most.memory and shares(used.pids) + used.held > most.memory:
        return f"it used more than {most.memory} bytes of memory"
    return None
