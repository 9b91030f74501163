"""Messages as lambdas write them are what REST writes: the gateway's own renderer is the reference."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from luna.v6 import (
    attributes_pb2,
    blobs_pb2,
    events_pb2,
    faces_pb2,
    handlers_pb2,
    lists_pb2,
    matcher_pb2,
    samples_pb2,
    sdk_pb2,
    tasks_pb2,
    verifiers_pb2,
)

from gateway.render import Renderer
from server.lambda_sdk.response import written
from server.lambda_sdk.rest_form import as_json

MODULES = (
    attributes_pb2,
    blobs_pb2,
    events_pb2,
    faces_pb2,
    handlers_pb2,
    lists_pb2,
    matcher_pb2,
    samples_pb2,
    sdk_pb2,
    tasks_pb2,
    verifiers_pb2,
)
ANSWERS = {
    method.output_type.full_name: message_factory.GetMessageClass(method.output_type)
    for module in MODULES
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
reference = Renderer(binary=False)


SEEDS = 20
DEEPEST = 5
VALUES = {
    FieldDescriptor.CPPTYPE_BOOL: (True, False),
    FieldDescriptor.CPPTYPE_DOUBLE: (0.0, 0.5, -2.0, math.nan),
    FieldDescriptor.CPPTYPE_FLOAT: (0.0, 0.5, math.nan),
    FieldDescriptor.CPPTYPE_INT32: (0, 7),
    FieldDescriptor.CPPTYPE_UINT32: (0, 7),
    FieldDescriptor.CPPTYPE_INT64: (0, 7),
    FieldDescriptor.CPPTYPE_UINT64: (0, 7),
}


def fill(message: Message, draw: random.Random, depth: int = 0) -> None:
    """Set about half of the fields, in messages that are not too deep."""
    descriptor: Any = message.DESCRIPTOR
    for field in descriptor.fields:
        if draw.random() < 0.5:
            continue
        target = getattr(message, field.name)
        if field.message_type is None:
            one = _scalar(field, draw)
            setattr(message, field.name, one) if not field.is_repeated else target.extend([one, _scalar(field, draw)])
        elif depth < DEEPEST and not field.message_type.GetOptions().map_entry:
            for inner in [target] if not field.is_repeated else [target.add(), target.add()]:
                inner.SetInParent()
                fill(inner, draw, depth + 1)
        elif depth < DEEPEST and field.message_type.fields_by_name["value"].message_type is not None:
            fill(target["key"], draw, depth + 1)
        elif depth < DEEPEST:
            target["key"] = "value"


def _scalar(field: FieldDescriptor, draw: random.Random) -> Any:
    if field.enum_type is not None:
        return draw.choice([value.number for value in field.enum_type.values])
    if field.type == FieldDescriptor.TYPE_BYTES:
        return draw.choice([b"", b"\x00\xff"])
    return draw.choice(VALUES.get(field.cpp_type, ("", "a text", "ü")))


def spoken(value: Any) -> Any:
    """A value that can be compared: NaN is no equal of itself."""
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, dict):
        return {name: spoken(item) for name, item in value.items()}
    return [spoken(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_every_answer_of_the_api_is_written_as_rest_writes_it(name: str) -> None:
    for seed in range(SEEDS):
        message = ANSWERS[name]()
        fill(message, random.Random(seed))
        assert spoken(as_json(message)) == spoken(reference.render(message)), seed


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_empty_answers_have_the_members_that_rest_writes(name: str) -> None:
    assert as_json(ANSWERS[name]()) == reference.render(ANSWERS[name]())


def test_messages_are_written_wherever_they_stand() -> None:
    event = events_pb2.GeneratedEvent(event_id="a", tags=["b"])
    assert json.loads(written({"events": [event]})) == {"events": [reference.render(event)]}
