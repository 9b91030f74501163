"""The feed of events: every change of what an index knows of them, and the months that were dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Row, text

from server.domain.access import Scope
from server.domain.descriptors import Descriptor
from server.domain.event_conditions import Condition
from server.domain.search import FeedUpdate, IndexedObject, Span
from storage.event_queries import event_conditions
from storage.feed import BATCH, LATER, PRESENT, RUNNING, PostgresFeed
from storage.schema import events

#: The time of creation stands in every join, so that only the partitions are looked into that an event can be in.
STATE: Final = """
    SELECT event.event_id, event.account_id, event.create_time, event.external_id,
        descriptors.versions, descriptors.vectors
    FROM {events}
    CROSS JOIN LATERAL (
        SELECT array_agg(version ORDER BY version) AS versions, array_agg(data ORDER BY version) AS vectors
        FROM event_descriptors AS one WHERE one.event_id = event.event_id AND one.create_time = event.create_time
    ) AS descriptors
    WHERE descriptors.versions IS NOT NULL
"""
NOTED: Final = """
    unnest(CAST(:event_ids AS uuid[]), CAST(:create_times AS timestamptz[])) AS noted (event_id, create_time)
    JOIN events AS event USING (event_id, create_time)
"""
SOME: Final = text(STATE.format(events=NOTED))


class PostgresEventFeed(PostgresFeed):
    """Implements `server.domain.search.Feed` for events.

    Nobody is notified of a commit: PostgreSQL lets only one transaction commit at a time that has notified, and events
    come by the thousand. `wait` waits for the time alone, which is how often a follower looks.
    """

    changes = text(f"""
        WITH noted AS MATERIALIZED (
            SELECT event_id, create_time, dropped_until FROM event_changes WHERE {LATER}
            UNION
            SELECT event_id, create_time, dropped_until FROM event_changes WHERE {RUNNING}
        )
        SELECT {PRESENT},
            ARRAY(SELECT event_id FROM noted WHERE event_id IS NOT NULL ORDER BY event_id, create_time) AS event_ids,
            ARRAY(SELECT create_time FROM noted WHERE event_id IS NOT NULL ORDER BY event_id, create_time) AS times,
            ARRAY(SELECT create_time FROM noted WHERE event_id IS NULL ORDER BY create_time, dropped_until) AS starts,
            ARRAY(SELECT dropped_until FROM noted WHERE event_id IS NULL ORDER BY create_time, dropped_until) AS ends
    """)  # noqa: S608 - of constants
    state = STATE.format(events="events AS event")

    async def update(self, noted: Row[*tuple[Any, ...]]) -> FeedUpdate:
        """The present state of the events that were noted."""
        changed: list[IndexedObject] = []
        for start in range(0, len(noted.event_ids), BATCH):
            these = slice(start, start + BATCH)
            parameters = {"event_ids": noted.event_ids[these], "create_times": noted.times[these]}
            changed.extend(self.indexed(row) for row in await self._database.fetch(SOME, parameters))
        gone = set(noted.event_ids).difference(event.object_id for event in changed)
        return FeedUpdate(tuple(changed), tuple(gone), tuple(map(Span, noted.starts, noted.ends)))

    async def wait(self, seconds: float) -> None:
        """Return after the time."""
        await asyncio.sleep(seconds)

    async def select(self, scope: Scope, filters: tuple[Condition, ...]) -> bytes:
        """Ids of the events under conditions."""
        return await self.packed(events.c.event_id, event_conditions(scope, filters))

    @staticmethod
    def indexed(row: Iterable[Any]) -> IndexedObject:
        """The event of a row."""
        event_id, account_id, create_time, external_id, versions, vectors = row
        return IndexedObject(event_id, account_id, create_time, external_id, tuple(map(Descriptor, versions, vectors)))
