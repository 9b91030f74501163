"""Bodies of JSON: what is missing, unknown, of another type or beyond a limit, field by field; and the body itself."""

from __future__ import annotations

import copy
import json
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.contract.cases import RECIPES
from tests.contract.contract import contract
from tests.contract.mutations import MISSING_FIELD, Field, edges, fields, wrong
from tests.contract.operations import Operation
from tests.contract.rest import JSON, Answer, Call
from tests.contract.world import OWN_VERSION, World, sdk, text, unknown

CONTRACT = contract()
BODIES = [one for one in CONTRACT if one.json]
NEEDED = [one for one in BODIES if not one.body_optional]
VALIDATOR = "validate_handler_policies"
ABSENT: Any = object()
"""Stands for a field that is left out."""


def each(check: str, operations: list[Operation] = BODIES) -> pytest.MarkDecorator:
    """Parametrise a test over operations with bodies of JSON."""
    return pytest.mark.parametrize("operation", [pytest.param(one, id=f"{one.id}-{check}") for one in operations])


FIELDS = [pytest.param(one, known, id=f"{one.id}-{known.path or 'body'}") for one in BODIES for known in fields(one)]
per_field = pytest.mark.parametrize(("operation", "known"), FIELDS)


def send(world: World, operation: Operation, data: bytes, content_type: str = JSON, call: Call | None = None) -> Answer:
    """A call whose body is these bytes."""
    valid = call or RECIPES[operation.id].call(world)
    return world.rest.call(operation, replace(valid, body=None, data=data, content_type=content_type))


def changed(body: object, known: Field, value: object) -> object:
    """The body with another value of a field, or without it."""
    if not known.steps:
        return value
    whole = copy.deepcopy(body)
    holder: Any = whole
    for step in known.steps[:-1]:
        holder = holder[step]
    if value is ABSENT:
        holder.pop(known.steps[-1], None)
    else:
        holder[known.steps[-1]] = value
    return whole


def present(body: object, known: Field) -> object:
    """The value of a field in a valid body."""
    value: Any = body
    for step in known.steps:
        value = value[step]
    return value


def encoded(body: object) -> bytes:
    return json.dumps(body).encode()


@per_field
def test_a_wrong_value_is_refused_with_its_path(world: World, operation: Operation, known: Field) -> None:
    call = RECIPES[operation.id].call(world)
    for one in wrong(known):
        if _null_too(operation, known, one.value) or _boolean_too(operation, known, one.value):
            continue
        answer = send(world, operation, encoded(changed(call.body, known, one.value)), call=call)
        assert answer.status == 400, (one.value, answer.data)
        assert answer.code in one.codes, (one.value, answer.data)
        assert answer.code in {22009, 12036} or _named(known, one.below) in answer.detail, (
            one.value,
            answer.data,
        )


NULL_TOO: Mapping[tuple[str, str], str] = {
    (name, member): "what a handler is told to have not, it may be told so by null"
    for name in ("create_handler", "replace_handler")
    for member in ("policies", "lambda_id")
} | {
    ("save_event", name): "an event that is read has null there, and can be saved as it was read"
    for name in (
        *("face_attributes.basic_attributes", "face_attributes.score", "body_attributes.score"),
        *(f"face_attributes.basic_attributes.{member}" for member in ("age", "gender", "ethnicities")),
    )
}
"""Fields for which null is taken although the contract does not say so, and why."""


EVENT_FILTERS = re.compile(r"candidates\.\d\.filters\.(\w+)")
NO_NULLS = {"event_ids", "handler_ids", "external_ids", "face_ids", "tags"}
"""Filters of events that every event has a value of, or that are held against something else."""


def _null_too(operation: Operation, known: Field, value: object) -> bool:
    """True for a null that is taken: a filter by it selects events without a value."""
    if value is None:
        return (operation.id, known.path) in NULL_TOO
    if value == "":
        return known.path == "period.0.column"  # there is one column, which need not be named
    found = EVENT_FILTERS.fullmatch(known.path)
    return value == [None] and found is not None and not found[1].startswith("top_") and found[1] not in NO_NULLS


def _boolean_too(operation: Operation, known: Field, value: object) -> bool:
    """True for a boolean that is taken for a flag: a known client sends it (source: contract, gc_content)."""
    return (
        operation.id == "create_gc_task"
        and value is True
        and known.steps[-1] in {"remove_samples", "remove_image_origins"}
    )


def _named(known: Field, below: str) -> str:
    return (known.path + below).removeprefix(".") if below != ".nobody_knows" else known.path


