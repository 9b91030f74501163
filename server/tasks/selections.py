"""From a selection to the parts of a task: lists of ids, so that a part is the same however often it is done."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TypeVar
from uuid import UUID

from server.domain.populations import EventKey, Populations
from server.domain.task_contents import Content, ContentForm, DescriptorSelection, FaceSelection, Objects
from server.domain.tasks import Subtask, Task, TaskContext

C = TypeVar("C", bound=Content)


def content_of(form: ContentForm, task: Task, kind: type[C]) -> C:
    """The content of a task.

    Raises:
        ValueError: it is none of this kind.
    """
    content = form.read(task.task_type, task.content)
    if not isinstance(content, kind):
        message = f"the content of task {task.task_id} is no {kind.__name__}"
        raise ValueError(message)
    return content


async def selected(
    populations: Populations, context: TaskContext, objects: Objects | DescriptorSelection, size: int
) -> AsyncIterator[list[UUID]]:
    """The ids of a selection, in lists of at most `size`: faces by id, events newest first."""
    scope, now = context.scope, context.task.create_time
    face: UUID | None = None
    event: EventKey | None = None
    while True:
        context.check()
        if isinstance(objects, FaceSelection):
            faces = await populations.face_ids(scope, objects, now, face, size)
        elif isinstance(objects, DescriptorSelection) and not objects.of_events:
            faces = await populations.described_faces(scope, objects.version, face, size)
        else:
            if isinstance(objects, DescriptorSelection):
                keys = await populations.described_events(scope, objects, event, size)
            else:
                keys = await populations.event_keys(scope, objects, now, event, size)
            event = keys[-1] if keys else None
            faces = [one.event_id for one in keys]
        if faces:
            yield faces
        if len(faces) < size:
            return
        face = faces[-1]


async def parts_of(
    populations: Populations, context: TaskContext, objects: Objects | DescriptorSelection, size: int
) -> list[dict[str, object]]:
    """The parts of a task over a selection."""
    return [{"ids": texts(ids)} async for ids in selected(populations, context, objects, size)]


def ids_of(part: Subtask) -> list[UUID]:
    """The ids of a part."""
    ids = part.content["ids"]
    if not isinstance(ids, list):
        message = f"part {part.number} of task {part.task_id} has no ids"
        raise ValueError(message)
    return [UUID(one) for one in ids]


def texts(ids: Sequence[UUID]) -> list[str]:
    """Ids as JSON has them."""
    return [str(one) for one in ids]
