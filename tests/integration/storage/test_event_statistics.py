"""Statistics of events, against a recount."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from redis.asyncio import Redis

from server.domain.access import Scope
from server.domain.event_conditions import AnyMember, Column, Condition, MetaField, MetaType, Operator
from server.domain.event_reading import AGGREGATORS
from server.domain.events import Aggregator, Batch, EventRecord, NewEvent, StatisticsQuery, Target
from server.errors import InvalidInput
from storage import events as storage_events
from storage.attributes import RedisAttributeStore
from storage.blobs import BlobStore
from storage.database import Database
from storage.event_months import EventMonths
from storage.events import PostgresEventStore
from tests.integration.storage.event_reference import held, passes, random_events
from tests.integration.storage.made import EVERYONE, NOW, OURS, THEIRS
from tests.integration.storage.made_events import an_event

OWN = Scope(OURS)
RECORDS = random_events(250, seed=2)
COUNT = Target(Column.EVENT_ID, Aggregator.COUNT)
METAS = [MetaField(("a",), kind) for kind in MetaType] + [MetaField(("a", "c"), kind) for kind in MetaType]
MEASURES = (Aggregator.COUNT, Aggregator.MIN, Aggregator.MAX, Aggregator.AVG)
WOMEN = Condition(Column.GENDER, Operator.EQ, 0)


@pytest.fixture
def events(database: Database, blobs: BlobStore, redis_client: Redis) -> PostgresEventStore:
    return PostgresEventStore(database, blobs, RedisAttributeStore(redis_client))


@pytest.fixture
async def filled(events: PostgresEventStore, database: Database) -> AsyncIterator[PostgresEventStore]:
    await EventMonths(database).prepare(NOW)
    await events.keep(Batch(tuple(NewEvent(record) for record in RECORDS)))
    yield events


def recount(
    records: Sequence[EventRecord], targets: Sequence[Target], moment: Callable[[datetime], Any] | None = None
) -> list[tuple[Any, ...]]:
    """Rows of statistics, in no order."""
    groups: dict[tuple[Any, ...], list[EventRecord]] = defaultdict(list)
    for record in records:
        time = () if moment is None else (moment(record.create_time),)
        key = (*time, *(_value(record, one) for one in targets if one.aggregator is Aggregator.GROUP_BY))
        groups[key].append(record)
    if not groups and moment is None and all(one.aggregator is not Aggregator.GROUP_BY for one in targets):
        groups[()] = []
    return [_row(key, members, targets, timed=moment is not None) for key, members in groups.items()]


def _row(
    key: tuple[Any, ...], members: list[EventRecord], targets: Sequence[Target], *, timed: bool
) -> tuple[Any, ...]:
    left = list(key)
    time = [left.pop(0)] if timed else []
    return (
        *time,
        *(left.pop(0) if one.aggregator is Aggregator.GROUP_BY else _computed(members, one) for one in targets),
    )


def _computed(members: list[EventRecord], target: Target) -> Any:
    if isinstance(target.of, AnyMember) and target.aggregator is not Aggregator.COUNT:
        kinds = (MetaType.NUMERIC,) if target.aggregator is Aggregator.AVG else (MetaType.NUMERIC, MetaType.STRING)
        found = [_computed(members, Target(MetaField(target.of.path, kind), target.aggregator)) for kind in kinds]
        return next((one for one in found if one is not None), None)
    values = [value for one in members if (value := _value(one, target)) is not None]
    if target.aggregator is Aggregator.COUNT:
        return len(values)
    if target.of is Column.TAGS:
        values = [tag for tags in values for tag in tags]
    if not values:
        return None
    match target.aggregator:
        case Aggregator.MAX:
            return max(values)
        case Aggregator.MIN:
            return min(values)
        case _:
            return pytest.approx(sum(values) / len(values))


def _value(record: EventRecord, target: Target) -> Any:
    if not isinstance(target.of, AnyMember):
        return held(record, target.of)
    value: Any = record.meta
    for name in target.of.path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def unordered(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted(rows, key=lambda row: tuple((cell is None, str(cell)) for cell in row if not isinstance(cell, float)))


def ours(*conditions: Condition) -> list[EventRecord]:
    return [one for one in RECORDS if one.account_id == OURS and all(passes(one, each) for each in conditions)]


async def test_every_aggregator_of_every_column_is_what_a_recount_gives(filled: PostgresEventStore) -> None:
    targets = [Target(column, one) for column, allowed in AGGREGATORS.items() for one in allowed]
    targets += [Target(field, one) for field in METAS for one in (Aggregator.COUNT, Aggregator.MIN, Aggregator.MAX)]
    targets += [Target(field, Aggregator.AVG) for field in METAS if field.type is not MetaType.STRING]
    targets += [Target(AnyMember(path), one) for path in (("a",), ("a", "c")) for one in MEASURES]
    assert len(targets) > 100
    for target in targets:
        asked = (target, COUNT) if target.aggregator is Aggregator.GROUP_BY else (target,)
        found = await filled.statistics(OWN, StatisticsQuery(asked))
        assert unordered(found) == unordered(recount(ours(), asked)), target


async def test_rows_are_grouped_by_several_columns_and_narrowed_by_conditions(filled: PostgresEventStore) -> None:
    asked = (
        Target(Column.GENDER, Aggregator.GROUP_BY),
        COUNT,
        Target(Column.SOURCE, Aggregator.GROUP_BY),
        Target(Column.AGE, Aggregator.AVG),
        Target(Column.CREATE_TIME, Aggregator.MAX),
    )
    old = Condition(Column.CREATE_TIME, Operator.LT, NOW)
    for conditions in ((), (WOMEN,), (WOMEN, old)):
        found = await filled.statistics(OWN, StatisticsQuery(asked, conditions))
        assert unordered(found) == unordered(recount(ours(*conditions), asked))
        assert found == sorted(found, key=lambda row: (row[0] is None, row[0] or 0)), "in the order of the groups"


async def test_accounts_are_walls_in_statistics(filled: PostgresEventStore) -> None:
    for scope in (OWN, Scope(THEIRS), EVERYONE):
        wanted = sum(scope.includes(one.account_id) for one in RECORDS)
        assert await filled.statistics(scope, StatisticsQuery((COUNT,))) == [(wanted,)]


async def test_where_nothing_passes_the_count_is_0_and_groups_have_no_rows(filled: PostgresEventStore) -> None:
    nobody = (Condition(Column.AGE, Operator.GT, 1000),)
    assert await filled.statistics(OWN, StatisticsQuery((COUNT,), nobody)) == [(0,)]
    assert await filled.statistics(OWN, StatisticsQuery((COUNT,), nobody, "1h")) == []


def monday(moment: datetime) -> datetime:
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())


def months(count: int) -> Callable[[datetime], datetime]:
    def begin(moment: datetime) -> datetime:
        month = moment.year * 12 + moment.month - 1
        first = max(month - month % count, 12)
        return datetime(first // 12, first % 12 + 1, 1, tzinfo=UTC)

    return begin


def steps(step: timedelta) -> Callable[[datetime], datetime]:
    origin = datetime(1, 1, 1, tzinfo=UTC)
    return lambda moment: origin + (moment - origin) // step * step


INTERVALS: dict[str, Callable[[datetime], Any]] = {
    "1m": lambda moment: moment.replace(second=0, microsecond=0),
    "5m": lambda moment: moment.replace(minute=moment.minute // 5 * 5, second=0, microsecond=0),
    "1h": lambda moment: moment.replace(minute=0, second=0, microsecond=0),
    "2h": lambda moment: moment.replace(hour=moment.hour // 2 * 2, minute=0, second=0, microsecond=0),
    "7h": steps(timedelta(hours=7)),
    "1d": lambda moment: moment.replace(hour=0, minute=0, second=0, microsecond=0),
    "7d": monday,
    "1w": monday,
    "5w": steps(timedelta(weeks=5)),
    "1M": lambda moment: moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0),
    "3M": months(3),
    "7M": months(7),
    "1y": lambda moment: moment.replace(month=1, day=1, hour=0, minute=0, second=0, microsecond=0),
    "10y": months(120),
    "999999m": steps(timedelta(minutes=999_999)),
    "999999w": lambda _: datetime(1, 1, 1, tzinfo=UTC),
    "999999y": lambda _: datetime(1, 1, 1, tzinfo=UTC),
    "monthOfYear": lambda moment: moment.month,
    "weekOfYear": lambda moment: moment.isocalendar().week,
    "dayOfYear": lambda moment: moment.timetuple().tm_yday,
    "dayOfMonth": lambda moment: moment.day,
    "dayOfWeek": lambda moment: moment.isoweekday(),
    "hourOfDay": lambda moment: moment.hour,
    "minuteOfHour": lambda moment: moment.minute,
}


@pytest.mark.parametrize("group_by", INTERVALS)
async def test_rows_by_time_are_what_a_recount_gives(filled: PostgresEventStore, group_by: str) -> None:
    asked = (COUNT, Target(Column.AGE, Aggregator.AVG), Target(Column.GENDER, Aggregator.GROUP_BY))
    found = await filled.statistics(OWN, StatisticsQuery(asked, (WOMEN,), group_by))
    assert unordered(found) == unordered(recount(ours(WOMEN), asked, INTERVALS[group_by]))
    assert [row[0] for row in found] == sorted(row[0] for row in found)
    wide = await filled.statistics(OWN, StatisticsQuery((COUNT,), (), group_by))
    assert unordered(wide) == unordered(recount(ours(), (COUNT,), INTERVALS[group_by]))


@pytest.mark.parametrize("group_by", INTERVALS)
async def test_the_first_and_the_last_time_have_a_group_too(events: PostgresEventStore, group_by: str) -> None:
    times = [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1, 1, 1, 0, 5, tzinfo=UTC),
        datetime(5, 6, 7, tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC) - timedelta(milliseconds=1),
        datetime.max.replace(tzinfo=UTC),
    ]
    made = [an_event(value, create_time=moment) for value, moment in enumerate(times, 1)]
    await events.keep(Batch(tuple(NewEvent(one) for one in made)))
    found = await events.statistics(OWN, StatisticsQuery((COUNT,), (), group_by))
    assert unordered(found) == unordered(recount(made, (COUNT,), INTERVALS[group_by]))


async def test_too_many_rows_are_refused(filled: PostgresEventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_events, "MOST_ROWS", 10)
    by_id = (Target(Column.EVENT_ID, Aggregator.GROUP_BY), COUNT)
    with pytest.raises(InvalidInput, match="more than 10 rows"):
        await filled.statistics(OWN, StatisticsQuery(by_id))
    assert len(await filled.statistics(OWN, StatisticsQuery((COUNT,), (), "1y"))) <= 10


async def test_cells_have_the_types_of_their_columns(filled: PostgresEventStore) -> None:
    asked = (
        Target(Column.FACE_ID, Aggregator.GROUP_BY),
        COUNT,
        Target(Column.AGE, Aggregator.AVG),
        Target(Column.END_TIME, Aggregator.MIN),
        Target(MetaField(("a",), MetaType.INTEGER), Aggregator.MAX),
    )
    for row in await filled.statistics(OWN, StatisticsQuery(asked)):
        kinds = (UUID, int, float, datetime, int)
        assert all(cell is None or isinstance(cell, kind) for cell, kind in zip(row, kinds, strict=True))