@pytest.mark.parametrize(
    ("operation", "known"),
    [pytest.param(*one.values, id=one.id) for one in FIELDS if not str(one.id).endswith("-body")],
)
def test_what_is_required_is_missed_and_what_is_not_is_not(world: World, operation: Operation, known: Field) -> None:
    call = RECIPES[operation.id].call(world)
    answer = send(world, operation, encoded(changed(call.body, known, ABSENT)), call=call)
    if known.schema.required and (operation.id, known.path) not in {**NOT_NEEDED, **NOT_NEEDED_MORE}:
        assert (answer.status, answer.code) == (400, MISSING_FIELD), answer.data
        assert known.path in answer.detail
    elif answer.status != operation.status:
        # not required by itself, yet its neighbours need it
        assert answer.code in NEEDED_TOGETHER.get((operation.id, known.path), frozenset()), answer.data


NOT_NEEDED: Mapping[tuple[str, str], str] = {
    (name, "expiration_time"): "the contract itself says to take a missing one as null"
    for name in ("create_token", "replace_token")
}
NOT_NEEDED_MORE = {("match_bodies", "candidates.0.filters.origin"): "the contract notes that it is optional there"}
"""Fields that the contract requires and nobody misses, and why."""
NEEDED_TOGETHER = {
    ("create_gc_task", "content.target"): frozenset({12003}),
    ("create_roc_task", "content.markup.0.face_id"): frozenset({12022}),
    ("create_estimator_task", "content.handler"): frozenset({12003}),
    **{("verify_credentials", name): frozenset({12022}) for name in ("login", "password")},
    ("patch_account", "description"): frozenset({12022}),
    **{(name, "policies"): frozenset({12003}) for name in ("create_handler", "replace_handler")},
    **{
        (VALIDATOR, f"policies.{name}"): frozenset({12022})
        for name in ("detect_policy", "extract_policy", "extract_policy.extract_basic_attributes", "match_policy")
    },
    (VALIDATOR, "policies.match_policy.0.candidates.origin"): frozenset({12003}),
    **{
        (name, f"candidates.{place}.filters.geo_position.{member}"): frozenset({12003})
        for name, place in (("match_faces", 1), ("match_bodies", 0))
        for member in ("origin_longitude", "origin_latitude")
    },
    ("save_event", "matches.0.candidates.0.face"): frozenset({12022}),
    ("save_event", "matches.0.candidates.0.face.face_id"): frozenset({12003}),
    **{("get_event_statistics", f"period.0.{member}"): frozenset({12022}) for member in ("operator", "value")},
    **{
        ("get_event_statistics", f"filters.0.{member}"): frozenset({12003})
        for member in ("column", "operator", "value")
    },
    **{
        (operation, f"{prefix}{name}"): frozenset({22022})
        for operation, prefix in (("create_attribute", ""), ("create_face", "attribute."), ("put_face_attribute", ""))
        for name in ("face_descriptors", "basic_attributes")
    },
}
"""Fields of which one at least is needed, and what an answer without any says."""


@per_field
def test_values_at_the_limits_are_accepted(world: World, operation: Operation, known: Field) -> None:
    for one in edges(known):
        call = RECIPES[operation.id].call(world)
        value = one.of(present(call.body, known)) if one.of is not None else one.value
        answer = send(world, operation, encoded(changed(call.body, known, value)), call=call)
        judged = JUDGED.get((operation.id, known.path, str(value) if isinstance(value, str | int) else ""))
        judged = judged or JUDGED.get((operation.id, known.path, "*"))
        assert (answer.status if judged is None else answer.code) == (judged or operation.status), (value, answer.data)


JUDGED: Mapping[tuple[str, str, str], int] = {
    # bodies are of events, and the valid calls are about faces
    **{(f"create_{kind}_task", "content.descriptor_type", "body"): 12022 for kind in ("clustering", "cross_match")},
    # the content is that of another kind
    **{
        (name, "task.task_type", str(number)): 12022
        for name in ("create_schedule", "replace_schedule")
        for number in range(1, 10)
        if number != 4
    },
    ("create_token", "visibility_area", "all"): 41004,
    ("replace_token", "visibility_area", "all"): 41004,
    ("verify_credentials", "password", "*"): 41006,
    **{("get_event_statistics", "targets.0.aggregator", word): 12022 for word in ("max", "min", "avg", "group_by")},
    **{
        (name, "handler_type", value): code
        for name in ("create_handler", "replace_handler")
        for value, code in (("1", 12022), ("2", 12003))
    },
    # the other policies of the body need what is then not made, or two comparisons have one label
    (VALIDATOR, "policies.detect_policy.detect_face", "0"): 12022,
    (VALIDATOR, "policies.extract_policy.extract_face_descriptor", "0"): 12022,
    (VALIDATOR, "policies.extract_policy.extract_basic_attributes", "0"): 12022,
    (VALIDATOR, "policies.match_policy", ""): 12022,
    (VALIDATOR, "policies.match_policy.0.descriptor_type", "body"): 12022,
}
"""Values (all where it is a star) that are well formed and refused for what they say, and the code of that."""


