"""What a kind of tasks works with, in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.domain.access import Scope
from server.domain.tasks import Task, TaskStopped


@dataclass
class MemoryFiles:
    """Files of a task; `written` and `reads` tell what happened to them."""

    files: dict[str, bytes] = field(default_factory=dict)
    reads: list[str] = field(default_factory=list)

    async def write(self, name: str, data: bytes) -> None:
        self.files[name] = data

    async def read(self, name: str) -> bytes:
        self.reads.append(name)
        if name not in self.files:
            raise FileNotFoundError(name)
        return self.files[name]


@dataclass
class MemoryContext:
    """A step of a task; `reported` are its errors, `stopped` cancels it."""

    task: Task
    files: MemoryFiles = field(default_factory=MemoryFiles)
    reported: list[tuple[Exception, str | None]] = field(default_factory=list)
    stopped: bool = False

    @property
    def scope(self) -> Scope:
        return Scope(self.task.account_id)

    async def report(self, error: Exception, info: str | None = None) -> None:
        self.reported.append((error, info))

    def check(self) -> None:
        if self.stopped:
            raise TaskStopped
