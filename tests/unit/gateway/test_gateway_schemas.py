"""Schemas of the description against what the gateway really writes and takes."""

from __future__ import annotations

import random
from functools import cache

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp
from luna.v6 import attributes_pb2, documents_pb2, faces_pb2, matcher_pb2, samples_pb2, tasks_pb2, tokens_pb2
from openapi_schema_validator import OAS31Validator

from gateway.binder import Binder
from gateway.comments import comment, media_types, prose, reasons
from gateway.failures import failures_of
from gateway.forms import rest_enum
from gateway.openapi import specification
from gateway.render import Renderer
from gateway.schemas import Direction, Schemas
from server.errors import LunaError, catalogue
from server.rpc.methods import unary
from tests.edge import services

METHODS = [method for service in services() for method in unary(service)]
ID = "2c7e4b3a-6f0d-4a0e-9c4b-0d1e2f3a4b5c"


@cache
def validator(descriptor: Descriptor, direction: Direction) -> OAS31Validator:
    """What checks values of a message against its schema in the description."""
    schemas = Schemas((method.input_type for method in METHODS), (method.output_type for method in METHODS))
    root = schemas.message(descriptor, direction)
    return OAS31Validator({**root, "components": {"schemas": schemas.components}})


def filled(descriptor: Descriptor, source: random.Random, depth: int = 0) -> Message:
    """A message with some of its fields set, to anything that they can hold."""
    message = GetMessageClass(descriptor)()
    if isinstance(message, Timestamp):
        message.seconds = source.randrange(2**32)
    elif isinstance(message, Value):
        message.number_value = source.random()
    elif isinstance(message, Struct):
        message["a"] = {"b": [1, None]}
    else:
        for field in descriptor.fields:
            if source.random() < 0.7 and (field.message_type is None or depth < 6):
                _fill(message, field, source, depth)
    return message


def _fill(message: Message, field: FieldDescriptor, source: random.Random, depth: int) -> None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        getattr(message, field.name)["key"] = "value"
    elif field.message_type is not None:
        for _ in range(source.randrange(3) if field.is_repeated else 1):
            part = getattr(message, field.name).add() if field.is_repeated else getattr(message, field.name)
            part.CopyFrom(filled(field.message_type, source, depth + 1))
    elif field.is_repeated:
        getattr(message, field.name).extend(_scalar(field, source) for _ in range(source.randrange(3)))
    else:
        setattr(message, field.name, _scalar(field, source))


def _scalar(field: FieldDescriptor, source: random.Random) -> object:
    if field.enum_type is not None:
        return source.choice(list(rest_enum(field.enum_type).written))
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_BOOL:
            return source.random() < 0.5
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return source.random()
        case FieldDescriptor.CPPTYPE_STRING:
            return b"\0\xff" if field.type == FieldDescriptor.TYPE_BYTES else source.choice(["", "text"])
        case _:
            return source.randrange(1000)


@pytest.mark.parametrize(
    "descriptor",
    {method.output_type.full_name: method.output_type for method in METHODS}.values(),
    ids=lambda one: one.name,
)
def test_whatever_is_rendered_fits_the_schema_of_its_message(descriptor: Descriptor) -> None:
    renderer, schema = Renderer(binary=False), validator(descriptor, Direction.RESPONSE)
    source = random.Random(descriptor.full_name)
    for message in (GetMessageClass(descriptor)(), *(filled(descriptor, source) for _ in range(50))):
        schema.validate(renderer.render(message))


FACE = {"filters": {"origin": "faces", "list_id": ID}, "limit": 3}
REFERENCE = {"type": "face", "id": ID}