@each("unknown")
def test_an_unknown_field_is_refused_by_name(world: World, operation: Operation) -> None:
    call = RECIPES[operation.id].call(world)
    body = {**call.body, "extra_field": None} if isinstance(call.body, dict) else {"extra_field": 1}
    answer = send(world, operation, encoded(body), call=call)
    assert (answer.status, answer.code) == (400, 12022)
    assert isinstance(call.body, list) or "extra_field" in answer.detail


@each("broken")
def test_what_is_no_json_is_refused(world: World, operation: Operation) -> None:
    call = RECIPES[operation.id].call(world)
    broken = (b"{", b"nothing", b"{'a': 1}", b'{"a": NaN}', b'{"a": 1} {}', b"\xff\xfe", b'{"a": 1, "a": 1}', b"[" * 99)
    for data in broken:
        answer = send(world, operation, data, call=call)
        assert (answer.status, answer.code) == (400, 12002), (data, answer.data)


@each("shape")
def test_a_body_of_another_shape_is_refused(world: World, operation: Operation) -> None:
    call = RECIPES[operation.id].call(world)
    for data in (b"5", b'"x"', b"true", b"null", b"{}" if isinstance(call.body, list) else b"[]"):
        answer = send(world, operation, data, call=call)
        assert (answer.status, answer.code) == (400, 12022), (data, answer.data)


@each("empty", NEEDED)
def test_an_empty_body_is_told_from_none(world: World, operation: Operation) -> None:
    call = RECIPES[operation.id].call(world)
    for data in (b"", b" \n"):
        answer = send(world, operation, data, call=call)
        assert (answer.status, answer.code) == (400, 12005), answer.data
    nothing = send(world, operation, b"", "", call)
    assert (nothing.status, nothing.code) == (400, 12030)


@each("optional", [one for one in BODIES if one.body_optional])
def test_an_optional_body_may_be_left_out(world: World, operation: Operation) -> None:
    for data, content_type in ((b"", ""), (b"", JSON), (b"{}", JSON)):
        assert send(world, operation, data, content_type).status == operation.status


@each("content_type")
def test_another_content_type_is_refused_by_name(world: World, operation: Operation) -> None:
    call = RECIPES[operation.id].call(world)
    for content_type in (
        "text/plain",
        "image/jpeg",
        "application/x-www-form-urlencoded",
        "application/json; charset=x",
    ):
        answer = send(world, operation, call.content, content_type, call)
        assert (answer.status, answer.code) == (400, 12024), answer.data
        assert content_type in answer.detail
        assert JSON in answer.detail
    charset = send(world, operation, call.content, "Application/JSON; charset=UTF-8", call)
    assert charset.status == operation.status


@pytest.mark.parametrize("name", ["create_face", "create_list", "patch_face", "update_list"])
def test_texts_come_back_as_they_went(world: World, name: str) -> None:
    strange = 'q"uo\\te \N{SNOWMAN} \N{PILE OF POO} \t ‮</script>'
    call = replace(RECIPES[name].call(world), body={"user_data": strange})
    answer = world.rest.call(CONTRACT.operations[name], call)
    path = answer.text("url") if answer.data else CONTRACT.operations[name].path.format(**call.path)
    assert world.get(path).members["user_data"] == strange


def describing(world: World, body: Mapping[str, object], operation_id: str) -> Answer:
    """A request with a descriptor, in each of the operations that take one."""
    operation = CONTRACT.operations[operation_id]
    call = RECIPES[operation_id].call(world)
    attribute: dict[str, object] = {"face_descriptors": [body]}
    bodies: dict[str, dict[str, object]] = {
        "create_face": {"attribute": attribute},
        "match_raw": {
            "references": [{"id": "a", "type": "raw_descriptor", "data": body}],
            "candidates": [{"id": "b", "type": "sdk_descriptor", "data": text(sdk(world.descriptor))}],
        },
        "match_faces": {"references": [{"id": "a", "type": "raw_descriptor", "data": body}], "candidates": []},
    }
    return world.rest.call(operation, replace(call, body=bodies.get(operation_id, attribute)))


