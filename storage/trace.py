"""The trace of a change: its entry in the audit trail, written inside the transaction that makes the change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, func, insert, literal, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from server.domain.audit import Change
from storage.schema import audit

#: PostgreSQL gives a transaction its id when it first writes or locks a row. One that found nothing to change has none.
CHANGED: Final = func.pg_current_xact_id_if_assigned().is_not(None)


async def leave_trace(connection: AsyncConnection, change: Change, made: Sequence[UUID]) -> bool:
    """Write the entry of a change at the end of a transaction, or add objects to the one that it has already.

    A transaction that has changed nothing leaves nothing: what is not there was to be changed, and the call fails.
    The caller has the change's turn, and keeps it until the transaction has ended.

    Returns:
        Whether there is something that is safe once the transaction has been committed.
    """
    return await _write(connection, change, made, done=True, always=False)


async def write_entry(connection: AsyncConnection, change: Change, made: Sequence[UUID], *, done: bool) -> None:
    """Write or complete the entry of a change in a transaction of its own. The rest is as for `leave_trace`."""
    await _write(connection, change, made, done=done, always=True)


async def _write(
    connection: AsyncConnection, change: Change, made: Sequence[UUID], *, done: bool, always: bool
) -> bool:
    condition = true() if always else CHANGED
    if change.row is not None:
        if change.safe and not made and not (always and done):
            return False
        objects = audit.c.objects.concat(literal(list(made), ARRAY(Uuid)))
        values = {"objects": objects} | ({"done": True} if always and done else {})
        known = update(audit).where(audit.c.entry_id == change.row, condition).values(values)
        if await connection.scalar(known.returning(audit.c.entry_id)) is not None:
            return True
        # it was written in a transaction whose end nobody saw, and which was rolled back
    values = asdict(change.entry) | {"objects": [*change.entry.objects, *made], "done": done}
    row = select(*(literal(value, audit.c[name].type) for name, value in values.items())).where(condition)
    entry_id = await connection.scalar(insert(audit).from_select(list(values), row).returning(audit.c.entry_id))
    if entry_id is None:
        return False
    change.row = int(entry_id)
    return True
