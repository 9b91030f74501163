"""Deleting what belongs to many objects: samples, images and descriptors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Final
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, DateTime, Table, Text, Uuid, bindparam, delete, func, or_, select, text

from server.domain.access import Scope
from server.domain.media import MediaKind
from server.domain.populations import InUse, Links, sample_at
from server.domain.samples import SampleType
from server.domain.task_contents import DescriptorSelection
from storage.blobs import BlobStore
from storage.database import Database
from storage.filters import among, inside
from storage.media import media_key
from storage.populations import of_version
from storage.samples import sample_key
from storage.schema import event_descriptors, events, face_attributes, face_descriptors, faces, media, samples

AT_ONCE: Final = 8
"""Blobs that are deleted at the same time."""

#: Samples and addresses in the detections of linked events: each way of being linked has an index of its own.
OF_EVENTS: Final = text("""
    WITH mine AS NOT MATERIALIZED (
        SELECT * FROM events WHERE CAST(:account_id AS uuid) IS NULL OR account_id = :account_id
    ), linked AS (
        SELECT face_detections, body_detections FROM mine WHERE event_id = ANY (:event_ids)
        UNION ALL
        SELECT face_detections, body_detections FROM mine WHERE face_id = ANY (:face_ids)
        UNION ALL
        SELECT face_detections, body_detections FROM mine WHERE create_time = ANY (:times)
    )
    SELECT DISTINCT one ->> 'sample_id' AS sample_id, one ->> 'image_origin' AS image_origin
    FROM linked, jsonb_array_elements(coalesce(face_detections, '[]') || coalesce(body_detections, '[]')) AS one
    WHERE one ->> 'sample_id' = ANY (:samples) OR one ->> 'image_origin' = ANY (:origins)
""").bindparams(
    bindparam("account_id", type_=Uuid),
    bindparam("event_ids", type_=ARRAY(Uuid)),
    bindparam("face_ids", type_=ARRAY(Uuid)),
    bindparam("times", type_=ARRAY(DateTime(timezone=True))),
    bindparam("samples", type_=ARRAY(Text)),
    bindparam("origins", type_=ARRAY(Text)),
)


class PostgresCleaning:
    """Implements `server.domain.populations.Cleaning`."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    async def in_use(self, scope: Scope, links: Links, wanted: InUse) -> InUse:
        """Which of some samples and images linked objects use. See `Cleaning.in_use`."""
        of_attribute = (face_attributes.c.face_descriptor_samples, face_attributes.c.basic_attributes_samples)
        chosen = select(faces.c.avatar, *of_attribute).outerjoin_from(faces, face_attributes)
        linked = or_(among(faces.c.face_id, links.face_ids), among(faces.c.event_id, links.event_ids))
        used: set[UUID] = set()
        for row in await self._database.fetch(chosen.where(linked, *inside(faces.c.account_id, scope)), planned=True):
            used.update(row.face_descriptor_samples or (), row.basic_attributes_samples or ())
            if (avatar := sample_at(row.avatar)) is not None:
                used.add(avatar)
        values = {
            "account_id": scope.account_id,
            "event_ids": links.event_ids,
            "face_ids": links.face_ids,
            "times": links.times,
            "samples": [str(one) for one in wanted.samples],
            "origins": list(wanted.origins),
        }
        rows = await self._database.fetch(OF_EVENTS, values, planned=True)
        used.update(UUID(row.sample_id) for row in rows if row.sample_id)
        origins = {row.image_origin for row in rows}
        return InUse(wanted.samples & used, wanted.origins & origins)

    async def media(self, scope: Scope, kind: MediaKind, media_ids: Collection[UUID]) -> list[UUID]:
        """Those of the images that are there, ascending."""
        return await self._there(media.c.media_id, _of_kind(scope, kind), media_ids)

    async def remove_samples(self, scope: Scope, sample_type: SampleType, sample_ids: Collection[UUID]) -> None:
        """Delete samples. See `Cleaning.remove_samples`."""
        await self._remove(samples, samples.c.sample_id, _of_type(scope, sample_type), sample_ids)
        await self._erase(samples.c.sample_id, sample_ids, lambda one: sample_key(sample_type, one))

    async def remove_media(self, scope: Scope, kind: MediaKind, media_ids: Collection[UUID]) -> None:
        """Delete images as samples are."""
        await self._remove(media, media.c.media_id, _of_kind(scope, kind), media_ids)
        await self._erase(media.c.media_id, media_ids, lambda one: media_key(kind, one))

    async def remove_face_descriptors(self, scope: Scope, version: int, face_ids: Collection[UUID]) -> None:
        """Delete descriptors of a version."""
        owned = select(faces.c.face_id).where(among(faces.c.face_id, face_ids), *inside(faces.c.account_id, scope))
        chosen = (face_descriptors.c.version == version, face_descriptors.c.face_id.in_(owned))
        async with self._database.transaction() as connection:
            # whoever writes a face's descriptors has its row first, as this does
            await connection.execute(
                select(func.count()).select_from(
                    owned.order_by(faces.c.face_id).with_for_update(key_share=True).subquery()
                )
            )
            await connection.execute(delete(face_descriptors).where(*chosen))

    async def remove_event_descriptors(
        self, scope: Scope, selection: DescriptorSelection, event_ids: Collection[UUID]
    ) -> None:
        """Delete descriptors of a version and kind."""
        owned = select(events.c.event_id).where(
            among(events.c.event_id, event_ids), *inside(events.c.account_id, scope)
        )
        chosen = (event_descriptors.c.event_id.in_(owned), *of_version(selection))
        async with self._database.transaction() as connection:
            await connection.execute(delete(event_descriptors).where(*chosen))

    async def _there(
        self, key: ColumnElement[UUID], conditions: Collection[ColumnElement[bool]], ids: Collection[UUID]
    ) -> list[UUID]:
        rows = await self._database.fetch(select(key).where(among(key, ids), *conditions).order_by(key))
        return [row[0] for row in rows]

    async def _remove(
        self,
        table: Table,
        key: ColumnElement[UUID],
        conditions: Collection[ColumnElement[bool]],
        ids: Collection[UUID],
    ) -> None:
        if ids:
            async with self._database.transaction() as connection:
                await connection.execute(delete(table).where(among(key, ids), *conditions))

    async def _erase(self, key: ColumnElement[UUID], ids: Collection[UUID], blob: Callable[[UUID], str]) -> None:
        """Delete the bytes of what has no row, in whatever account: those are nobody's."""
        kept = set(await self._there(key, (), ids))
        free = asyncio.Semaphore(AT_ONCE)

        async def erase(one: UUID) -> None:
            async with free:
                await self._blobs.delete(blob(one))

        await asyncio.gather(*(erase(one) for one in ids if one not in kept))


def _of_type(scope: Scope, sample_type: SampleType) -> list[ColumnElement[bool]]:
    return [samples.c.sample_type == sample_type.value, *inside(samples.c.account_id, scope)]


def _of_kind(scope: Scope, kind: MediaKind) -> list[ColumnElement[bool]]:
    return [media.c.kind == kind.value, *inside(media.c.account_id, scope)]
