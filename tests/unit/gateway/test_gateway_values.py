"""Values to messages and back: binder against renderer, both against protobuf's own JSON and tables by hand."""

from __future__ import annotations

import base64
import importlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from luna.v6 import (
    accounts_pb2,
    attributes_pb2,
    faces_pb2,
    images_pb2,
    lists_pb2,
    liveness_pb2,
    matcher_pb2,
    platform_pb2,
    samples_pb2,
    tasks_pb2,
)

from gateway import times
from gateway.binder import INTEGERS, Binder
from gateway.documents import read_json, read_msgpack, write_json, write_msgpack
from gateway.forms import RestField, rest_enum, rest_field, rest_message
from gateway.render import Renderer
from server.errors import LunaError

FILES = (
    *("accounts", "attributes", "bodies", "checks", "event_filters", "events", "faces", "handlers", "images", "iso"),
    *("lists", "liveness", "matcher", "platform", "policies", "samples", "sdk"),
)
DOCUMENTS = {False: (read_json, write_json), True: (read_msgpack, write_msgpack)}


def descriptors() -> Iterator[Descriptor]:
    for name in FILES:
        yield from importlib.import_module(f"luna.v6.{name}_pb2").DESCRIPTOR.message_types_by_name.values()


def values(known: RestField) -> st.SearchStrategy[object]:
    """Values of a field that REST can tell apart: a nullable text is not empty, an enum has a REST form."""
    field = known.descriptor
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return st.text(
                st.characters(exclude_categories=["Cs"]), min_size=known.rules.required or known.rules.nullable
            )
        case FieldDescriptor.TYPE_BYTES:
            return st.binary(max_size=40)
        case FieldDescriptor.TYPE_BOOL:
            return st.booleans()
        case FieldDescriptor.TYPE_ENUM:
            assert field.enum_type is not None
            unspoken = [0] if known.rules.null_value else []
            return st.sampled_from([*unspoken, *sorted(rest_enum(field.enum_type).written)])
        case FieldDescriptor.TYPE_DOUBLE:
            return st.floats(allow_nan=False, allow_infinity=False)
        case _:
            return st.integers(*INTEGERS[field.type])


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor) -> Message:
    """Messages of a type, with what REST requires and without what it does not have."""
    message = GetMessageClass(descriptor)()
    if isinstance(message, Timestamp):
        moment = draw(st.datetimes(timezones=st.just(UTC)))
        message.FromDatetime(moment)
        return message
    if descriptor.full_name.startswith("google.protobuf."):
        Binder(binary=False).bind(message, draw(FREE[descriptor.name]))
        return message
    form = rest_message(descriptor)
    chosen = [draw(st.sampled_from(union.fields)) for union in form.unions]
    for known in (*form.fields, *chosen):
        oneof = known.descriptor.containing_oneof
        if oneof is not None and len(oneof.fields) > 1 and known not in chosen and message.WhichOneof(oneof.name):
            continue
        needed = (
            known in chosen
            or (known.repeated and known.filled)
            or known.rules.required
            or known.rules.present
            or (known.text and known.rules.nullable)
        )
        if form.tuple or needed or draw(st.booleans()):
            _fill(draw, message, known)
    return message


def _fill(draw: st.DrawFn, message: Message, known: RestField) -> None:
    if known.map:
        assert known.message is not None
        valued = rest_field(known.message.fields_by_name["value"])
        for name in draw(st.lists(st.text("abc"), max_size=3)):
            if valued.message is not None:
                getattr(message, known.key)[name].CopyFrom(draw(messages(valued.message)))
            else:
                getattr(message, known.key)[name] = draw(values(valued))
    elif known.repeated:
        for _ in range(draw(st.integers(min_value=int(known.filled), max_value=2))):
            if known.message is not None:
                getattr(message, known.key).add().CopyFrom(draw(messages(known.message)))
            else:
                getattr(message, known.key).append(draw(values(known)))
    elif known.message is not None:
        getattr(message, known.key).CopyFrom(draw(messages(known.message)))
    else:
        setattr(message, known.key, draw(values(known)))


