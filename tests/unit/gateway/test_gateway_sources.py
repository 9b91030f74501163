"""Sources in requests: images, samples and descriptors in every form of body, and what comes with them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from luna.v6 import events_pb2
from luna.v6.attributes_pb2 import DescriptorInput
from luna.v6.images_pb2 import Rect, Source
from openapi_schema_validator import OAS31Validator, oas31_format_checker

from gateway.binder import Binder
from gateway.body import Body
from gateway.contents import request_body
from gateway.media import BASE64_IMAGES, IMAGES, JSON, MSGPACK, XPK_FILES, parse
from gateway.places import places_of
from gateway.schemas import Schemas
from gateway.sources import given
from server.errors import LunaError
from server.rpc.methods import Method
from tests.unit.gateway.parts import multipart

DATA = bytes(range(256))
TEXT = base64.b64encode(DATA).decode()
BOX = {"x": 1, "y": 2, "width": 3, "height": 4}
RECT = Rect(x=1, y=2, width=3, height=4)
TIME = Timestamp(seconds=1533978701)
WRITTEN = "2018-08-11T09:11:41Z"
ID = "2c7e4b3a-6f0d-4a0e-9c4b-0d1e2f3a4b5c"
GENERATE = events_pb2.DESCRIPTOR.services_by_name["Events"].methods_by_name["GenerateEvents"]


def read(kind: str, body: bytes) -> list[Source]:
    return given(parse(kind), body).sources


def sent(value: object) -> list[Source]:
    return read(JSON, json.dumps(value).encode())


def code_of(kind: str, body: bytes) -> int:
    with pytest.raises(LunaError) as caught:
        given(parse(kind), body, {"policies", "meta"})
    return caught.value.code


@pytest.mark.parametrize("kind", IMAGES)
def test_an_image_is_taken_as_it_is(kind: str) -> None:
    assert read(kind, DATA) == [Source(data=DATA)]


@pytest.mark.parametrize("kind", BASE64_IMAGES)
def test_an_image_is_taken_as_base64(kind: str) -> None:
    assert read(kind, f"{TEXT}\n".encode()) == [Source(data=DATA)]


def test_a_descriptor_is_taken_as_it_is_and_as_base64() -> None:
    expected = [Source(descriptor=DescriptorInput(sdk_descriptor=DATA))]
    assert read("application/x-sdk-descriptor", DATA) == expected
    assert read("application/x-sdk-descriptor-base64", TEXT.encode()) == expected


@pytest.mark.parametrize("kind", XPK_FILES)
def test_no_descriptor_is_found_in_an_xpk_file(kind: str) -> None:
    assert code_of(kind, TEXT.encode()) == 12037


ITEMS: list[tuple[Mapping[str, object], Source]] = [
    ({"url": "http://a/b"}, Source(url="http://a/b")),
    ({"sample_id": ID}, Source(sample_id=ID)),
    ({"sample_id": ID, "type": "face", "face_bounding_boxes": [BOX]}, Source(sample_id=ID, face_bounding_boxes=[RECT])),
    ({"data": TEXT, "mimetype": "image/png", "filename": "f"}, Source(data=DATA, filename="f")),
    ({"image": TEXT, "body_bounding_boxes": [BOX]}, Source(data=DATA, body_bounding_boxes=[RECT])),
    (
        {"url": "http://a", "detect_time": WRITTEN, "detect_ts": 0, "image_origin": "https://c/d"},
        Source(url="http://a", detect_time=TIME, detect_ts=0, image_origin_url="https://c/d"),
    ),
    ({"url": "http://a", "image_origin": TEXT}, Source(url="http://a", image_origin_data=DATA)),
    (
        {"url": "http://a", "image_origin": f"/6/images/{ID}"},
        Source(url="http://a", image_origin_url=f"/6/images/{ID}"),
    ),
    ({"url": "http://a", "detect_time": None, "detect_ts": None, "image_origin": None}, Source(url="http://a")),
    (
        {"id": "p", "type": "sdk_descriptor", "data": TEXT},
        Source(filename="p", descriptor=DescriptorInput(sdk_descriptor=DATA)),
    ),
    (
        {"type": "raw_descriptor", "data": {"descriptor": TEXT, "version": 59}, "detect_ts": 1.5},
        Source(descriptor=DescriptorInput(descriptor=DATA, version=59), detect_ts=1.5),
    ),
]


@pytest.mark.parametrize(("item", "source"), ITEMS)
def test_json_names_a_source_in_each_of_its_forms(item: Mapping[str, object], source: Source) -> None:
    assert sent([item]) == sent({"sources": [item]}) == sent({"images": [item]}) == [source]


def test_urls_and_samples_may_be_bare_texts_among_objects_and_order_is_kept() -> None:
    assert sent({"urls": ["http://a", {"url": "http://b", "detect_ts": 1}]}) == [
        Source(url="http://a"), Source(url="http://b", detect_ts=1),
    ]  # fmt: skip
    assert sent({"samples": [ID, {"sample_id": ID, "type": "body"}]}) == [Source(sample_id=ID), Source(sample_id=ID)]


BAD: list[tuple[object, int]] = [
    ([], 12022), ({}, 12022), (1, 12022), ([1], 12022), (["http://a"], 12022), ([{}], 12022), ({"urls": []}, 12022),
    ({"urls": [""]}, 12022), ({"urls": ["a"], "samples": ["b"]}, 12022), ({"nose": []}, 12022),
    ({"sources": [ID]}, 12022),
    ([{"url": "a", "sample_id": "b"}], 12022), ([{"url": "a", "x": 1}], 12022), ([{"url": 1}], 12022),
    ([{"url": None}], 12022), ([{"data": "!"}], 18001), ([{"data": ""}], 12022),
    ([{"data": TEXT, "mimetype": "a"}], 12022),
    ([{"url": "a", "mimetype": "image/png"}], 12022), ([{"url": "a", "type": "face"}], 12022),
    ([{"sample_id": "a", "type": "nose"}], 12022), ([{"sample_id": "a", "type": []}], 12022),
    ([{"url": "a", "id": "b"}], 12022),
    ([{"url": "a", "detect_time": "now"}], 12022), ([{"url": "a", "detect_ts": "1"}], 12022),
    ([{"url": "a", "image_origin": "!"}], 18001), ([{"url": "a", "image_origin": ""}], 12003),
    ([{"url": "a", "image_origin": 1}], 12022), ([{"url": "a", "face_bounding_boxes": None}], 12022),
    ([{"url": "a", "face_bounding_boxes": [{"x": 1.5}]}], 12022),
    ([{"type": "face", "data": TEXT}], 12022), ([{"type": "sdk_descriptor", "data": {"descriptor": TEXT}}], 12022),
    ([{"type": "raw_descriptor", "data": TEXT}], 12022), ([{"type": "sdk_descriptor", "data": ""}], 12022),
    ([{"type": "xpk_file", "data": TEXT}], 12037), ([{"type": "sdk_descriptor"}], 12022),
    ([{"type": "sdk_descriptor", "data": TEXT, "id": "a", "filename": "b"}], 12022),
    ([{"type": "sdk_descriptor", "data": TEXT, "mimetype": "image/png"}], 12022),
]  # fmt: skip


@pytest.mark.parametrize(("value", "code"), BAD)
def test_json_that_names_none_is_refused(value: object, code: int) -> None:
    assert code_of(JSON, json.dumps(value).encode()) == code


def test_errors_name_the_member_by_its_path() -> None:
    for value, path in (
        ([{"url": "a", "detect_time": "now"}], "'0.detect_time'"),
        ({"images": [{"image": TEXT}, {"url": "a", "face_bounding_boxes": [BOX, {}, {"x": "a"}]}]},
         "'images.1.face_bounding_boxes.2.x'"),
        ([{"image": "!"}], "0.image:"), ([{"data": "!"}], "0.data:"), ([{"url": "a", "filename": 1}], "'0.filename'"),
        ([{"type": "sdk_descriptor", "data": "!"}], "0.data:"),
        ([{"type": "raw_descriptor", "data": {"descriptor": TEXT, "version": "a"}}], "'0.data.version'"),
        ([{"type": "sdk_descriptor", "data": TEXT, "id": 1}], "'0.id'"),
    ):  # fmt: skip
        with pytest.raises(LunaError, match=re.escape(path)):
            sent(value)


def test_lines_of_base64_are_one_text() -> None:
    lines = base64.encodebytes(DATA)
    assert read("application/x-sdk-descriptor-base64", lines) == [
        Source(descriptor=DescriptorInput(sdk_descriptor=DATA))
    ]
    assert read("image/x-jpeg-base64", lines) == [Source(data=DATA)]


def told(name: str, *items: object, kind: str = JSON) -> tuple[str, str, str, bytes]:
    return name, "", kind, json.dumps(items).encode()


def test_parts_are_taken_in_their_order_with_what_other_parts_tell_of_them() -> None:
    kind, body = multipart(
        told("detect_time", {"filename": "b", "detect_time": WRITTEN}),
        told("detect_ts", {"filename": "b", "detect_ts": 0}, {"filename": "a", "detect_ts": 2.5}),
        ("image", "a", "image/jpeg", DATA),
        ("image", "b", "image/x-png-base64", TEXT.encode()),
        ("image", "c", "application/x-sdk-descriptor", DATA),
        told("face_bounding_boxes", {"filename": "a", "face_bounding_boxes": [BOX]}),
        told("image_origin", {"filename": "b", "image_origin": TEXT}, {"filename": "c", "image_origin": "http://d"}),
    )
    assert read(kind, body) == [
        Source(filename="a", data=DATA, detect_ts=2.5, face_bounding_boxes=[RECT]),
        Source(filename="b", data=DATA, detect_time=TIME, detect_ts=0, image_origin_data=DATA),
        Source(filename="c", descriptor=DescriptorInput(sdk_descriptor=DATA), image_origin_url="http://d"),
    ]


IMAGE = ("image", "a", "image/jpeg", DATA)


@pytest.mark.parametrize(("parts", "code"), [
    ([], 11049), ([told("detect_ts")], 11049), ([("image", "a", "image/jpeg", b"")], 11049),
    ([("image", "a", "text/plain", b"x")], 11029), ([("image", "a", "application/x-sdk-descriptor", b"")], 11049),
    ([("image", "a", "application/x-vl-xpk", b"x")], 12037), ([IMAGE, told("detect_ts"), told("detect_ts")], 11049),
    ([IMAGE, told("face_bounding_boxes"), told("face_bounding_boxes")], 11048),
    ([IMAGE, told("detect_ts", {"filename": "b", "detect_ts": 1})], 11049),
    ([IMAGE, IMAGE, told("detect_ts", {"filename": "a", "detect_ts": 1})], 11049),
    ([IMAGE, told("detect_ts", {"filename": "a", "detect_ts": "1"})], 12022),
    ([IMAGE, told("detect_ts", {"filename": "a"})], 12003), ([IMAGE, told("detect_ts", kind="text/plain")], 12041),
    ([IMAGE, ("policies", "", JSON, b"{}"), ("policies", "", JSON, b"{}")], 11049),
    ([IMAGE, ("policies", "", "text/plain", b"{}")], 12041), ([IMAGE, ("policies", "", JSON, b"{")], 12002),
])  # fmt: skip
def test_bad_parts_are_told_apart(parts: list[tuple[str, str, str, bytes]], code: int) -> None:
    assert code_of(*multipart(*parts)) == code


@pytest.mark.parametrize(("kind", "code"), [("image/gif", 11028), ("text/plain", 12024), ("", 12024)])
def test_other_types_are_refused(kind: str, code: int) -> None:
    assert code_of(kind, DATA) == code
    assert code_of(kind, b"") == 12030


def generating() -> Body:
    async def unused(_request: object, _context: object) -> events_pb2.GenerateEventsResponse:
        raise NotImplementedError

    binders = {JSON: Binder(binary=False), MSGPACK: Binder(binary=True)}
    return Body(Method(GENERATE, unused), places_of(GENERATE), binders)


def test_parts_that_are_other_fields_of_the_request_go_there() -> None:
    kind, body = multipart(
        IMAGE,
        ("policies", "", JSON, b'{"detect_policy": {"detect_body": 1}}'),
        ("meta", "", JSON, b'{"a": [1, null]}'),
    )
    request = events_pb2.GenerateEventsRequest()
    generating().read(request, kind, body)
    assert list(request.sources) == [Source(filename="a", data=DATA)]
    assert request.policies.detect_policy.detect_body
    assert request.meta["a"][0] == 1
    kind, body = multipart(IMAGE, ("policies", "", JSON, b'{"detect_policy": {"nose": 1}}'))
    with pytest.raises(LunaError, match=r"policies\.detect_policy\.nose"):
        generating().read(request, kind, body)
    with pytest.raises(LunaError, match="extra fields"):
        generating().read(request, JSON, b'{"urls": ["http://a"], "policies": {}}')


IN_WORDS = [value for value, code in BAD if code in {18001, 12037}] + [
    [{"type": "sdk_descriptor", "data": {"descriptor": TEXT}}], [{"type": "raw_descriptor", "data": TEXT}],
    [{"type": "sdk_descriptor", "data": ""}], [{"type": "sdk_descriptor", "data": TEXT, "id": "a", "filename": "b"}],
]  # fmt: skip
"""What the schema says in words alone: what Base64 is, and which form of `data` belongs to which `type`."""


def test_the_description_takes_what_is_taken() -> None:
    schemas = Schemas([GENERATE.input_type], [])
    body = request_body(GENERATE, places_of(GENERATE), schemas)
    assert body is not None
    content = body["content"]
    assert isinstance(content, dict)
    whole = {**content[JSON]["schema"], "components": {"schemas": schemas.components}}
    schema = OAS31Validator(whole, format_checker=oas31_format_checker)
    for item, _ in ITEMS:
        assert schema.is_valid([item]), item
        assert schema.is_valid({"sources": [item]}), item
    for value, _ in BAD:
        assert value in IN_WORDS or not schema.is_valid(value), value
    parts = content["multipart/form-data"]["schema"]["properties"]
    assert {"policies", "meta", "detect_time", "image_origin"} <= parts.keys()
