"""Images in requests: every form of body, and multipart against the bodies that urllib3 makes."""

from __future__ import annotations

import base64
import json
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from luna.v6.images_pb2 import ImageInput, Rect

from gateway.images import images, one_image
from gateway.media import BASE64_IMAGES, IMAGES, parse
from gateway.multipart import MAX_PARTS, split
from server.errors import BadContentType, BadMultipart, LunaError, NoBody
from tests.unit.gateway.parts import multipart

DATA = bytes(range(256))
BOX = {"x": 1, "y": 2, "width": 3, "height": 4}
RECT = Rect(x=1, y=2, width=3, height=4)


def read(kind: str, body: bytes) -> list[ImageInput]:
    return images(parse(kind), body)


def boxes(*items: object, kind: str = "application/json") -> tuple[str, str, str, bytes]:
    return "face_bounding_boxes", "", kind, json.dumps(items).encode()


@pytest.mark.parametrize("kind", IMAGES)
def test_an_image_is_taken_as_it_is(kind: str) -> None:
    assert read(kind, DATA) == [ImageInput(data=DATA)]
    assert one_image(parse(f"{kind.upper()}; a=b"), DATA) == DATA


@pytest.mark.parametrize("kind", BASE64_IMAGES)
def test_an_image_is_taken_as_base64(kind: str) -> None:
    assert read(kind, base64.b64encode(DATA) + b"\n") == [ImageInput(data=DATA)]


def test_parts_are_taken_in_their_order_with_their_boxes() -> None:
    kind, body = multipart(
        boxes({"filename": "b ä.png", "face_bounding_boxes": [BOX]}, {"filename": "a.jpg", "face_bounding_boxes": []}),
        ("image", "a.jpg", "image/jpeg", DATA),
        ("anything", "b ä.png", "image/x-png-base64", base64.b64encode(b"png")),
        ("image", "", "image/bmp", b"\r\n--\r\n"),
    )
    assert read(kind, body) == [
        ImageInput(filename="a.jpg", data=DATA),
        ImageInput(filename="b ä.png", data=b"png", face_bounding_boxes=[RECT]),
        ImageInput(data=b"\r\n--\r\n"),
    ]


def test_json_names_addresses_samples_or_images() -> None:
    def sent(value: object) -> list[ImageInput]:
        return read("application/json", json.dumps(value).encode())

    assert sent({"urls": ["http://a/b", "c"]}) == [ImageInput(url="http://a/b"), ImageInput(url="c")]
    assert sent({"samples": ["x"]}) == [ImageInput(sample_id="x")]
    entry = {"image": base64.b64encode(DATA).decode(), "filename": "f", "face_bounding_boxes": [BOX]}
    assert sent({"images": [entry, {"url": "u"}, {"sample_id": "s"}]}) == [
        ImageInput(data=DATA, filename="f", face_bounding_boxes=[RECT]), ImageInput(url="u"), ImageInput(sample_id="s"),
    ]  # fmt: skip


def test_ignored_parts_are_not_looked_at_whatever_they_are() -> None:
    kind, body = multipart(
        ("meta", "", "application/json", b"{"), ("image", "a", "image/jpeg", DATA), ("x_meta", "b", "text/plain", b"")
    )
    assert images(parse(kind), body, frozenset({"meta", "x_meta"})) == [ImageInput(data=DATA, filename="a")]
    with pytest.raises(LunaError) as caught:
        images(parse(kind), body, frozenset({"meta"}))
    assert caught.value.code == 11029


@pytest.mark.parametrize(("parts", "code"), [
    ([("image", "a", "text/plain", b"x")], 11029), ([("image", "a", "", b"x")], 11029),
    ([("image", "a", "application/json", b"x")], 11029), ([("image", "a", "image/jpeg", b"")], 11049),
    ([("image", "a", "image/x-jpeg-base64", b"!")], 18001), ([boxes()], 11049),
    ([("image", "a", "image/jpeg", b"x"), boxes(kind="text/plain")], 12041),
    ([("image", "a", "image/jpeg", b"x"), boxes(), boxes()], 11048),
    ([("image", "a", "image/jpeg", b"x"), boxes({"filename": "a", "face_bounding_boxes": [BOX, BOX]})], 11050),
    ([("image", "a", "image/jpeg", b"x"), boxes(*[{"filename": "a", "face_bounding_boxes": [BOX]}] * 2)], 11050),
    ([("image", "a", "image/jpeg", b"x"), boxes({"filename": "b", "face_bounding_boxes": [BOX]})], 11049),
    ([("image", "a", "image/jpeg", b"x"), boxes({"filename": "a"})], 12003),
    ([("image", "a", "image/jpeg", b"x"), boxes({"face_bounding_boxes": [BOX]})], 12003),
    ([("image", "a", "image/jpeg", b"x"), boxes({"filename": 1, "face_bounding_boxes": [BOX]})], 12022),
    ([("image", "a", "image/jpeg", b"x"), boxes({"filename": "a", "face_bounding_boxes": [BOX], "c": 1})], 12022),
    ([("image", "a", "image/jpeg", b"x"), boxes({"filename": "a", "face_bounding_boxes": [{"x": "1"}]})], 12022),
    ([("image", "a", "image/jpeg", b"x"), boxes(1)], 12022),
    ([("image", "a", "image/jpeg", b"x"), ("face_bounding_boxes", "", "application/json", b"{}")], 12022),
    ([("image", "a", "image/jpeg", b"x"), ("face_bounding_boxes", "", "application/json", b"{")], 12002),
    ([("image", "a", "image/jpeg", b"x")] * (MAX_PARTS + 1), 11049),
])  # fmt: skip
def test_bad_parts_are_told_apart(parts: list[tuple[str, str, str, bytes]], code: int) -> None:
    kind, body = multipart(*parts)
    with pytest.raises(LunaError) as caught:
        read(kind, body)
    assert caught.value.code == code, caught.value.detail


