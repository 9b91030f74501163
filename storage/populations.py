"""Populations in PostgreSQL: ids of selections in batches by key, and what is read of many objects at once."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Row, Uuid, exists, func, select, tuple_

from server.domain.access import Scope
from server.domain.descriptors import Descriptor
from server.domain.events import EventRecord
from server.domain.faces import Face, FaceFilter
from server.domain.policies import DescriptorKind
from server.domain.populations import EventKey, StoredFace
from server.domain.task_contents import DescriptorSelection, EventSelection, FaceSelection
from storage.database import Database
from storage.event_queries import event_conditions
from storage.event_rows import record_of
from storage.filters import among, face_conditions, inside
from storage.schema import event_descriptors, events, face_attributes, face_descriptors, faces, list_faces

NEWEST: Final = (events.c.create_time.desc(), events.c.event_id.desc())
TOGETHER: Final = (event_descriptors.c.event_id == events.c.event_id) & (
    event_descriptors.c.create_time == events.c.create_time
)
"""Descriptors lie in the partition of their event."""


class PostgresPopulations:
    """Implements `server.domain.populations.Populations`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def face_ids(
        self, scope: Scope, selection: FaceSelection, now: datetime, after: UUID | None, limit: int
    ) -> list[UUID]:
        """The next ids of a selection. See `Populations.face_ids`."""
        conditions = [*selected_faces(scope, selection, now), *_beyond(faces.c.face_id, after)]
        chosen = select(faces.c.face_id).where(*conditions).order_by(faces.c.face_id).limit(limit)
        return [row.face_id for row in await self._database.fetch(chosen, planned=True)]

    async def event_keys(
        self, scope: Scope, selection: EventSelection, now: datetime, after: EventKey | None, limit: int
    ) -> list[EventKey]:
        """The next keys of a selection. See `Populations.event_keys`."""
        conditions = [*event_conditions(scope, selection.candidates.at(now)), *_older(after)]
        chosen = select(events.c.create_time, events.c.event_id).where(*conditions).order_by(*NEWEST).limit(limit)
        rows = await self._database.fetch(chosen, planned=True)
        return [EventKey(row.create_time, row.event_id) for row in rows]

    async def described_faces(self, scope: Scope, version: int, after: UUID | None, limit: int) -> list[UUID]:
        """The next ids of faces with a descriptor. See `Populations.described_faces`."""
        chosen = select(faces.c.face_id).join_from(faces, face_descriptors)
        chosen = chosen.where(face_descriptors.c.version == version, *inside(faces.c.account_id, scope))
        chosen = chosen.where(*_beyond(faces.c.face_id, after)).order_by(faces.c.face_id).limit(limit)
        return [row.face_id for row in await self._database.fetch(chosen, planned=True)]

    async def described_events(
        self, scope: Scope, selection: DescriptorSelection, after: EventKey | None, limit: int
    ) -> list[EventKey]:
        """The next keys of events with a descriptor. See `Populations.described_events`."""
        chosen = select(events.c.create_time, events.c.event_id).join_from(events, event_descriptors, TOGETHER)
        chosen = chosen.where(*of_version(selection), *inside(events.c.account_id, scope), *_older(after))
        rows = await self._database.fetch(chosen.order_by(*NEWEST).limit(limit), planned=True)
        return [EventKey(row.create_time, row.event_id) for row in rows]

    async def faces(self, scope: Scope, face_ids: Collection[UUID]) -> dict[UUID, StoredFace]:
        """Those of the faces that are there, with their lists."""
        member = select(list_faces.c.list_id).where(list_faces.c.face_id == faces.c.face_id)
        list_ids = func.array(member.order_by(list_faces.c.list_id).scalar_subquery(), type_=ARRAY(Uuid))
        of_attribute = (face_attributes.c.face_descriptor_samples, face_attributes.c.basic_attributes_samples)
        chosen = select(faces, list_ids.label("lists"), *of_attribute).outerjoin_from(faces, face_attributes)
        conditions = (among(faces.c.face_id, face_ids), *inside(faces.c.account_id, scope))
        rows = await self._database.fetch(chosen.where(*conditions))
        return {row.face_id: _stored(row) for row in rows}

    async def events(self, scope: Scope, event_ids: Collection[UUID]) -> dict[UUID, EventRecord]:
        """Those of the events that are there."""
        conditions = (among(events.c.event_id, event_ids), *inside(events.c.account_id, scope))
        rows = await self._database.fetch(select(events).where(*conditions))
        return {row.event_id: record_of(row._asdict()) for row in rows}

    async def event_faces(self, scope: Scope, event_ids: Collection[UUID]) -> dict[UUID, tuple[Descriptor, ...]]:
        """The face descriptors of events. See `Populations.event_faces`."""
        columns = (events.c.event_id, event_descriptors.c.version, event_descriptors.c.data)
        chosen = select(*columns).join_from(events, event_descriptors, TOGETHER)
        conditions = (among(events.c.event_id, event_ids), *inside(events.c.account_id, scope))
        chosen = chosen.where(*conditions, event_descriptors.c.kind == DescriptorKind.FACE.value)
        found: dict[UUID, list[Descriptor]] = {}
        for row in await self._database.fetch(chosen.order_by(event_descriptors.c.version)):
            found.setdefault(row.event_id, []).append(Descriptor(row.version, row.data))
        return {event_id: tuple(descriptors) for event_id, descriptors in found.items()}


def selected_faces(scope: Scope, selection: FaceSelection, now: datetime) -> list[ColumnElement[bool]]:
    """Everything that a face of a selection must satisfy. `now` is what relative times count from."""
    where = FaceFilter(
        face_ids=selection.face_ids,
        external_ids=selection.external_ids,
        list_id=selection.list_id,
        user_data=selection.user_data,
        create_time_gte=None if selection.create_time_gte is None else selection.create_time_gte.at(now),
        create_time_lt=None if selection.create_time_lt is None else selection.create_time_lt.at(now),
        face_id_gte=selection.face_id_gte,
        face_id_lt=selection.face_id_lt,
    )
    conditions = face_conditions(scope, where)
    if selection.no_list:
        conditions.append(~exists().where(list_faces.c.face_id == faces.c.face_id))
    return conditions


def of_version(selection: DescriptorSelection) -> list[ColumnElement[bool]]:
    """Everything that a descriptor of events must satisfy."""
    conditions = [event_descriptors.c.version == selection.version]
    if selection.kind is not None:
        conditions.append(event_descriptors.c.kind == selection.kind.value)
    return conditions


def _beyond(column: ColumnElement[UUID], after: UUID | None) -> list[ColumnElement[bool]]:
    return [] if after is None else [column > after]


def _older(after: EventKey | None) -> list[ColumnElement[bool]]:
    if after is None:
        return []
    return [tuple_(events.c.create_time, events.c.event_id) < tuple_(after.create_time, after.event_id)]


def _stored(row: Row[*tuple[Any, ...]]) -> StoredFace:
    values = dict(row._mapping)
    of_descriptor = values.pop("face_descriptor_samples") or ()
    of_basic = values.pop("basic_attributes_samples") or ()
    samples = tuple(dict.fromkeys((*of_descriptor, *of_basic)))
    return StoredFace(Face(**{**values, "lists": tuple(row.lists)}), samples)