@pytest.mark.parametrize("name", ["create_attribute", "create_face", "put_face_attribute", "match_faces", "match_raw"])
def test_descriptors_are_held_to_their_version(world: World, name: str) -> None:
    good = {"descriptor": text(world.descriptor), "version": OWN_VERSION}
    assert describing(world, good, name).status == CONTRACT.operations[name].status
    nan = world.descriptor[:-2] + b"\x00\x7e"
    for body, code in (
        ({"descriptor": text(world.descriptor[:-2]), "version": OWN_VERSION}, 12034),
        ({"descriptor": text(world.descriptor + b"\0\0"), "version": OWN_VERSION}, 12034),
        ({"descriptor": "", "version": OWN_VERSION}, 12003),
        ({"descriptor": text(world.descriptor)}, 12003),
        ({"descriptor": text(world.descriptor), "version": 61}, 12036),
        ({"descriptor": text(world.descriptor), "version": 0}, 12036),
        ({"descriptor": text(nan), "version": OWN_VERSION}, 12038),
    ):
        answer = describing(world, body, name)
        assert (answer.status, answer.code) == (400, code), (body, answer.data)


@pytest.mark.parametrize("name", ["match_faces", "match_raw"])
def test_given_references_are_held_to_their_type(world: World, name: str) -> None:
    operation, call = CONTRACT.operations[name], RECIPES[name].call(world)
    good = text(sdk(world.descriptor))
    for kind, data, code in (
        ("sdk_descriptor", text(world.descriptor), 12038), ("sdk_descriptor", text(b"dp\0\0"), 12038),
        ("sdk_descriptor", text(sdk(world.descriptor, 45)), 12036), ("sdk_descriptor", text(sdk(b"x")), 12034),
        ("sdk_descriptor", "***", 18001), ("sdk_descriptor", ABSENT, 12003), ("sdk_descriptor", "", 12022),
        ("xpk_file", good, 12037), ("raw_descriptor", good, 12022), ("raw_descriptor", ABSENT, 12003),
        ("raw_descriptor", {"descriptor": good}, 12003), ("face", good, 12022),
    ):  # fmt: skip
        reference = {"id": world.face_id, "type": kind, **({"data": data} if data is not ABSENT else {})}
        assert isinstance(call.body, dict)
        answer = world.rest.call(operation, replace(call, body={**call.body, "references": [reference]}))
        assert (answer.status, answer.code) == (400, code), (kind, data, answer.data)


@pytest.mark.parametrize("name", ["match_faces", "match_bodies"])
def test_references_by_id_are_held_to_the_form_of_ids(world: World, name: str) -> None:
    operation, call = CONTRACT.operations[name], RECIPES[name].call(world)
    assert isinstance(call.body, dict)
    for kind in ("face", "attribute", "event") if name == "match_faces" else ("event",):
        ids = (world.event_id.upper(), f"{{{world.event_id}}}", world.event_id.replace("-", ""))
        for malformed in ("nobody", *ids):
            references = [{"id": world.event_id, "type": "event"}, {"id": malformed, "type": kind}]
            answer = world.rest.call(operation, replace(call, body={**call.body, "references": references}))
            assert (answer.status, answer.code) == (400, 12022), (kind, malformed, answer.data)
            assert "'references.1.id'" in answer.detail


@pytest.mark.operation("match_raw")
def test_versions_are_not_compared_with_each_other(world: World) -> None:
    brought = {"descriptor": text(bytes(512)), "version": 54}
    call = RECIPES["match_raw"].call(world)
    assert isinstance(call.body, dict)
    mixed = {**call.body, "references": [{"id": "x", "type": "raw_descriptor", "data": brought}]}
    answer = world.rest.call(CONTRACT.operations["match_raw"], replace(call, body=mixed))
    assert (answer.status, answer.code) == (400, 31005)


@pytest.mark.operation("match_faces")
def test_references_that_cannot_be_matched_fail_the_request(world: World) -> None:
    operation = CONTRACT.operations["match_faces"]
    brought = {"descriptor": text(bytes(512)), "version": 54}
    bare = world.make("/6/attributes", {"basic_attributes": {"age": 1}}).text("attribute_id")
    for reference, code in (
        ({"id": world.lonely_id, "type": "face"}, 11032),
        ({"id": bare, "type": "attribute"}, 11034),
        ({"id": "nobody", "type": "face_external_id"}, 11041),
        ({"id": "x", "type": "raw_descriptor", "data": brought}, 31001),
    ):
        body = {"references": [reference], "candidates": []}
        answer = world.rest.call(operation, Call(body=body, account=world.owner))
        assert answer.status in {400, 403, 404}, answer.data
        assert answer.code == code
        assert code in operation.codes(400) | operation.codes(403)


