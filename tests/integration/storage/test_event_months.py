"""Months: tables made ahead, rows that move into them, several processes at once, and old ones that go."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from itertools import count

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import text

from server import settings
from server.domain.access import Scope
from server.domain.events import Batch
from server.domain.search import FeedUpdate, Span
from server.errors import Busy
from storage import event_months
from storage.attributes import RedisAttributeStore
from storage.blobs import BlobStore
from storage.database import Database
from storage.event_feed import PostgresEventFeed
from storage.event_months import EventMonths
from storage.events import PostgresEventStore
from storage.face_feed import PostgresFaceFeed
from tests.integration.storage.made import EVERYONE, OURS, number, vector
from tests.integration.storage.made_events import a_new_event, an_event

MARCH = datetime(2026, 3, 15, 12, tzinfo=UTC)


@pytest.fixture
def months(database: Database) -> EventMonths:
    return EventMonths(database)


@pytest.fixture
def events(database: Database, blobs: BlobStore, redis_client: Redis) -> PostgresEventStore:
    return PostgresEventStore(database, blobs, RedisAttributeStore(redis_client))


async def places(database: Database, table: str = "events") -> dict[int, str]:
    """The tables that events lie in."""
    found = await database.fetch(text(f"SELECT event_id, tableoid::regclass::text AS place FROM {table}"))
    return {row.event_id.int: row.place for row in found}


async def test_months_around_the_present_one_are_made_once(months: EventMonths) -> None:
    assert await months.there() == []
    assert await months.prepare(MARCH) == 4
    assert await months.there() == [date(2026, month, 1) for month in (2, 3, 4, 5)]
    assert await months.prepare(MARCH) == 0
    assert await months.prepare(MARCH + timedelta(days=30)) == 1
    assert await months.prepare(datetime(2026, 12, 31, 23, 59, tzinfo=UTC)) == 4
    assert await months.there() == [
        *(date(2026, month, 1) for month in (2, 3, 4, 5, 6, 11, 12)),
        *(date(2027, month, 1) for month in (1, 2)),
    ]


async def test_an_event_lies_in_its_month_and_any_other_is_kept_too(
    months: EventMonths, events: PostgresEventStore, database: Database
) -> None:
    await months.prepare(MARCH)
    times = [
        datetime(2026, 3, 1, tzinfo=UTC),
        datetime(2026, 3, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(2026, 4, 1, tzinfo=UTC),
        datetime(2026, 4, 1, 1, tzinfo=UTC).astimezone(),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
    ]
    made = [an_event(value, create_time=moment) for value, moment in enumerate(times, 1)]
    await events.keep(Batch(tuple(a_new_event(one) for one in made)))
    expected = {
        1: "events_2026_03",
        2: "events_2026_03",
        3: "events_2026_04",
        4: "events_2026_04",
        5: "events_other",
        6: "events_other",
    }
    assert await places(database) == expected
    assert await places(database, "event_descriptors") == {
        value: place.replace("events", "event_descriptors") for value, place in expected.items()
    }
    for value, moment in enumerate(times, 1):
        found = await events.get(EVERYONE, number(value))
        assert found is not None
        assert abs(found.create_time - moment) <= timedelta(microseconds=1), "the first and the last are infinity else"
        assert await events.descriptor(Scope(OURS), number(value), 1001) == vector(1)


async def test_what_the_default_partition_has_of_a_new_month_moves_there(
    months: EventMonths, events: PostgresEventStore, database: Database
) -> None:
    made = [an_event(value, create_time=MARCH + timedelta(days=20 * value)) for value in range(5)]
    await events.keep(Batch(tuple(a_new_event(one) for one in made)))
    assert set((await places(database)).values()) == {"events_other"}
    await months.prepare(MARCH)
    assert await places(database) == {
        0: "events_2026_03",
        1: "events_2026_04",
        2: "events_2026_04",
        3: "events_2026_05",
        4: "events_other",
    }
    for one in made:
        assert await events.get(EVERYONE, one.event_id) == one
        assert await events.descriptor(EVERYONE, one.event_id, 1001) == vector(1)
    assert await events.remove(EVERYONE, [one.event_id for one in made]) == 5
    assert await places(database, "event_descriptors") == {}


async def test_a_month_has_the_indexes_and_the_storage_of_its_parent(months: EventMonths, database: Database) -> None:
    await months.make(date(2026, 3, 31))
    indexes = text("SELECT count(*) FROM pg_index WHERE indrelid = to_regclass(:name) AND indisvalid")
    for parent in ("events", "event_descriptors"):
        ((ours,),) = await database.fetch(indexes, {"name": f"{parent}_2026_03"})
        ((theirs,),) = await database.fetch(indexes, {"name": parent})
        assert ours == theirs
    ((storage,),) = await database.fetch(
        text(
            "SELECT attstorage FROM pg_attribute WHERE attrelid = 'event_descriptors_2026_03'::regclass AND attnum = 5"
        )
    )
    assert storage == b"e"


async def test_several_processes_make_months_while_events_come_in(
    database_url: SecretStr, events: PostgresEventStore, database: Database
) -> None:
    """Nothing is refused, nothing is lost, and everything ends up in its month."""
    others = [Database(database_url, settings.Database()) for _ in range(3)]
    numbers, made = count(1), set[int]()
    stop = asyncio.Event()

    async def write() -> None:
        while not stop.is_set():
            value = next(numbers)
            moment = MARCH + timedelta(days=value % 60)
            await events.keep(Batch((a_new_event(an_event(value, create_time=moment)),)))
            made.add(value)

    async def read() -> None:
        while not stop.is_set():
            known = set(made)
            assert known <= set(await places(database))

    workers = [asyncio.create_task(write()) for _ in range(4)] + [asyncio.create_task(read())]
    try:
        await asyncio.sleep(0.3)
        assert sum(await asyncio.gather(*(EventMonths(one).prepare(MARCH) for one in others))) == 4
        await asyncio.sleep(0.3)
    finally:
        stop.set()
        await asyncio.gather(*workers)
        for one in others:
            await one.close()
    found = await places(database)
    assert set(found) == made
    assert all(
        place == f"events_2026_{(MARCH + timedelta(days=value % 60)).month:02}" for value, place in found.items()
    )


@pytest.mark.parametrize("planned", [False, True])
async def test_whoever_reads_while_a_month_is_made_sees_every_event_that_moves_there(
    months: EventMonths, events: PostgresEventStore, database: Database, planned: bool
) -> None:
    """Tasks go over events page by page: a page that is short by mistake would end a task as if it were done."""
    made = [an_event(value, create_time=MARCH) for value in range(10)]
    await events.keep(Batch(tuple(a_new_event(one) for one in made)))
    counting = text("SELECT count(*) FROM events")
    async with database.transaction() as connection:
        # the month is being made until this ends: its events have moved, their descriptors have not
        await connection.execute(text("LOCK TABLE event_descriptors_other IN ACCESS SHARE MODE"))
        making = asyncio.create_task(months.make(MARCH.date()))
        await asyncio.sleep(0.2)
        reading = asyncio.create_task(database.fetch(counting, planned=planned))
        await asyncio.sleep(0.2)
        assert not making.done()
        assert not reading.done()
    assert await making
    assert (await reading)[0][0] == 10


async def test_a_month_waits_for_locks_and_gives_up_in_the_end(
    months: EventMonths, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_months, "ATTEMPTS", 2)
    monkeypatch.setattr(event_months, "RETRY_SECONDS", 0.01)
    async with database.transaction() as connection:
        await connection.execute(text("LOCK TABLE events IN ROW EXCLUSIVE MODE"))
        with pytest.raises(Busy):
            await months.make(MARCH.date())
    assert await months.make(MARCH.date())


async def test_old_months_go_with_all_that_they_have(
    months: EventMonths, events: PostgresEventStore, database: Database
) -> None:
    await months.prepare(MARCH)
    made = [an_event(value, create_time=datetime(2026, value, 15, tzinfo=UTC)) for value in range(1, 7)]
    await events.keep(Batch(tuple(a_new_event(one) for one in made)))
    assert await months.drop_before(date(2026, 2, 28)) == []
    assert await months.drop_before(date(2026, 4, 2)) == [date(2026, 2, 1), date(2026, 3, 1)]
    assert await months.drop_before(date(2026, 4, 2)) == []
    assert sorted(await places(database)) == [1, 4, 5, 6], "what is in the default partition stays"
    assert sorted(await places(database, "event_descriptors")) == [1, 4, 5, 6]
    assert await months.prepare(MARCH) == 2, "a month may come again"


async def test_followers_of_events_are_told_of_the_time_that_was_dropped_and_those_of_faces_of_nothing(
    months: EventMonths, events: PostgresEventStore, database: Database
) -> None:
    faces, feed = PostgresFaceFeed(database), PostgresEventFeed(database)
    try:
        await months.prepare(MARCH)
        assert [batch async for batch in faces.snapshot()] == [batch async for batch in feed.snapshot()] == []
        await months.drop_before(date(2026, 4, 2))
        february, march, april = (datetime(2026, month, 1, tzinfo=UTC) for month in (2, 3, 4))
        assert await feed.catch_up() == FeedUpdate(dropped=(Span(february, march), Span(march, april)))
        assert await faces.catch_up() == await feed.catch_up() == FeedUpdate()
    finally:
        await faces.close()
