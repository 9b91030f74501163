"""Conditions on events as data: one small algebra for lists, searches, statistics, tasks and subscriptions.

A condition is (column, operator, value). `storage.event_queries` turns it into SQL, `holds` judges an event in memory;
a test holds the two together. A new filter is one more `Column`, with its entry in `VALUES` here and in the storage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TypeAlias
from uuid import UUID


class Column(Enum):
    """What conditions and statistics speak of, by the API's name."""

    EVENT_ID = "event_id"
    ACCOUNT_ID = "account_id"
    HANDLER_ID = "handler_id"
    CREATE_TIME = "create_time"
    END_TIME = "end_time"
    EXTERNAL_ID = "external_id"
    USER_DATA = "user_data"
    SOURCE = "source"
    STREAM_ID = "stream_id"
    TRACK_ID = "track_id"
    FACE_ID = "face_id"
    TAGS = "tags"
    CITY = "city"
    AREA = "area"
    DISTRICT = "district"
    STREET = "street"
    HOUSE_NUMBER = "house_number"
    GEO_POSITION = "geo_position"
    GENDER = "gender"
    AGE = "age"
    EMOTION = "emotion"
    MASK = "mask"
    ETHNIC_GROUP = "ethnic_group"
    LIVENESS = "liveness"
    APPARENT_GENDER = "apparent_gender"
    APPARENT_AGE = "apparent_age"
    HEADWEAR_STATE = "headwear_state"
    HEADWEAR_APPARENT_COLOR = "headwear_apparent_color"
    SLEEVE_LENGTH = "sleeve_length"
    UPPER_CLOTHING_COLORS = "upper_clothing_colors"
    LOWER_GARMENT_TYPE = "lower_garment_type"
    LOWER_GARMENT_COLORS = "lower_garment_colors"
    SHOES_APPARENT_COLOR = "shoes_apparent_color"
    BACKPACK_STATE = "backpack_state"
    TOP_MATCHING_CANDIDATES_LABEL = "top_matching_candidates_label"
    TOP_SIMILAR_OBJECT_ID = "top_similar_object_id"
    TOP_SIMILAR_EXTERNAL_ID = "top_similar_external_id"
    TOP_SIMILAR_OBJECT_SIMILARITY = "top_similar_object_similarity"


class MetaType(Enum):
    """Type that a member of `meta` is compared as."""

    STRING = "string"
    INTEGER = "integer"
    NUMERIC = "numeric"


@dataclass(frozen=True, slots=True)
class MetaField:
    """A member of the caller's own data. A member of another type than the one that is asked for does not count."""

    path: tuple[str, ...]
    type: MetaType = MetaType.STRING


@dataclass(frozen=True, slots=True)
class AnyMember:
    """A member of the caller's own data, whatever its type is, for statistics. Null is no value."""

    path: tuple[str, ...]


class Operator(Enum):
    """How a column is compared.

    A column without a value satisfies EQ None, IN and OVERLAPS with None among their values, and of the rest NEQ, NIN
    and NLIKE alone. NEQ and NIN are the opposites of EQ and IN: with None they ask for a value.
    """

    EQ = "eq"
    NEQ = "neq"
    IN = "in"
    NIN = "nin"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    LIKE = "like"
    """The text has the value as a part, as it is written; of tags, one of them has."""
    NLIKE = "nlike"
    CONTAINS = "contains"
    """The list has every one of the values."""
    OVERLAPS = "overlaps"
    """The list has one of the values; an empty list counts as one without a value."""
    NOVERLAPS = "noverlaps"
    COVERED = "covered"
    """The position is inside a `Box`, its edge included."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle on the map by its centre and half its size, in degrees. It may cross the 180th meridian."""

    longitude: float
    latitude: float
    longitude_delta: float
    latitude_delta: float


Scalar: TypeAlias = str | int | float | UUID | datetime
Value: TypeAlias = Scalar | Box | tuple[Scalar | None, ...] | None


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition. States and emotions are LUNA's numbers, colours and types its words."""

    of: Column | MetaField
    operator: Operator
    value: Value


Conditions: TypeAlias = Sequence[Condition]
"""All of them must hold."""
