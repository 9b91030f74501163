"""What may be asked of events: the window and the order of lists, and which statistics there are of which column.

Sources: reference document, get events and get statistics on events, for the window, the order and the two tables.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from server.domain.event_conditions import (
    AnyMember,
    Box,
    Column,
    Condition,
    Conditions,
    MetaField,
    MetaType,
    Operator,
    Scalar,
    Value,
)
from server.domain.events import Aggregator, EventOrder, EventQuery, StatisticsQuery, Target
from server.domain.policies import TimeBound
from server.errors import BadBody

WINDOW = TimeBound("now-1M")
"""Lists show what began since then, unless the caller says which events or which time."""
MOST_VALUES = 10_000
"""Values of one condition."""
MOST_DEPTH = 32
"""Names in a path of `meta`."""
DELTA = 0.01
"""Half the size of a box on the map, in degrees, where none is given."""
META = "meta."
COUNT_EVENTS = (Target(Column.EVENT_ID, Aggregator.COUNT),)
"""What is computed where nothing is asked for."""

_BOUNDS = frozenset({Operator.GT, Operator.GTE, Operator.LT, Operator.LTE})
_META = re.compile(r"(?P<path>[^:]+)(?::(?P<type>\w+))?")
_INTERVAL_OF_NOTHING = re.compile(r"0+[mhdwMy]", re.ASCII)


def event_query(conditions: Conditions, order: EventOrder, now: datetime) -> EventQuery:
    """A list of events. Without event ids, bounds of event_id or bounds of the time of creation it is of a month.

    It goes by event_id where that is bounded, else by the time of creation.
    """
    by_id = any(one.of is Column.EVENT_ID and one.operator in _BOUNDS for one in conditions)
    chosen = any(one.of in {Column.EVENT_ID, Column.CREATE_TIME} for one in conditions)
    window = () if chosen else (Condition(Column.CREATE_TIME, Operator.GTE, WINDOW.at(now)),)
    return EventQuery((*conditions, *window), order, by_id)


@dataclass(frozen=True, slots=True)
class StatisticsCondition:
    """One condition as the caller gave it: value is one of JSON."""

    column: str
    operator: str
    value: object


def statistics_query(
    targets: Sequence[tuple[str, Aggregator]],
    filters: Sequence[StatisticsCondition],
    period: Conditions,
    group_by: str,
) -> StatisticsQuery:
    """Statistics as they were asked for; how many events there are where no target is named.

    Raises:
        BadBody: a column is none or has no such aggregator or operator, a value is not of its kind, there is nothing
            but group_by, or the interval is empty. The error names the field.
    """
    named = tuple(_target(column, one, f"targets.{position}") for position, (column, one) in enumerate(targets))
    if named and all(one.aggregator is Aggregator.GROUP_BY for one in named):
        raise BadBody(field="targets", message="at least one aggregator other than group_by is needed")
    if _INTERVAL_OF_NOTHING.fullmatch(group_by):
        raise BadBody(field="group_by", message=f"'{group_by}' is no interval")
    conditions = (_condition(one, f"filters.{position}") for position, one in enumerate(filters))
    return StatisticsQuery(named or COUNT_EVENTS, (*conditions, *period), group_by)


def field_names(query: StatisticsQuery) -> tuple[str, ...]:
    """The names of the columns of some statistics: column__aggregator, or the column alone that rows are grouped by."""
    time = (Column.CREATE_TIME.value,) if query.group_by else ()
    return (*time, *(_name(target) for target in query.targets))


def _name(target: Target) -> str:
    of = target.of
    name = of.value if isinstance(of, Column) else META + ".".join(of.path)
    return name if target.aggregator is Aggregator.GROUP_BY else f"{name}__{target.aggregator.value}"


def _target(name: str, aggregator: Aggregator, path: str) -> Target:
    of = _column(name, f"{path}.column")
    allowed = _allowed(of)
    if aggregator not in allowed:
        words = ", ".join(one.value for one in Aggregator if one in allowed) or "none"
        raise BadBody(field=f"{path}.aggregator", message=f"of {name} allowed are: {words}")
    return Target(of, aggregator)


def _allowed(of: Column | MetaField | AnyMember) -> frozenset[Aggregator]:
    match of:
        case AnyMember():
            return _MEASURED
        case MetaField():
            return _META_AGGREGATORS[of.type]
        case _:
            return AGGREGATORS[of]


def _condition(given: StatisticsCondition, path: str) -> Condition:
    of = _column(given.column, f"{path}.column")
    if isinstance(of, AnyMember):
        of = MetaField(of.path, _type_of(given.value))
    rule = _META_RULES[of.type] if isinstance(of, MetaField) else RULES[of]
    operator = rule.operators.get(given.operator)
    if operator is None:
        words = ", ".join(rule.operators) or "none"
        raise BadBody(field=f"{path}.operator", message=f"of {given.column} allowed are: {words}")
    return Condition(of, operator, rule.value(operator, given.value, f"{path}.value"))


def _type_of(value: object) -> MetaType:
    """What a member of `meta` is compared as where that is not said: as the value is, or the first one of a list."""
    first = next((one for one in (value if isinstance(value, list) else [value]) if one is not None), None)
    number = isinstance(first, int | float) and not isinstance(first, bool)
    return MetaType.NUMERIC if number else MetaType.STRING


def _column(name: str, path: str) -> Column | MetaField | AnyMember:
    if name.startswith(META):
        return _meta_field(name.removeprefix(META), path)
    try:
        return Column(name)
    except ValueError:
        raise BadBody(field=path, message=f"'{name[:64]}' is no column of events") from None


def _meta_field(text: str, path: str) -> MetaField | AnyMember:
    found = _META.fullmatch(text)
    names = found["path"].split(".") if found else [""]
    if found is None or not all(names) or len(names) > MOST_DEPTH:
        raise BadBody(field=path, message=f"meta.<path>[:<type>] expected, with at most {MOST_DEPTH} names")
    words = [one.value for one in MetaType]
    if found["type"] is None:
        return AnyMember(tuple(names))
    if found["type"] not in words:
        raise BadBody(field=path, message=f"the type must be one of {', '.join(words)}")
    return MetaField(tuple(names), MetaType(found["type"]))


Read: TypeAlias = Callable[[object, str], Scalar | Box]
"""(value of JSON, path) -> the value of a condition; BadBody where it is none."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a column can be compared with.

    Attributes:
        operators: what each of the API's operators means.
        read: reads one value.
        nullable: null is a value for those operators that compare for equality.
        nothing_else: it is the only one for `eq`.
    """

    operators: Mapping[str, Operator]
    read: Read
    nullable: bool = False
    nothing_else: bool = False

    def value(self, operator: Operator, given: object, path: str) -> Value:
        """The value of a condition.

        Raises:
            BadBody: it is not of the column's kind.
        """
        if operator in _OF_LISTS:
            if not isinstance(given, list) or len(given) > MOST_VALUES:
                raise BadBody(field=path, message=f"a list of at most {MOST_VALUES} values is needed")
            return tuple(self._item(one, f"{path}.{position}") for position, one in enumerate(given))
        if self.nothing_else and operator is Operator.EQ and given is not None:
            raise BadBody(field=path, message="eq compares with null alone here")
        return self._one(given, path, null=operator in {Operator.EQ, Operator.NEQ})

    def _item(self, given: object, path: str) -> Scalar | None:
        value = self._one(given, path, null=True)
        if isinstance(value, Box):
            raise BadBody(field=path, message="a box cannot be in a list")
        return value

    def _one(self, given: object, path: str, *, null: bool) -> Scalar | Box | None:
        if given is None:
            if not self.nullable or not null:
                raise BadBody(field=path, message="null cannot be compared here")
            return None
        return self.read(given, path)


_OF_LISTS = frozenset({Operator.IN, Operator.NIN, Operator.OVERLAPS, Operator.NOVERLAPS})


def _text(given: object, path: str) -> str:
    if not isinstance(given, str) or "\0" in given:
        raise BadBody(field=path, message="a text is needed")
    return given


def _id(given: object, path: str) -> UUID:
    try:
        return UUID(_text(given, path))
    except ValueError:
        raise BadBody(field=path, message="a uuid is needed") from None


def _number(given: object, path: str) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise BadBody(field=path, message="a number is needed")
    return given


def _whole(given: object, path: str) -> int:
    number = _number(given, path)
    if number != int(number):
        raise BadBody(field=path, message="a whole number is needed")
    return int(number)


def _box(given: object, path: str) -> Box:
    if not isinstance(given, dict):
        raise BadBody(field=path, message="an object with origin_longitude and origin_latitude is needed")
    limits = {"origin_longitude": 180, "origin_latitude": 90, "longitude_delta": 90, "latitude_delta": 90}
    numbers = {"longitude_delta": DELTA, "latitude_delta": DELTA}
    for name, value in given.items():
        if name not in limits:
            raise BadBody(field=f"{path}.{name}", message="there is no such member")
        numbers[name] = _number(value, f"{path}.{name}")
    for name, most in limits.items():
        least = 0 if name.endswith("_delta") else -most
        if name not in numbers:
            raise BadBody(field=f"{path}.{name}", message="it is required")
        if not least <= numbers[name] <= most:
            raise BadBody(field=f"{path}.{name}", message=f"{numbers[name]:g} is not between {least} and {most}")
    return Box(*(numbers[name] for name in limits))


_EQUAL = {one.value: one for one in (Operator.EQ, Operator.NEQ, Operator.IN, Operator.NIN)}
_ORDER = {one.value: one for one in (Operator.GT, Operator.GTE, Operator.LT, Operator.LTE)}
_PART = {one.value: one for one in (Operator.LIKE, Operator.NLIKE)}
_NO_RULE = Rule({}, _text)
_NAMED = Rule(_EQUAL, _text)
_NAMED_OR_NULL = Rule(_EQUAL, _text, nullable=True)
_ID = Rule(_EQUAL | _ORDER, _id)
_STATE = Rule(_EQUAL | _ORDER, _whole, nullable=True)
_COLOURS = Rule(
    {"in": Operator.OVERLAPS, "nin": Operator.NOVERLAPS, "eq": Operator.EQ}, _text, nullable=True, nothing_else=True
)

RULES: Mapping[Column, Rule] = {
    Column.EVENT_ID: _ID,
    Column.ACCOUNT_ID: _ID,
    Column.HANDLER_ID: _ID,
    Column.CREATE_TIME: _NO_RULE,
    Column.END_TIME: _NO_RULE,
    Column.EXTERNAL_ID: Rule(_EQUAL | _ORDER, _text),
    Column.USER_DATA: _NAMED,
    Column.SOURCE: _NAMED_OR_NULL,
    Column.STREAM_ID: Rule(_EQUAL, _id, nullable=True),
    Column.TRACK_ID: _NAMED_OR_NULL,
    Column.FACE_ID: _ID,
    Column.TAGS: Rule(_PART, _text),
    Column.CITY: _NAMED_OR_NULL,
    Column.AREA: _NAMED_OR_NULL,
    Column.DISTRICT: _NAMED_OR_NULL,
    Column.STREET: _NAMED_OR_NULL,
    Column.HOUSE_NUMBER: _NAMED_OR_NULL,
    Column.GEO_POSITION: Rule({"covered": Operator.COVERED, "eq": Operator.EQ}, _box, nullable=True, nothing_else=True),
    Column.GENDER: _STATE,
    Column.AGE: _STATE,
    Column.EMOTION: _STATE,
    Column.MASK: _STATE,
    Column.ETHNIC_GROUP: _STATE,
    Column.LIVENESS: _STATE,
    Column.APPARENT_GENDER: _STATE,
    Column.APPARENT_AGE: _STATE,
    Column.HEADWEAR_STATE: _STATE,
    Column.HEADWEAR_APPARENT_COLOR: _NAMED_OR_NULL,
    Column.SLEEVE_LENGTH: _NAMED_OR_NULL,
    Column.UPPER_CLOTHING_COLORS: _COLOURS,
    Column.LOWER_GARMENT_TYPE: _NAMED_OR_NULL,
    Column.LOWER_GARMENT_COLORS: _COLOURS,
    Column.SHOES_APPARENT_COLOR: _NAMED_OR_NULL,
    Column.BACKPACK_STATE: _STATE,
    Column.TOP_MATCHING_CANDIDATES_LABEL: _NAMED,
    Column.TOP_SIMILAR_OBJECT_ID: _ID,
    Column.TOP_SIMILAR_EXTERNAL_ID: Rule(_EQUAL | _ORDER, _text),
    Column.TOP_SIMILAR_OBJECT_SIMILARITY: Rule(_ORDER, _number),
}
"""The operators of each column in the filters of statistics. Times are narrowed by the period."""

_META_RULES: Mapping[MetaType, Rule] = {
    MetaType.STRING: Rule(_EQUAL | _ORDER | _PART, _text, nullable=True),
    MetaType.INTEGER: Rule(_EQUAL | _ORDER, _whole, nullable=True),
    MetaType.NUMERIC: Rule(_EQUAL | _ORDER, _number, nullable=True),
}

_COUNTED = frozenset({Aggregator.COUNT})
_GROUPED = _COUNTED | {Aggregator.GROUP_BY}
_EXTREMES = _COUNTED | {Aggregator.MIN, Aggregator.MAX}
_MEASURED = _EXTREMES | {Aggregator.AVG}
_ALL = frozenset(Aggregator)

AGGREGATORS: Mapping[Column, frozenset[Aggregator]] = {
    Column.EVENT_ID: _GROUPED,
    Column.ACCOUNT_ID: frozenset(),
    Column.HANDLER_ID: _GROUPED,
    Column.CREATE_TIME: _EXTREMES,
    Column.END_TIME: _EXTREMES,
    Column.EXTERNAL_ID: _GROUPED,
    Column.USER_DATA: _GROUPED,
    Column.SOURCE: _GROUPED,
    Column.STREAM_ID: _GROUPED,
    Column.TRACK_ID: _GROUPED,
    Column.FACE_ID: _GROUPED,
    Column.TAGS: _EXTREMES,
    Column.CITY: _GROUPED,
    Column.AREA: _GROUPED,
    Column.DISTRICT: _GROUPED,
    Column.STREET: _GROUPED,
    Column.HOUSE_NUMBER: _GROUPED,
    Column.GEO_POSITION: _COUNTED,
    Column.GENDER: _ALL,
    Column.AGE: _ALL,
    Column.EMOTION: _ALL,
    Column.MASK: _ALL,
    Column.ETHNIC_GROUP: _ALL,
    Column.LIVENESS: _ALL,
    Column.APPARENT_GENDER: _ALL,
    Column.APPARENT_AGE: _ALL,
    Column.HEADWEAR_STATE: _ALL,
    Column.HEADWEAR_APPARENT_COLOR: _GROUPED,
    Column.SLEEVE_LENGTH: _GROUPED,
    Column.UPPER_CLOTHING_COLORS: _COUNTED,
    Column.LOWER_GARMENT_TYPE: _GROUPED,
    Column.LOWER_GARMENT_COLORS: _COUNTED,
    Column.SHOES_APPARENT_COLOR: _GROUPED,
    Column.BACKPACK_STATE: _ALL,
    Column.TOP_MATCHING_CANDIDATES_LABEL: _GROUPED,
    Column.TOP_SIMILAR_OBJECT_ID: _GROUPED,
    Column.TOP_SIMILAR_EXTERNAL_ID: _GROUPED,
    Column.TOP_SIMILAR_OBJECT_SIMILARITY: _MEASURED,
}
"""What can be computed of each column."""

_META_AGGREGATORS: Mapping[MetaType, frozenset[Aggregator]] = {
    MetaType.STRING: _EXTREMES,
    MetaType.INTEGER: _MEASURED,
    MetaType.NUMERIC: _MEASURED,
}