SCALARS = st.none() | st.booleans() | st.text("aä\u2028\0") | st.integers(-(2**53), 2**53) | st.floats(-1e300, 1e300)
LISTS = st.lists(SCALARS, max_size=2)
FREE = {
    "Value": SCALARS | LISTS,
    "ListValue": LISTS,
    "Struct": st.dictionaries(st.text("ab"), SCALARS | LISTS, max_size=2),
}


@settings(deadline=None, max_examples=500)
@given(st.sampled_from(sorted(descriptors(), key=lambda one: one.full_name)).flatmap(messages), st.booleans())
def test_what_is_rendered_binds_to_the_same_message(message: Message, binary: bool) -> None:
    read, write = DOCUMENTS[binary]
    document = read(write(Renderer(binary=binary).render(message)))
    again = type(message)()
    Binder(binary=binary).bind(again, document)
    assert again == message


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text(), st.recursive(SCALARS, lambda one: st.lists(one) | st.dictionaries(st.text(), one), max_leaves=9)
    )
)
def test_structs_are_read_and_written_as_protobuf_does(value: dict[str, object]) -> None:
    struct = Struct()
    Binder(binary=False).bind(struct, value)
    assert struct == ParseDict(value, Struct())
    assert Renderer(binary=False).render(struct) == MessageToDict(struct)


@settings(deadline=None)
@given(
    st.datetimes(
        timezones=st.builds(lambda m: timezone(timedelta(minutes=m)), st.integers(-1439, 1439)),
        min_value=datetime(1, 1, 3),
        max_value=datetime(9999, 12, 29),
    )
)
def test_times_are_read_and_written_as_protobuf_and_python_do(moment: datetime) -> None:
    reference = Timestamp()
    reference.FromDatetime(moment)
    assert times.parse(moment.isoformat()) == reference
    assert datetime.fromisoformat(times.write(reference)) == moment
    assert times.write(reference).endswith("Z")


@pytest.mark.parametrize(("text", "same"), [
    ("2018-08-11T09:11:41.674Z", "2018-08-11T09:11:41.674000Z"),
    ("2021-08-11T14:57:18.416928+03:00", "2021-08-11T11:57:18.416928Z"),
    ("2021-08-11t00:57:18-03:30", "2021-08-11T04:27:18.000000Z"),
    ("1969-12-31T23:59:59.999999999Z", "1969-12-31T23:59:59.999999Z"),
])  # fmt: skip
def test_times_of_rfc_3339_are_understood(text: str, same: str) -> None:
    assert times.write(times.parse(text)) == same


@pytest.mark.parametrize("text", [
    "", "2018-08-11", "2018-08-11T09:11:41", "2018-08-11 09:11:41Z", "2018-02-30T00:00:00Z", "2018-08-11T24:00:00Z",
    "2018-08-11T09:11:60Z", "0001-01-01T00:00:00+01:00", "2018-08-11T09:11:41+24:00", "2018-08-11T09:11:41.Z",
    "٢٠١٨-08-11T09:11:41Z", "2018-08-11T09:11:41Z\n", "0000-01-01T00:00:00Z",
])  # fmt: skip
def test_times_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|range|day|month|hour|second|year"):
        times.parse(text)


