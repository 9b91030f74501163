"""The objects of selections, read from PostgreSQL through a cursor, and from Redis."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Select, Text, func, literal, select

from server.domain.access import Scope
from server.domain.attributes import AttributeStore
from server.domain.galleries import Gallery, Member
from server.domain.policies import DescriptorKind
from server.domain.task_contents import AttributeSelection, EventSelection, FaceSelection
from storage.database import Database
from storage.event_queries import event_conditions
from storage.populations import TOGETHER, selected_faces
from storage.schema import event_descriptors, events, face_descriptors, faces

BATCH: Final = 1000
"""Objects that are in memory at a time."""

_OF_FACE: Final = face_descriptors.c.face_id == faces.c.face_id


class StoredGalleries:
    """Implements `server.domain.galleries.Galleries`."""

    def __init__(self, database: Database, attributes: AttributeStore) -> None:
        self._database = database
        self._attributes = attributes

    async def members(
        self, scope: Scope, gallery: Gallery, version: int, now: datetime
    ) -> AsyncGenerator[Sequence[Member], None]:
        """All objects of a selection. See `Galleries.members`.

        Those of the database are of one snapshot; attributes are there or have ended when their batch is read.
        """
        match gallery:
            case FaceSelection():
                found = self._read(_faces(scope, gallery, version, now))
            case EventSelection():
                found = self._read(_events(scope, gallery, version, now))
            case AttributeSelection():
                found = self._temporary(scope, gallery, version)
        async with aclosing(found):
            async for batch in found:
                yield batch

    async def body_version(self, scope: Scope, gallery: EventSelection, now: datetime) -> int | None:
        """The version of most body descriptors of events. See `Galleries.body_version`."""
        version = event_descriptors.c.version
        conditions = event_conditions(scope, gallery.candidates.at(now))
        chosen = select(version).select_from(events.join(event_descriptors, TOGETHER)).where(*conditions)
        bodies = chosen.where(event_descriptors.c.kind == DescriptorKind.BODY.value).group_by(version)
        most = bodies.order_by(func.count().desc(), version.desc()).limit(1)
        rows = await self._database.fetch(most, planned=True)
        return rows[0].version if rows else None

    async def _read(self, statement: Select[*tuple[Any, ...]]) -> AsyncGenerator[Sequence[Member], None]:
        async with (
            self._database.transaction("REPEATABLE READ", traced=False) as connection,
            connection.stream(statement.execution_options(yield_per=BATCH)) as rows,
        ):
            async for batch in rows.partitions():
                yield [Member(object_id, data, track_id) for object_id, data, track_id in batch]

    async def _temporary(
        self, scope: Scope, gallery: AttributeSelection, version: int
    ) -> AsyncGenerator[Sequence[Member], None]:
        ids = list(dict.fromkeys(gallery.attribute_ids))
        for start in range(0, len(ids), BATCH):
            yield [
                Member(one.attribute_id, found.data if (found := one.content.descriptor(version)) else None)
                for one in await self._attributes.get(scope, ids[start : start + BATCH])
            ]


def _faces(scope: Scope, gallery: FaceSelection, version: int, now: datetime) -> Select[*tuple[Any, ...]]:
    of_version = _OF_FACE & (face_descriptors.c.version == version)
    found = select(faces.c.face_id, face_descriptors.c.data, literal(None, Text))
    found = found.select_from(faces.outerjoin(face_descriptors, of_version))
    return found.where(*selected_faces(scope, gallery, now))


def _events(scope: Scope, gallery: EventSelection, version: int, now: datetime) -> Select[*tuple[Any, ...]]:
    of_version = TOGETHER & (event_descriptors.c.version == version)
    found = select(events.c.event_id, event_descriptors.c.data, events.c.track_id)
    found = found.select_from(events.outerjoin(event_descriptors, of_version))
    return found.where(*event_conditions(scope, gallery.candidates.at(now)))
