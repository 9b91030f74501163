"""Events in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, delete, select

from server.domain.access import Scope
from server.domain.attributes import AttributeStore
from server.domain.descriptors import Descriptor
from server.domain.events import Batch, Cell, EventQuery, EventRecord, StatisticsQuery
from server.domain.faces import Page
from server.errors import InvalidInput
from storage.blobs import BlobStore
from storage.database import Database
from storage.event_batches import BatchWriter
from storage.event_pages import page_query
from storage.event_rows import record_of
from storage.event_statistics import read_cell, statistics_query
from storage.filters import among, inside
from storage.schema import event_descriptors, events

MOST_ROWS: Final = 100_000
"""Rows of statistics that one answer has at the most."""
NEWEST: Final = (events.c.create_time.desc(), events.c.event_id.desc())

#: Descriptors lie in the partition of their event: with its time too, only that one is looked into.
_TOGETHER: Final = (event_descriptors.c.event_id == events.c.event_id) & (
    event_descriptors.c.create_time == events.c.create_time
)


class PostgresEventStore:
    """Implements `server.domain.events.EventStore`.

    `told` is called when something is to be told: it waits in the outbox then.
    """

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        attributes: AttributeStore,
        told: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._told = told
        self._writer = BatchWriter(database, blobs, attributes)

    async def keep(self, batch: Batch) -> None:
        """Keep and tell everything of a batch, or nothing. See `EventStore.keep` and `BatchWriter.keep`."""
        await self._writer.keep(batch)
        if any(one.notice is not None for one in batch.events):
            self._told()

    async def get(self, scope: Scope, event_id: UUID) -> EventRecord | None:
        """One event."""
        rows = await self._database.fetch(select(events).where(*_one(scope, event_id)))
        return record_of(rows[0]._asdict()) if rows else None

    async def find(self, scope: Scope, query: EventQuery, page: Page) -> list[EventRecord]:
        """A page of events. See `EventStore.find` and `page_query`."""
        rows = await self._database.fetch(page_query(scope, query, page), planned=True)
        return [record_of(row._asdict()) for row in rows]

    async def statistics(self, scope: Scope, query: StatisticsQuery) -> list[tuple[Cell, ...]]:
        """Rows of statistics, in the order of their groups. See `EventStore.statistics`.

        Raises:
            InvalidInput: there are more than `MOST_ROWS`.
        """
        rows = await self._database.fetch(statistics_query(scope, query, MOST_ROWS + 1), planned=True)
        if len(rows) > MOST_ROWS:
            raise InvalidInput(
                message=f"there would be more than {MOST_ROWS} rows: a period or fewer groups are needed"
            )
        return [tuple(read_cell(cell) for cell in row) for row in rows]

    async def descriptor(self, scope: Scope, event_id: UUID, version: int) -> Descriptor | None:
        """The descriptor of an event in a version."""
        found = select(event_descriptors.c.data).join_from(events, event_descriptors, _TOGETHER)
        rows = await self._database.fetch(found.where(*_one(scope, event_id), event_descriptors.c.version == version))
        return Descriptor(version, rows[0].data) if rows else None

    async def descriptor_versions(self, scope: Scope, event_id: UUID) -> tuple[int, ...]:
        """The versions of an event's descriptors, ascending."""
        found = select(event_descriptors.c.version).join_from(events, event_descriptors, _TOGETHER)
        rows = await self._database.fetch(found.where(*_one(scope, event_id)).order_by(event_descriptors.c.version))
        return tuple(row.version for row in rows)

    async def newest_by_external_id(self, scope: Scope, external_id: str) -> UUID | None:
        """The newest event with an external id. An empty text is no external id."""
        if not external_id:
            return None
        return await self._newest(scope, events.c.external_id == external_id, events.c.external_id != "")

    async def newest_by_track_id(self, scope: Scope, track_id: str) -> UUID | None:
        """The newest event of a track."""
        return await self._newest(scope, events.c.track_id == track_id)

    async def remove(self, scope: Scope, event_ids: Collection[UUID]) -> int:
        """Delete events; a trigger deletes their descriptors. Returns how many events there were."""
        if not event_ids:
            return 0
        conditions = (among(events.c.event_id, event_ids), *inside(events.c.account_id, scope))
        async with self._database.transaction() as connection:
            return (await connection.execute(delete(events).where(*conditions))).rowcount

    async def _newest(self, scope: Scope, *conditions: ColumnElement[bool]) -> UUID | None:
        newest = select(events.c.event_id).where(*conditions, *inside(events.c.account_id, scope))
        rows = await self._database.fetch(newest.order_by(*NEWEST).limit(1), planned=True)
        return rows[0].event_id if rows else None


def _one(scope: Scope, event_id: UUID) -> list[ColumnElement[bool]]:
    return [events.c.event_id == event_id, *inside(events.c.account_id, scope)]
