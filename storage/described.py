"""Descriptors that are added to stored objects."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from server.domain.access import Scope
from server.domain.descriptors import Descriptor
from server.domain.events import EventDescriptor
from storage.database import Database
from storage.filters import among, inside
from storage.populations import TOGETHER
from storage.schema import event_descriptors, events, face_attributes, face_descriptors, faces


class PostgresDescribed:
    """Implements `server.domain.populations.Described`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def faces(self, scope: Scope, version: int, face_ids: Collection[UUID]) -> set[UUID]:
        """Those of the faces that have a descriptor of a version."""
        chosen = select(faces.c.face_id).join_from(faces, face_descriptors)
        conditions = (among(faces.c.face_id, face_ids), *inside(faces.c.account_id, scope))
        rows = await self._database.fetch(chosen.where(*conditions, face_descriptors.c.version == version))
        return {row.face_id for row in rows}

    async def events(self, scope: Scope, version: int, event_ids: Collection[UUID]) -> set[UUID]:
        """Those of the events that have a descriptor of a version."""
        chosen = select(events.c.event_id).join_from(events, event_descriptors, TOGETHER)
        conditions = (among(events.c.event_id, event_ids), *inside(events.c.account_id, scope))
        rows = await self._database.fetch(chosen.where(*conditions, event_descriptors.c.version == version))
        return {row.event_id for row in rows}

    async def describe_faces(
        self, scope: Scope, found: Mapping[UUID, tuple[Descriptor, tuple[UUID, ...]]], now: datetime
    ) -> None:
        """Write descriptors of faces. See `Described.describe_faces`."""
        if not found:
            return
        conditions = (among(faces.c.face_id, found), *inside(faces.c.account_id, scope))
        locked = select(faces.c.face_id).where(*conditions).order_by(faces.c.face_id).with_for_update(key_share=True)
        async with self._database.transaction() as connection:
            there = list(await connection.scalars(locked))
            if not there:
                return
            # a face that never had an attribute gets one, which knows nothing else
            attributes = [
                {
                    "face_id": face_id,
                    "attribute_id": None,
                    "create_time": now,
                    "has_basic_attributes": False,
                    "basic_attributes_samples": [],
                    "face_descriptor_samples": list(found[face_id][1]),
                }
                for face_id in there
            ]
            await connection.execute(insert(face_attributes).on_conflict_do_nothing(), attributes)
            rows = [
                {"face_id": face_id, "version": found[face_id][0].version, "data": found[face_id][0].data}
                for face_id in there
            ]
            vectors = insert(face_descriptors)
            overwrite = {"data": vectors.excluded.data}
            await connection.execute(
                vectors.on_conflict_do_update(index_elements=["face_id", "version"], set_=overwrite), rows
            )

    async def describe_events(self, scope: Scope, found: Mapping[UUID, EventDescriptor]) -> None:
        """Write descriptors of events. See `Described.describe_events`."""
        if not found:
            return
        conditions = (among(events.c.event_id, found), *inside(events.c.account_id, scope))
        keys = select(events.c.event_id, events.c.create_time).where(*conditions).order_by(events.c.event_id)
        async with self._database.transaction() as connection:
            there = (await connection.execute(keys.with_for_update(read=True, key_share=True))).all()
            if not there:
                return
            rows = [
                {
                    "event_id": row.event_id,
                    "create_time": row.create_time,
                    "kind": found[row.event_id].kind.value,
                    "version": found[row.event_id].descriptor.version,
                    "data": found[row.event_id].descriptor.data,
                    "score": found[row.event_id].score,
                }
                for row in there
            ]
            vectors = insert(event_descriptors)
            new = {name: vectors.excluded[name] for name in ("kind", "data", "score")}
            key = ["event_id", "version", "create_time"]
            await connection.execute(vectors.on_conflict_do_update(index_elements=key, set_=new), rows)