@pytest.mark.parametrize(("kind", "body", "code"), [
    ("image/jpeg", b"", 12030), ("image/gif", b"x", 11028), ("text/plain", b"x", 12024), ("", b"x", 12024),
    ("image/x-jpeg-base64", b"data:image/jpeg;base64,AAAA", 18001), ("image/x-png-base64", b"AAA", 18001),
    ("application/json", b"[]", 12022), ("application/json", b"{}", 12022), ("application/json", b'{"urls":[]}', 12022),
    ("application/json", b'{"urls":["a"],"samples":["b"]}', 12022), ("application/json", b'{"urls":[1]}', 12022),
    ("application/json", b'{"urls":["a"],"x":1}', 12022), ("application/json", b'{"images":[{}]}', 12022),
    ("application/json", b'{"images":[{"url":"a","image":"AAAA"}]}', 12022),
    ("application/json", b'{"images":[{"image":"!"}]}', 18001),
    ("application/json", b'{"images":[{"data":"AAAA"}]}', 12022), ("application/json", b'{"samples":[null]}', 12022),
    ("multipart/form-data", b"--x\r\n", 11049), ("multipart/form-data; boundary=x", b"", 12030),
    ("multipart/form-data; boundary=x", b"nothing", 11049), ("multipart/form-data; boundary=x", b"--x--\r\n", 11049),
    ("multipart/form-data; boundary=x", b"--x\r\ncontent-type: image/jpeg\r\n\r\nA\r\n--x--\r\n", 11049),
])  # fmt: skip
def test_bad_bodies_are_told_apart(kind: str, body: bytes, code: int) -> None:
    with pytest.raises(LunaError) as caught:
        read(kind, body)
    assert caught.value.code == code, caught.value.detail


@pytest.mark.parametrize("wrapped", [base64.encodebytes(DATA), base64.encodebytes(DATA).replace(b"\n", b"\r\n")])
def test_lines_of_base64_are_one_text(wrapped: bytes) -> None:
    assert read("image/x-jpeg-base64", wrapped) == [ImageInput(data=DATA)]
    kind, body = multipart(("image", "a", "image/x-png-base64", wrapped))
    assert read(kind, body) == [ImageInput(data=DATA, filename="a")]


@pytest.mark.parametrize(("entry", "path"), [
    ({"image": "!"}, "images.0.image"), ({"image": 1}, "images.0.image"), ({"url": 1}, "images.0.url"),
    ({"sample_id": None}, "images.0.sample_id"), ({"url": "a", "filename": 1}, "images.0.filename"),
    ({"url": "a", "face_bounding_boxes": [{"x": "1"}]}, "images.0.face_bounding_boxes.0.x"),
])  # fmt: skip
def test_errors_name_the_member_by_its_path(entry: dict[str, object], path: str) -> None:
    with pytest.raises(LunaError, match=re.escape(path)):
        read("application/json", json.dumps({"images": [entry]}).encode())


def test_one_image_is_refused_by_its_type() -> None:
    for kind in (*BASE64_IMAGES, "multipart/form-data", "application/json", "text/plain", ""):
        with pytest.raises(BadContentType, match="image/jpeg"):
            one_image(parse(kind), DATA)
    with pytest.raises(NoBody):
        one_image(parse("image/jpeg"), b"")


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.text("ab", min_size=1), st.text("cä .;="), st.binary(max_size=60)), min_size=1, max_size=5)
)
def test_parts_are_split_as_they_were_joined(parts: list[tuple[str, str, bytes]]) -> None:
    kind, body = multipart(*((name, filename, "image/png", data) for name, filename, data in parts))
    found = split(body, parse(kind).parameters["boundary"])
    assert [(part.name, part.filename, part.data) for part in found] == parts


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, 400))
def test_cut_and_broken_multiparts_are_refused(noise: bytes, cut: int) -> None:
    kind, body = multipart(("image", "a", "image/jpeg", noise))
    boundary = parse(kind).parameters["boundary"]
    end = body.rindex(b"--" + boundary.encode() + b"--")
    with pytest.raises(BadMultipart):
        split(body[: min(cut, end)], boundary)
    with pytest.raises(BadMultipart):
        split(noise, "x" * 30)


@pytest.mark.parametrize(
    "filler", [b"\r\n--" * 2_000_000, b"\r\n--x" * 1_600_000, b"\r" * 8_000_000, b"--x\r\n" * 1_600_000]
)
def test_splitting_takes_time_in_proportion_to_the_length(filler: bytes) -> None:
    head = b'--xy\r\ncontent-disposition: form-data; name="a"\r\n\r\n'
    started = time.perf_counter()
    assert split(head + filler + b"\r\n--xy--\r\n", "xy")[0].data == filler
    assert time.perf_counter() - started < 3


def test_headers_of_parts_have_limits() -> None:
    for extra in (b"a: b\r\n" * 100, b"a: " + b"b" * 100_000 + b"\r\n"):
        body = b'--x\r\ncontent-disposition: form-data; name="a"\r\n' + extra + b"\r\nA\r\n--x--\r\n"
        with pytest.raises(BadMultipart):
            split(body, "x")
