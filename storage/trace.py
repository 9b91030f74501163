"""The trace of a change: its entry in the audit trail, written inside the transaction that makes the change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Final
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, bindparam, func, insert, literal, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from server.domain.audit import AuditEntry, Change
from storage.rows import columns_of
from storage.schema import audit

#: PostgreSQL gives a transaction its id when it first writes or locks a row. One that found nothing to change has none.
CHANGED: Final = func.pg_current_xact_id_if_assigned().is_not(None)


_COLUMNS: Final = [field.name for field in fields(AuditEntry)]
_ROW: Final = select(*(bindparam(name, type_=audit.c[name].type) for name in _COLUMNS))
# made once: nearly every change has an entry
_ENTRY: Final = insert(audit).from_select(_COLUMNS, _ROW).returning(audit.c.entry_id)
_ENTRY_OF_A_CHANGE: Final = insert(audit).from_select(_COLUMNS, _ROW.where(CHANGED)).returning(audit.c.entry_id)


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
    if change.row is not None:
        if change.safe and not made and not (always and done):
            return False
        objects = audit.c.objects.concat(literal(list(made), ARRAY(Uuid)))
        changed = {"objects": objects} | ({"done": True} if always and done else {})
        condition = true() if always else CHANGED
        known = update(audit).where(audit.c.entry_id == change.row, condition).values(changed)
        if await connection.scalar(known.returning(audit.c.entry_id)) is not None:
            return True
        # it was written in a transaction whose end nobody saw, and which was rolled back
    values = columns_of(change.entry) | {"objects": [*change.entry.objects, *made], "done": done}
    entry_id = await connection.scalar(_ENTRY if always else _ENTRY_OF_A_CHANGE, values)
    if entry_id is None:
        return False
    change.row = int(entry_id)
    return True
