"""What the columns of an event hold, and whether a condition holds for it, judged in memory.

The counterpart of the conditions in SQL, for events that are on their way and in no table. `VALUES` has one entry for
each column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import TypeAlias
from uuid import UUID

from server.domain.event_conditions import Box, Column, Condition, Conditions, MetaField, MetaType, Operator
from server.domain.events import EMOTION_NUMBERS, Candidate, EventRecord, GeoPosition
from server.domain.filters import MASK_NUMBERS

Held: TypeAlias = str | int | float | UUID | datetime | GeoPosition | tuple[str, ...] | None
"""What a column holds: states and emotions as LUNA's numbers; None and an empty tuple where there is no value."""

Judge: TypeAlias = "Callable[[EventValues], bool]"
"""Whether something holds for an event."""


@dataclass(frozen=True, slots=True)
class EventValues:
    """What conditions ask of one event. A column without a value is not there, nor is a list without items.

    Attributes:
        columns: what the columns hold.
        meta: data of the caller's own.
    """

    columns: Mapping[Column, Held]
    meta: Mapping[str, object] = field(default_factory=dict)


def values_of(record: EventRecord) -> EventValues:
    """What conditions ask of a record."""
    held = {column: value(record) for column, value in VALUES.items()}
    return EventValues({column: value for column, value in held.items() if value not in (None, ())}, record.meta or {})


def holds(condition: Condition, values: EventValues) -> bool:
    """Whether a condition holds for an event."""
    return judge_of(condition)(values)


def judge_of_all(conditions: Conditions) -> Judge:
    """What judges whether all of some conditions hold; made once for many events."""
    judges = [judge_of(condition) for condition in conditions]
    return lambda values: all(judge(values) for judge in judges)


def judge_of(condition: Condition) -> Judge:
    """What judges one condition; made once for many events.

    Raises:
        TypeError: the value is of another kind than the operator's.
    """
    test = _TESTS[condition.operator](condition.value)
    of = condition.of
    if isinstance(of, MetaField):
        return lambda values: test(_member(values.meta, of))
    return lambda values: test(values.columns.get(of))


def _member(meta: Mapping[str, object], of: MetaField) -> Held:
    """A member of the caller's own data; None where it is not there or is of another type."""
    found: object = meta
    for name in of.path:
        if not isinstance(found, Mapping) or name not in found:
            return None
        found = found[name]
    match of.type:
        case MetaType.STRING:
            return found if isinstance(found, str) else None
        case MetaType.INTEGER:
            whole = isinstance(found, int) or (isinstance(found, float) and found.is_integer())
            return found if whole and isinstance(found, int | float) and not isinstance(found, bool) else None
        case MetaType.NUMERIC:
            return found if isinstance(found, int | float) and not isinstance(found, bool) else None


Test: TypeAlias = Callable[[Held], bool]
"""Whether a condition holds for what is held."""


def _items(value: object) -> frozenset[object]:
    if not isinstance(value, tuple):
        message = f"a list of values is needed, not {type(value).__name__}"
        raise TypeError(message)
    return frozenset(value)


def _negated(made: Callable[[object], Test]) -> Callable[[object], Test]:
    def make(value: object) -> Test:
        test = made(value)
        return lambda held: not test(held)

    return make


def _equal(value: object) -> Test:
    return lambda held: held == value


def _among(value: object) -> Test:
    items = _items(value)
    return lambda held: held in items


def _ordered(compare: Callable[[object, object], bool]) -> Callable[[object], Test]:
    return lambda value: lambda held: held is not None and value is not None and compare(held, value)


def _like(value: object) -> Test:
    def test(held: Held) -> bool:
        if not isinstance(value, str):
            return False
        return (
            any(value in text for text in held) if isinstance(held, tuple) else isinstance(held, str) and value in held
        )

    return test


def _contains(value: object) -> Test:
    items = _items(value)
    return lambda held: items <= set(_list(held))


def _overlaps(value: object) -> Test:
    items = _items(value)
    return lambda held: None in items if held is None else not items.isdisjoint(_list(held))


def _apart(value: object) -> Test:
    items = _items(value)
    return lambda held: held is not None and items.isdisjoint(_list(held))


def _covered(value: object) -> Test:
    if not isinstance(value, Box):
        message = f"a box is needed, not {type(value).__name__}"
        raise TypeError(message)

    def test(held: Held) -> bool:
        if not isinstance(held, GeoPosition):
            return False
        away = abs(held.longitude - value.longitude)
        return (
            min(away, 360 - away) <= value.longitude_delta
            and abs(held.latitude - value.latitude) <= value.latitude_delta
        )

    return test


