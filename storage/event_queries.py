"""Conditions on events as SQL. `server.domain.event_values` judges them in memory; a test holds the two together.

A column is one entry of `COLUMNS`, which says what kind of value it holds; what an operator means is said once for each
kind. Conditions are written so that the indexes of `events` serve them: those are partial, so their conditions are
repeated, and a member of `meta` that equals something is asked for as a part of the whole (`@>`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, TypeAlias

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Double,
    Numeric,
    SmallInteger,
    Text,
    all_,
    and_,
    any_,
    case,
    cast,
    exists,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB, JSONPATH
from sqlalchemy.types import TypeEngine

from server.domain.access import Scope
from server.domain.event_conditions import Box, Column, Condition, Conditions, MetaField, MetaType, Operator
from storage.filters import inside
from storage.schema import events

Truth: TypeAlias = ColumnElement[bool]
Sql: TypeAlias = ColumnElement[Any]

MOST_PARTS: Final = 32
"""Values of one condition on `meta` that are looked up in its index, each by itself; more are compared row by row."""
_SMALLEST, _LARGEST = -(2**15), 2**15 - 1


def event_conditions(scope: Scope, conditions: Conditions) -> list[Truth]:
    """Everything that an event must satisfy.

    Raises:
        TypeError: a column has no such operator, or the value is of another kind than the operator's.
    """
    return [*inside(events.c.account_id, scope), *(_truth(condition) for condition in conditions)]


def value_of(of: Column | MetaField) -> Sql:
    """What a column holds, for statistics: null where there is no value, of tags the list."""
    if isinstance(of, MetaField):
        return _member(of)
    column = _POSITION[0] if of is Column.GEO_POSITION else events.c[of.value]
    return func.nullif(column, _NO_ITEMS, type_=column.type) if isinstance(column.type, ARRAY) else column


def _truth(condition: Condition) -> Truth:
    of, operator, value = condition.of, condition.operator, condition.value
    if isinstance(of, MetaField):
        return _of_meta(of, operator, value)
    meaning = COLUMNS[of].get(operator)
    if meaning is None:
        message = f"{of.value} cannot be compared by {operator.value}"
        raise TypeError(message)
    return meaning(events.c[of.value] if of is not Column.GEO_POSITION else _POSITION[0], value)


Meaning: TypeAlias = Callable[[Sql, object], Truth]
"""(column, value) -> the condition."""
Kind: TypeAlias = Mapping[Operator, Meaning]
"""What the operators mean for one kind of columns."""


def _items(value: object) -> tuple[object, ...]:
    if not isinstance(value, tuple):
        message = f"a list of values is needed, not {type(value).__name__}"
        raise TypeError(message)
    return value


def _compared(bind: Callable[[Sql, object], Sql], bind_all: Callable[[Sql, list[object]], Sql]) -> Kind:
    """What the operators mean for columns with one value. Null is no value: see `Operator`."""

    def equal(column: Sql, value: object) -> Truth:
        return column.is_(None) if value is None else column == bind(column, value)

    def unequal(column: Sql, value: object) -> Truth:
        return column.is_not(None) if value is None else column.is_distinct_from(bind(column, value))

    def among(column: Sql, value: object) -> Truth:
        some = [one for one in _items(value) if one is not None]
        found = column == any_(bind_all(column, some))
        return or_(column.is_(None), found) if len(some) < len(_items(value)) else found

    def apart(column: Sql, value: object) -> Truth:
        some = [one for one in _items(value) if one is not None]
        other = column != all_(bind_all(column, some))
        return and_(column.is_not(None), other) if len(some) < len(_items(value)) else or_(column.is_(None), other)

    def ordered(compare: Callable[[Sql, Sql], Truth]) -> Meaning:
        return lambda column, value: false() if value is None else compare(column, bind(column, value))

    return {
        Operator.EQ: equal,
        Operator.NEQ: unequal,
        Operator.IN: among,
        Operator.NIN: apart,
        Operator.GT: ordered(lambda column, value: column > value),
        Operator.GTE: ordered(lambda column, value: column >= value),
        Operator.LT: ordered(lambda column, value: column < value),
        Operator.LTE: ordered(lambda column, value: column <= value),
    }


def _bound(column: Sql, value: object) -> Sql:
    return literal(value, column.type)


def _all_bound(column: Sql, values: list[object]) -> Sql:
    return literal(values, ARRAY(column.type))


def _small(value: object) -> int:
    """A number as a small column can be compared with it: what it holds lies between the bounds, not on them."""
    if not isinstance(value, int | float) or value != int(value):
        message = "a whole number is needed"
        raise TypeError(message)
    return min(max(int(value), _SMALLEST), _LARGEST)


def _part(text: object) -> str:
    if not isinstance(text, str):
        message = f"a text is needed, not {type(text).__name__}"
        raise TypeError(message)
    return text


PLAIN: Final = _compared(_bound, _all_bound)
"""Ids, times and fractions."""

NUMBER: Final = _compared(
    lambda _, value: literal(_small(value), SmallInteger),
    lambda _, values: literal([_small(one) for one in values], ARRAY(SmallInteger)),
)
"""Small whole numbers."""

TEXT: Final[Kind] = {
    **PLAIN,
    # by code points, as memory compares, whatever the database's language is
    **{
        operator: (lambda meaning: lambda column, value: meaning(column.collate("C"), value))(PLAIN[operator])
        for operator in (Operator.GT, Operator.GTE, Operator.LT, Operator.LTE)
    },
    Operator.LIKE: lambda column, value: column.contains(_part(value), autoescape=True),
    Operator.NLIKE: lambda column, value: or_(column.is_(None), ~column.contains(_part(value), autoescape=True)),
}
"""Texts."""

_NO_TEXT: Final[Sql] = literal_column("''")
_NO_ITEMS: Final[Sql] = literal_column("'{}'")
"""Written out, so that the planner sees that a partial index holds whatever passes."""


def _given_equal(column: Sql, value: object) -> Truth:
    found = TEXT[Operator.EQ](column, value)
    return and_(found, column != _NO_TEXT) if value else found


def _given_among(column: Sql, value: object) -> Truth:
    found = TEXT[Operator.IN](column, value)
    return found if {"", None}.intersection(_items(value)) else and_(found, column != _NO_TEXT)


GIVEN: Final[Kind] = {**TEXT, Operator.EQ: _given_equal, Operator.IN: _given_among}
"""Texts that are empty where nothing was given, with an index that leaves such rows out."""


def _holding(text: str) -> Callable[[Sql], Truth]:
    """Whether a list has an item with a text in it."""

    def condition(column: Sql) -> Truth:
        item = func.unnest(column).column_valued("item")
        return exists(select(item).where(item.contains(text, autoescape=True)))

    return condition


def _list(column: Sql, values: list[object]) -> Sql:
    return literal(values, column.type)


def _empty(column: Sql) -> Truth:
    return or_(column.is_(None), column == _NO_ITEMS)


def _filled(column: Sql) -> Truth:
    return and_(column.is_not(None), column != _NO_ITEMS)


def _list_equal(column: Sql, value: object) -> Truth:
    return _empty(column) if value is None else column == _list(column, list(_items(value)))


def _contains(column: Sql, value: object) -> Truth:
    wanted = list(_items(value))
    return and_(column.bool_op("@>")(_list(column, wanted)), _filled(column)) if wanted else true()


def _overlaps(column: Sql, value: object) -> Truth:
    some = [one for one in _items(value) if one is not None]
    found = and_(column.bool_op("&&")(_list(column, some)), _filled(column))
    return or_(_empty(column), found) if len(some) < len(_items(value)) else found


def _disjoint(column: Sql, value: object) -> Truth:
    some = [one for one in _items(value) if one is not None]
    return and_(_filled(column), ~column.bool_op("&&")(_list(column, some)))


LIST: Final[Kind] = {
    Operator.EQ: _list_equal,
    Operator.NEQ: lambda column, value: (
        _filled(column) if value is None else column.is_distinct_from(_list(column, list(_items(value))))
    ),
    Operator.CONTAINS: _contains,
    Operator.OVERLAPS: _overlaps,
    Operator.NOVERLAPS: _disjoint,
    Operator.LIKE: lambda column, value: and_(_filled(column), _holding(_part(value))(column)),
    Operator.NLIKE: lambda column, value: ~_holding(_part(value))(column),
}
"""Lists of texts. One that is empty has no value."""

_POSITION: Final = (events.c.longitude, events.c.latitude)


def _covered(_: Sql, value: object) -> Truth:
    """Inside a box; the longitudes of two places are never more than 180 degrees apart."""
    if not isinstance(value, Box):
        message = f"a box is needed, not {type(value).__name__}"
        raise TypeError(message)
    longitude, latitude = _POSITION
    away = func.abs(longitude - literal(float(value.longitude), Double))
    return and_(
        func.least(away, literal(360.0, Double) - away) <= literal(float(value.longitude_delta), Double),
        func.abs(latitude - literal(float(value.latitude), Double)) <= literal(float(value.latitude_delta), Double),
    )


PLACE: Final[Kind] = {
    Operator.EQ: lambda column, _: column.is_(None),
    Operator.NEQ: lambda column, _: column.is_not(None),
    Operator.COVERED: _covered,
}
"""A position on earth, which is only compared with null and boxes."""

COLUMNS: Final[Mapping[Column, Kind]] = {
    Column.EVENT_ID: PLAIN,
    Column.ACCOUNT_ID: PLAIN,
    Column.HANDLER_ID: PLAIN,
    Column.CREATE_TIME: PLAIN,
    Column.END_TIME: PLAIN,
    Column.EXTERNAL_ID: GIVEN,
    Column.USER_DATA: TEXT,
    Column.SOURCE: TEXT,
    Column.STREAM_ID: PLAIN,
    Column.TRACK_ID: TEXT,
    Column.FACE_ID: PLAIN,
    Column.TAGS: LIST,
    Column.CITY: TEXT,
    Column.AREA: TEXT,
    Column.DISTRICT: TEXT,
    Column.STREET: TEXT,
    Column.HOUSE_NUMBER: TEXT,
    Column.GEO_POSITION: PLACE,
    Column.GENDER: NUMBER,
    Column.AGE: NUMBER,
    Column.EMOTION: NUMBER,
    Column.MASK: NUMBER,
    Column.ETHNIC_GROUP: NUMBER,
    Column.LIVENESS: NUMBER,
    Column.APPARENT_GENDER: NUMBER,
    Column.APPARENT_AGE: NUMBER,
    Column.HEADWEAR_STATE: NUMBER,
    Column.HEADWEAR_APPARENT_COLOR: TEXT,
    Column.SLEEVE_LENGTH: TEXT,
    Column.UPPER_CLOTHING_COLORS: LIST,
    Column.LOWER_GARMENT_TYPE: TEXT,
    Column.LOWER_GARMENT_COLORS: LIST,
    Column.SHOES_APPARENT_COLOR: TEXT,
    Column.BACKPACK_STATE: NUMBER,
    Column.TOP_MATCHING_CANDIDATES_LABEL: TEXT,
    Column.TOP_SIMILAR_OBJECT_ID: PLAIN,
    Column.TOP_SIMILAR_EXTERNAL_ID: GIVEN,
    Column.TOP_SIMILAR_OBJECT_SIMILARITY: PLAIN,
}
"""What each column holds, and so which operators it has and what they mean."""

_TYPES: Final[Mapping[MetaType, tuple[str, TypeEngine[Any]]]] = {
    MetaType.STRING: ("string", Text()),
    MetaType.INTEGER: ("number", Numeric()),
    MetaType.NUMERIC: ("number", Double()),
}
"""The type that a member of `meta` has in JSON, and the one that it is compared as."""


def member_at(path: tuple[str, ...]) -> Sql:
    """A member of `meta` as JSON; null where it is not there.

    The path is strict: a list is no object whose members are numbered.
    """
    found = cast("strict $" + "".join("." + json.dumps(name) for name in path), JSONPATH)
    return func.jsonb_path_query_first(events.c.meta, found, cast({}, JSONB), True, type_=JSONB)


def _member(of: MetaField) -> Sql:
    """A member of `meta` as its type; null where it is not there or is of another type."""
    found = member_at(of.path)
    text = found.op("#>>")(literal([], ARRAY(Text)))
    name, kind = _TYPES[of.type]
    value: Sql = cast(text, kind)
    condition = func.jsonb_typeof(found) == name
    if of.type is MetaType.INTEGER:
        # in two steps: PostgreSQL may compute both sides of AND, and not every text is a number
        value = case((value == func.trunc(value), value))
    return case((condition, value))


def _of_meta(of: MetaField, operator: Operator, value: object) -> Truth:
    if operator is Operator.EQ and value is not None:
        return _has(of, value)
    if operator is Operator.IN and len(_items(value)) <= MOST_PARTS:
        equal = [_has(of, one) if one is not None else _member(of).is_(None) for one in _items(value)]
        return or_(false(), *equal)
    if operator not in META[of.type]:
        message = f"a {of.type.value} in meta cannot be compared by {operator.value}"
        raise TypeError(message)
    return META[of.type][operator](_member(of), value)


def _has(of: MetaField, value: object) -> Truth:
    """Whether `meta` has a member with a value, asked so that the index finds it."""
    part: object = _whole(value) if of.type is MetaType.INTEGER else value
    for name in reversed(of.path):
        part = {name: part}
    return events.c.meta.bool_op("@>")(literal(part, JSONB))


def _whole(value: object) -> int:
    if not isinstance(value, int | float) or value != int(value):
        message = "a whole number is needed"
        raise TypeError(message)
    return int(value)


def _whole_bound(_: Sql, value: object) -> Sql:
    return literal(Decimal(_whole(value)), Numeric)


def _whole_all_bound(_: Sql, values: list[object]) -> Sql:
    return literal([Decimal(_whole(one)) for one in values], ARRAY(Numeric))


META: Final[Mapping[MetaType, Kind]] = {
    MetaType.STRING: TEXT,
    MetaType.INTEGER: _compared(_whole_bound, _whole_all_bound),
    MetaType.NUMERIC: PLAIN,
}
"""The same for members of `meta`, by the type that they are compared as."""
