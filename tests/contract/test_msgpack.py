"""msgpack: bodies with bytes instead of Base64, and answers that say the same as those of JSON."""

from __future__ import annotations

import base64
from dataclasses import replace

import msgpack
import pytest

from tests.contract.cases import RECIPES
from tests.contract.contract import contract
from tests.contract.operations import Operation
from tests.contract.rest import JSON, MSGPACK, Answer
from tests.contract.world import World

CONTRACT = contract()
BOTH = ("create_face", "match_faces", "match_bodies", "match_raw", "raw_verification")
"""Operations that take msgpack and JSON."""
BYTES_ALONE = "generate_stream_events"
"""The operation that takes msgpack and no JSON."""
ACCEPTING = [one for one in CONTRACT if MSGPACK in one.content_types]
ANSWERING = [one for one in CONTRACT if MSGPACK in one.content_type]


def over(operations: list[Operation], check: str) -> pytest.MarkDecorator:
    """Parametrise a test over operations."""
    return pytest.mark.parametrize("operation", [pytest.param(one, id=f"{one.id}-{check}") for one in operations])


def as_bytes(value: object, name: str = "") -> object:
    """A body of JSON with bytes where it has descriptors as Base64."""
    if isinstance(value, dict):
        return {key: as_bytes(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [as_bytes(item) for item in value]
    return base64.b64decode(value) if name in {"descriptor", "data"} and isinstance(value, str) else value


def as_text(value: object) -> object:
    """An answer of msgpack with Base64 where it has bytes."""
    if isinstance(value, dict):
        return {key: as_text(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_text(item) for item in value]
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def pack(value: object) -> bytes:
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def send(world: World, operation: Operation, data: bytes, **headers: str) -> Answer:
    """A call with a body of msgpack."""
    call = RECIPES[operation.id].call(world)
    return world.rest.call(
        operation, replace(call, body=None, data=data, content_type=MSGPACK, headers={**call.headers, **headers})
    )


def unpack(answer: Answer) -> object:
    assert answer.headers["content-type"] == MSGPACK
    value: object = msgpack.unpackb(answer.data)
    return value


def test_the_operations_with_msgpack_are_those_that_are_known() -> None:
    assert {one.id for one in ACCEPTING} == {
        "create_face",
        "match_faces",
        "match_raw",
        "raw_verification",
        "match_bodies",
        BYTES_ALONE,
    }
    assert {one.id for one in ANSWERING} == {"match_faces", "match_bodies", "match_raw", "sdk_resource", "check_iso"}


@over([one for one in ACCEPTING if one.id != BYTES_ALONE], "body")
def test_a_body_of_msgpack_does_what_that_of_json_does(world: World, operation: Operation) -> None:
    call = RECIPES[operation.id].call(world)
    plain, packed = world.rest.call(operation, call), send(world, operation, pack(as_bytes(call.body)))
    assert packed.headers["content-type"] == JSON
    assert world.scrubbed(packed) == world.scrubbed(plain)
    if operation.id == "create_face":
        faces = [world.get(f"{one.text('url')}/attributes") for one in (plain, packed)]
        assert world.scrubbed(faces[0]) == world.scrubbed(faces[1])


@over(ACCEPTING, "broken")
def test_bodies_of_msgpack_are_judged_like_those_of_json(world: World, operation: Operation) -> None:
    call = RECIPES[operation.id].call(world)
    body = call.body if operation.id != BYTES_ALONE else {"aggregate_attributes": 0, "sources": [{"body": "AAAA"}]}
    assert isinstance(body, dict)
    good = call.data or pack(as_bytes(body))
    for data, code in (
        (good[:-1], 12002), (good + b"\xc0", 12002), (b"\xc1", 12002), (b"\xdd\xff\xff\xff\xff", 12002),
        (pack({**body, "extra_field": 1}), 12022), (pack([]), 12022), (pack(None), 12022), (pack({1: 2}), 12002),
        (pack(body), 12022),  # Base64 where bytes belong
    ):  # fmt: skip
        answer = send(world, operation, data)
        assert (answer.status, answer.code) == (400, code), (data, answer.data)


@over(ANSWERING, "accept")
def test_an_answer_of_msgpack_is_that_of_json(world: World, operation: Operation) -> None:
    call = RECIPES[operation.id].call(world)
    plain = world.rest.call(operation, call)
    for accept in (MSGPACK, f"{JSON};q=0.5, {MSGPACK}", "Application/MsgPack"):
        packed = world.rest.call(operation, replace(call, headers={"accept": accept}))
        assert packed.status == operation.status
        assert as_text(unpack(packed)) == plain.json
    if operation not in ACCEPTING:
        return
    both = send(world, operation, pack(as_bytes(call.body)), accept=MSGPACK)
    assert unpack(both) == plain.json


@over(ANSWERING, "json")
def test_without_a_wish_the_answer_is_json(world: World, operation: Operation) -> None:
    call = RECIPES[operation.id].call(world)
    for accept in ("*/*", JSON, "application/*", f"{JSON}, {MSGPACK};q=0.9"):
        assert world.rest.call(operation, replace(call, headers={"accept": accept})).headers["content-type"] == JSON
    refused = world.rest.call(operation, replace(call, headers={"accept": "text/html"}))
    assert (refused.status, refused.code) == (406, 12023)


@over(ANSWERING, "error")
def test_errors_are_json_whatever_is_asked_for(world: World, operation: Operation) -> None:
    answer = send(world, operation, b"\xc1", accept=MSGPACK)
    code = 12002 if operation in ACCEPTING else 12024
    assert (answer.status, answer.code, answer.headers["content-type"]) == (400, code, JSON)
