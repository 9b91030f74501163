"""Faces in PostgreSQL.

Locks are always taken in one order (lists, faces, members of lists; each by ascending id), so that no two operations
wait for each other.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Row, Select, Uuid, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.selectable import FromClause

from server.domain.access import Scope
from server.domain.attributes import FaceAttribute
from server.domain.faces import Face, FaceChanges, FaceFilter, Keep, NewFace, Page
from server.errors import AttributeBound, FacesNotFound
from storage.database import ConstraintViolated, Database
from storage.face_attributes import (
    attribute_query,
    erase_attribute,
    erase_other_descriptors,
    read_attribute,
    write_attribute,
)
from storage.face_rows import add_faces, refused
from storage.filters import among, face_conditions, inside, offset
from storage.members import lock_members
from storage.schema import face_attributes, faces, list_faces


class PostgresFaceStore:
    """Implements `server.domain.faces.FaceStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, new: NewFace) -> None:
        """Keep a new face with its attribute and lists. See `FaceStore.create`.

        Raises:
            Conflict: a face with this id exists already.
        """
        try:
            async with self._database.transaction(made=(new.face.face_id,)) as connection:
                await add_faces(connection, (new,))
        except ConstraintViolated as violated:
            raise refused(violated, (new,)) from violated

    async def get(self, scope: Scope, face_id: UUID) -> Face | None:
        """One face."""
        found = await self.find(scope, FaceFilter(face_ids=(face_id,)), Page(size=1))
        return found[0] if found else None

    async def find(self, scope: Scope, where: FaceFilter, page: Page) -> list[Face]:
        """A page of faces with their lists, in one statement. See `FaceStore.find`."""
        chosen = select(faces).where(*face_conditions(scope, where))
        limited = chosen.order_by(*_order(faces, where)).limit(page.size).offset(offset(page)).subquery("page")
        member = select(list_faces.c.list_id).where(list_faces.c.face_id == limited.c.face_id)
        list_ids = func.array(member.order_by(list_faces.c.list_id).scalar_subquery(), type_=ARRAY(Uuid))
        rows = await self._database.fetch(select(limited, list_ids.label("lists")).order_by(*_order(limited, where)))
        return [_face(row) for row in rows]

    async def count(self, scope: Scope, where: FaceFilter) -> int:
        """How many faces."""
        return await self._count(select(func.count()).select_from(faces).where(*face_conditions(scope, where)))

    async def count_with_attributes(self, scope: Scope) -> int:
        """How many faces have an attribute."""
        both = select(func.count()).select_from(faces).join(face_attributes)
        return await self._count(both.where(*inside(faces.c.account_id, scope)))

    async def change(self, scope: Scope, face_id: UUID, changes: FaceChanges) -> bool:
        """Change a face. False where there is none."""
        texts = {"external_id": changes.external_id, "user_data": changes.user_data, "avatar": changes.avatar}
        values: dict[str, object] = {name: value for name, value in texts.items() if value is not None}
        if changes.event_id is not Keep.KEEP:
            values["event_id"] = changes.event_id
        if not values:
            return await self.count(scope, FaceFilter(face_ids=(face_id,))) > 0
        conditions = (faces.c.face_id == face_id, *inside(faces.c.account_id, scope))
        async with self._database.transaction() as connection:
            return (await connection.execute(update(faces).where(*conditions).values(values))).rowcount > 0

    async def remove(self, scope: Scope, face_ids: Collection[UUID], *, ignore_missing: bool) -> None:
        """Delete faces with their attributes, all or none. See `FaceStore.remove`."""
        conditions = (among(faces.c.face_id, face_ids), *inside(faces.c.account_id, scope))
        locked = select(faces.c.face_id).where(*conditions).order_by(faces.c.face_id).with_for_update()
        async with self._database.transaction() as connection:
            found = set(await connection.scalars(locked))
            absent = next((face_id for face_id in face_ids if face_id not in found), None)
            if absent is not None and not ignore_missing:
                raise FacesNotFound(face_id=absent)
            await lock_members(connection, among(list_faces.c.face_id, found))
            await connection.execute(delete(faces).where(among(faces.c.face_id, found)))

    async def attribute(self, scope: Scope, face_id: UUID) -> FaceAttribute | None:
        """The attribute of a face, or None where the face or its attribute is not there."""
        conditions = (faces.c.face_id == face_id, *inside(faces.c.account_id, scope))
        return read_attribute(await self._database.fetch(attribute_query().where(*conditions)))

    async def set_attribute(self, scope: Scope, face_id: UUID, attribute: FaceAttribute) -> bool:
        """Replace everything that is stored for a face. See `FaceStore.set_attribute`."""
        try:
            async with self._database.transaction() as connection:
                if not await _lock_face(connection, scope, face_id):
                    return False
                await erase_other_descriptors(connection, face_id, attribute.content)
                await write_attribute(connection, face_id, attribute)
        except ConstraintViolated as violated:
            raise AttributeBound(attribute_id=attribute.attribute_id) from violated
        return True

    async def clear_attribute(self, scope: Scope, face_id: UUID) -> bool:
        """Delete the attribute of a face. See `FaceStore.clear_attribute`."""
        async with self._database.transaction() as connection:
            if not await _lock_face(connection, scope, face_id):
                return False
            await erase_attribute(connection, face_id)
        return True

    async def by_external_id(self, scope: Scope, external_id: str) -> list[UUID]:
        """Ids of the faces with an external id, oldest first. An empty text is no external id."""
        if not external_id:
            return []
        conditions = (faces.c.external_id == external_id, *inside(faces.c.account_id, scope))
        oldest = select(faces.c.face_id).where(*conditions).order_by(faces.c.create_time, faces.c.face_id)
        return [row.face_id for row in await self._database.fetch(oldest)]

    async def _count(self, statement: Select[*tuple[int]]) -> int:
        (row,) = await self._database.fetch(statement)
        return int(row[0])


async def _lock_face(connection: AsyncConnection, scope: Scope, face_id: UUID) -> bool:
    """Keep others from changing a face until the transaction ends. False where it is not in the scope."""
    conditions = (faces.c.face_id == face_id, *inside(faces.c.account_id, scope))
    locked = select(faces.c.face_id).where(*conditions).with_for_update(key_share=True)
    return await connection.scalar(locked) is not None


def _order(source: FromClause, where: FaceFilter) -> tuple[ColumnElement[Any], ...]:
    if where.ordered_by_id:
        return (source.c.face_id,)
    return (source.c.create_time.desc(), source.c.face_id)


def _face(row: Row[*tuple[Any, ...]]) -> Face:
    return Face(**{**row._mapping, "lists": tuple(row.lists)})
