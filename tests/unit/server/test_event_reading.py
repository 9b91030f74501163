"""What may be asked of events: the window of lists, and the tables of statistics as the reference document has them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from uuid import UUID

import pytest

from server.domain.event_conditions import AnyMember, Box, Column, Condition, MetaField, MetaType, Operator
from server.domain.event_reading import StatisticsCondition, event_query, field_names, statistics_query
from server.domain.events import Aggregator, EventOrder, Target
from server.errors import BadBody

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
ID = UUID(int=7)

#: column: count max min avg group_by (reference document, get statistics on events)
AGGREGATORS = """
event_id + - - - +
external_id + - - - +
handler_id + - - - +
stream_id + - - - +
source + - - - +
top_matching_candidates_label + - - - +
top_similar_object_id + - - - +
top_similar_external_id + - - - +
top_similar_object_similarity + + + + -
create_time + + + - -
end_time + + + - -
face_id + - - - +
gender + + + + +
age + + + + +
emotion + + + + +
mask + + + + +
ethnic_group + + + + +
liveness + + + + +
user_data + - - - +
tags + + + - -
city + - - - +
area + - - - +
district + - - - +
street + - - - +
house_number + - - - +
geo_position + - - - -
track_id + - - - +
apparent_age + + + + +
apparent_gender + + + + +
sleeve_length + - - - +
headwear_state + + + + +
headwear_apparent_color + - - - +
upper_clothing_colors + - - - -
lower_garment_colors + - - - -
lower_garment_type + - - - +
shoes_apparent_color + - - - +
backpack_state + + + + +
meta.a:numeric + + + + -
account_id - - - - -
"""
#: column: like/nlike in/nin eq/neq gt/gte/lt/lte covered eq-null (reference document)
OPERATORS = """
tags + - - - - -
source - + + - - +
stream_id - + + - - +
user_data - + + - - -
account_id - + + + - -
event_id - + + + - -
external_id - + + + - -
handler_id - + + + - -
top_similar_object_id - + + + - -
top_similar_external_id - + + + - -
top_matching_candidates_label - + + - - -
top_similar_object_similarity - - - + - -
face_id - + + + - -
gender - + + + - +
age - + + + - +
emotion - + + + - +
mask - + + + - +
ethnic_group - + + + - +
liveness - + + + - +
city - + + - - +
area - + + - - +
district - + + - - +
street - + + - - +
house_number - + + - - +
geo_position - - - - + +
track_id - + + - - +
apparent_age - + + + - +
apparent_gender - + + + - +
sleeve_length - + + - - +
headwear_state - + + + - +
upper_clothing_colors - + - - - +
backpack_state - + + + - +
lower_garment_colors - + - - - +
headwear_apparent_color - + + - - +
lower_garment_type - + + - - +
shoes_apparent_color - + + - - +
meta.a + + + + - +
create_time - - - - - -
end_time - - - - - -
"""
GROUPS = (("like", "nlike"), ("in", "nin"), ("eq", "neq"), ("gt", "gte", "lt", "lte"), ("covered",))
IDS = {"stream_id", "account_id", "event_id", "handler_id", "top_similar_object_id", "face_id"}
NUMBERS = {"gender", "age", "emotion", "mask", "ethnic_group", "liveness", "apparent_age", "apparent_gender"}
NUMBERS |= {"headwear_state", "backpack_state", "top_similar_object_similarity"}
BOX = {"origin_longitude": 10.0, "origin_latitude": -20.0}


def rows(table: str) -> list[tuple[str, list[bool]]]:
    return [(words[0], [one == "+" for one in words[1:]]) for line in table.split("\n") if (words := line.split())]


def allowed(column: str, operator: str, value: object) -> bool:
    try:
        statistics_query((), (StatisticsCondition(column, operator, value),), (), "")
    except BadBody:
        return False
    return True


def a_value(column: str) -> object:
    if column in IDS:
        return str(ID)
    return 1.0 if column in NUMBERS else "red"


def test_the_tables_have_every_column() -> None:
    names = {column.value for column in Column}
    assert {name for name, _ in rows(AGGREGATORS)} - {"meta.a:numeric"} == names
    assert {name for name, _ in rows(OPERATORS)} - {"meta.a"} == names


@pytest.mark.parametrize(("column", "marks"), rows(AGGREGATORS))
def test_columns_have_the_aggregators_of_the_reference_document(column: str, marks: list[bool]) -> None:
    order = (Aggregator.COUNT, Aggregator.MAX, Aggregator.MIN, Aggregator.AVG, Aggregator.GROUP_BY)
    for aggregator, mark in zip(order, marks, strict=True):
        targets = (("event_id", Aggregator.COUNT), (column, aggregator))
        if mark:
            assert statistics_query(targets, (), (), "").targets[1].aggregator is aggregator
        else:
            with pytest.raises(BadBody, match=r"targets\.1\.aggregator"):
                statistics_query(targets, (), (), "")


@pytest.mark.parametrize(("column", "marks"), rows(OPERATORS))
def test_columns_have_the_operators_of_the_reference_document(column: str, marks: list[bool]) -> None:
    *groups, null = marks
    for words, mark in zip(GROUPS, groups, strict=True):
        for word in words:
            value = BOX if word == "covered" else a_value(column)
            assert allowed(column, word, [value] if word in {"in", "nin"} else value) == mark, word
    assert allowed(column, "eq", None) == null
    assert not allowed(column, "gt", None)
    assert not allowed(column, "contains", ["a"])


def test_values_are_of_the_kind_of_their_column() -> None:
    bad: list[tuple[str, str, object]] = [
        ("age", "eq", "1"),
        ("age", "eq", True),
        ("age", "eq", 1.5),
        ("age", "eq", math.nan),
        ("age", "in", 1.0),
        ("age", "in", [[1.0]]),
        ("age", "in", [1.0] * 10_001),
        ("source", "eq", 1.0),
        ("source", "eq", "a\0"),
        ("event_id", "eq", "x"),
        ("geo_position", "covered", None),
        ("geo_position", "covered", []),
        ("geo_position", "covered", {"origin_longitude": 1.0}),
        ("geo_position", "covered", {**BOX, "origin_latitude": 91.0}),
        ("geo_position", "covered", {**BOX, "longitude_delta": -1.0}),
        ("geo_position", "covered", {**BOX, "other": 1.0}),
        ("geo_position", "eq", BOX),
        ("upper_clothing_colors", "eq", "red"),
        ("meta.a:integer", "eq", 0.5),
        ("meta.a:numeric", "like", "a"),
        ("meta.", "eq", "a"),
        ("meta.a..b", "eq", "a"),
        ("meta.a:b", "eq", "a"),
        ("meta." + ".".join("a" * 33), "eq", "a"),
        ("none", "eq", "a"),
    ]
    for column, operator, value in bad:
        with pytest.raises(BadBody, match=r"filters\.0"):
            statistics_query((), (StatisticsCondition(column, operator, value),), (), "")


def test_what_is_asked_becomes_conditions_and_targets() -> None:
    query = statistics_query(
        (("source", Aggregator.GROUP_BY), ("meta.a.b:integer", Aggregator.MAX)),
        (
            StatisticsCondition("lower_garment_colors", "in", ["red", None]),
            StatisticsCondition("event_id", "in", [str(ID)]),
            StatisticsCondition("geo_position", "covered", BOX),
            StatisticsCondition("age", "neq", None),
        ),
        (Condition(Column.CREATE_TIME, Operator.LT, NOW),),
        "3M",
    )
    member = MetaField(("a", "b"), MetaType.INTEGER)
    assert query.targets == (Target(Column.SOURCE, Aggregator.GROUP_BY), Target(member, Aggregator.MAX))
    assert query.conditions == (
        Condition(Column.LOWER_GARMENT_COLORS, Operator.OVERLAPS, ("red", None)),
        Condition(Column.EVENT_ID, Operator.IN, (ID,)),
        Condition(Column.GEO_POSITION, Operator.COVERED, Box(10.0, -20.0, 0.01, 0.01)),
        Condition(Column.AGE, Operator.NEQ, None),
        Condition(Column.CREATE_TIME, Operator.LT, NOW),
    )
    assert field_names(query) == ("create_time", "source", "meta.a.b__max")


def test_a_member_of_meta_without_a_type_is_what_its_values_are() -> None:
    values: dict[str, tuple[object, MetaType]] = {
        "eq": (36.6, MetaType.NUMERIC),
        "neq": (None, MetaType.STRING),
        "gt": ("a", MetaType.STRING),
        "in": ([None, 5.0], MetaType.NUMERIC),
        "nin": ([], MetaType.STRING),
    }
    given = tuple(StatisticsCondition("meta.a", operator, value) for operator, (value, _) in values.items())
    query = statistics_query((("meta.a", Aggregator.AVG),), given, (), "")
    assert query.targets == (Target(AnyMember(("a",)), Aggregator.AVG),)
    assert [one.of for one in query.conditions] == [MetaField(("a",), kind) for _, kind in values.values()]
    assert field_names(query) == ("meta.a__avg",)
    for value in (True, [1.0, "a"], ["a", 1.0], {}):
        with pytest.raises(BadBody, match=r"filters\.0\.value"):
            statistics_query(
                (), (StatisticsCondition("meta.a", "in" if isinstance(value, list) else "eq", value),), (), ""
            )


def test_without_targets_events_are_counted_and_groups_alone_are_refused() -> None:
    query = statistics_query((), (), (), "")
    assert query.targets == (Target(Column.EVENT_ID, Aggregator.COUNT),)
    assert field_names(query) == ("event_id__count",)
    with pytest.raises(BadBody, match="targets"):
        statistics_query((("age", Aggregator.GROUP_BY),), (), (), "")
    for group_by in ("0m", "000y"):
        with pytest.raises(BadBody, match="group_by"):
            statistics_query((), (), (), group_by)


def test_a_list_is_of_a_month_unless_events_or_their_time_of_creation_are_named() -> None:
    window = Condition(Column.CREATE_TIME, Operator.GTE, datetime(2026, 2, 28, 12, tzinfo=UTC))
    age = Condition(Column.AGE, Operator.GTE, 3)
    ended = Condition(Column.END_TIME, Operator.GTE, NOW)
    order = EventOrder.NEWEST_FIRST
    assert event_query((), order, NOW).conditions == (window,)
    assert event_query((age, ended), order, NOW).conditions == (age, ended, window)
    for condition, by_id in (
        (Condition(Column.EVENT_ID, Operator.IN, (ID,)), False),
        (Condition(Column.EVENT_ID, Operator.GTE, ID), True),
        (Condition(Column.EVENT_ID, Operator.LT, ID), True),
        (Condition(Column.CREATE_TIME, Operator.GTE, NOW), False),
        (Condition(Column.CREATE_TIME, Operator.LT, NOW), False),
    ):
        query = event_query((age, condition), order, NOW)
        assert (query.conditions, query.by_id) == ((age, condition), by_id)
