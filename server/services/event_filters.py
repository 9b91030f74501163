"""The filters of events as conditions: one table, for lists, searches, policies, tasks and subscriptions."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from uuid import UUID

from luna.v6 import event_filters_pb2 as pb

from server.domain.event_conditions import Box, Column, Condition, MetaField, MetaType, Operator, Value
from server.domain.event_reading import DELTA, MOST_DEPTH
from server.domain.policies import TimeBound
from server.errors import BadBody, BadQuery, LunaError
from server.services.rest_numbers import number_of

Refuse = Callable[[str, str], LunaError]
"""(field, message) -> the error."""

_META = re.compile(r"(?P<path>[^:]+?)(?:__(?P<operator>eq|neq|like|nlike|in|nin|gt|gte|lt|lte))?(?::(?P<type>\w+))?")
_META_OPERATORS: Mapping[MetaType, frozenset[Operator]] = {
    MetaType.STRING: frozenset(Operator) - {Operator.CONTAINS, Operator.OVERLAPS, Operator.NOVERLAPS, Operator.COVERED},
    MetaType.INTEGER: frozenset(
        {Operator.EQ, Operator.NEQ, Operator.IN, Operator.NIN, Operator.GT, Operator.GTE, Operator.LT, Operator.LTE}
    ),
    MetaType.NUMERIC: frozenset(
        {Operator.EQ, Operator.NEQ, Operator.IN, Operator.NIN, Operator.GT, Operator.GTE, Operator.LT, Operator.LTE}
    ),
}
_NULL = "null"

_LISTS: Mapping[str, tuple[Column, Operator]] = {
    "event_ids": (Column.EVENT_ID, Operator.IN),
    "handler_ids": (Column.HANDLER_ID, Operator.IN),
    "external_ids": (Column.EXTERNAL_ID, Operator.IN),
    "sources": (Column.SOURCE, Operator.IN),
    "stream_ids": (Column.STREAM_ID, Operator.IN),
    "track_ids": (Column.TRACK_ID, Operator.IN),
    "face_ids": (Column.FACE_ID, Operator.IN),
    "tags": (Column.TAGS, Operator.CONTAINS),
    "cities": (Column.CITY, Operator.IN),
    "areas": (Column.AREA, Operator.IN),
    "districts": (Column.DISTRICT, Operator.IN),
    "streets": (Column.STREET, Operator.IN),
    "house_numbers": (Column.HOUSE_NUMBER, Operator.IN),
    "top_similar_object_ids": (Column.TOP_SIMILAR_OBJECT_ID, Operator.IN),
    "top_similar_external_ids": (Column.TOP_SIMILAR_EXTERNAL_ID, Operator.IN),
    "emotions": (Column.EMOTION, Operator.IN),
    "masks": (Column.MASK, Operator.IN),
    "ethnic_groups": (Column.ETHNIC_GROUP, Operator.IN),
    "liveness": (Column.LIVENESS, Operator.IN),
    "apparent_gender": (Column.APPARENT_GENDER, Operator.IN),
    "headwear_states": (Column.HEADWEAR_STATE, Operator.IN),
    "headwear_apparent_colors": (Column.HEADWEAR_APPARENT_COLOR, Operator.IN),
    "sleeve_lengths": (Column.SLEEVE_LENGTH, Operator.IN),
    "upper_clothing_colors": (Column.UPPER_CLOTHING_COLORS, Operator.OVERLAPS),
    "lower_garment_types": (Column.LOWER_GARMENT_TYPE, Operator.IN),
    "lower_garment_colors": (Column.LOWER_GARMENT_COLORS, Operator.OVERLAPS),
    "shoes_apparent_colors": (Column.SHOES_APPARENT_COLOR, Operator.IN),
    "backpack_states": (Column.BACKPACK_STATE, Operator.IN),
}
"""Filters that are lists."""

_SINGLES: Mapping[str, tuple[Column, Operator]] = {
    "event_id_gte": (Column.EVENT_ID, Operator.GTE),
    "event_id_lt": (Column.EVENT_ID, Operator.LT),
    "user_data": (Column.USER_DATA, Operator.LIKE),
    "top_matching_candidates_label": (Column.TOP_MATCHING_CANDIDATES_LABEL, Operator.EQ),
    "top_similar_object_similarity_gte": (Column.TOP_SIMILAR_OBJECT_SIMILARITY, Operator.GTE),
    "top_similar_object_similarity_lt": (Column.TOP_SIMILAR_OBJECT_SIMILARITY, Operator.LT),
    "gender": (Column.GENDER, Operator.EQ),
    "age_gte": (Column.AGE, Operator.GTE),
    "age_lt": (Column.AGE, Operator.LT),
    "apparent_age_gte": (Column.APPARENT_AGE, Operator.GTE),
    "apparent_age_lt": (Column.APPARENT_AGE, Operator.LT),
}
"""Filters that are one value; a text is none where it is empty."""

_TIMES: Mapping[str, tuple[Column, Operator]] = {
    "create_time_gte": (Column.CREATE_TIME, Operator.GTE),
    "create_time_lt": (Column.CREATE_TIME, Operator.LT),
    "end_time_gte": (Column.END_TIME, Operator.GTE),
    "end_time_lt": (Column.END_TIME, Operator.LT),
}


def in_query(field: str, message: str) -> LunaError:
    """The error of a filter that stands in a query."""
    return BadQuery(field=field, message=message)


def in_body(field: str, message: str) -> LunaError:
    """The error of a filter that stands in a body."""
    return BadBody(field=field, message=message)


def conditions_at(filters: pb.EventFilters, now: datetime, refuse: Refuse = in_body) -> tuple[Condition, ...]:
    """All conditions of filters, relative times as they are now. `account_id` is no condition: it narrows the scope.

    Raises:
        BadBody, BadQuery: half a position is given, or a condition on `meta` is none; by `refuse`.
    """
    times = tuple(
        Condition(*_TIMES[name], bound.at(now)) for name, bound in time_bounds(filters).items() if bound is not None
    )
    return (*timeless_conditions(filters, refuse), *times)


def time_bounds(filters: pb.EventFilters) -> dict[str, TimeBound | None]:
    """The bounds of times by the names of their fields; None where there is none."""
    return {name: TimeBound(text) if (text := getattr(filters, name)) else None for name in _TIMES}


def timeless_conditions(filters: pb.EventFilters, refuse: Refuse = in_body) -> tuple[Condition, ...]:
    """The conditions of filters but for those on times.

    Raises:
        BadBody, BadQuery: as for `conditions_at`.
    """
    return (*_of_fields(filters), *_of_position(filters, refuse), *_of_meta(filters, refuse))


def _of_fields(filters: pb.EventFilters) -> Iterator[Condition]:
    for name, (column, operator) in _SINGLES.items():
        field = pb.EventFilters.DESCRIPTOR.fields_by_name[name]
        given = filters.HasField(name) if field.has_presence else bool(getattr(filters, name))  # type: ignore[arg-type]
        if given:
            yield Condition(column, operator, _scalar(name, getattr(filters, name)))
    for name, (column, operator) in _LISTS.items():
        if items := getattr(filters, name):
            yield Condition(column, operator, tuple(_scalar(name, item) for item in items))


def _scalar(name: str, value: str | float) -> str | int | float | UUID | None:
    """A value as conditions have it; None for the empty one of a filter that takes null."""
    field = pb.EventFilters.DESCRIPTOR.fields_by_name[name]
    if field.enum_type is not None:
        return number_of(field.enum_type, int(value)) if value else None
    if isinstance(value, str):
        if not value and name != "external_ids":
            return None
        return UUID(value) if _is_uuid(name) else value
    return value


def _is_uuid(name: str) -> bool:
    return (name.endswith("_ids") and name not in {"external_ids", "track_ids", "top_similar_external_ids"}) or (
        name in {"event_id_gte", "event_id_lt"}
    )


def _of_position(filters: pb.EventFilters, refuse: Refuse) -> Iterator[Condition]:
    if filters.HasField("geo_position"):
        box = filters.geo_position
        yield _covered(box.origin_longitude, box.origin_latitude, box.longitude_delta, box.latitude_delta)
    given = {name for name in ("origin_longitude", "origin_latitude") if filters.HasField(name)}
    deltas = [name for name in ("longitude_delta", "latitude_delta") if filters.HasField(name)]
    if not given:
        return
    if len(given) == 1:
        (missing,) = {"origin_longitude", "origin_latitude"} - given
        raise refuse(missing, "origin_longitude and origin_latitude are needed together")
    unknown = math.isnan(filters.origin_longitude), math.isnan(filters.origin_latitude)
    if any(unknown):
        if not all(unknown) or deltas:
            raise refuse("origin_longitude", "null is allowed for both coordinates together, and without a delta")
        yield Condition(Column.GEO_POSITION, Operator.EQ, None)
        return
    yield _covered(
        filters.origin_longitude,
        filters.origin_latitude,
        filters.longitude_delta if "longitude_delta" in deltas else DELTA,
        filters.latitude_delta if "latitude_delta" in deltas else DELTA,
    )


def _covered(longitude: float, latitude: float, longitude_delta: float, latitude_delta: float) -> Condition:
    return Condition(Column.GEO_POSITION, Operator.COVERED, Box(longitude, latitude, longitude_delta, latitude_delta))


def _of_meta(filters: pb.EventFilters, refuse: Refuse) -> Iterator[Condition]:
    for key, text in sorted(filters.meta.items()):
        field, operator = meta_field(key, refuse)
        path = f"meta.{key}"
        if operator in {Operator.IN, Operator.NIN}:
            value: Value = tuple(_typed(item, field.type, path, refuse) for item in text.split(","))
        else:
            value = _typed(text, field.type, path, refuse)
            if value is None and operator not in {Operator.EQ, Operator.NEQ}:
                raise refuse(path, f"null cannot be compared by {operator.value}")
        yield Condition(field, operator, value)


def meta_field(key: str, refuse: Refuse) -> tuple[MetaField, Operator]:
    """The field and the operator of path.to.field__operator:type.

    Raises:
        BadBody, BadQuery: the key is none, or the type has no such operator.
    """
    found = _META.fullmatch(key)
    if found is None or not all(found["path"].split(".")) or found["path"].count(".") >= MOST_DEPTH:
        raise refuse(f"meta.{key}", f"meta.<path>[__<operator>][:<type>] with at most {MOST_DEPTH} names expected")
    words = [one.value for one in MetaType]
    if found["type"] is not None and found["type"] not in words:
        raise refuse(f"meta.{key}", f"the type must be one of {', '.join(words)}")
    kind = MetaType(found["type"] or MetaType.STRING.value)
    operator = Operator(found["operator"] or Operator.EQ.value)
    if operator not in _META_OPERATORS[kind]:
        raise refuse(f"meta.{key}", f"{kind.value} cannot be compared by {operator.value}")
    return MetaField(tuple(found["path"].split(".")), kind), operator


def _typed(text: str, kind: MetaType, path: str, refuse: Refuse) -> str | int | float | None:
    if text == _NULL:
        return None
    try:
        match kind:
            case MetaType.STRING:
                return text
            case MetaType.INTEGER:
                return int(text)
            case MetaType.NUMERIC:
                number = float(text)
    except ValueError:
        raise refuse(path, f"'{text[:64]}' is not {kind.value}") from None
    if not math.isfinite(number):
        raise refuse(path, f"'{text[:64]}' is not {kind.value}")
    return number