@pytest.mark.parametrize(("message", "value", "code", "path"), [
    (faces_pb2.CreateFaceRequest, [], 12022, ""),
    (faces_pb2.CreateFaceRequest, {"nose": 1}, 12022, "nose"),
    (faces_pb2.CreateFaceRequest, {"user_data": 1}, 12022, "user_data"),
    (faces_pb2.CreateFaceRequest, {"user_data": None}, 12022, "user_data"),
    (faces_pb2.CreateFaceRequest, {"lists": []}, 12022, "lists"),
    (faces_pb2.CreateFaceRequest, {"lists": "a"}, 12022, "lists"),
    (faces_pb2.CreateFaceRequest, {"lists": ["a", None]}, 12022, "lists.1"),
    (attributes_pb2.CreateAttributeRequest, {"basic_attributes": {"age": True}}, 12022, "basic_attributes.age"),
    (attributes_pb2.CreateAttributeRequest, {"basic_attributes": {"age": 1.0}}, 12022, "basic_attributes.age"),
    (attributes_pb2.CreateAttributeRequest, {"basic_attributes": {"age": "1"}}, 12022, "basic_attributes.age"),
    (attributes_pb2.CreateAttributeRequest, {"basic_attributes": {"age": 2**31}}, 12022, "basic_attributes.age"),
    (attributes_pb2.BasicAttributes, {"gender": 2}, 12022, "gender"),
    (attributes_pb2.BasicAttributes, {"gender": False}, 12022, "gender"),
    (faces_pb2.CreateFaceRequest, {"attribute": {"face_descriptors": [1]}}, 12022, "attribute.face_descriptors.0"),
    (faces_pb2.CreateFaceRequest, {"attribute": {"face_descriptors": ["!"]}}, 18001, "attribute.face_descriptors.0"),
    (faces_pb2.CreateFaceRequest, {"attribute": {"face_descriptors": ["AAA"]}}, 18001, "attribute.face_descriptors.0"),
    (faces_pb2.FaceAttributeInput, {"face_descriptors": [{"sdk_descriptor": "AA"}]}, 12022, "0.sdk_descriptor"),
    (faces_pb2.UpdateFaceRequest, {"user_data": None}, 12022, "user_data"),
    (lists_pb2.UpdateListFacesRequest, {"list_id": "a", "action": "attach"}, 12003, "face_ids"),
    (lists_pb2.UpdateListFacesRequest, {"list_id": "a", "action": "drop", "face_ids": ["a"]}, 12022, "attach, detach"),
    (lists_pb2.UpdateListFacesRequest, {"list_id": "", "action": "attach", "face_ids": ["a"]}, 12022, "list_id"),
    (accounts_pb2.CreateAccountRequest, {"login": "a", "password": "b"}, 12003, "account_type"),
    (matcher_pb2.MatchFacesRequest, {"references": [{"id": "a", "type": "face"}]}, 12003, "candidates"),
    (matcher_pb2.MatchFacesRequest, {"references": [{"id": "a", "type": "nose"}]}, 12022, "references.0.type"),
    (matcher_pb2.MatchFacesRequest, {"references": [{"type": "face"}], "candidates": []}, 12003, "references.0.id"),
    (matcher_pb2.Candidates, {"limit": 1}, 12003, "filters"),
    (matcher_pb2.Candidates, {"filters": {}}, 12003, "filters.origin"),
    (matcher_pb2.Candidates, {"filters": []}, 12022, "filters"),
    (matcher_pb2.Candidates, {"filters": {"origin": "nose"}}, 12022, "filters.origin"),
    (matcher_pb2.Candidates, {"filters": {"origin": ["faces"]}}, 12022, "filters.origin"),
    (matcher_pb2.Candidates, {"filters": {"origin": "faces", "face_ids": []}}, 12022, "filters.face_ids"),
    (matcher_pb2.Candidates, {"filters": {"origin": "attributes"}}, 12003, "filters.attribute_ids"),
    (matcher_pb2.Candidates, {"filters": {"origin": "faces"}, "faces": {}}, 12022, "faces"),
    (matcher_pb2.Candidates, {"filters": {"origin": "faces", "create_time__lt": 5}}, 12022, "filters.create_time__lt"),
    (matcher_pb2.Candidates, {"filters": {"origin": "faces", "create_time_lt": "x"}}, 12022, "filters.create_time_lt"),
    (matcher_pb2.Candidates, {"filters": {"origin": "faces"}, "threshold": float("nan")}, 12022, "threshold"),
    (tasks_pb2.ClusteringContent, {}, 12003, "objects_type"),
    (tasks_pb2.ClusteringContent, {"filters": {}}, 12003, "objects_type"),
    (tasks_pb2.ClusteringContent, {"objects_type": "noses"}, 12022, "objects_type"),
    (tasks_pb2.ClusteringContent, {"objects_type": ["faces"]}, 12022, "objects_type"),
    (tasks_pb2.ClusteringContent, {"objects_type": "faces", "filters": None}, 12022, "filters"),
    (tasks_pb2.ClusteringContent, {"objects_type": "faces", "filters": {"tags": ["a"]}}, 12022, "filters.tags"),
    (tasks_pb2.ClusteringContent, {"objects_type": "faces", "filters": {"objects_type": "a"}}, 12022, "filters.obj"),
    (tasks_pb2.ClusteringContent, {"objects_type": "faces", "faces": {}}, 12022, "faces"),
    (tasks_pb2.GcContent, {"target": "faces", "remove_samples": 2}, 12022, "remove_samples"),
    (tasks_pb2.GcContent, {"target": "faces", "remove_samples": "1"}, 12022, "remove_samples"),
    (tasks_pb2.CrossMatchContent, {"reference_filters": {"origin": "reference_faces"}}, 12022, "filters.origin"),
    (images_pb2.ImageInput, {"url": "a", "sample_id": "b"}, 12022, "sample_id, url"),
    (images_pb2.Point, [1], 12022, "2 items"),
    (images_pb2.Point, {"x": 1, "y": 2}, 12022, "2 items"),
    (samples_pb2.DetectedImage, {"status": True}, 12022, "status"),
    (Struct, {"a": 2**53 + 1}, 12022, "a"),
    (attributes_pb2.BasicAttributes, {"ethnicity": "asian"}, 12022, "ethnicity"),
    (images_pb2.LivenessEstimation, {"prediction": 0}, 12022, "prediction"),
])  # fmt: skip
def test_values_that_do_not_fit_are_refused_with_their_path(
    message: type[Message], value: object, code: int, path: str
) -> None:
    with pytest.raises(LunaError) as caught:
        Binder(binary=False).bind(message(), value)
    assert (caught.value.code, path in caught.value.detail) == (code, True), caught.value.detail