@pytest.mark.operation("match_faces")
def test_references_of_events_that_are_not_there_fail_the_request(world: World) -> None:
    for kind, code in (("event", 23001), ("event_external_id", 11057), ("event_track_id", 11058)):
        body = {"references": [{"id": unknown(), "type": kind}], "candidates": []}
        answer = world.rest.call(CONTRACT.operations["match_faces"], Call(body=body, account=world.owner))
        assert answer.code == code, answer.data


@pytest.mark.operation("match_faces")
def test_candidates_that_select_nothing_give_nothing(world: World) -> None:
    nothing = [
        {"origin": "faces", "face_ids": [unknown()]}, {"origin": "faces", "list_id": unknown()},
        {"origin": "faces", "external_ids": ["nobody"]}, {"origin": "faces", "user_data": "nobody"},
        {"origin": "faces", "event_id": unknown()}, {"origin": "attributes", "attribute_ids": [unknown()]},
        {"origin": "faces", "face_ids": [world.lonely_id]},
        {"origin": "faces", "create_time__lt": "2000-01-01T00:00:00.000000Z"},
        {"origin": "faces", "account_id": world.other.account_id},
    ]  # fmt: skip
    body = {
        "references": [{"id": "person-1", "type": "face_external_id"}],
        "candidates": [{"filters": filters} for filters in nothing],
    }
    answer = world.rest.call(CONTRACT.operations["match_faces"], Call(body=body, account=world.advanced))
    assert answer.status == 200, answer.data
    found = answer.json
    assert isinstance(found, list)
    assert [(one["filters"], one["limit"], one["result"]) for one in found[0]["matches"]] == [
        (filters, 3, []) for filters in nothing
    ]


@pytest.mark.operation("create_attribute")
def test_an_attribute_may_come_in_parts(world: World) -> None:
    def part(name: str, kind: str, data: bytes) -> bytes:
        head = f'--edge\r\ncontent-disposition: form-data; name="{name}"\r\ncontent-type: {kind}\r\n\r\n'
        return head.encode() + data + b"\r\n"

    descriptor = part("face_descriptors", "application/octet-stream", sdk(world.descriptor))
    basic = part("basic_attributes", JSON, b'{"age": 5, "gender": 0}')
    samples = part("face_descriptor_samples", JSON, encoded([world.sample_id]))
    operation, content_type = CONTRACT.operations["create_attribute"], "multipart/form-data; boundary=edge"
    made = send(world, operation, descriptor + basic + samples + b"--edge--\r\n", content_type)
    assert made.status == 201, made.data
    got = world.get(made.text("url")).members
    assert got["face_descriptor"] == text(world.descriptor)
    assert got["basic_attributes"] == {"age": 5, "gender": 0}
    assert got["face_descriptor_samples"] == [world.sample_id]
    stray = send(world, operation, part("nobody", JSON, b"1") + b"--edge--\r\n", content_type)
    assert (stray.status, stray.code) == (400, 12022)
    broken = send(world, operation, descriptor, content_type)
    assert (broken.status, broken.code) == (400, 11049)


@pytest.mark.operation("extract_attributes")
def test_extraction_is_as_it_was_asked_for(world: World) -> None:
    def extract(query: str, *samples: str) -> Answer:
        headers = {"content-type": JSON}
        return world.rest.send("POST", f"/6/extractor{query}", encoded(list(samples)), headers, world.owner)

    two = [world.sample_id, world.new_sample()]
    each_one = extract("", *two).json
    assert isinstance(each_one, list)
    assert [one["samples"] for one in each_one] == [[sample] for sample in two]
    together = extract("?aggregate_attributes=1", *two).json
    assert isinstance(together, list)
    assert [one["samples"] for one in together] == [two]
    assert extract("?score_threshold=1", *two).json == []
    soon = extract("?ttl=1", two[0]).json
    assert isinstance(soon, list)
    end = time.monotonic() + 10
    while (gone := world.get(soon[0]["url"])).status == 200 and time.monotonic() < end:
        time.sleep(0.1)
    assert (gone.status, gone.code) == (404, 22011)
