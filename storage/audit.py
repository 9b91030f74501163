"""The audit trail in PostgreSQL. Entries are added and completed, never taken away."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from sqlalchemy import select

from server.domain.access import Scope
from server.domain.attributes import AttributeStore, TemporaryAttribute
from server.domain.audit import AuditEntry, AuditTrail, Change, in_progress
from storage.database import Database
from storage.schema import audit
from storage.trace import write_entry


class PostgresAuditTrail:
    """Implements `server.domain.audit.AuditTrail`. The entries of changes in PostgreSQL are written by `Database`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, objects: Iterable[UUID] = ()) -> None:
        """Make the entry of the change in progress safe before the change. See `AuditTrail.begin`."""
        change = in_progress()
        if change is None:
            return
        # what begins while another one writes is written in its turn, all of it at once
        change.made.update(dict.fromkeys(objects))
        async with change.turn:
            missing = change.missing(change.made)
            if change.safe and not missing:
                return
            change.ahead = True
            await self._write(change, missing, done=False)

    async def complete(self, change: Change, objects: Iterable[UUID] = ()) -> None:
        """See to it that a change that succeeded has a whole entry. See `AuditTrail.complete`."""
        async with change.turn:
            await self._write(change, change.missing(objects), done=True)
            change.ahead = False

    async def newest(self, account_id: UUID | None, limit: int) -> list[AuditEntry]:
        """The last entries, of one account where it is named, newest first."""
        columns = [column for column in audit.c if column.name != "entry_id"]
        statement = select(*columns).order_by(audit.c.entry_id.desc()).limit(limit)
        if account_id is not None:
            statement = statement.where(audit.c.account_id == account_id)
        rows = await self._database.fetch(statement)
        return [AuditEntry(**{**row._mapping, "objects": tuple(row.objects)}) for row in rows]

    async def _write(self, change: Change, objects: Sequence[UUID], *, done: bool) -> None:
        async with self._database.transaction(traced=False) as connection:
            await write_entry(connection, change, objects, done=done)
        change.keep(objects)


class AuditedAttributes:
    """Temporary attributes whose changes are in the audit trail before they are made: no transaction has both.

    Implements `server.domain.attributes.AttributeStore` over one that does.
    """

    def __init__(self, store: AttributeStore, trail: AuditTrail) -> None:
        self._store = store
        self._trail = trail

    async def add(self, attribute: TemporaryAttribute, ttl_seconds: int) -> None:
        """Keep a new attribute for a time."""
        await self._trail.begin((attribute.attribute_id,))
        await self._store.add(attribute, ttl_seconds)

    async def get(self, scope: Scope, attribute_ids: Sequence[UUID]) -> list[TemporaryAttribute]:
        """Those of the attributes that are there and inside the scope, in the order of the ids."""
        return await self._store.get(scope, attribute_ids)

    async def remove(self, scope: Scope, attribute_id: UUID) -> bool:
        """Delete an attribute. What is not there leaves no entry."""
        if not await self._store.get(scope, [attribute_id]):
            return False
        await self._trail.begin((attribute_id,))
        return await self._store.remove(scope, attribute_id)