def test_a_member_that_is_spelt_wrong_is_told_with_the_one_that_may_be_meant() -> None:
    def refused(value: dict[str, object]) -> str:
        with pytest.raises(LunaError) as caught:
            Binder(binary=False).bind(faces_pb2.CreateFaceRequest(), value)
        return str(caught.value)

    assert "Path: 'user_dat', message: 'extra fields not permitted; is 'user_data' meant?'" in refused({"user_dat": ""})
    assert "message: 'extra fields not permitted'" in refused({"quux": ""})
    assert "message: 'extra fields not permitted'" in refused({"user_data" * 1000: ""})


def test_bytes_are_base64_in_json_and_bytes_in_msgpack() -> None:
    data = b"\0\xff\xfe"
    for binary, value in ((False, base64.b64encode(data).decode()), (True, data)):
        request = attributes_pb2.CreateAttributeRequest()
        Binder(binary=binary).bind(request, {"face_descriptors": [value, {"descriptor": value, "version": 1001}]})
        assert request.face_descriptors[0].sdk_descriptor == data
        assert request.face_descriptors[1].descriptor == data
    with pytest.raises(LunaError, match="bytes expected"):
        Binder(binary=True).bind(attributes_pb2.CreateAttributeRequest(), {"face_descriptors": ["AAAA"]})


def test_null_takes_a_nullable_text_away_and_absence_leaves_it() -> None:
    for value, present in (({"face_id": "a", "event_id": None}, True), ({"face_id": "a"}, False)):
        request = faces_pb2.UpdateFaceRequest()
        Binder(binary=False).bind(request, value)
        assert (request.HasField("event_id"), request.event_id) == (present, "")


