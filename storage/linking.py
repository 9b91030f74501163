"""Putting many faces into a list. Locks are taken in the order that `storage.faces` keeps to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from server.domain.access import Scope
from server.domain.faces import FaceList, NewFace
from server.errors import Busy, ListNotFound
from storage.database import ConstraintViolated, Database
from storage.face_rows import add_faces
from storage.filters import among, inside
from storage.rows import columns_of
from storage.schema import faces, list_faces, lists

ATTEMPTS = 3


class PostgresLinking:
    """Implements `server.domain.populations.Linking`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ensure_list(self, wanted: FaceList) -> bool:
        """Make a list unless it is there. False where its id belongs to another account."""
        async with self._database.transaction(made=(wanted.list_id,)) as connection:
            await connection.execute(insert(lists).values(columns_of(wanted)).on_conflict_do_nothing())
        return await self.has_list(Scope(wanted.account_id), wanted.list_id)

    async def has_list(self, scope: Scope, list_id: UUID) -> bool:
        """Whether a list is there."""
        conditions = (lists.c.list_id == list_id, *inside(lists.c.account_id, scope))
        return bool(await self._database.fetch(select(lists.c.list_id).where(*conditions)))

    async def link(self, scope: Scope, list_id: UUID, face_ids: Sequence[UUID], now: datetime) -> list[UUID]:
        """Put those of the faces into a list that are there. See `Linking.link`.

        Raises:
            ListNotFound: the list is not there.
        """
        async with self._database.transaction() as connection:
            account_id = await _lock_list(connection, scope, list_id)
            found = await _lock_faces(connection, account_id, face_ids)
            await _link(connection, account_id, list_id, found, now)
        return found

    async def link_new(self, scope: Scope, list_id: UUID, new: Sequence[NewFace]) -> list[UUID]:
        """Make faces as far as they are not there, and link all of them. See `Linking.link_new`.

        Raises:
            ListNotFound: the list is not there.
            Busy: others keep making the same faces.
        """
        if not new:
            return []
        for _ in range(ATTEMPTS):
            try:
                return await self._link_new(scope, list_id, new)
            except ConstraintViolated:
                continue  # another worker has made one of them meanwhile
        raise Busy(message="the same faces are being made", retry_after=1)

    async def _link_new(self, scope: Scope, list_id: UUID, new: Sequence[NewFace]) -> list[UUID]:
        face_ids = [one.face.face_id for one in new]
        latest = max(one.face.create_time for one in new)
        async with self._database.transaction(made=face_ids) as connection:
            account_id = await _lock_list(connection, scope, list_id)
            taken = set(await connection.scalars(select(faces.c.face_id).where(among(faces.c.face_id, face_ids))))
            await add_faces(connection, [replace(one, list_ids=()) for one in new if one.face.face_id not in taken])
            found = await _lock_faces(connection, account_id, face_ids)
            await _link(connection, account_id, list_id, found, latest)
        return found


async def _lock_list(connection: AsyncConnection, scope: Scope, list_id: UUID) -> UUID:
    """Keep a list from being removed. Its account."""
    conditions = (lists.c.list_id == list_id, *inside(lists.c.account_id, scope))
    locked = select(lists.c.account_id).where(*conditions).with_for_update(read=True, key_share=True)
    account_id: UUID | None = await connection.scalar(locked)
    if account_id is None:
        raise ListNotFound(list_id=list_id)
    return account_id


async def _lock_faces(connection: AsyncConnection, account_id: UUID, face_ids: Collection[UUID]) -> list[UUID]:
    """Keep those of the faces from being removed that are there: their ids, ascending."""
    conditions = (among(faces.c.face_id, face_ids), faces.c.account_id == account_id)
    locked = select(faces.c.face_id).where(*conditions).order_by(faces.c.face_id)
    return list(await connection.scalars(locked.with_for_update(read=True, key_share=True)))


async def _link(
    connection: AsyncConnection, account_id: UUID, list_id: UUID, face_ids: Sequence[UUID], now: datetime
) -> None:
    ids = func.unnest(literal(list(face_ids), ARRAY(Uuid))).column_valued("face_id")
    members = insert(list_faces).from_select(
        ["account_id", "list_id", "face_id"], select(literal(account_id), literal(list_id), ids)
    )
    await connection.execute(members.on_conflict_do_nothing())
    # others may be just noting their own time, and waiting for them would make parts of a task go one by one
    free = select(lists.c.list_id).where(lists.c.list_id == list_id).with_for_update(key_share=True, skip_locked=True)
    latest = func.greatest(lists.c.last_update_time, now)
    await connection.execute(update(lists).where(lists.c.list_id.in_(free)).values(last_update_time=latest))
