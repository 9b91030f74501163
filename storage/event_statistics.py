"""Statistics of events as SQL: groups, aggregates, and the times that events are grouped by. All times are in UTC."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, TypeAlias

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Double,
    Integer,
    Interval,
    Select,
    Text,
    cast,
    extract,
    func,
    literal,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from server.domain.access import Scope
from server.domain.event_conditions import AnyMember, Column, MetaField, MetaType
from server.domain.events import Aggregator, Cell, StatisticsQuery, Target
from storage.event_queries import event_conditions, member_at, value_of
from storage.schema import events

Sql: TypeAlias = ColumnElement[Any]

_INTERVAL: Final = re.compile(r"(\d+)([mhdwMy])", re.ASCII)
_SPANS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_MONTHS: Final = {"M": 1, "y": 12}
#: A Monday, and no event is before it: so intervals of days and weeks begin as the calendar does, and none before it.
_ORIGIN: Final[Sql] = literal_column("timestamptz '0001-01-01 00:00:00+00'", DateTime(timezone=True))

_PARTS: Final[Mapping[str, str]] = {
    "monthOfYear": "month",
    "weekOfYear": "week",
    "dayOfYear": "doy",
    "dayOfMonth": "day",
    "dayOfWeek": "isodow",
    "hourOfDay": "hour",
    "minuteOfHour": "minute",
}
"""Parts of a time; weeks and their days as in ISO 8601: Monday is 1."""


_COMPUTED: Final[Mapping[Aggregator, Callable[[Sql], Sql]]] = {
    Aggregator.COUNT: func.count,
    Aggregator.MAX: func.max,
    Aggregator.MIN: func.min,
    Aggregator.AVG: lambda value: cast(func.avg(value), Double),
    Aggregator.GROUP_BY: lambda value: value,
}


def statistics_query(scope: Scope, query: StatisticsQuery, limit: int) -> Select[*tuple[Any, ...]]:
    """The statement of some statistics: rows in the order of their groups, the time first, null last."""
    cells = [_time(query.group_by)] if query.group_by else []
    grouped = [True] * len(cells) + [target.aggregator is Aggregator.GROUP_BY for target in query.targets]
    cells += [_cell(target) for target in query.targets]
    named = [cell.label(f"cell_{position}") for position, cell in enumerate(cells)]
    # by position: an expression that is written twice has parameters of its own each time, and is another one
    groups = [text(str(position)) for position, group in enumerate(grouped, 1) if group]
    found = select(*named).select_from(events).where(*event_conditions(scope, query.conditions))
    return found.group_by(*groups).order_by(*groups).limit(limit)


def read_cell(value: object) -> Cell:
    """A cell as it comes from the database: exact numbers of any size are whole ones there."""
    return int(value) if isinstance(value, Decimal) else value  # type: ignore[return-value]


def _cell(target: Target) -> Sql:
    if isinstance(target.of, AnyMember):
        return _of_any(target.of.path, target.aggregator)
    return _COMPUTED[target.aggregator](_value(target, target.of))


def _of_any(path: tuple[str, ...], aggregator: Aggregator) -> Sql:
    """An aggregate of a member of `meta` that may be of several types: see `Target`."""
    compute = _COMPUTED[aggregator]
    if aggregator is Aggregator.COUNT:
        return compute(func.nullif(member_at(path), literal_column("'null'::jsonb"), type_=JSONB))
    numbers = compute(value_of(MetaField(path, MetaType.NUMERIC)))
    if aggregator is Aggregator.AVG:
        return numbers
    texts = compute(value_of(MetaField(path, MetaType.STRING)).collate("C"))
    return func.coalesce(func.to_jsonb(numbers), func.to_jsonb(texts), type_=JSONB)


def _value(target: Target, of: Column | MetaField) -> Sql:
    """What is aggregated: of tags, the largest or smallest one of each event."""
    value = value_of(of)
    if target.of is Column.TAGS and target.aggregator is not Aggregator.COUNT:
        item = func.unnest(events.c.tags).column_valued("item")
        return select(_COMPUTED[target.aggregator](item.collate("C"))).scalar_subquery().collate("C")
    if isinstance(value.type, Text) and target.aggregator in {Aggregator.MAX, Aggregator.MIN}:
        return value.collate("C")
    return value


def _time(group_by: str) -> Sql:
    """The beginning of the interval that an event is in, or the part of its time."""
    moment = events.c.create_time
    if group_by in _PARTS:
        return cast(extract(_PARTS[group_by], moment), Integer)
    found = _INTERVAL.fullmatch(group_by)
    if found is None:
        message = f"{group_by} is neither an interval nor a part of the time"
        raise ValueError(message)
    count, unit = int(found[1]), found[2]
    if unit in _SPANS:
        stride = literal(timedelta(**{_SPANS[unit]: count}), Interval)
        return func.date_bin(stride, moment, _ORIGIN)
    return _months(moment, count * _MONTHS[unit])


def _months(moment: Sql, length: int) -> Sql:
    """The beginning of an interval of months; they are counted from the year 0, so that decades end with a 0."""
    month = cast(extract("year", moment), Integer) * 12 + cast(extract("month", moment), Integer) - 1
    first = func.greatest(month - month % length, 12, type_=Integer)
    return func.make_timestamptz(
        cast(first // 12, Integer), first % 12 + 1, 1, 0, 0, literal(0.0, Double), literal("UTC", Text)
    )
