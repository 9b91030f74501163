"""The audit trail in PostgreSQL. Entries are only ever added."""

from __future__ import annotations

from dataclasses import asdict
from uuid import UUID

from sqlalchemy import insert, select

from server.domain.audit import AuditEntry
from storage.database import Database
from storage.schema import audit


class PostgresAuditTrail:
    """Implements `server.domain.audit.AuditTrail`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, entry: AuditEntry) -> None:
        """Keep an entry; it is safe when this returns."""
        values = asdict(entry) | {"objects": list(entry.objects)}
        async with self._database.transaction() as connection:
            await connection.execute(insert(audit).values(values))

    async def newest(self, account_id: UUID | None, limit: int) -> list[AuditEntry]:
        """The last entries, of one account where it is named, newest first."""
        columns = [column for column in audit.c if column.name != "entry_id"]
        statement = select(*columns).order_by(audit.c.entry_id.desc()).limit(limit)
        if account_id is not None:
            statement = statement.where(audit.c.account_id == account_id)
        rows = await self._database.fetch(statement)
        return [AuditEntry(**{**row._mapping, "objects": tuple(row.objects)}) for row in rows]
