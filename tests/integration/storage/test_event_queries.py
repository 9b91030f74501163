"""Lists of events: every operator of every column against a plain reference, order, and pages."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from redis.asyncio import Redis
from sqlalchemy import select, text

from server.domain.access import Scope
from server.domain.event_conditions import Box, Column, Condition, MetaField, MetaType, Operator
from server.domain.event_values import holds, values_of
from server.domain.events import Batch, EventOrder, EventQuery, EventRecord, GeoPosition, Location, NewEvent
from server.domain.faces import Page
from server.errors import InvalidInput
from storage.attributes import RedisAttributeStore
from storage.blobs import BlobStore
from storage.database import Database
from storage.event_months import EventMonths
from storage.event_queries import COLUMNS, event_conditions
from storage.events import PostgresEventStore
from storage.schema import events as table
from tests.explained import Explained
from tests.integration.storage.event_reference import (
    META_FIELDS,
    all_conditions,
    operators_of,
    passes,
    random_events,
)
from tests.integration.storage.made import EVERYONE, NOW, OURS, THEIRS, number
from tests.integration.storage.made_events import an_event

OWN = Scope(OURS)
RECORDS = random_events(300)
OURS_ALONE = [one for one in RECORDS if one.account_id == OURS]
VALUES = [values_of(one) for one in OURS_ALONE]
FIELDS = [*Column, *META_FIELDS]


@pytest.fixture
def events(database: Database, blobs: BlobStore, redis_client: Redis) -> PostgresEventStore:
    return PostgresEventStore(database, blobs, RedisAttributeStore(redis_client))


@pytest.fixture
async def filled(events: PostgresEventStore, database: Database) -> AsyncIterator[PostgresEventStore]:
    await EventMonths(database).prepare(NOW)
    await events.keep(Batch(tuple(NewEvent(record) for record in RECORDS)))
    yield events


async def ids(
    events: PostgresEventStore, *conditions: Condition, scope: Scope = OWN, query: EventQuery | None = None
) -> list[UUID]:
    asked = replace(query or EventQuery(), conditions=conditions)
    return [record.event_id for record in await events.find(scope, asked, Page(1, 1000))]


def expected(*conditions: Condition, scope: Scope = OWN) -> list[UUID]:
    found = [one for one in RECORDS if scope.includes(one.account_id) and all(passes(one, each) for each in conditions)]
    found.sort(key=lambda one: (one.create_time, one.event_id), reverse=True)
    return [one.event_id for one in found]


def test_every_column_is_in_the_table() -> None:
    assert set(COLUMNS) == set(Column)
    for column, kind in COLUMNS.items():
        assert set(operators_of(column)) == set(kind), column


@pytest.mark.timeout(120)
async def test_conditions_select_what_they_say(filled: PostgresEventStore) -> None:
    """In the database, in a plain reference and where subscribers are served."""
    met = missed = 0
    for seed, field in enumerate(FIELDS):
        for condition in all_conditions(RECORDS, field, seed):
            wanted = {one.event_id for one in OURS_ALONE if passes(one, condition)}
            assert set(await ids(filled, condition)) == wanted, condition
            assert {
                one.event_id for one, values in zip(OURS_ALONE, VALUES, strict=True) if holds(condition, values)
            } == wanted, condition
            met, missed = met + bool(wanted), missed + (not wanted)
    assert met > 800
    assert missed > 100


async def test_conditions_hold_together(filled: PostgresEventStore) -> None:
    chance = random.Random(5)
    pool = [one for seed, field in enumerate(FIELDS) for one in all_conditions(RECORDS, field, 1000 + seed)]
    found = 0
    for _ in range(60):
        conditions = chance.sample(pool, 2)
        scope = chance.choice((OWN, Scope(THEIRS), EVERYONE))
        wanted = expected(*conditions, scope=scope)
        assert await ids(filled, *conditions, scope=scope) == wanted, conditions
        found += len(wanted)
    assert found > 100


async def test_accounts_are_walls(filled: PostgresEventStore) -> None:
    theirs = {one.event_id for one in RECORDS if one.account_id == THEIRS}
    assert theirs
    assert not theirs & set(await ids(filled))
    some = tuple(theirs)[:3]
    assert await ids(filled, Condition(Column.EVENT_ID, Operator.IN, some)) == []
    assert await ids(filled, Condition(Column.ACCOUNT_ID, Operator.EQ, THEIRS)) == []
    assert set(await ids(filled, scope=EVERYONE)) == {one.event_id for one in RECORDS}


@pytest.mark.parametrize("order", EventOrder)
@pytest.mark.parametrize("by_id", [False, True])
async def test_pages_together_are_the_sorted_whole(
    filled: PostgresEventStore, order: EventOrder, *, by_id: bool
) -> None:
    found: list[EventRecord] = []
    query = EventQuery((), order, by_id)
    for page in range(1, 100):
        part = await filled.find(OWN, query, Page(page, 7))
        assert len(part) <= 7
        if not part:
            break
        found += part
    wanted = sorted(
        (one for one in RECORDS if one.account_id == OURS),
        key=lambda one: (one.event_id,) if by_id else (one.create_time, one.event_id),
        reverse=order is EventOrder.NEWEST_FIRST,
    )
    assert found == wanted
    assert await filled.find(OWN, query, Page(2**40, 1000)) == []


async def test_a_text_is_searched_as_it_is_written(events: PostgresEventStore) -> None:
    for value, data in enumerate(("50% off", "50 off", "a_b", "aXb", "back\\slash", "a/b"), 1):
        await events.keep(Batch((NewEvent(an_event(value, user_data=data, tags=(data,))),)))
    for column in (Column.USER_DATA, Column.TAGS):
        for part, wanted in {"0%": {1}, "a_b": {3}, "\\": {5}, "/": {6}, "0 o": {2}, "off": {1, 2}}.items():
            assert {one.int for one in await ids(events, Condition(column, Operator.LIKE, part))} == wanted
            others = {one.int for one in await ids(events, Condition(column, Operator.NLIKE, part))}
            assert others == {1, 2, 3, 4, 5, 6} - wanted


@pytest.mark.parametrize(
    ("longitude", "box", "inside"),
    [
        (179.5, Box(-179.9, 0, 0.7, 1), True),
        (179.5, Box(-179.9, 0, 0.5, 1), False),
        (-179.5, Box(180, 0, 0.5, 1), True),
        (180.0, Box(-180, 0, 0, 0), True),
        (0.0, Box(180, 0, 90, 90), False),
        (0.5, Box(0, 0, 0.5, 0), True),
    ],
)
async def test_a_box_may_cross_the_180th_meridian(
    events: PostgresEventStore, longitude: float, box: Box, *, inside: bool
) -> None:
    record = an_event(1, location=Location(geo_position=GeoPosition(longitude, 0.0)))
    await events.keep(Batch((NewEvent(record),)))
    assert (await ids(events, Condition(Column.GEO_POSITION, Operator.COVERED, box)) == [number(1)]) == inside


async def test_what_cannot_be_stored_cannot_be_searched_either(events: PostgresEventStore) -> None:
    for field in (Column.USER_DATA, MetaField(("a",))):
        for operator in (Operator.EQ, Operator.LIKE):
            with pytest.raises(InvalidInput):
                await ids(events, Condition(field, operator, "a\0"))
    with pytest.raises(InvalidInput):
        await ids(events, Condition(MetaField(("a\0",)), Operator.GT, "b"))


async def test_a_condition_that_a_column_does_not_have_is_a_mistake_of_the_caller(events: PostgresEventStore) -> None:
    for condition in (
        Condition(Column.GENDER, Operator.LIKE, "1"),
        Condition(Column.TAGS, Operator.GT, "1"),
        Condition(Column.GEO_POSITION, Operator.COVERED, "1"),
        Condition(Column.AGE, Operator.EQ, 1.5),
        Condition(Column.CITY, Operator.IN, "x"),
        Condition(MetaField(("a",), MetaType.NUMERIC), Operator.LIKE, "x"),
        Condition(MetaField(("a",), MetaType.INTEGER), Operator.EQ, 0.5),
    ):
        with pytest.raises(TypeError):
            await ids(events, condition)


PLANS = {
    "events_newest_idx|Index Only": [],
    "external_id": [Condition(Column.EXTERNAL_ID, Operator.IN, ("a", "b"))],
    "track_id": [Condition(Column.TRACK_ID, Operator.IN, ("a",))],
    "face_id": [Condition(Column.FACE_ID, Operator.IN, (number(1),))],
    "tags": [Condition(Column.TAGS, Operator.CONTAINS, ("a", "b"))],
    "meta": [Condition(MetaField(("a",)), Operator.EQ, "b")],
    "pkey": [Condition(Column.EVENT_ID, Operator.IN, (number(1), number(2)))],
    "source": [
        Condition(Column.SOURCE, Operator.IN, ("a",)),
        Condition(Column.CREATE_TIME, Operator.GTE, datetime(2026, 3, 1, tzinfo=UTC)),
    ],
}


@pytest.mark.parametrize("index", PLANS)
async def test_an_index_can_serve_the_conditions_that_it_is_for(
    filled: PostgresEventStore, database: Database, index: str
) -> None:
    """Partial indexes are used where the planner sees that they hold everything that may pass."""
    statement = select(table.c.event_id).where(*event_conditions(OWN, PLANS[index]))
    if not PLANS[index]:
        statement = statement.order_by(table.c.create_time.desc(), table.c.event_id.desc()).limit(10)
    async with database.transaction() as connection:
        for setting in ("enable_seqscan", "enable_sort"):
            await connection.execute(text(f"SET LOCAL {setting} = off"))
        if index != "events_newest_idx|Index Only":
            await connection.execute(text("DROP INDEX events_newest_idx"))
        rows = await connection.execute(Explained(statement))
        plan = "\n".join(row[0] for row in rows)
    assert any(part in plan for part in index.split("|")), plan
