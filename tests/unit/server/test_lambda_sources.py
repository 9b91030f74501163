"""Requests for events as lambdas read them: every form that a handler takes, and what can not be one."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from server.lambda_sdk.errors import BadRequest
from server.lambda_sdk.source_forms import BASE64_IMAGES, IMAGES, event_sources
from server.lambda_sdk.sources import EventSources, Rect, Source, SourceData, SourceType
from tests.unit.gateway.parts import multipart

DATA = bytes(range(256))
TEXT = base64.b64encode(DATA).decode()
BOX = {"x": 1, "y": 2, "width": 3, "height": 4}
ID = "2c7e4b3a-6f0d-4a0e-9c4b-0d1e2f3a4b5c"
TIME = datetime(2018, 8, 11, 9, 11, 41, tzinfo=UTC)
WRITTEN = "2018-08-11T09:11:41Z"


def read(
    body: bytes, kind: str, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> EventSources:
    return event_sources(body, kind, query or {}, headers or {})


def one(value: object, **query: str) -> Source:
    (source,) = read(json.dumps(value).encode(), "application/json", query).sources
    return source


@pytest.mark.parametrize("kind", IMAGES)
def test_an_image_is_taken_as_it_is(kind: str) -> None:
    assert read(DATA, kind).sources == (Source(filename="raw_image", body=DATA),)


@pytest.mark.parametrize("kind", BASE64_IMAGES)
def test_an_image_is_taken_as_base64(kind: str) -> None:
    assert read(f"{TEXT}\n".encode(), kind).sources == (Source(filename="raw_image", body=DATA),)


def test_descriptors_are_taken_in_both_forms() -> None:
    expected = (Source(filename="raw_image", descriptor=DATA),)
    assert read(DATA, "application/x-sdk-descriptor").sources == expected
    assert read(TEXT.encode(), "application/x-sdk-descriptor-base64").sources == expected


def test_parts_are_images_and_what_is_told_of_them() -> None:
    kind, body = multipart(
        ("image", "a.jpg", "image/jpeg", DATA),
        ("image", "b.png", "image/x-png-base64", TEXT.encode()),
        ("image", "", "application/x-sdk-descriptor", DATA),
        ("policies", "", "application/json", b'{"detect_policy": {}}'),
        ("meta", "", "application/json", b'{"a": [1]}'),
        (
            "face_bounding_boxes",
            "",
            "application/json",
            json.dumps([{"filename": "b.png", "face_bounding_boxes": [BOX]}]).encode(),
        ),
        ("detect_time", "", "application/json", json.dumps([{"filename": "a.jpg", "detect_time": WRITTEN}]).encode()),
        ("detect_ts", "", "application/json", b'[{"filename": "a.jpg", "detect_ts": 1.5}]'),
        ("image_origin", "", "application/json", b'[{"filename": "a.jpg", "image_origin": "/6/images/x"}]'),
        ("note", "", "text/plain", b"passed over"),
    )
    found = read(body, kind)
    assert found.sources == (
        Source(filename="a.jpg", body=DATA, detect_time=TIME, detect_ts=1.5, image_origin="/6/images/x"),
        Source(filename="b.png", body=DATA, face_bounding_boxes=(Rect(1, 2, 3, 4),)),
        Source(filename="raw_image_2", descriptor=DATA),
    )
    assert found.policies == {"detect_policy": {}}
    assert found.source_data == SourceData(meta={"a": [1]})


@pytest.mark.parametrize(
    ("value", "source"),
    [
        ([{"url": "http://a/b.jpg"}], Source(filename="raw_image", url="http://a/b.jpg")),
        ({"urls": ["http://a/b.jpg"]}, Source(filename="raw_image", url="http://a/b.jpg")),
        ({"samples": [ID]}, Source(filename="raw_image", sample_id=ID)),
        (
            [{"sample_id": ID, "type": "body"}],
            Source(filename="raw_image", sample_id=ID, source_type=SourceType.BODY_SAMPLE),
        ),
        ({"images": [{"image": TEXT, "filename": "a"}]}, Source(filename="a", body=DATA)),
        ([{"data": TEXT, "mimetype": "image/png"}], Source(filename="raw_image", body=DATA)),
        ([{"data": TEXT, "type": "sdk_descriptor", "id": "a"}], Source(filename="a", descriptor=DATA)),
        (
            [{"url": "x", "detect_time": WRITTEN, "body_bounding_boxes": [BOX]}],
            Source(filename="raw_image", url="x", detect_time=TIME, body_bounding_boxes=(Rect(1, 2, 3, 4),)),
        ),
        ([{"url": "x", "image_origin": TEXT}], Source(filename="raw_image", url="x", image_origin=DATA)),
        (
            [{"url": "x", "image_origin": "https://a/b"}],
            Source(filename="raw_image", url="x", image_origin="https://a/b"),
        ),
        ([{"url": "x", "a member of the caller's own": 1}], Source(filename="raw_image", url="x")),
        ([{"url": "x", "detect_time": None, "filename": None}], Source(filename="raw_image", url="x")),
    ],
)
def test_json_tells_of_sources_in_the_forms_of_handlers(value: object, source: Source) -> None:
    assert one(value) == source


STREAM = {
    "aggregate_attributes": 0,
    "use_exif_info": 0,
    "sources": [
        {
            "source_data": {
                "source": "door",
                "stream_id": ID,
                "tags": ["a", "b"],
                "user_data": "u",
                "external_id": "e",
                "track_id": "t",
                "meta": {"m": 1},
                "event_time": WRITTEN,
                "event_end_time": WRITTEN,
                "location": {"city": "c", "geo_position": {"longitude": 1, "latitude": 2}},
            },
            "body": DATA,
            "body_meta": {"b": 1},
            "filename": "a.jpg",
            "source_type": "face_sample",
            "face_bounding_boxes": [BOX],
            "body_bounding_boxes": None,
            "detect_time": WRITTEN,
            "detect_ts": 2,
            "image_origin": {"body": DATA},
        },
        {"body": DATA, "image_origin": {"url": "http://a"}},
    ],
}
STREAM_DATA = SourceData(
    source="door",
    stream_id=ID,
    tags=("a", "b"),
    user_data="u",
    external_id="e",
    track_id="t",
    meta={"m": 1},
    event_time=TIME,
    event_end_time=TIME,
    location={"city": "c", "geo_position": {"longitude": 1, "latitude": 2}},
)


def _in_base64(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: _in_base64(item) for name, item in value.items()}
    return [_in_base64(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("kind", ["application/msgpack", "application/json"])
def test_a_stream_is_read_from_msgpack_and_from_json(kind: str) -> None:
    body = msgpack.packb(STREAM) if kind.endswith("msgpack") else json.dumps(_in_base64(STREAM)).encode()
    found = read(body, kind)
    assert found == EventSources(
        sources=(
            Source(
                filename="a.jpg",
                source_type=SourceType.FACE_SAMPLE,
                body=DATA,
                body_meta={"b": 1},
                face_bounding_boxes=(Rect(1, 2, 3, 4),),
                detect_time=TIME,
                detect_ts=2.0,
                image_origin=DATA,
                source_data=STREAM_DATA,
                use_exif_info=False,
            ),
            Source(filename="raw_image_1", body=DATA, image_origin="http://a", use_exif_info=False),
        )
    )
    assert found.data_of(found.sources[0]) == STREAM_DATA
    assert found.data_of(found.sources[1]) == SourceData()


def test_an_aggregate_has_its_data_beside_its_sources() -> None:
    body = {"aggregate_attributes": 1, "sources": [{"body": DATA}], "source_data": STREAM["sources"][0]["source_data"]}  # type: ignore[index]
    found = read(msgpack.packb(body), "application/msgpack")
    assert found.aggregate_attributes
    assert found.source_data == STREAM_DATA


def test_the_query_and_two_headers_tell_what_events_are_about() -> None:
    query = {
        "image_type": "1",
        "aggregate_attributes": "1",
        "use_exif_info": "0",
        "source": "door",
        "stream_id": ID,
        "tags": "a,b",
        "user_data": "u",
        "external_id": "e",
        "track_id": "t",
        "city": "c",
        "longitude": "1.5",
        "latitude": "-2",
    }
    found = read(DATA, "image/jpeg", query, {"Luna-Event-Time": WRITTEN, "Luna-Event-End-Time": "yesterday"})
    assert found.aggregate_attributes
    assert found.sources == (
        Source(filename="raw_image", body=DATA, source_type=SourceType.FACE_SAMPLE, use_exif_info=False),
    )
    assert found.source_data == SourceData(
        source="door",
        stream_id=ID,
        tags=("a", "b"),
        user_data="u",
        external_id="e",
        track_id="t",
        event_time=TIME,
        location={"city": "c", "geo_position": {"longitude": 1.5, "latitude": -2.0}},
    )


@pytest.mark.parametrize(
    "query",
    [{"image_type": "3"}, {"image_type": "a"}, {"aggregate_attributes": "2"}, {"longitude": "1"}, {"latitude": "nan"}],
)
def test_a_query_that_can_not_be_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(BadRequest):
        read(DATA, "image/jpeg", {"longitude": "1", **query} if "latitude" in query else query)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("image/jpeg", b""),
        ("image/gif", DATA),
        ("", DATA),
        ("image/x-jpeg-base64", b"?"),
        ("application/json", b"{"),
        ("application/json", b"\xff"),
        ("application/json", b"[]"),
        ("application/json", b"{}"),
        ("application/json", b"1"),
        ("application/json", b'{"sources": {}}'),
        ("application/json", b'["x", 1]'),
        ("application/json", b'[{"url": 1}]'),
        ("application/json", b'[{"url": "a", "sample_id": "b"}]'),
        ("application/json", b'[{"body": "?"}]'),
        ("application/json", b'[{"url": "a", "detect_time": "2018-08-11"}]'),
        ("application/json", b'[{"url": "a", "detect_ts": "x"}]'),
        ("application/json", b'[{"url": "a", "face_bounding_boxes": [{"x": 1}]}]'),
        ("application/json", b'[{"url": "a", "face_bounding_boxes": {}}]'),
        ("application/json", b'[{"url": "a", "source_type": "photo"}]'),
        ("application/json", b'[{"url": "a", "source_data": {"tags": "a"}}]'),
        ("application/json", b'[{"url": "a", "source_data": []}]'),
        ("application/json", b"[" * 100_000),
        ("application/msgpack", b"\xc1"),
        ("application/msgpack", b""),
        ("application/msgpack", msgpack.packb({"sources": [{"body": 1}]})),
        ("application/msgpack", b"\xdd\xff\xff\xff\xff"),
        ("multipart/form-data; boundary=x", b"--x--\r\n"),
        multipart(("image", "a", "text/plain", DATA)),
        multipart(("image", "a", "image/png", b"")),
        multipart(
            ("image", "a", "image/png", DATA),
            ("detect_ts", "", "application/json", b'[{"filename": "b", "detect_ts": 1}]'),
        ),
        multipart(("image", "a", "image/png", DATA), ("detect_ts", "", "application/json", b"{")),
        multipart(("image", "a", "image/png", DATA), ("meta", "", "application/json", b"[]")),
    ],
)
def test_what_can_not_be_read_is_the_callers_error(kind: str, body: bytes) -> None:
    with pytest.raises(BadRequest):
        read(body, kind)


def test_more_sources_than_a_handler_takes_are_refused() -> None:
    body = json.dumps({"urls": ["a"] * 101}).encode()
    with pytest.raises(BadRequest, match="1 to 100"):
        read(body, "application/json")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=3) | st.just(TEXT),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "sources",
                    "images",
                    "url",
                    "body",
                    "source_data",
                    "meta",
                    "tags",
                    "detect_time",
                    "location",
                    "face_bounding_boxes",
                    "x",
                    "image_origin",
                    "type",
                    "filename",
                    "aggregate_attributes",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
@settings(max_examples=400, deadline=None)
def test_any_document_is_read_or_refused(value: object) -> None:
    for kind, body in (("application/json", json.dumps(value).encode()), ("application/msgpack", msgpack.packb(value))):
        try:
            found = read(body, kind)
        except BadRequest as refused:
            assert refused.answer().status == 400
        else:
            assert all(isinstance(source.filename, str) for source in found.sources)


def turned(orientation: int) -> bytes:
    """A picture of 6 x 4 pixels, whose left half is white, with that EXIF tag."""
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[:, :3] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
async def test_an_image_is_turned_as_its_tag_says_where_that_is_asked(orientation: int) -> None:
    data = turned(orientation)
    with Image.open(io.BytesIO(data)) as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))[:, :, ::-1]
        plain = np.asarray(picture.convert("RGB"))[:, :, ::-1]
    np.testing.assert_array_equal(await Source(filename="a", body=data).image(), expected)
    np.testing.assert_array_equal(await Source(filename="a", body=data, use_exif_info=False).image(), plain)
    sample = Source(filename="a", body=data, source_type=SourceType.FACE_SAMPLE)
    np.testing.assert_array_equal(await sample.image(), plain)


@pytest.mark.parametrize("body", [b"", b"no image", turned(1)[:60], None])
async def test_what_is_no_image_is_the_callers_error(body: bytes | None) -> None:
    with pytest.raises(BadRequest, match="'a'"):
        await Source(filename="a", body=body).image()
