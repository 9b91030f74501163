"""Lists in PostgreSQL. The order of locks is that of `storage.faces`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Uuid, delete, func, insert, literal, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from server.domain.access import Scope
from server.domain.faces import FaceList, ListFilter, Page
from server.errors import Conflict, FacesNotFound, ListNotFound, ListsNotFound
from storage.database import ConstraintViolated, Database
from storage.filters import among, inside, list_conditions, offset
from storage.members import lock_members
from storage.rows import columns_of
from storage.schema import faces, list_faces, lists


class PostgresListStore:
    """Implements `server.domain.faces.ListStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, new: FaceList) -> None:
        """Keep a new list.

        Raises:
            Conflict: a list with this id exists already.
        """
        try:
            async with self._database.transaction(made=(new.list_id,)) as connection:
                await connection.execute(insert(lists).values(columns_of(new)))
        except ConstraintViolated as violated:
            raise Conflict(message=f"List with id '{new.list_id}' exists already") from violated

    async def get(self, scope: Scope, list_id: UUID) -> FaceList | None:
        """One list."""
        conditions = (lists.c.list_id == list_id, *inside(lists.c.account_id, scope))
        rows = await self._database.fetch(select(lists).where(*conditions))
        return FaceList(**rows[0]._mapping) if rows else None

    async def find(self, scope: Scope, where: ListFilter, page: Page) -> list[FaceList]:
        """A page of lists. See `ListStore.find`."""
        chosen = select(lists).where(*list_conditions(scope, where)).order_by(*_order(where))
        rows = await self._database.fetch(chosen.limit(page.size).offset(offset(page)))
        return [FaceList(**row._mapping) for row in rows]

    async def count(self, scope: Scope, where: ListFilter) -> int:
        """How many lists."""
        counted = select(func.count()).select_from(lists).where(*list_conditions(scope, where))
        (row,) = await self._database.fetch(counted)
        return int(row[0])

    async def change(self, scope: Scope, list_id: UUID, user_data: str | None, now: datetime) -> bool:
        """Change a list and its last_update_time. False where there is none."""
        async with self._database.transaction() as connection:
            return await _touch(connection, scope, list_id, now, user_data) is not None

    async def remove(self, scope: Scope, list_ids: Collection[UUID], *, with_faces: bool) -> None:
        """Delete lists, and with them their faces where asked for, all or none. See `ListStore.remove`."""
        conditions = (among(lists.c.list_id, list_ids), *inside(lists.c.account_id, scope))
        locked = select(lists.c.list_id).where(*conditions).order_by(lists.c.list_id).with_for_update()
        async with self._database.transaction() as connection:
            found = set(await connection.scalars(locked))
            absent = next((list_id for list_id in list_ids if list_id not in found), None)
            if absent is not None:
                raise ListsNotFound(list_id=absent)
            if with_faces:
                await _remove_faces(connection, found)
            else:
                await lock_members(connection, among(list_faces.c.list_id, found))
            await connection.execute(delete(lists).where(among(lists.c.list_id, found)))

    async def attach(self, scope: Scope, list_id: UUID, face_ids: Sequence[UUID], now: datetime) -> None:
        """Put faces into a list. See `ListStore.attach`."""
        async with self._database.transaction() as connection:
            account_id = await _existing(connection, scope, list_id, face_ids, now)
            ids = func.unnest(literal(sorted(set(face_ids)), ARRAY(Uuid))).column_valued("face_id")
            rows = select(literal(account_id), literal(list_id), ids)
            members = upsert(list_faces).from_select(["account_id", "list_id", "face_id"], rows)
            await connection.execute(members.on_conflict_do_nothing())

    async def detach(self, scope: Scope, list_id: UUID, face_ids: Sequence[UUID], now: datetime) -> None:
        """Take faces out of a list. See `ListStore.detach`."""
        members = (list_faces.c.list_id == list_id, among(list_faces.c.face_id, face_ids))
        async with self._database.transaction() as connection:
            await _existing(connection, scope, list_id, face_ids, now)
            await lock_members(connection, *members)
            await connection.execute(delete(list_faces).where(*members))


async def _existing(
    connection: AsyncConnection, scope: Scope, list_id: UUID, face_ids: Sequence[UUID], now: datetime
) -> UUID:
    """Lock a list and faces of its account, note the time, and return the account.

    Raises:
        ListNotFound, FacesNotFound: one of them is not there; the transaction is to be rolled back.
    """
    account_id = await _touch(connection, scope, list_id, now)
    if account_id is None:
        raise ListNotFound(list_id=list_id)
    conditions = (among(faces.c.face_id, face_ids), faces.c.account_id == account_id)
    locked = select(faces.c.face_id).where(*conditions).order_by(faces.c.face_id)
    found = set(await connection.scalars(locked.with_for_update(read=True, key_share=True)))
    absent = next((face_id for face_id in face_ids if face_id not in found), None)
    if absent is not None:
        raise FacesNotFound(face_id=absent)
    return account_id


async def _touch(
    connection: AsyncConnection, scope: Scope, list_id: UUID, now: datetime, user_data: str | None = None
) -> UUID | None:
    """Note the time of a change, and the new text where there is one. The list's account; None where there is none."""
    values: dict[str, object] = {"last_update_time": func.greatest(lists.c.last_update_time, now)}
    if user_data is not None:
        values["user_data"] = user_data
    conditions = (lists.c.list_id == list_id, *inside(lists.c.account_id, scope))
    account: UUID | None = await connection.scalar(
        update(lists).where(*conditions).values(values).returning(lists.c.account_id)
    )
    return account


async def _remove_faces(connection: AsyncConnection, list_ids: Collection[UUID]) -> None:
    """Delete the faces of lists that are locked, in whatever other lists they are."""
    members = select(list_faces.c.face_id).where(among(list_faces.c.list_id, list_ids))
    locked = select(faces.c.face_id).where(faces.c.face_id.in_(members)).order_by(faces.c.face_id).with_for_update()
    face_ids = (await connection.scalars(locked)).all()
    await lock_members(connection, among(list_faces.c.face_id, face_ids))
    await connection.execute(delete(faces).where(among(faces.c.face_id, face_ids)))


def _order(where: ListFilter) -> tuple[ColumnElement[Any], ...]:
    if where.list_id_gte is not None or where.list_id_lt is not None:
        return (lists.c.list_id,)
    return (lists.c.create_time.desc(), lists.c.list_id)
