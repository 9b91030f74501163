"""Galleries in memory, and tasks over them that are done in this process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime

from server.domain.access import Scope
from server.domain.descriptors import LAYOUTS
from server.domain.galleries import Gallery, Member
from server.domain.task_contents import Content, EventSelection
from server.domain.tasks import Collected, Kind, TaskType
from server.tasks.gathering import Layouts, named_ids
from tests.task_contexts import NOW, OURS, FixedForm, MemoryContext, MemoryFiles, Run, a_task


async def layouts() -> Layouts:
    """Faces of version 1001, with the calibrations of every version."""
    return Layouts(1001, LAYOUTS)


class MemoryGalleries:
    """Implements `Galleries`: a gallery that names ids has those, any other one has all, in batches of ten."""

    def __init__(self, members: Sequence[Member], body_version: int | None = None) -> None:
        self.kept = list(members)
        self.version = body_version
        self.asked: list[int] = []

    async def members(
        self, scope: Scope, gallery: Gallery, version: int, now: datetime
    ) -> AsyncGenerator[Sequence[Member], None]:
        assert scope == Scope(OURS)
        assert now == NOW
        self.asked.append(version)
        named = named_ids(gallery)
        chosen = [one for one in self.kept if not named or one.object_id in named]
        for start in range(0, len(chosen), 10):
            yield chosen[start : start + 10]

    async def body_version(self, scope: Scope, gallery: EventSelection, now: datetime) -> int | None:
        return self.version


def form_of(task_type: TaskType, content: Content) -> FixedForm:
    """A form for one content."""
    return FixedForm((task_type, content))


def context_of(task_type: TaskType) -> MemoryContext:
    """A step of a task."""
    return MemoryContext(a_task(task_type), MemoryFiles())


async def done(kind: Kind, description: str = "") -> Collected:
    """Do a task, each step twice."""
    return await Run(kind, a_task(kind.task_type, description=description)).whole(times=2)
