"""Which face is in which list: the locks that every change of it takes, in one order."""

from __future__ import annotations

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.schema import list_faces


async def lock_members(connection: AsyncConnection, *conditions: ColumnElement[bool]) -> None:
    """Lock rows of `list_faces` that are about to be deleted, by ascending list and face.

    Deleting a face and deleting a list reach the same rows from two sides; without a common order they could wait for
    each other. Nothing is sent to the client: the rows are counted.
    """
    locked = select(list_faces.c.list_id).where(*conditions)
    ordered = locked.order_by(list_faces.c.list_id, list_faces.c.face_id).with_for_update()
    await connection.execute(select(func.count()).select_from(ordered.subquery()))
