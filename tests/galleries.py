"""A task that is done in this process: its files, its objects and what it reports are in memory."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from server.domain.access import Scope
from server.domain.galleries import Member, Gallery
from server.domain.task_contents import Content, EventSelection
from server.domain.tasks import (
    Collected,
    Kind,
    Subtask,
    Task,
    TaskFailure,
    TaskStatus,
    TaskStopped,
    TaskType,
)
from server.errors import LunaError
from server.tasks.gathering import named_ids

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ACCOUNT = uuid.UUID(int=1)


class MemoryFiles:
    """Implements `TaskFiles`."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    async def write(self, name: str, data: bytes) -> None:
        self.kept[name] = data

    async def read(self, name: str) -> bytes:
        if name not in self.kept:
            raise FileNotFoundError(name)
        return self.kept[name]


class MemoryGalleries:
    """Implements `Galleries`: a gallery that names ids has those, any other one has all, in batches of ten."""

    def __init__(self, members: Sequence[Member], body_version: int | None = None) -> None:
        self.kept = list(members)
        self.version = body_version
        self.asked: list[int] = []

    async def members(
        self, scope: Scope, gallery: Gallery, version: int, now: datetime
    ) -> AsyncGenerator[Sequence[Member], None]:
        assert scope == Scope(ACCOUNT)
        assert now == NOW
        self.asked.append(version)
        named = named_ids(gallery)
        chosen = [one for one in self.kept if not named or one.object_id in named]
        for start in range(0, len(chosen), 10):
            yield chosen[start : start + 10]

    async def body_version(self, scope: Scope, gallery: EventSelection, now: datetime) -> int | None:
        return self.version


@dataclass
class OneContent:
    """Implements `ContentForm` for one content."""

    content: Content

    def read(self, task_type: TaskType, form: Mapping[str, object]) -> Content:
        return self.content

    def shown(self, task_type: TaskType, form: Mapping[str, object]) -> dict[str, object]:
        return dict(form)


@dataclass
class MemoryContext:
    """Implements `TaskContext`."""

    task: Task
    files: MemoryFiles = field(default_factory=MemoryFiles)
    reported: list[TaskFailure] = field(default_factory=list)
    stopped: bool = False

    @property
    def scope(self) -> Scope:
        return Scope(self.task.account_id)

    async def report(self, error: Exception, info: str | None = None) -> None:
        assert isinstance(error, LunaError)
        number = len(self.reported) + 1
        self.reported.append(
            TaskFailure(
                number, 7, self.task.task_type, error.code, NOW, error.desc, error.detail, error.status, info
            )
        )

    def check(self) -> None:
        if self.stopped:
            raise TaskStopped


def context_of(task_type: TaskType, description: str = "") -> MemoryContext:
    """A task of a kind."""
    return MemoryContext(Task(7, ACCOUNT, task_type, TaskStatus.IN_PROGRESS, description, {}, NOW, NOW))


async def done(kind: Kind, context: MemoryContext) -> Collected:
    """Do a task: every step twice, as it may happen, the parts in reverse order."""
    await kind.split(context)
    context.reported.clear()
    planned = await kind.split(context)
    parts = [
        Subtask(number + 1, 7, number, TaskStatus.IN_PROGRESS, content, NOW, NOW)
        for number, content in enumerate(planned)
    ]
    for part in [*reversed(parts), *parts[:1]]:
        await kind.work(context, part)
    return await kind.collect(context, parts, context.reported)
