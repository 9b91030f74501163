"""Objects as tables and archives show them: their cells, and their pictures."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from server.domain.access import Scope
from server.domain.events import EventRecord
from server.domain.populations import Populations, StoredFace, sample_at
from server.domain.samples import SampleStore, SampleType
from server.domain.tasks import Subtask, TaskContext, TaskFiles
from server.errors import SampleNotFound
from server.tasks.archives import Archive

AT_ONCE: Final = 16
"""Pictures that are in memory at the same time."""
FOLDER: Final = "images"


@dataclass(frozen=True, slots=True)
class Picture:
    """A sample of an object, and its name in an archive."""

    name: str
    object_id: UUID
    sample_type: SampleType
    sample_id: UUID


class ObjectReader:
    """Reads objects with their pictures."""

    def __init__(self, populations: Populations, samples: SampleStore) -> None:
        self._populations = populations
        self._samples = samples

    async def read(
        self, scope: Scope, ids: Sequence[UUID], *, of_events: bool
    ) -> Mapping[UUID, StoredFace | EventRecord]:
        """Those of the objects that are there."""
        if of_events:
            return await self._populations.events(scope, ids)
        return await self._populations.faces(scope, ids)

    async def pictures(self, context: TaskContext, found: Sequence[StoredFace | EventRecord]) -> list[Picture]:
        """The pictures of objects that are there. Samples that objects name and that are gone are reported."""
        named = [one for each in found for one in pictures_of(each)]
        gone: set[UUID] = set()
        for sample_type in SampleType:
            ids = {one.sample_id for one in named if one.sample_type is sample_type}
            gone |= await self._samples.missing(context.scope, sample_type, ids)
        for one in named:
            if one.sample_id in gone:
                await context.report(SampleNotFound(sample_id=one.sample_id), str(one.object_id))
        return [one for one in named if one.sample_id not in gone]

    async def bytes_of(self, scope: Scope, picture: Picture) -> bytes | None:
        """A picture's JPEG; None where it is gone."""
        return await self._samples.read(scope, picture.sample_type, picture.sample_id)

    async def pack(self, context: TaskContext, archive: Archive, pictures: Sequence[Picture]) -> None:
        """Put pictures into an archive, a few at a time."""
        for start in range(0, len(pictures), AT_ONCE):
            context.check()
            some = pictures[start : start + AT_ONCE]
            read = await asyncio.gather(*(self.bytes_of(context.scope, one) for one in some))
            await archive.pictures([(one.name, data) for one, data in zip(some, read, strict=True) if data is not None])


def pictures_of(found: StoredFace | EventRecord) -> list[Picture]:
    """The samples of an object, each once: `images/<id>.jpg`, further ones with a number, those of bodies so named."""
    if isinstance(found, StoredFace):
        avatar = sample_at(found.face.avatar)
        ids = (*(() if avatar is None else (avatar,)), *found.samples)
        return _named(found.face.face_id, "", SampleType.FACES, ids)
    faces = [one.sample_id for one in found.face_detections if one.sample_id is not None]
    bodies = [one.sample_id for one in found.body_detections if one.sample_id is not None]
    return [
        *_named(found.event_id, "", SampleType.FACES, faces),
        *_named(found.event_id, "_body", SampleType.BODIES, bodies),
    ]


def _named(object_id: UUID, word: str, sample_type: SampleType, ids: Sequence[UUID]) -> list[Picture]:
    return [
        Picture(f"{FOLDER}/{object_id}{word}{f'_{place}' if place > 1 else ''}.jpg", object_id, sample_type, sample_id)
        for place, sample_id in enumerate(dict.fromkeys(ids), 1)
    ]


async def keep_pictures(files: TaskFiles, part: Subtask, pictures: Sequence[Picture]) -> None:
    """Leave a list of pictures for collecting."""
    rows = [[one.name, str(one.object_id), one.sample_type.value, str(one.sample_id)] for one in pictures]
    await files.write(f"pictures/{part.number}.json", json.dumps(rows).encode())


async def kept_pictures(files: TaskFiles, part: Subtask) -> list[Picture]:
    """The pictures that a part has left."""
    rows = json.loads(await files.read(f"pictures/{part.number}.json"))
    return [Picture(name, UUID(owner), SampleType(kind), UUID(sample)) for name, owner, kind, sample in rows]


async def keep_rows(files: TaskFiles, part: Subtask, rows: bytes) -> None:
    """Leave lines of a table for collecting."""
    await files.write(f"rows/{part.number}.csv", rows)


async def table_of(context: TaskContext, head: bytes, parts: Sequence[Subtask]) -> AsyncIterator[bytes]:
    """A whole table: its first line, and what each part has left."""
    yield head
    for part in parts:
        context.check()
        yield await context.files.read(f"rows/{part.number}.csv")