def _list(held: Held) -> tuple[object, ...]:
    return held if isinstance(held, tuple) else ()


_TESTS: Mapping[Operator, Callable[[object], Test]] = {
    Operator.EQ: _equal,
    Operator.NEQ: _negated(_equal),
    Operator.IN: _among,
    Operator.NIN: _negated(_among),
    Operator.GT: _ordered(lambda held, value: held > value),  # type: ignore[operator]
    Operator.GTE: _ordered(lambda held, value: held >= value),  # type: ignore[operator]
    Operator.LT: _ordered(lambda held, value: held < value),  # type: ignore[operator]
    Operator.LTE: _ordered(lambda held, value: held <= value),  # type: ignore[operator]
    Operator.LIKE: _like,
    Operator.NLIKE: _negated(_like),
    Operator.CONTAINS: _contains,
    Operator.OVERLAPS: _overlaps,
    Operator.NOVERLAPS: _apart,
    Operator.COVERED: _covered,
}


def _best(record: EventRecord) -> Candidate | None:
    return None if record.top_match is None else record.top_match[1]


def _number(state: Enum | None) -> int | None:
    """LUNA's number of a state whose values are such numbers."""
    return None if state is None else int(state.value)


VALUES: Mapping[Column, Callable[[EventRecord], Held]] = {
    Column.EVENT_ID: lambda record: record.event_id,
    Column.ACCOUNT_ID: lambda record: record.account_id,
    Column.HANDLER_ID: lambda record: record.handler_id,
    Column.CREATE_TIME: lambda record: record.create_time,
    Column.END_TIME: lambda record: record.end_time,
    Column.EXTERNAL_ID: lambda record: record.external_id,
    Column.USER_DATA: lambda record: record.user_data,
    Column.SOURCE: lambda record: record.source,
    Column.STREAM_ID: lambda record: record.stream_id,
    Column.TRACK_ID: lambda record: record.track_id,
    Column.FACE_ID: lambda record: record.face_id,
    Column.TAGS: lambda record: record.tags,
    Column.CITY: lambda record: record.location.city,
    Column.AREA: lambda record: record.location.area,
    Column.DISTRICT: lambda record: record.location.district,
    Column.STREET: lambda record: record.location.street,
    Column.HOUSE_NUMBER: lambda record: record.location.house_number,
    Column.GEO_POSITION: lambda record: record.location.geo_position,
    Column.GENDER: lambda record: _number(record.facts.gender),
    Column.AGE: lambda record: record.facts.age,
    Column.EMOTION: lambda record: None if (seen := record.facts.emotion) is None else EMOTION_NUMBERS[seen],
    Column.MASK: lambda record: None if (seen := record.facts.mask) is None else MASK_NUMBERS[seen],
    Column.ETHNIC_GROUP: lambda record: _number(record.facts.ethnicity),
    Column.LIVENESS: lambda record: _number(record.facts.liveness),
    Column.APPARENT_GENDER: lambda record: _number(record.facts.apparent_gender),
    Column.APPARENT_AGE: lambda record: record.facts.apparent_age,
    Column.HEADWEAR_STATE: lambda record: _number(record.facts.headwear),
    Column.HEADWEAR_APPARENT_COLOR: lambda record: record.facts.headwear_colour,
    Column.SLEEVE_LENGTH: lambda record: record.facts.sleeve_length,
    Column.UPPER_CLOTHING_COLORS: lambda record: record.facts.upper_colours,
    Column.LOWER_GARMENT_TYPE: lambda record: record.facts.garment,
    Column.LOWER_GARMENT_COLORS: lambda record: record.facts.garment_colours,
    Column.SHOES_APPARENT_COLOR: lambda record: record.facts.shoes_colour,
    Column.BACKPACK_STATE: lambda record: _number(record.facts.backpack),
    Column.TOP_MATCHING_CANDIDATES_LABEL: lambda record: None if record.top_match is None else record.top_match[0],
    Column.TOP_SIMILAR_OBJECT_ID: lambda record: None if (best := _best(record)) is None else best.object_id,
    Column.TOP_SIMILAR_EXTERNAL_ID: lambda record: None if (best := _best(record)) is None else best.external_id,
    Column.TOP_SIMILAR_OBJECT_SIMILARITY: lambda record: None if (best := _best(record)) is None else best.similarity,
}
"""What each column holds for a record."""
