"""The feed of events: nothing is missed, dropped months are told of, and an index over it finds what the tables say."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import numpy as np
import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from engines.index.follower import FollowingIndex, Pace
from server.domain.access import Scope
from server.domain.descriptors import LAYOUTS, Descriptor
from server.domain.event_conditions import Column, Condition, Operator
from server.domain.events import Batch, EventDescriptor, EventRecord, NewEvent
from server.domain.narrowing import event_terms
from server.domain.policies import DescriptorKind
from server.domain.search import FeedUpdate, Hit, IndexedObject, Query, Span
from storage.attributes import RedisAttributeStore
from storage.blobs import BlobStore
from storage.database import Database
from storage.event_feed import PostgresEventFeed
from storage.event_months import EventMonths
from storage.events import PostgresEventStore
from storage.sweeper import Sweeper
from tests.integration.storage.made import EVERYONE, NOW, OURS, THEIRS, number, vector
from tests.integration.storage.made_events import an_event
from tests.servers import PostgresServer

OUR_SCOPE = Scope(OURS)
BODY = Descriptor(1911, bytes(1024))


class Follower:
    """What an index does with a feed."""

    def __init__(self, feed: PostgresEventFeed) -> None:
        self.feed = feed
        self.events: dict[UUID, IndexedObject] = {}
        self.resets = 0

    async def follow(self) -> FeedUpdate:
        update = await self.feed.catch_up()
        if update.reset:
            self.resets += 1
            self.events = {event.object_id: event async for batch in self.feed.snapshot() for event in batch}
            return await self.follow()
        for span in update.dropped:
            self.events = {
                event_id: event
                for event_id, event in self.events.items()
                if not span.start <= event.create_time < span.end
            }
        self.events |= {event.object_id: event for event in update.changed}
        for event_id in update.gone:
            self.events.pop(event_id, None)
        return update


@pytest.fixture
def events(database: Database, blobs: BlobStore, redis_client: Redis) -> PostgresEventStore:
    return PostgresEventStore(database, blobs, RedisAttributeStore(redis_client))


@pytest.fixture
def months(database: Database) -> EventMonths:
    return EventMonths(database)


@pytest.fixture
def follower(database: Database, events: PostgresEventStore) -> Follower:
    return Follower(PostgresEventFeed(database))


def new(record: EventRecord, *descriptors: Descriptor) -> NewEvent:
    """An event to store with descriptors."""
    made = (
        EventDescriptor(DescriptorKind.BODY if one.version in (1101, 1911, 1912) else DescriptorKind.FACE, one)
        for one in descriptors
    )
    return NewEvent(record, tuple(made))


async def keep(events: PostgresEventStore, *made: NewEvent) -> None:
    await events.keep(Batch(made))


async def state(database: Database) -> dict[UUID, IndexedObject]:
    """What the tables say, by a path of its own: plain rows, put together here."""
    vectors: dict[UUID, list[Descriptor]] = {}
    for row in await database.fetch(text("SELECT * FROM event_descriptors ORDER BY version")):
        vectors.setdefault(row.event_id, []).append(Descriptor(row.version, row.data))
    return {
        row.event_id: IndexedObject(
            row.event_id, row.account_id, row.create_time, row.external_id, tuple(vectors[row.event_id])
        )
        for row in await database.fetch(text("SELECT event_id, account_id, create_time, external_id FROM events"))
        if row.event_id in vectors
    }


async def test_a_snapshot_has_every_event_with_a_descriptor_wherever_it_lies(
    events: PostgresEventStore, months: EventMonths, follower: Follower, database: Database
) -> None:
    await months.prepare(NOW)
    early = NOW - timedelta(days=900)
    await keep(
        events,
        new(an_event(1, external_id="x"), vector(1), BODY),
        new(an_event(2, THEIRS, create_time=early), vector(3)),
        new(an_event(3)),
        NewEvent(an_event(4), (EventDescriptor(DescriptorKind.FACE, vector(4)),), stored=False, notice=b"told"),
    )
    assert await follower.feed.catch_up() == FeedUpdate(reset=True)
    await follower.follow()
    assert follower.events == {
        number(1): IndexedObject(number(1), OURS, NOW, "x", (vector(1), BODY)),
        number(2): IndexedObject(number(2), THEIRS, early, "", (vector(3),)),
    }
    assert follower.events == await state(database)


async def test_every_change_that_an_index_sees_is_delivered_once(
    events: PostgresEventStore, months: EventMonths, follower: Follower, database: Database
) -> None:
    await months.prepare(NOW)
    await follower.follow()

    async def execute(statement: str) -> None:
        async with database.transaction() as connection:
            await connection.execute(text(statement))

    for step in (
        keep(events, new(an_event(1), vector(1))),
        execute("UPDATE events SET external_id = 'x'"),
        execute(f"UPDATE events SET account_id = '{THEIRS}'"),
        execute("UPDATE event_descriptors SET version = 1002"),
        execute("DELETE FROM event_descriptors"),
        execute(f"INSERT INTO event_descriptors SELECT event_id, create_time, 'face', 59, '{'x' * 512}' FROM events"),
        events.remove(EVERYONE, [number(1)]),
    ):
        await step
        update = await follower.follow()
        assert {event.object_id for event in update.changed} | set(update.gone) == {number(1)}
        assert follower.events == await state(database)
        assert await follower.feed.catch_up() == FeedUpdate()
    assert follower.resets == 1


async def test_what_an_index_does_not_see_is_not_noted(
    events: PostgresEventStore, follower: Follower, database: Database
) -> None:
    await keep(events, new(an_event(1), vector(1)))
    await follower.follow()
    await keep(events, new(an_event(2)))
    async with database.transaction() as connection:
        await connection.execute(
            text("UPDATE events SET user_data = 'u', external_id = external_id, face_id = event_id")
        )
    assert await follower.feed.catch_up() == FeedUpdate()


async def test_an_event_that_moves_into_the_table_of_its_month_is_no_change(
    events: PostgresEventStore, months: EventMonths, follower: Follower, database: Database
) -> None:
    await keep(events, new(an_event(1), vector(1)))
    await follower.follow()
    assert await months.make(NOW.date())
    assert await follower.feed.catch_up() == FeedUpdate()
    await events.remove(OUR_SCOPE, [number(1)])
    await follower.follow()
    assert follower.events == {}


async def test_a_dropped_month_is_gone_and_what_comes_after_it_is_there(
    events: PostgresEventStore, months: EventMonths, follower: Follower, database: Database
) -> None:
    await months.prepare(NOW)
    times = [datetime(2026, month, 15, tzinfo=UTC) for month in range(1, 6)]
    await keep(events, *(new(an_event(n, create_time=when), vector(n)) for n, when in enumerate(times)))
    await follower.follow()
    await months.drop_before(date(2026, 3, 1))
    await keep(events, new(an_event(9, create_time=times[1]), vector(9)))
    update = await follower.follow()
    assert update.dropped == (Span(datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)),)
    assert set(follower.events) == {number(n) for n in (0, 2, 3, 4, 9)}
    assert follower.events == await state(database)
    assert follower.resets == 1


async def test_a_slow_transaction_that_began_earlier_and_commits_later_is_not_missed(
    events: PostgresEventStore, follower: Follower, database: Database
) -> None:
    await keep(events, *(new(an_event(n), vector(1)) for n in range(3)))
    await follower.follow()
    change = text("UPDATE event_descriptors SET data = CAST(:data AS bytea) WHERE event_id = :event_id")
    async with database.transaction() as slow:
        await slow.execute(change, {"data": vector(9).data, "event_id": number(0)})
        async with database.transaction() as quick:
            await quick.execute(change, {"data": vector(8).data, "event_id": number(1)})
        update = await follower.follow()
        assert [event.object_id for event in update.changed] == [number(1)]
        assert await follower.feed.catch_up() == FeedUpdate()
    assert [event.object_id for event in (await follower.follow()).changed] == [number(0)]
    assert follower.events == await state(database)


async def test_truncating_and_a_crash_reset_the_follower(
    events: PostgresEventStore, follower: Follower, database: Database, postgres: PostgresServer
) -> None:
    await keep(events, new(an_event(1), vector(1)))
    await follower.follow()
    async with database.transaction() as connection:
        await connection.execute(text("TRUNCATE events, event_descriptors"))
    await follower.follow()
    assert (follower.events, follower.resets) == ({}, 2)
    await postgres.restart("immediate")
    await keep(events, new(an_event(2), vector(2)))
    await follower.follow()
    assert (set(follower.events), follower.resets) == ({number(2)}, 3)


async def test_pruned_changes_reset_only_who_has_not_read_them(
    events: PostgresEventStore, database: Database, blobs: BlobStore
) -> None:
    sweeper = Sweeper(database, blobs, age=timedelta(0))
    late, punctual = (Follower(PostgresEventFeed(database)) for _ in range(2))
    await late.follow()
    await punctual.follow()
    await keep(events, *(new(an_event(n), vector(n)) for n in range(3)))
    assert await sweeper.prune_changes() == 0
    await punctual.follow()
    assert await sweeper.prune_changes() == 3
    await punctual.follow()
    await late.follow()
    assert (punctual.resets, late.resets) == (1, 2)
    assert punctual.events == late.events == await state(database)


async def nearest(database: Database, query: Query[tuple[Condition, ...]], allowed: set[UUID] | None) -> list[Hit]:
    """The answer by brute force over the tables, cosines in float64."""
    layout = LAYOUTS[query.descriptor.version]
    asked = np.frombuffer(query.descriptor.data, layout.element.value).astype(np.float64)
    rows = await database.fetch(
        text("SELECT * FROM events JOIN event_descriptors USING (event_id, create_time) WHERE version = :version"),
        {"version": layout.version},
    )
    hits = []
    for row in rows:
        if not query.scope.includes(row.account_id) or (allowed is not None and row.event_id not in allowed):
            continue
        found = np.frombuffer(row.data, layout.element.value).astype(np.float64)
        cosine = float(np.dot(found, asked) / np.linalg.norm(found) / np.linalg.norm(asked))
        if cosine >= query.min_cosine:
            hits.append(Hit(row.event_id, cosine))
    return sorted(hits, key=lambda hit: (-hit.cosine, hit.object_id))[: query.limit]


def agree(hits: Sequence[Hit], expected: Sequence[Hit]) -> None:
    assert [hit.object_id for hit in hits] == [hit.object_id for hit in expected]
    assert [hit.cosine for hit in hits] == pytest.approx([hit.cosine for hit in expected], abs=1e-9)


async def test_random_writers_are_followed_and_every_search_is_exact_and_has_what_was_written(
    events: PostgresEventStore, months: EventMonths, database: Database
) -> None:
    """Two indexes as of two servers; what one writer has committed, the next search of either finds, exactly."""
    await months.prepare(NOW)
    dice, rng = random.Random(5), np.random.default_rng(5)
    indexes = [FollowingIndex(PostgresEventFeed(database), "event index", pace=Pace(attention=0.05)) for _ in range(2)]
    deleted: set[UUID] = set()
    live: set[UUID] = set()
    numbers = iter(range(1, 10**6))

    def anything(version: int) -> Descriptor:
        return Descriptor(version, rng.standard_normal(LAYOUTS[version].dimensions).astype("<f2").tobytes())

    def made() -> NewEvent:
        when = NOW + timedelta(days=dice.choice((-900, -20, 0, 20)), seconds=dice.randrange(10**6))
        record = an_event(
            next(numbers),
            dice.choice((OURS, THEIRS)),
            create_time=when,
            external_id=dice.choice(("", "anna", "berta")),
            user_data=dice.choice(("blue", "red")),
        )
        versions = dice.choice(((1001,), (1911,), (1001, 1911)))
        return new(record, *map(anything, versions))

    async def write() -> None:
        if dice.random() < 0.3 and live:
            gone = dice.sample(sorted(live), min(3, len(live)))
            live.difference_update(gone)
            await events.remove(EVERYONE, gone)
            deleted.update(gone)
        else:
            batch = [made() for _ in range(dice.choice((1, 1, 20)))]
            await keep(events, *batch)
            live.update(one.record.event_id for one in batch)

    async def check(index: FollowingIndex[tuple[Condition, ...]]) -> None:
        version = dice.choice((1001, 1911))
        low = NOW + timedelta(days=dice.choice((-1000, -25, -1)))
        choices: list[tuple[Condition, ...]] = [
            (),
            (
                Condition(Column.CREATE_TIME, Operator.GTE, low),
                Condition(Column.CREATE_TIME, Operator.LT, low + timedelta(days=30)),
            ),
            (Condition(Column.EXTERNAL_ID, Operator.IN, ("anna", "")),),
            (Condition(Column.EVENT_ID, Operator.IN, tuple(dice.sample(sorted(live), min(5, len(live))))),),
        ]
        conditions = dice.choice(choices)
        rows = await database.fetch(text("SELECT event_id, create_time, external_id FROM events"))
        allowed = {
            row.event_id
            for row in rows
            if all(
                {
                    Operator.GTE: lambda one, value: one >= value,
                    Operator.LT: lambda one, value: one < value,
                    Operator.IN: lambda one, value: one in value,
                }[condition.operator](getattr(row, condition.of.value), condition.value)
                for condition in conditions
            )
        }
        where, filters = event_terms(conditions)
        assert filters is None
        descriptor = anything(version)
        scope = dice.choice((EVERYONE, OUR_SCOPE))
        query = Query(descriptor, scope, where, dice.choice((1, 10, 1000)), dice.choice((-1.0, 0.05)), filters)
        (hits,) = await index.search([query])
        agree(hits, await nearest(database, query, allowed))
        assert not deleted & {hit.object_id for hit in hits}

    try:
        for index in indexes:
            await index.start()
        end = time.monotonic() + 4
        steps = 0
        while time.monotonic() < end:
            await write()
            await asyncio.gather(*map(check, indexes))
            steps += 1
        assert steps > 10
    finally:
        for index in indexes:
            await index.close()
