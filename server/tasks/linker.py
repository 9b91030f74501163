"""Linking: stored faces, or faces that are made of events, are put into a list."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID, uuid5

from server.domain.attributes import AttributeContent, BasicAttributes, FaceAttribute
from server.domain.descriptors import Descriptor
from server.domain.events import EventRecord
from server.domain.faces import Face, FaceList, NewFace
from server.domain.policies import TimeBound
from server.domain.populations import Linking, Populations
from server.domain.task_contents import ContentForm, EventSelection, FaceSelection, Link, Objects
from server.domain.tasks import Collected, Subtask, Task, TaskContext, TaskFailure, TaskType
from server.errors import ListNotFound
from server.tasks.results import json_result
from server.tasks.selections import content_of, ids_of, parts_of, texts

FACES_OF_EVENTS: Final = UUID("6f1c2a0e-5d0b-5f43-9b1e-7a4d6c8f2b31")
"""The namespace (RFC 9562, section 5.5) of the ids of faces that tasks make of events."""


class Linker:
    """Implements `server.domain.tasks.Kind`.

    Args:
        form: reads contents.
        populations: selects and reads objects.
        linking: makes faces and puts them into lists.
        part_size: objects of a part.
    """

    task_type = TaskType.LINKER

    def __init__(self, form: ContentForm, populations: Populations, linking: Linking, part_size: int) -> None:
        self._form = form
        self._populations = populations
        self._linking = linking
        self._part_size = part_size

    async def split(self, context: TaskContext) -> Sequence[Mapping[str, object]]:
        """The list is made where asked for; parts of ids. A list that is there already is the one that is meant.

        Raises:
            ListNotFound: the list is not there and not to be made, or belongs to another account.
        """
        task, content = context.task, content_of(self._form, context.task, Link)
        if content.create:
            wanted = FaceList(content.list_id, task.account_id, content.user_data, task.create_time, task.create_time)
            there = await self._linking.ensure_list(wanted)
        else:
            there = await self._linking.has_list(context.scope, content.list_id)
        if not there:
            raise ListNotFound(list_id=content.list_id)
        return await parts_of(self._populations, context, _until(content.objects, task), self._part_size)

    async def work(self, context: TaskContext, part: Subtask) -> None:
        """Link a part, and leave the ids of its faces. Objects that are gone are left out.

        Raises:
            ListNotFound: the list has been deleted.
        """
        content = content_of(self._form, context.task, Link)
        if isinstance(content.objects, EventSelection):
            new = await self._made_of(context, ids_of(part))
            linked = await self._linking.link_new(context.scope, content.list_id, new)
        else:
            now = context.task.create_time
            linked = await self._linking.link(context.scope, content.list_id, ids_of(part), now)
        await context.files.write(_name(part), json.dumps(texts(linked)).encode())

    async def collect(self, context: TaskContext, parts: Sequence[Subtask], errors: Sequence[TaskFailure]) -> Collected:
        """The list and the faces."""
        content = content_of(self._form, context.task, Link)
        faces: list[str] = []
        for part in parts:
            faces += json.loads(await context.files.read(_name(part)))
        return Collected(json_result({"list_id": str(content.list_id), "faces": faces}, errors))

    async def _made_of(self, context: TaskContext, event_ids: Sequence[UUID]) -> list[NewFace]:
        events = await self._populations.events(context.scope, event_ids)
        descriptors = await self._populations.event_faces(context.scope, event_ids)
        return [face_of(context.task, event, descriptors.get(event_id, ())) for event_id, event in events.items()]


def face_of(task: Task, event: EventRecord, descriptors: Sequence[Descriptor]) -> NewFace:
    """The face that a task makes of an event: always the same one, so that making it again makes nothing.

    It has the event's external_id and user_data, its face descriptors and basic attributes, and its first face sample
    as avatar. Its time is that of the task, as for any face that is made now.
    """
    # the time of the task keeps the id apart from that of a task with this number in another life of the database
    name = f"{task.account_id} {task.task_id} {task.create_time.isoformat()} {event.event_id}"
    samples = tuple(dict.fromkeys(one.sample_id for one in event.face_detections if one.sample_id is not None))
    face = Face(
        face_id=uuid5(FACES_OF_EVENTS, name),
        account_id=task.account_id,
        create_time=task.create_time,
        event_id=event.event_id,
        user_data=event.user_data,
        external_id=event.external_id,
        avatar=f"/6/samples/faces/{samples[0]}" if samples else "",
    )
    facts = event.facts
    basic = BasicAttributes(facts.age, facts.gender, facts.ethnicity)
    known = basic != BasicAttributes()
    if not descriptors and not known:
        return NewFace(face)
    content = AttributeContent(
        descriptors=tuple(descriptors),
        descriptor_samples=samples if descriptors else (),
        basic_attributes=basic if known else None,
        basic_attributes_samples=samples if known else (),
    )
    return NewFace(face, FaceAttribute(task.create_time, content))


def _until(objects: Objects, task: Task) -> Objects:
    """A selection without an end in time ends when the task was made (source: docs 5.33.0)."""
    now = TimeBound(task.create_time.isoformat())
    if isinstance(objects, FaceSelection):
        return objects if objects.create_time_lt is not None else replace(objects, create_time_lt=now)
    candidates = objects.candidates
    if candidates.create_time_lt is not None:
        return objects
    return EventSelection(replace(candidates, create_time_lt=now))


def _name(part: Subtask) -> str:
    return f"linked/{part.number}.json"
