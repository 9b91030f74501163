"""Images and objects: their forms, the texts beside them, and that nothing is left of what is deleted."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path

import cv2
import grpc
import numpy as np
import pytest
from luna.v6 import blobs_pb2 as blobs
from PIL import Image

from tests.contract.contract import contract
from tests.contract.native import Native
from tests.contract.rest import Answer, Call
from tests.contract.test_images import FORMS
from tests.contract.world import PDF, World, encoded

CONTRACT = contract()
CREATE_IMAGE, CREATE_OBJECT = (CONTRACT.operations[name] for name in ("create_image", "create_object"))
PREFIX = "x-luna-meta-"


def keep_image(
    world: World, data: bytes, content_type: str = "image/jpeg", meta: Mapping[str, str] | None = None
) -> Answer:
    """Create an image with texts."""
    headers = {PREFIX + name: value for name, value in (meta or {}).items()}
    call = Call(data=data, content_type=content_type, headers=headers, account=world.owner)
    return world.rest.call(CREATE_IMAGE, call)


def keep_object(world: World, data: bytes, content_type: str) -> Answer:
    """Create an object; without a type where it is empty."""
    return world.rest.call(CREATE_OBJECT, Call(data=data, content_type=content_type, account=world.owner))


def meta_of(answer: Answer) -> dict[str, str]:
    """The texts in the headers of an answer."""
    return {name.removeprefix(PREFIX): value for name, value in answer.headers.items() if name.startswith(PREFIX)}


@pytest.mark.operation("create_image")
@pytest.mark.parametrize("form", FORMS)
def test_an_image_may_come_in_every_form_and_comes_back_as_jpeg(world: World, form: str) -> None:
    assert f"image/{form}" in CREATE_IMAGE.content_types
    got = world.get(keep_image(world, encoded(world.pictures.one, FORMS[form]), f"image/{form}").text("url"))
    with Image.open(io.BytesIO(got.data)) as image:
        assert (got.headers["content-type"], image.format) == ("image/jpeg", "JPEG")
    kept = cv2.imdecode(np.frombuffer(got.data, np.uint8), cv2.IMREAD_COLOR)
    assert kept is not None
    assert cv2.PSNR(np.asarray(kept, np.uint8), world.pictures.one) > 35


@pytest.mark.operation("create_image")
def test_what_is_no_image_is_refused(world: World) -> None:
    for data, content_type, code in (
        (b"no image", "image/jpeg", 18002), (world.jpeg[: len(world.jpeg) // 8], "image/jpeg", 18002),
        (b"", "image/jpeg", 12030), (b"", "", 12030), (world.jpeg, "image/gif", 11028),
        (world.jpeg, "application/json", 11028), (world.jpeg, "image/x-jpeg-base64", 11028),
    ):  # fmt: skip
        answer = keep_image(world, data, content_type)
        assert (answer.status, answer.code) == (400, code), (content_type, answer.data)
        assert code in CREATE_IMAGE.codes(400)


@pytest.mark.operation("get_image")
@pytest.mark.parametrize("verb", ["GET", "HEAD"])
def test_the_texts_of_an_image_come_back_where_they_are_asked_for(world: World, verb: str) -> None:
    meta = {"camera": "north gate, 2", "a-1": "x" * 1024, "n" * 64: "100% & more"}
    url = keep_image(world, world.jpeg, meta=meta).text("url")
    for query, texts in (("?with_meta=1", meta), ("?with_meta=0", {}), ("", {})):
        answer = world.rest.send(verb, url + query, account=world.owner)
        assert (answer.status, meta_of(answer)) == (200, texts)


@pytest.mark.operation("create_image")
def test_texts_beyond_the_limits_are_refused_by_either_protocol(world: World, native: Native) -> None:
    most = {f"name-{number}": "x" for number in range(32)}
    assert keep_image(world, world.jpeg, meta=most).status == 201
    for meta in ({**most, "last": ""}, {"n" * 65: ""}, {"a": "x" * 1025}, {"a_b": "x"}):
        answer = keep_image(world, world.jpeg, meta=meta)
        assert (answer.status, answer.code) == (400, 12022)
        refused = native.refused("Images/CreateImage", _request(world, meta), world.owner)
        assert (refused.status, refused.code, refused.detail) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            12022,
            answer.detail,
        )
    for meta in ({"": "x"}, {"A": "x"}, {"a b": "x"}, {"a": "x\ny"}):  # headers cannot even say these
        refused = native.refused("Images/CreateImage", _request(world, meta), world.owner)
        assert (refused.status, refused.code) == (grpc.StatusCode.INVALID_ARGUMENT, 12022)


def _request(world: World, meta: Mapping[str, str]) -> blobs.CreateImageRequest:
    return blobs.CreateImageRequest(data=world.jpeg, meta=dict(meta))


@pytest.mark.operation("create_object")
@pytest.mark.parametrize(
    ("content_type", "ending"),
    [
        ("application/pdf", ".pdf"), ("text/html; charset=utf-8", ".html"), ("image/png", ".png"), ("x/y", ".bin"),
        ("application/json", ".json"), ("application/x-www-form-urlencoded", ".bin"), ("nonsense", ".bin"),
        ("multipart/form-data; boundary=x", ".bin"), ("a/" + "b" * 253, ".bin"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("data", [PDF, bytes(range(256)), b"\n", b"{}"], ids=["pdf", "any", "line", "json"])
def test_an_object_keeps_its_bytes_and_its_type(world: World, content_type: str, ending: str, data: bytes) -> None:
    made = keep_object(world, data, content_type)
    assert made.status == 201, made.data
    got = world.rest.send("GET", made.text("url"), headers={"accept": "nonsense"}, account=world.owner)
    assert (got.status, got.data, got.headers["content-type"]) == (200, data, content_type)
    assert got.headers["content-disposition"] == f"attachment; filename={made.text('object_id')}{ending}"


@pytest.mark.operation("create_object")
def test_an_object_needs_bytes_and_a_type(world: World) -> None:
    for data, content_type, code in (
        (b"", "a/b", 12030), (b"", "", 12030), (PDF, "", 12023), (PDF, "a/" + "b" * 254, 12022),
        (PDF, "application/grpc", 12024),  # would pass the facade by
    ):  # fmt: skip
        answer = keep_object(world, data, content_type)
        assert (answer.status, answer.code) == (400, code), (content_type, answer.data)


@pytest.mark.parametrize("name", ["image", "object", "sample"], ids=lambda name: f"delete_{name}-gone")
def test_the_bytes_of_what_is_deleted_are_gone_from_the_store(world: World, name: str) -> None:
    path = {"image": "/6/images", "object": "/6/objects", "sample": "/6/samples/faces"}[name]
    one = {"image": world.new_image, "object": world.new_object, "sample": lambda: world.new_sample()}[name]()
    assert len(_files(world.service.data, one)) == 1
    assert world.rest.send("DELETE", f"{path}/{one}", account=world.owner).status == 204
    assert _files(world.service.data, one) == []
    again = world.rest.send("DELETE", f"{path}/{one}", account=world.owner)
    assert again.status == 404
    assert one in json.loads(again.data)["detail"]


def _files(folder: Path, name: str) -> list[Path]:
    """The files of the service that carry a name."""
    return [file for file in (folder / "blobs").rglob("*") if name in file.name]
