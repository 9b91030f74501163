"""New faces as rows: what `PostgresFaceStore.create` writes, for one or many, inside a transaction of the caller's.

Locks are taken in the order that `storage.faces` keeps to: lists, faces, members of lists; each by ascending id.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from server.domain.faces import Face, NewFace
from server.errors import AttributeBound, Conflict, ListsNotFound, LunaError
from storage.database import ConstraintViolated
from storage.face_attributes import add_attributes
from storage.filters import among
from storage.rows import columns_of
from storage.schema import faces, list_faces, lists

ATTRIBUTE_ID: Final = "face_attributes_attribute_id_key"
FACE_ID: Final = "faces_pkey"


async def add_faces(connection: AsyncConnection, new: Sequence[NewFace]) -> None:
    """Write new faces with their attributes and put them into their lists.

    Raises:
        ListsNotFound: a list is not there, or belongs to another account than its face.
        IntegrityError: a face exists already, or a temporary attribute is bound to another face (`refused`).
    """
    if not new:
        return
    await _lock_lists(connection, new)
    ordered = sorted(new, key=lambda one: one.face.face_id)
    await connection.execute(insert(faces), [_columns(one.face) for one in ordered])
    await add_attributes(
        connection, [(one.face.face_id, one.attribute) for one in ordered if one.attribute is not None]
    )
    members = [
        {"account_id": one.face.account_id, "face_id": one.face.face_id, "list_id": list_id}
        for one in ordered
        for list_id in set(one.list_ids)
    ]
    if members:
        members.sort(key=lambda one: (one["list_id"], one["face_id"]))
        await connection.execute(insert(list_faces), members)
        latest = max(one.face.create_time for one in new if one.list_ids)
        await _note_time(connection, sorted({one["list_id"] for one in members}), latest)


def refused(violated: ConstraintViolated, new: Sequence[NewFace]) -> LunaError:
    """What it means that a constraint kept new faces out."""
    taken = [one.attribute.attribute_id for one in new if one.attribute is not None and one.attribute.attribute_id]
    if violated.constraint == ATTRIBUTE_ID and taken:
        return AttributeBound(attribute_id=taken[0])
    return Conflict(message=f"Face with id '{new[0].face.face_id}' exists already")


async def _lock_lists(connection: AsyncConnection, new: Sequence[NewFace]) -> None:
    """Keep the lists that new faces go into from being removed.

    Raises:
        ListsNotFound: one of them is not there, or belongs to another account.
    """
    list_ids = {list_id for one in new for list_id in one.list_ids}
    if not list_ids:
        return
    owners = {one.face.account_id for one in new}
    conditions = (among(lists.c.list_id, sorted(list_ids)), among(lists.c.account_id, owners))
    locked = select(lists.c.list_id, lists.c.account_id).where(*conditions).order_by(lists.c.list_id)
    found = await connection.execute(locked.with_for_update(read=True, key_share=True))
    owner = {row.list_id: row.account_id for row in found}
    for one in new:
        for list_id in one.list_ids:
            if owner.get(list_id) != one.face.account_id:
                raise ListsNotFound(list_id=list_id)


async def _note_time(connection: AsyncConnection, list_ids: Collection[UUID], now: datetime) -> None:
    """Note the time in lists, except in one that another transaction is just noting its own time in.

    Waiting for it would make faces enter a list one commit after the other, which is five times slower.
    """
    free = select(lists.c.list_id).where(among(lists.c.list_id, list_ids))
    free = free.with_for_update(key_share=True, skip_locked=True)
    latest = func.greatest(lists.c.last_update_time, now)
    await connection.execute(update(lists).where(lists.c.list_id.in_(free)).values(last_update_time=latest))


def _columns(face: Face) -> dict[str, object]:
    values = columns_of(face)
    del values["lists"]
    return values