@pytest.mark.parametrize(("message", "value", "fits"), [
    (matcher_pb2.MatchFacesRequest, {"references": [REFERENCE], "candidates": [FACE]}, True),
    (matcher_pb2.MatchFacesRequest, {"references": [REFERENCE], "candidates": []}, True),
    (matcher_pb2.MatchFacesRequest, {"references": [REFERENCE]}, False),
    (matcher_pb2.MatchFacesRequest, {"references": [{"type": "nose", "id": ID}], "candidates": [FACE]}, False),
    (matcher_pb2.MatchFacesRequest, {"references": [REFERENCE], "candidates": [{"filters": {"origin": "x"}}]}, False),
    (matcher_pb2.MatchFacesRequest, {"references": [REFERENCE], "candidates": [{}]}, False),
    (matcher_pb2.MatchFacesRequest, {"references": [REFERENCE], "candidates": [FACE], "more": 1}, False),
    (tokens_pb2.CreateTokenRequest, {"permissions": {}}, True),
    (tokens_pb2.CreateTokenRequest, {"permissions": {"face": ["view"], "emit_events": {"allowed": 1}}}, True),
    (tokens_pb2.CreateTokenRequest, {"permissions": {"face": ["look"]}}, False),
    (tokens_pb2.CreateTokenRequest, {"permissions": {"emit_events": {"allowed": True}}}, False),
    (tokens_pb2.CreateTokenRequest, {"permissions": {}, "expiration_time": None}, True),
    (tokens_pb2.CreateTokenRequest, {"permissions": None}, False),
    (tokens_pb2.CreateTokenRequest, {"permissions": {}, "visibility_area": 2}, False),
    (faces_pb2.CreateFaceRequest, {"user_data": "x", "lists": [ID], "event_id": ID}, True),
    (faces_pb2.CreateFaceRequest, {"event_id": None}, False),
    (faces_pb2.CreateFaceRequest, {"user_data": 1}, False),
    (faces_pb2.CreateFaceRequest, {"lists": [1]}, False),
    (faces_pb2.CreateFaceRequest, [], False),
    (tasks_pb2.ClusteringContent, {"objects_type": "faces"}, True),
    (tasks_pb2.ClusteringContent, {"objects_type": "faces", "filters": {"face_ids": [ID]}}, True),
    (tasks_pb2.ClusteringContent, {"objects_type": "events", "filters": {"tags": ["a"]}}, True),
    (tasks_pb2.ClusteringContent, {"objects_type": "faces", "filters": {"tags": ["a"]}}, False),
    (tasks_pb2.ClusteringContent, {"objects_type": "noses"}, False),
    (tasks_pb2.ClusteringContent, {"filters": {}}, False),
    (tasks_pb2.GcContent, {"target": "face_descriptors", "descriptor_version": 59}, True),
    (tasks_pb2.GcContent, {"target": "faces", "remove_samples": True, "remove_image_origins": 0}, True),
    (tasks_pb2.GcContent, {"target": "faces", "remove_samples": 2}, False),
    (tasks_pb2.GcContent, {"target": "face_descriptors", "filters": {"face_ids": [ID]}}, False),
])  # fmt: skip
def test_what_is_taken_and_what_fits_the_schema_is_the_same(message: type[Message], value: object, fits: bool) -> None:
    def taken() -> bool:
        try:
            Binder(binary=False).bind(message(), value)
        except LunaError:
            return False
        return True

    assert validator(message.DESCRIPTOR, Direction.REQUEST).is_valid(value) == taken() == fits


def test_limits_are_in_the_schema() -> None:
    schema = specification(services())
    components = schema["components"]
    assert isinstance(components, dict)
    made = components["schemas"]["CreateFaceRequest"]["properties"]
    assert made["user_data"]["maxLength"] == 128
    assert made["lists"]["items"]["format"] == "uuid"
    assert components["schemas"]["Point"]["minItems"] == components["schemas"]["Point"]["maxItems"] == 2
    assert components["schemas"]["Token"]["properties"]["expiration_time"]["type"] == ["string", "null"]


def test_comments_are_those_of_the_protos() -> None:
    method = faces_pb2.DESCRIPTOR.services_by_name["Faces"].methods_by_name["GetFace"]
    assert comment(method) == "One face. Errors: FACE_NOT_FOUND, UNKNOWN_TARGET."
    assert (prose(method), tuple(reasons(method))) == ("One face.", ("FACE_NOT_FOUND", "UNKNOWN_TARGET"))
    assert comment(faces_pb2.Face.DESCRIPTOR.fields_by_name["face_id"])
    content = samples_pb2.SampleContent.DESCRIPTOR.fields_by_name["content_type"]
    assert media_types(content) == ("image/jpeg",)
    specification_method = documents_pb2.DESCRIPTOR.services_by_name["Documents"].methods_by_name["GetSpecification"]
    assert media_types(specification_method) == ("application/x-yaml", "text/html")


def test_errors_that_comments_list_are_errors() -> None:
    known = {error.reason for error in catalogue()}
    for method in METHODS:
        assert set(reasons(method)) <= known, method.full_name
        assert ("Errors:" in comment(method)) == bool(list(reasons(method))), method.full_name


def test_failures_follow_from_what_a_method_takes() -> None:
    found = failures_of(attributes_pb2.DESCRIPTOR.services_by_name["Attributes"].methods_by_name["GetAttribute"])
    codes = {status: {error.code for error in errors} for status, errors in found.items()}
    assert codes[404] >= {22011, 12013}
    assert codes[401] == {11065}
    assert {400, 401, 403, 404, 429, 500, 502, 504} == codes.keys()
