"""Additional extraction: descriptors of stored objects are extracted anew, in a version, from their samples."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from server.domain.access import Scope
from server.domain.descriptors import Descriptor
from server.domain.events import EventDescriptor, EventRecord
from server.domain.policies import DescriptorKind
from server.domain.populations import Described, Populations, StoredFace
from server.domain.task_contents import ContentForm, EventSelection, FaceSelection
from server.domain.task_contents import Extraction as ExtractionContent
from server.domain.tasks import Collected, Subtask, TaskContext, TaskFailure, TaskType
from server.domain.vision import ExtractedDescriptor
from server.errors import (
    BadBody,
    Busy,
    DeadlineExceeded,
    FeatureOff,
    LunaError,
    NoStoredSample,
    Unavailable,
    VersionNotEstimated,
)
from server.tasks.results import json_result
from server.tasks.sample_descriptors import SampleDescriptors, kind_of
from server.tasks.selections import content_of, ids_of, parts_of, texts

AT_ONCE: Final = 8
"""Objects whose samples are with the engine at the same time."""
WRITTEN: Final = 64
"""Objects whose descriptors are written in one transaction."""
_OF_THE_TASK: Final = (Busy, DeadlineExceeded, FeatureOff, Unavailable, VersionNotEstimated)
"""Errors that are not those of one object."""


class AdditionalExtraction:
    """Implements `server.domain.tasks.Kind`.

    Args:
        form: reads contents.
        populations: selects and reads objects.
        described: knows and writes descriptors.
        descriptors: extracts from samples.
        part_size: objects of a part.
    """

    task_type = TaskType.ADDITIONAL_EXTRACT

    def __init__(
        self,
        form: ContentForm,
        populations: Populations,
        described: Described,
        descriptors: SampleDescriptors,
        part_size: int,
    ) -> None:
        self._form = form
        self._populations = populations
        self._described = described
        self._descriptors = descriptors
        self._part_size = part_size

    async def split(self, context: TaskContext) -> Sequence[Mapping[str, object]]:
        """Parts of ids.

        Raises:
            BadBody: the version is one of bodies, which faces have none of.
        """
        content = content_of(self._form, context.task, ExtractionContent)
        if isinstance(content.objects, FaceSelection) and kind_of(content.version) is DescriptorKind.BODY:
            raise BadBody(field="content.descriptor_version", message=f"{content.version} is a version of bodies")
        return await parts_of(self._populations, context, content.objects, self._part_size)

    async def work(self, context: TaskContext, part: Subtask) -> None:
        """Extract the descriptors of a part. An object without samples that can be used is reported, and left.

        Raises:
            VersionNotEstimated: no installed model makes descriptors of this version.
        """
        content = content_of(self._form, context.task, ExtractionContent)
        ids = ids_of(part)
        had = await self._noted(context, part, content, ids)
        done = set() if content.overwrite else await self._having(context.scope, content, ids)
        extracted = len(done - had)
        todo = [one for one in ids if one not in done]
        for start in range(0, len(todo), WRITTEN):
            context.check()
            extracted += await self._extract(context, content, todo[start : start + WRITTEN])
        outcome = {"extracted": extracted, "skipped": 0 if content.overwrite else len(had)}
        await context.files.write(f"outcome/{part.number}.json", json.dumps(outcome).encode())

    async def collect(self, context: TaskContext, parts: Sequence[Subtask], errors: Sequence[TaskFailure]) -> Collected:
        """How many descriptors were extracted, and how many were there already."""
        content = content_of(self._form, context.task, ExtractionContent)
        counts = {"extracted": 0, "skipped": 0}
        for part in parts:
            outcome = json.loads(await context.files.read(f"outcome/{part.number}.json"))
            counts = {name: count + outcome[name] for name, count in counts.items()}
        return Collected(json_result({"descriptor_version": content.version, **counts}, errors))

    async def _noted(
        self, context: TaskContext, part: Subtask, content: ExtractionContent, ids: Sequence[UUID]
    ) -> set[UUID]:
        """Those that had a descriptor before the part was begun for the first time."""
        name = f"had/{part.number}.json"
        try:
            return {UUID(one) for one in json.loads(await context.files.read(name))}
        except FileNotFoundError:
            had = await self._having(context.scope, content, ids)
            await context.files.write(name, json.dumps(texts(sorted(had))).encode())
            return had

    async def _having(self, scope: Scope, content: ExtractionContent, ids: Sequence[UUID]) -> set[UUID]:
        if isinstance(content.objects, EventSelection):
            return await self._described.events(scope, content.version, ids)
        return await self._described.faces(scope, content.version, ids)

    async def _extract(self, context: TaskContext, content: ExtractionContent, ids: Sequence[UUID]) -> int:
        """Extract and write the descriptors of some objects; how many."""
        if isinstance(content.objects, EventSelection):
            events = await self._populations.events(context.scope, ids)
            kind = kind_of(content.version)
            of_events = {one: _of_event(events[one], kind) for one in ids if one in events}
            made = await self._described_of(context, content, of_events)
            await self._described.describe_events(
                context.scope,
                {
                    event_id: EventDescriptor(kind, Descriptor(one.version, one.data), one.score)
                    for event_id, one in made.items()
                },
            )
            return len(made)
        faces = await self._populations.faces(context.scope, ids)
        samples = {one: _of_face(faces[one]) for one in ids if one in faces}
        made = await self._described_of(context, content, samples)
        vectors = {face_id: (Descriptor(one.version, one.data), samples[face_id]) for face_id, one in made.items()}
        await self._described.describe_faces(context.scope, vectors, context.task.create_time)
        return len(made)

    async def _described_of(
        self, context: TaskContext, content: ExtractionContent, samples: Mapping[UUID, tuple[UUID, ...]]
    ) -> dict[UUID, ExtractedDescriptor]:
        free = asyncio.Semaphore(AT_ONCE)

        async def extract(object_id: UUID) -> ExtractedDescriptor | None:
            async with free:
                try:
                    if not samples[object_id]:
                        raise NoStoredSample(id=object_id)
                    return await self._descriptors.extract(
                        context.scope, samples[object_id], content.version, context.check
                    )
                except _OF_THE_TASK:
                    raise
                except LunaError as error:
                    await context.report(error, str(object_id))
                    return None

        running = [asyncio.create_task(extract(one)) for one in samples]
        try:
            made = await asyncio.gather(*running)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        return {object_id: one for object_id, one in zip(samples, made, strict=True) if one is not None}


def _of_face(found: StoredFace) -> tuple[UUID, ...]:
    """The samples of a face's attribute, else its avatar."""
    portrait = found.portrait
    return found.samples or (() if portrait is None else (portrait,))


def _of_event(event: EventRecord, kind: DescriptorKind) -> tuple[UUID, ...]:
    """The samples of an event's face or body, each once."""
    detections = event.body_detections if kind is DescriptorKind.BODY else event.face_detections
    return tuple(dict.fromkeys(one.sample_id for one in detections if one.sample_id is not None))
