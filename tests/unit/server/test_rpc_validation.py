"""Validation: defaults and limits, held against what `luna.field` says, rule by rule and for every request there is."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Iterator
from typing import Any, cast

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from luna import options_pb2
from luna.v6 import (
    accounts_pb2,
    attributes_pb2,
    event_filters_pb2,
    faces_pb2,
    images_pb2,
    lists_pb2,
    matcher_pb2,
    policies_pb2,
    samples_pb2,
)

from server.errors import BadBody, BadQuery, LunaError, MissingField, MissingQuery
from server.rpc.calls import RestOrigin
from server.rpc.validation import complete, problems, validate

ID = "00000000-0000-4000-8000-000000000001"
FILES = (
    "accounts",
    "attributes",
    "events",
    "faces",
    "handlers",
    "iso",
    "lists",
    "liveness",
    "matcher",
    "platform",
    "samples",
    "sdk",
)
FAREST = 253402300799
"""The last second of the year 9999."""


def requests() -> Iterator[Descriptor]:
    """The request of every method."""
    for name in FILES:
        for service in importlib.import_module(f"luna.v6.{name}_pb2").DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                yield method.input_type


def refused(message: Message, origin: RestOrigin | None = None) -> LunaError:
    with pytest.raises(LunaError) as caught:
        validate(message, origin)
    return caught.value


def test_absent_fields_get_their_defaults_and_given_ones_stay() -> None:
    request = attributes_pb2.ExtractAttributesRequest(sample_ids=[ID], extract_descriptor=False, ttl=7)
    validate(request, None)
    assert (request.extract_descriptor, request.ttl) == (False, 7)
    assert request.HasField("extract_basic_attributes")
    bare = attributes_pb2.ExtractAttributesRequest(sample_ids=[ID])
    validate(bare, None)
    assert (bare.extract_descriptor, bare.ttl, bare.score_threshold, bare.aggregate_attributes) == (True, 300, 0, False)


def test_nested_messages_get_their_defaults_too() -> None:
    request = matcher_pb2.MatchFacesRequest(
        references=[matcher_pb2.Reference(id=ID, type=matcher_pb2.REFERENCE_TYPE_FACE)],
        candidates=[matcher_pb2.Candidates(faces=matcher_pb2.FaceCandidates())],
    )
    validate(request, None)
    assert (request.candidates[0].limit, request.candidates[0].threshold) == (3, 0)


def test_a_default_that_is_an_enum_is_found_by_its_number_in_rest() -> None:
    request = samples_pb2.DetectFacesRequest()
    complete(request)
    assert request.multiface_policy == samples_pb2.MULTIFACE_POLICY_ALLOWED


@pytest.mark.parametrize("descriptor", list(requests()), ids=lambda d: d.name)
def test_the_defaults_of_a_request_keep_its_own_limits(descriptor: Descriptor) -> None:
    message = GetMessageClass(descriptor)()
    complete(message)
    assert [found.name for found in problems(message) if not found.missing] == []
    again = GetMessageClass(descriptor).FromString(message.SerializeToString())
    complete(again)
    assert again == message


@pytest.mark.parametrize(("number", "passes"), [(0, False), (1, True), (1000, True), (1001, False), (-(2**31), False)])
def test_both_ends_of_a_range_are_inside(number: int, passes: bool) -> None:
    found = list(problems(faces_pb2.ListFacesRequest(page_size=number)))
    assert (not found) is passes


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_number_passes_where_it_is_between_its_limits(value: float) -> None:
    request = attributes_pb2.ExtractAttributesRequest(sample_ids=[ID], score_threshold=value)
    assert (not list(problems(request))) is (not math.isnan(value) and 0 <= value <= 1)


@given(st.text(max_size=140))
def test_the_length_of_a_text_is_counted_in_characters(text: str) -> None:
    text = text.encode(errors="ignore").decode()
    found = list(problems(lists_pb2.CreateListRequest(user_data=text)))
    assert (not found) is (len(text) <= 128 and "\0" not in text)


@pytest.mark.parametrize("character", ["a", "é", "\U0001f600"])
def test_a_text_of_the_greatest_length_passes_in_every_script(character: str) -> None:
    assert not list(problems(lists_pb2.CreateListRequest(user_data=character * 128)))
    assert list(problems(lists_pb2.CreateListRequest(user_data=character * 129)))


@given(st.one_of(st.uuids().map(str), st.text(max_size=40), st.from_regex(re.compile(r"[0-9a-fA-F-]{36}"))))
def test_only_a_uuid_in_lower_case_with_dashes_is_one(text: str) -> None:
    text = text.encode(errors="ignore").decode()
    wanted = bool(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text))
    found = list(problems(faces_pb2.GetFaceRequest(face_id=text)))
    assert (not found) is wanted


def test_a_uuid_that_may_be_absent_may_be_empty_where_null_is_legal() -> None:
    assert not list(problems(faces_pb2.UpdateFaceRequest(face_id=ID, event_id="")))
    assert list(problems(faces_pb2.UpdateFaceRequest(face_id=ID, event_id="x")))


def test_a_pattern_holds_for_the_whole_text() -> None:
    def login(text: str) -> bool:
        request = accounts_pb2.CreateAccountRequest(
            login=text, password="abc", account_type=accounts_pb2.ACCOUNT_TYPE_USER
        )
        return not list(problems(request))

    assert login("a.b_c-1@host.org")
    for bad in ("a@b.c", "A@b.cd", "a@b.cd\n", "\na@b.cd", "x a@b.cd", "a@b.cd.", "@b.cd", "a@b1.cd"):
        assert not login(bad), bad


def test_lists_are_held_to_their_number_and_to_be_unique() -> None:
    ids = [f"00000000-0000-4000-8000-{number:012d}" for number in range(9)]
    extract = attributes_pb2.ExtractAttributesRequest
    assert not list(problems(extract(sample_ids=ids[:8])))
    assert "9 items" in next(problems(extract(sample_ids=ids))).description
    unique = attributes_pb2.CreateAttributeRequest(basic_attributes_samples=[ID, ID])
    assert "twice" in next(problems(unique)).description


def test_the_unspecified_value_stands_for_an_absent_field_and_is_no_item_of_a_list() -> None:
    policy = policies_pb2.DetectPolicy(multiface_policy=samples_pb2.MULTIFACE_POLICY_UNSPECIFIED)
    complete(policy)
    assert policy.multiface_policy == samples_pb2.MULTIFACE_POLICY_ALLOWED
    filters = policies_pb2.PolicyFilters(mask=[images_pb2.MASK_STATE_MISSING, images_pb2.MASK_STATE_UNSPECIFIED])
    assert [one.name for one in problems(filters)] == ["mask.1"]
    # there null selects events without a value
    assert not list(problems(event_filters_pb2.EventFilters(masks=[images_pb2.MASK_STATE_UNSPECIFIED])))


def test_an_unknown_number_of_an_enum_is_refused() -> None:
    request = samples_pb2.DetectFacesRequest(images=[images_pb2.ImageInput(url="x")])
    request.multiface_policy = cast("samples_pb2.MultifacePolicy.ValueType", 77)
    assert refused(request).violations[0].field == "multiface_policy"


@pytest.mark.parametrize(
    ("seconds", "nanos", "passes"),
    [(0, 0, True), (-62135596800, 0, True), (-62135596801, 0, False), (FAREST, 999999999, True),
     (FAREST + 1, 0, False), (0, -1, False), (0, 10**9, False), (2**63 - 1, 0, False)],
)  # fmt: skip
def test_a_time_is_in_the_years_1_to_9999(seconds: int, nanos: int, passes: bool) -> None:
    request = faces_pb2.ListFacesRequest(create_time_lt=Timestamp(seconds=seconds, nanos=nanos))
    assert (not list(problems(request))) is passes


def test_what_is_missing_is_told_apart_from_what_is_wrong() -> None:
    assert isinstance(refused(faces_pb2.GetFaceRequest()), MissingField)
    assert isinstance(refused(faces_pb2.GetFaceRequest(face_id="x")), BadBody)
    query = RestOrigin(frozenset({"face_id"}))
    assert isinstance(refused(faces_pb2.GetFaceRequest(), query), MissingQuery)
    assert isinstance(refused(faces_pb2.GetFaceRequest(face_id="x"), query), BadQuery)


def test_rest_is_told_the_names_of_rest_and_grpc_those_of_the_protos() -> None:
    request = faces_pb2.ListFacesRequest(face_id_lt="x")
    assert refused(request).violations[0].field == "face_id_lt"
    assert refused(request, RestOrigin(frozenset({"face_id_lt"}))).violations[0].field == "face_id__lt"


def test_every_wrong_field_is_named_with_its_place() -> None:
    request = matcher_pb2.MatchFacesRequest(
        references=[
            matcher_pb2.Reference(id=ID, type=matcher_pb2.REFERENCE_TYPE_FACE),
            matcher_pb2.Reference(id="x" * 257, type=matcher_pb2.REFERENCE_TYPE_FACE),
        ],
        candidates=[matcher_pb2.Candidates(faces=matcher_pb2.FaceCandidates(face_ids=[ID, "x"]), limit=0)],
    )
    assert [one.field for one in refused(request).violations] == [
        "references.1.id", "candidates.0.faces.face_ids.1", "candidates.0.limit",
    ]  # fmt: skip


def test_a_wrong_value_is_repeated_only_in_part() -> None:
    assert len(refused(faces_pb2.GetFaceRequest(face_id="y" * 100_000)).detail) < 300


def fields(descriptor: Descriptor) -> list[FieldDescriptor]:
    return list(cast("Any", descriptor.fields))


@given(st.data())
@settings(max_examples=300)
def test_any_message_is_accepted_or_refused_and_what_is_accepted_keeps_the_limits(data: st.DataObject) -> None:
    descriptor = data.draw(st.sampled_from(list(requests())))
    message = GetMessageClass(descriptor)()
    numbers = st.one_of(st.integers(-3, 3), st.sampled_from([8, 9, 100, 101, 180, 181, 300, 1000, 1001, 86400, 86401]))
    for field in fields(descriptor):
        if field.cpp_type == FieldDescriptor.CPPTYPE_INT32 and not field.is_repeated and data.draw(st.booleans()):
            setattr(message, field.name, data.draw(numbers))
        elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING and not field.is_repeated and data.draw(st.booleans()):
            if field.type == FieldDescriptor.TYPE_BYTES:
                setattr(message, field.name, data.draw(st.binary(max_size=4)))
            else:
                setattr(message, field.name, data.draw(st.sampled_from(["", ID, "x", "\0", "é" * 200])))
    try:
        validate(message, None)
    except LunaError as error:
        assert error.status == 400
        assert error.violations
        return
    for field in fields(descriptor):
        rules = field.GetOptions().Extensions[options_pb2.field]
        value = getattr(message, field.name)
        if (
            field.is_repeated
            or field.message_type is not None
            or (field.has_presence and not message.HasField(field.name))
        ):
            assert not (rules.required and field.is_repeated and not value)
            continue
        assert not rules.HasField("min") or value >= rules.min
        assert not rules.HasField("max") or value <= rules.max
        assert not rules.HasField("max_length") or len(value) <= rules.max_length
        assert not rules.required or value
        assert not isinstance(value, str) or "\0" not in value