@pytest.mark.parametrize(("value", "chosen"), [
    ({"objects_type": "events"}, tasks_pb2.LinkerContent(events={})),
    ({"filters": {"tags": ["a"]}, "objects_type": "events"}, tasks_pb2.LinkerContent(events={"tags": ["a"]})),
    ({"objects_type": "faces", "filters": {"list_id": None}}, tasks_pb2.LinkerContent(faces={"list_id": ""})),
])  # fmt: skip
def test_what_chooses_a_union_may_stand_beside_its_object(value: object, chosen: Message) -> None:
    content = tasks_pb2.LinkerContent()
    Binder(binary=False).bind(content, value)
    assert content == chosen


@pytest.mark.parametrize(("value", "meant"), [(0, False), (1, True), (False, False), (True, True)])
def test_a_flag_may_be_a_boolean_where_clients_send_both(value: object, meant: bool) -> None:
    content = tasks_pb2.GcContent()
    Binder(binary=False).bind(content, {"target": "faces", "remove_samples": value})
    assert content.remove_samples is meant
    assert Renderer(binary=False).render(content) == {"target": "faces", "filters": {}, "remove_samples": int(meant)}


def test_a_mask_names_the_fields_that_are_written() -> None:
    face = faces_pb2.Face(
        face_id="a", user_data="b", targets=[faces_pb2.FACE_FIELD_EVENT_ID, faces_pb2.FACE_FIELD_LISTS]
    )
    assert Renderer(binary=False).render(face) == {"event_id": None, "lists": []}


@pytest.mark.parametrize(("message", "value"), [
    (attributes_pb2.BasicAttributes(age=0, gender=attributes_pb2.GENDER_FEMALE), {"age": 0, "gender": 0}),
    (attributes_pb2.BasicAttributes(), {}),
    (images_pb2.FaceDetection(landmarks5=[images_pb2.Point(x=1, y=2)]), {"rect": None, "landmarks5": [[1, 2]]}),
    (
        platform_pb2.GetVersionResponse(platform=platform_pb2.ServiceVersion(major=5)),
        {"LUNA PLATFORM": {"major": 5, "minor": 0, "patch": 0}},
    ),
    (faces_pb2.CountFacesResponse(faces_count=2**53 + 1), {"faces_count": 2**53 + 1}),
    (images_pb2.HeadPose(pitch=0.1, roll=-1e-300, yaw=1 / 3), {"pitch": 0.1, "roll": -1e-300, "yaw": 1 / 3}),
    (
        matcher_pb2.CandidateMatches(faces=matcher_pb2.FaceCandidates(list_id="a")),
        {"limit": 0, "result": [], "filters": {"origin": "faces", "list_id": "a"}},
    ),
    (accounts_pb2.Account(), {"account_id": "", "login": "", "description": ""}),
    (
        tasks_pb2.AdditionalExtractContent(faces=tasks_pb2.FaceFilters(user_data="a")),
        {"objects_type": "faces", "filters": {"user_data": "a"}},
    ),
    (tasks_pb2.GcContent(face_descriptors={}), {"target": "face_descriptors", "filters": {}}),
    (
        tasks_pb2.CrossMatchContent(reference_faces={}, candidate_attributes={"attribute_ids": ["a"]}),
        {
            "reference_filters": {"origin": "faces"},
            "candidate_filters": {"origin": "attributes", "attribute_ids": ["a"]},
        },
    ),
    # one enum: its words where the field asks for them, its numbers elsewhere
    (
        images_pb2.LivenessEstimation(prediction=images_pb2.LIVENESS_STATE_SPOOF),
        {"prediction": "spoof"},
    ),
    (liveness_pb2.LivenessPrediction(prediction=images_pb2.LIVENESS_STATE_SPOOF), {"prediction": 0}),
    (attributes_pb2.BasicAttributes(ethnicity=attributes_pb2.ETHNICITY_ASIAN), {"ethnicity": 3}),
])  # fmt: skip
def test_messages_are_written_as_their_options_say(message: Message, value: object) -> None:
    assert Renderer(binary=False).render(message) == value
    assert read_json(write_json(Renderer(binary=False).render(message))) == value
