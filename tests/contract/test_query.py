"""Every query parameter of every operation: defaults, limits, wrong values, repetition, and what is not known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from urllib.parse import urlencode

import pytest

from tests.contract.cases import RECIPES
from tests.contract.contract import contract
from tests.contract.operations import Operation, Parameter
from tests.contract.rest import Answer, Call, Rest
from tests.contract.schema import Schema
from tests.contract.world import EVENT, KNOWN, ONE, World

CONTRACT = contract()
SWITCHES_OF_PACKS = frozenset(
    {
        "estimate_emotions", "estimate_mask", "estimate_gaze", "estimate_eyes_attributes", "estimate_mouth_attributes",
        "detect_landmarks68", "extract_basic_attributes", "detect_body", "estimate_people_count", "estimate_glasses",
        "estimate_liveness", "estimate_landmarks68", "estimate_basic_attributes",
    }
)  # fmt: skip
"""Estimations that the default pack does not serve: switched on they are refused as not licensed."""
FILTERS_OF_PACKS = frozenset({"mask_states", "liveness_states"})
"""Filters by what the default pack does not estimate: they are refused as not licensed."""
BAD_QUERY, MISSING_QUERY, UNKNOWN_TARGET, NOT_LICENSED, NOTHING_TO_EXTRACT = 12012, 12014, 22016, 11055, 11052
CONTEXT: Mapping[str, tuple[tuple[str, str], ...]] = {
    "extract_descriptor": (("extract_basic_attributes", "0"),),
    # a sample of a body is described by default, and nothing here describes one
    "image_type": (("estimate_body_descriptor", "0"),),
    # half a position is none
    "longitude": (("latitude", "1"),),
    "latitude": (("longitude", "1"),),
    "origin_longitude": (("origin_latitude", "1"),),
    "origin_latitude": (("origin_longitude", "1"),),
    "longitude_delta": (("origin_longitude", "1"), ("origin_latitude", "1")),
    "latitude_delta": (("origin_longitude", "1"), ("origin_latitude", "1")),
}
"""Parameters that are only good together with others."""
ONE_OF_SEVERAL = {("perform_verification", "face_ids")}
"""Parameters of which one at least must be given, and that the valid call gives alone."""
MAYBE = {"tags", "target"}
"""Lists of events that may be empty: an event has all of no tags. Others would select nothing, which nobody means."""
ONE_IS_NEEDED, WRONG_SIZE, TAKEN = 12016, 11030, 202
SIZED = {("generate_events", "image_type")}
"""Parameters by which the photo of the valid call would be a sample, for which it has the wrong size."""
WRONG: Mapping[str, str] = {"integer": "1.5", "number": "much", "uuid": "nobody", "date-time": "yesterday"}
"""A text that is no value of a type or form."""


@dataclass(frozen=True)
class Asked:
    """One parameter of one operation, and a valid value of it."""

    operation: Operation
    parameter: Parameter
    value: Callable[[World], str]

    @property
    def id(self) -> str:
        return f"{self.operation.id}-{self.parameter.name}"


def _values(world: World) -> Mapping[str, str]:
    """A value of each parameter without a default, that selects what the plain call selects."""
    return {
        "account_id": world.owner.account_id,
        "create_time__lt": "2100-01-01T00:00:00+03:00",
        "create_time__gte": "2020-01-01T00:00:00.5Z",
        "last_update_time__lt": "2100-01-01T00:00:00Z",
        "last_update_time__gte": "2020-01-01T00:00:00Z",
        "event_id": EVENT,
        "face_id__lt": "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "face_id__gte": "00000000-0000-0000-0000-000000000000",
        "face_ids": f"{world.face_id},{world.lonely_id}",
        "external_ids": "person-1",
        "user_data": "the",
        "user_data__eq": "the list",
        "list_id": world.list_id,
        "list_ids": world.list_id,
        "list_id__lt": "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "list_id__gte": "00000000-0000-0000-0000-000000000000",
        "attribute_ids": world.attribute_id,
        "descriptor_version": "54",
        "pitch_threshold": "180",
        "roll_threshold": "180",
        "yaw_threshold": "180",
        "mask_states": "2",
        "description": ONE[:7],
        "handler_type": "0",
        "is_dynamic": "0",
        "liveness_states": "1",
        "lambda_type": "standalone",
        "tail_lines": "5",
    }


NOWHERE = EVENT.replace("5", "6")
"""An id that nothing has."""
LAST, FIRST = "f" * 8 + "-ffff" * 3 + "-" + "f" * 12, "0" * 8 + "-0000" * 3 + "-" + "0" * 12


def _of_events(world: World) -> Mapping[str, str]:
    """A value of each parameter of events; where they are filters, the event of the world passes most of them."""
    return {
        "city": "Moscow", "area": "A", "district": "B", "street": "C", "house_number": "1",
        "longitude": "36.6", "latitude": "55.7", "source": "gate", "stream_id": EVENT, "tags": "a,b", "track_id": "t-1",
        "end_time__gte": "2020-01-01T00:00:00Z", "end_time__lt": "now-1s",
        "sources": "gate,null", "stream_ids": f"null,{EVENT}", "track_ids": "null,t", "handler_ids": world.handler_id,
        "event_ids": f"{world.event_id},{EVENT}", "event_id__gte": FIRST, "event_id__lt": LAST,
        **dict.fromkeys(("cities", "areas", "districts", "streets", "house_numbers"), "null,x"),
        "origin_longitude": "1.5", "origin_latitude": "2",
        "top_matching_candidates_label": "people", "top_similar_object_ids": f"{EVENT},{NOWHERE}",
        "top_similar_external_ids": "a,b",
        "top_similar_object_similarity__gte": "0.5", "top_similar_object_similarity__lt": "0.9",
        "age__gte": "0", "age__lt": "100", "gender": "1", "emotions": "1,null", "masks": "null,3",
        "ethnic_groups": "4,null", "liveness": "0,null", "apparent_gender": "2,null",
        "apparent_age__gte": "0", "apparent_age__lt": "100", "headwear_states": "0,null",
        "headwear_apparent_colors": "black,null", "sleeve_lengths": "short,null",
        "upper_clothing_colors": "khaki,null", "lower_garment_colors": "null,red",
        "lower_garment_types": "skirt,null", "shoes_apparent_colors": "null,other", "backpack_states": "1,null",
        "order": "asc",
    }  # fmt: skip


def _of_tasks(world: World) -> Mapping[str, str]:
    """A value of each parameter of tasks, their errors and schedules."""
    return {
        "task_ids": world.task_id, "task_type": "8", "task_status": "5", "schedule_id": world.schedule_id,
        "end_time__gte": "2020-01-01T00:00:00Z", "end_time__lt": "2100-01-01T00:00:00Z",
        "error_ids": world.error_id, "error_code": "13007", "status_code": "404",
        "error_time__gte": "2020-01-01T00:00:00Z", "error_time__lt": "2100-01-01T00:00:00Z",
        "action": "pause",
    }  # fmt: skip


OF_ONE: Mapping[tuple[str, str], Callable[[World], str]] = {
    ("perform_verification", "face_ids"): lambda world: f"{world.face_id},{world.known_id}",
    ("perform_verification", "event_ids"): lambda world: world.event_id,
    ("perform_verification", "external_ids"): lambda _: KNOWN,
    ("get_events", "external_ids"): lambda _: f"{KNOWN},b",
    ("generate_events", "external_id"): lambda _: "mine",
}
"""Values for one operation, where the name alone does not tell."""


def _value(world: World, operation: Operation, name: str) -> str:
    own = OF_ONE.get((operation.id, name))
    if own is not None:
        return own(world)
    known = {**_values(world), **(_of_events(world) if operation.tag == "events" else {})}
    if operation.tag.startswith("task"):
        known = {**known, **_of_tasks(world)}
    return known[name]


def _asked() -> Iterator[Asked]:
    for operation in CONTRACT:
        for parameter in operation.query:
            if parameter.default is not None:
                default = str(parameter.default)
                yield Asked(operation, parameter, lambda _, value=default: value)  # type: ignore[misc]
            elif parameter.all_by_default:
                words = ",".join(map(str, _words(parameter)))
                yield Asked(operation, parameter, lambda _, value=words: value)  # type: ignore[misc]
            else:
                yield Asked(
                    operation,
                    parameter,
                    lambda world, operation=operation, name=parameter.name: _value(world, operation, name),  # type: ignore[misc]
                )


def _words(parameter: Parameter) -> tuple[object, ...]:
    items = parameter.schema.items
    return items.enum if items is not None and items.enum else ("create_time", "attribute_id")


ASKED = list(_asked())


def over(which: Callable[[Asked], bool], check: str) -> pytest.MarkDecorator:
    """Parametrise a test over the parameters of a kind."""
    chosen = [pytest.param(one, id=f"{one.id}-{check}") for one in ASKED if which(one)]
    return pytest.mark.parametrize("asked", chosen)


def ask(world: World, asked: Asked, *given: tuple[str, str]) -> Answer:
    """The plain call with these values of the parameter; its own value of it is left out."""
    recipe = RECIPES[asked.operation.id]
    call = recipe.call(world)
    together = CONTEXT.get(asked.parameter.name, ())
    given += tuple(pair for pair in together if pair[0] not in dict(given))
    kept = tuple(pair for pair in call.query if pair[0] not in {asked.parameter.name, *dict(together)})
    answer = world.rest.call(asked.operation, replace(call, query=kept + given))
    # a redirect passes the query on as it is: it is judged where it leads to
    return world.rest.send("GET", answer.headers["location"]) if answer.status == 302 else answer


def refused(answer: Answer, asked: Asked, *codes: int) -> None:
    """The answer must be 400 with one of the codes, and its sentence must name the parameter."""
    assert answer.status == 400, answer.data
    if asked.operation.method == "HEAD":
        assert answer.data == b""
        return
    assert answer.code in codes, answer.data
    assert answer.code == UNKNOWN_TARGET or asked.parameter.name in answer.detail, answer.data


def accepted(answer: Answer, asked: Asked) -> None:
    if asked.parameter.name in FILTERS_OF_PACKS:
        assert (answer.status, answer.code) == (403, NOT_LICENSED)
        return
    status = asked.operation.here
    assert answer.status == (200 if status == 302 else status), answer.data


def _schema(asked: Asked) -> Schema:
    return asked.parameter.schema


def _kind(asked: Asked) -> str:
    """The type or form of the parameter, or of its items."""
    schema = _schema(asked)
    if schema.kind == "array" and schema.items is not None:
        schema = schema.items
    return schema.form or schema.kind


@over(lambda one: one.parameter.default is not None or one.parameter.all_by_default, "default")
def test_the_default_given_is_the_default_left_out(world: World, asked: Asked) -> None:
    given = ask(world, asked, (asked.parameter.name, asked.value(world)))
    accepted(given, asked)
    assert _steady(world, given) == _steady(world, ask(world, asked))


@over(lambda one: one.parameter.default is None and not one.parameter.all_by_default, "value")
def test_a_valid_value_is_accepted(world: World, asked: Asked) -> None:
    accepted(ask(world, asked, (asked.parameter.name, asked.value(world))), asked)


@over(lambda one: _schema(one).kind in {"integer", "number"}, "limits")
def test_the_limits_are_accepted_and_what_is_beyond_them_is_not(world: World, asked: Asked) -> None:
    name, schema = asked.parameter.name, _schema(asked)
    inside = schema.enum or tuple(one for one in (schema.minimum, schema.maximum) if one is not None)
    for value in inside:
        answer = ask(world, asked, (name, str(value)))
        if name in SWITCHES_OF_PACKS and value == 1:
            assert (answer.status, answer.code) == (403, NOT_LICENSED)
        elif (asked.operation.id, name) in SIZED and value != 0:
            assert (answer.status, answer.code) == (400, WRONG_SIZE)
        elif name == "wait_saving" and value == 0:
            assert answer.status == TAKEN
            assert "location" not in answer.headers
        elif name == "extract_descriptor" and value == 0:
            assert (answer.status, answer.code) == (400, NOTHING_TO_EXTRACT)
        else:
            accepted(answer, asked)
    step = 1 if schema.kind == "integer" else 0.001
    numbers = [value for value in inside if isinstance(value, int | float)]
    beyond = [value - step for value in numbers[:1]] + [value + step for value in numbers[-1:]]
    if schema.maximum is None and not schema.enum:
        beyond = beyond[:1]
    for value in beyond:
        refused(ask(world, asked, (name, f"{value:g}")), asked, BAD_QUERY)


@over(lambda one: bool(_schema(one).items and _schema(one).items.enum), "words")  # type: ignore[union-attr]
def test_each_target_is_returned_alone_and_unknown_ones_are_refused(world: World, asked: Asked) -> None:
    name = asked.parameter.name
    for word in _words(asked.parameter):
        answer = ask(world, asked, (name, str(word)))
        accepted(answer, asked)
        if asked.operation.method == "GET":
            assert _deepest(answer.json).keys() == {word}
    known = asked.operation.codes(400) & {UNKNOWN_TARGET}
    refused(ask(world, asked, (name, "face_id,nose")), asked, *(known or {BAD_QUERY}))


@over(lambda one: _kind(one) in WRONG, "type")
def test_a_value_of_another_type_is_refused(world: World, asked: Asked) -> None:
    name, kind = asked.parameter.name, _kind(asked)
    refused(ask(world, asked, (name, WRONG[kind])), asked, BAD_QUERY)
    if kind == "uuid":
        refused(ask(world, asked, (name, EVENT.upper())), asked, BAD_QUERY)


@over(lambda one: _schema(one).kind == "array", "repeated")
def test_a_repeated_list_is_the_list_with_commas(world: World, asked: Asked) -> None:
    name, value = asked.parameter.name, asked.value(world)
    if asked.parameter.repeated:
        several = [(name, str(word)) for word in _words(asked.parameter)]
        accepted(ask(world, asked, *several), asked)
        refused(ask(world, asked, (name, ",".join(word for _, word in several))), asked, BAD_QUERY)
        return
    together = ask(world, asked, (name, value))
    apart = ask(world, asked, *((name, item) for item in value.split(",")))
    spaced = ask(world, asked, (name, value.replace(",", ", ")))
    accepted(together, asked)
    assert _steady(world, together) == _steady(world, apart) == _steady(world, spaced)


@over(lambda one: _schema(one).kind != "array", "repeated")
def test_a_parameter_given_twice_with_different_values_is_refused(world: World, asked: Asked) -> None:
    name, value = asked.parameter.name, asked.value(world)
    accepted(ask(world, asked, (name, value), (name, value)), asked)
    other = {"string": "another", "uuid": EVENT, "date-time": "1999-01-01T00:00:00Z"}.get(_kind(asked), "0")
    if other == value:
        other = EVENT.replace("5", "6") if _kind(asked) == "uuid" else "1"
    refused(ask(world, asked, (name, value), (name, other)), asked, BAD_QUERY)


def _is_scalar(asked: Asked) -> bool:
    return _schema(asked).kind != "array" and _kind(asked) in {"integer", "number", "date-time"}


@over(lambda one: True, "empty")
def test_an_empty_value_is_no_number_and_no_time_and_otherwise_no_value(world: World, asked: Asked) -> None:
    answer = ask(world, asked, (asked.parameter.name, ""))
    if asked.parameter.required:
        refused(answer, asked, BAD_QUERY, MISSING_QUERY)
    elif (asked.operation.id, asked.parameter.name) in ONE_OF_SEVERAL:
        refused(answer, asked, ONE_IS_NEEDED)
    elif _is_scalar(asked) or _schema(asked).enum or _schema(asked).min_items or _selects_nothing(asked):
        refused(answer, asked, BAD_QUERY)
    else:
        accepted(answer, asked)
        assert _steady(world, answer) == _steady(world, ask(world, asked))


@pytest.mark.parametrize("operation", [pytest.param(one, id=f"{one.id}-unknown") for one in CONTRACT])
def test_unknown_parameters_are_ignored(world: World, operation: Operation) -> None:
    call = RECIPES[operation.id].call(world)
    unknown = (*call.query, ("nobody_knows", "1"), ("nobody_knows", ""), ("x", ""), *call.path.items())
    assert world.rest.call(operation, replace(call, query=unknown)).status == operation.here


@pytest.mark.parametrize(
    "operation",
    [pytest.param(one, id=f"{one.id}-missing") for one in CONTRACT if any(known.required for known in one.query)],
)
def test_a_missing_parameter_is_named(rest: Rest, world: World, operation: Operation) -> None:
    answer = rest.call(operation, replace(RECIPES[operation.id].call(world), query=()))
    assert (answer.status, answer.code) == (400, MISSING_QUERY)
    assert any(known.required and known.name in answer.detail for known in operation.query)


@pytest.mark.operation("get_faces")
def test_pages_follow_each_other(world: World, rest: Rest) -> None:
    ids = [world.face_id, world.lonely_id]
    operation = CONTRACT.operations["get_faces"]
    pages = [
        rest.call(
            operation,
            Call(query=(("face_ids", ",".join(ids)), ("page_size", "1"), ("page", page)), account=world.owner),
        )
        for page in ("1", "2", "3")
    ]
    found = [[face["face_id"] for face in _listed(page)] for page in pages]
    assert found == [[world.lonely_id], [world.face_id], []]


@pytest.mark.operation("get_faces")
def test_a_bound_of_ids_orders_by_them_and_holds(world: World, rest: Rest) -> None:
    both = sorted([world.face_id, world.lonely_id])
    base = f"/6/faces?face_ids={','.join(both)}"
    assert _ids(rest.send("GET", f"{base}&face_id__gte={both[0]}", account=world.owner)) == both
    assert _ids(rest.send("GET", f"{base}&face_id__lt={both[1]}", account=world.owner)) == both[:1]
    assert _ids(rest.send("GET", f"{base}&face_id__gte={both[1]}", account=world.owner)) == both[1:]


@pytest.mark.operation("get_faces")
def test_filters_of_faces_select(world: World, rest: Rest) -> None:
    base = f"/6/faces?face_ids={world.face_id}"
    moment = str(_listed(rest.send("GET", base, account=world.owner))[0]["create_time"])
    for query, hit in (
        (f"create_time__gte={moment}", True), (f"create_time__lt={moment}", False), ("user_data=he fa", True),
        ("user_data=%25", False), ("user_data=_", False),
        ("external_ids=person-1", True), ("external_ids=person", False),
        (f"event_id={EVENT}", True), (f"event_id={world.list_id}", False), (f"list_id={world.list_id}", True),
        (f"list_id={EVENT}", False),
    ):  # fmt: skip
        assert bool(_ids(rest.send("GET", f"{base}&{query}", account=world.owner))) == hit, query
        count = rest.send("GET", f"/6/faces/count?face_ids={world.face_id}&{query}", account=world.owner)
        assert count.json == {"faces_count": int(hit)}, query


@pytest.mark.operation("get_faces")
def test_times_are_points_in_time_whatever_their_offset(world: World, rest: Rest) -> None:
    (face,) = _listed(rest.send("GET", f"/6/faces?face_ids={world.face_id}", account=world.owner))
    moment = datetime.fromisoformat(str(face["create_time"]))
    for hours in (0, 3, -5):
        there = timezone(timedelta(hours=hours, minutes=30))
        for later, hit in ((0, True), (1, False)):
            written = (moment + timedelta(microseconds=later)).astimezone(there).isoformat(timespec="microseconds")
            query = urlencode({"face_ids": world.face_id, "create_time__gte": written})
            for text in (query, query.replace("%2B", "+")):
                assert bool(_ids(rest.send("GET", f"/6/faces?{text}", account=world.owner))) == hit, written


@pytest.mark.operation("get_lists")
def test_filters_of_lists_select(world: World, rest: Rest) -> None:
    base = f"/6/lists?list_ids={world.list_id}"
    found = rest.send("GET", base, account=world.owner).members["lists"]
    assert isinstance(found, list)
    created, updated = found[0]["create_time"], found[0]["last_update_time"]
    for query, hit in (
        (f"create_time__gte={created}", True), (f"create_time__lt={created}", False), ("user_data=he li", True),
        (f"last_update_time__gte={updated}", True), (f"last_update_time__lt={updated}", False),
        ("user_data=%25", False),
        ("user_data__eq=the list", True), ("user_data__eq=the", False), (f"list_id__gte={world.list_id}", True),
        (f"list_id__lt={world.list_id}", False),
    ):  # fmt: skip
        lists = rest.send("GET", f"{base}&{query}", account=world.owner).members["lists"]
        assert bool(lists) == hit, query
        count = rest.send("GET", f"/6/lists/count?list_ids={world.list_id}&{query}", account=world.owner)
        assert count.json == {"lists_count": int(hit)}, query


def _selects_nothing(asked: Asked) -> bool:
    """True for filters of events that would have no items."""
    listed = _schema(asked).kind == "array" and asked.parameter.name not in MAYBE
    return asked.operation.id == "get_events" and listed


def _steady(world: World, answer: Answer) -> tuple[int, str]:
    """What two equal calls answer alike: everything but the time that a check took."""
    status, text = world.scrubbed(answer)
    return status, "" if "execution_time" in text else text


def _deepest(value: object) -> Mapping[str, object]:
    """The first object that carries targets: that of the answer, of its list, or of its wrapper."""
    assert isinstance(value, dict)
    for wrapper in ("faces", "attributes", "events"):
        if wrapper in value:
            inner = value[wrapper]
            found = inner[0] if isinstance(inner, list) else inner
            assert isinstance(found, dict)
            return found
    return value


def _listed(answer: Answer) -> list[dict[str, object]]:
    found = answer.members["faces"]
    assert isinstance(found, list)
    return found


def _ids(answer: Answer) -> list[object]:
    return [face["face_id"] for face in _listed(answer)]
