"""Bytes and the headers around them through the real Envoy: images, objects, documents, settings."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from google.protobuf.json_format import ParseDict
from luna.v6 import blobs_pb2, documents_pb2, platform_pb2

from tests.edge import Canned, Edge, envoy, grpc_server

ID = "2c7e4b3a-6f0d-4a0e-9c4b-0d1e2f3a4b5c"
IMAGE = f"/6/images/{ID}"
OBJECT = f"/6/objects/{ID}"
BYTES = bytes(range(256)) * 40
JPEG = {"content-type": "image/jpeg"}


class Rest:
    """An edge and the servicers behind it."""

    def __init__(self, edge: Edge, canned: Canned) -> None:
        self.edge, self.canned, self.ask = edge, canned, edge.ask


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running() -> AsyncIterator[Rest]:
    canned = Canned()
    async with grpc_server(canned) as (_, port), envoy([port]) as edge:
        yield Rest(edge, canned)


@pytest.fixture
def rest(running: Rest) -> Rest:
    running.canned.answers.clear()
    running.canned.asked.clear()
    return running


async def test_headers_with_the_prefix_are_the_texts_of_an_image(rest: Rest) -> None:
    sent = {**JPEG, "X-Luna-Meta-Camera": "north gate, 2", "x-luna-meta-a-1": "", "x-luna-met": "no", "X-Other": "no"}
    rest.canned.answers["CreateImage"] = blobs_pb2.CreateImageResponse(image_id=ID, url=IMAGE)
    got = await rest.ask("POST", "/6/images?meta=x&content_type=y", BYTES, sent)
    assert (got.status, got.headers["location"], got.json) == (201, IMAGE, {"image_id": ID, "url": IMAGE})
    asked = rest.canned.asked[0]
    assert asked == blobs_pb2.CreateImageRequest(data=BYTES, meta={"camera": "north gate, 2", "a-1": ""})


@pytest.mark.parametrize("text", ["Kamera №1 «север» 🙂", "100%", "a=b&c=d+e", 'quote " and \\', "é"])
async def test_texts_of_an_image_come_back_as_they_were_sent(rest: Rest, text: str) -> None:
    raw = b"POST /6/images HTTP/1.1\r\nhost: a\r\nauthorization: Basic dTpw\r\ncontent-type: image/jpeg\r\n"
    raw += b"content-length: 1\r\nconnection: close\r\nx-luna-meta-k: " + text.encode() + b"\r\n\r\nx"
    assert (await rest.edge.send(raw)).startswith(b"HTTP/1.1 201")
    asked = rest.canned.asked[0]
    assert isinstance(asked, blobs_pb2.CreateImageRequest)
    assert dict(asked.meta) == {"k": text}
    rest.canned.answers["GetImage"] = blobs_pb2.ImageContent(data=b"x", content_type="image/jpeg", meta=asked.meta)
    for verb in ("GET", "HEAD"):
        get = (
            f"{verb} {IMAGE}?with_meta=1 HTTP/1.1\r\nhost: a\r\nauthorization: Basic dTpw\r\nconnection: close\r\n\r\n"
        )
        got = await rest.edge.send(get.encode())
        assert b"\r\nX-Luna-Meta-K: " + text.encode() + b"\r\n" in got
        assert b"x-http" not in got.lower()


async def test_texts_that_no_header_can_hold_harm_nothing(rest: Rest) -> None:
    evil = {"k": "a\r\nset-cookie: x=1\r\n\r\n", "data-bin": "!", "a b:c\r\n": "d"}
    rest.canned.answers["GetImage"] = blobs_pb2.ImageContent(data=b"x", content_type="image/jpeg", meta=evil)
    got = await rest.ask("GET", IMAGE)
    assert (got.status, got.data, got.headers["x-luna-meta-data-bin"]) == (200, b"x", "!")
    assert got.headers["x-luna-meta-k"].rstrip() == "a  set-cookie: x=1"
    assert "set-cookie" not in got.headers


async def test_texts_longer_than_headers_can_be_are_an_error(rest: Rest) -> None:
    most = {f"name-{number}": "x" * 1024 for number in range(32)}
    rest.canned.answers["GetImage"] = blobs_pb2.ImageContent(data=b"x", content_type="image/jpeg", meta=most)
    got = await rest.ask("GET", IMAGE)
    assert {f"x-luna-meta-{name}": value for name, value in most.items()}.items() <= got.headers.items()
    most["last"] = "я" * 8192
    rest.canned.answers["GetImage"] = blobs_pb2.ImageContent(data=b"x", content_type="image/jpeg", meta=most)
    got = await rest.ask("GET", IMAGE)
    assert (got.status, got.json["error_code"]) == (400, 12031)


@pytest.mark.parametrize(
    "kind", ["text/html; charset=utf-8", "application/json", "image/png", "x/y", "a b", "text/plain"]
)
async def test_an_object_keeps_its_bytes_and_its_type(rest: Rest, kind: str) -> None:
    rest.canned.answers["CreateObject"] = blobs_pb2.CreateObjectResponse(object_id=ID, url=OBJECT)
    got = await rest.ask("POST", "/6/objects?content_type=evil", BYTES, {"content-type": kind})
    assert (got.status, got.headers["location"]) == (201, OBJECT)
    assert rest.canned.asked[0] == blobs_pb2.CreateObjectRequest(data=BYTES, content_type=kind)
    rest.canned.answers["GetObject"] = blobs_pb2.ObjectContent(data=BYTES, content_type=kind, filename=f"{ID}.bin")
    got = await rest.ask("GET", OBJECT, headers={"accept": "nonsense"})
    assert (got.status, got.data, got.headers["content-type"]) == (200, BYTES, kind)
    assert got.headers["content-disposition"] == f"attachment; filename={ID}.bin"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["content-security-policy"] == "default-src 'none'; sandbox"
    head = await rest.ask("HEAD", OBJECT)
    assert {**head.headers, "date": "", "luna-request-id": ""} == {**got.headers, "date": "", "luna-request-id": ""}
    assert head.data == b""


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [(b"", {"content-type": "a/b"}, 12030), (b"", {}, 12030), (b"x", {}, 12023), (b"x", {"content-type": " "}, 12023)],
)
async def test_an_object_needs_bytes_and_a_type(rest: Rest, body: bytes, headers: dict[str, str], code: int) -> None:
    got = await rest.ask("POST", "/6/objects", body, headers)
    assert (got.status, got.json["error_code"]) == (400, code)
    assert not rest.canned.asked


@pytest.mark.parametrize("kind", ["a/b\r\nx: y", "", "a/b\x00", "тип/б"])
async def test_a_type_that_no_header_can_hold_is_that_of_any_bytes(rest: Rest, kind: str) -> None:
    rest.canned.answers["GetObject"] = blobs_pb2.ObjectContent(data=b"x", content_type=kind, filename='a"б')
    got = await rest.ask("GET", OBJECT)
    assert (got.headers["content-type"], got.data) == ("application/octet-stream", b"x")
    assert got.headers["content-disposition"] == "attachment; filename*=UTF-8''a%22%D0%B1"


async def test_settings_are_json_or_lines_of_text(rest: Rest) -> None:
    settings = {"REST": {"port": 5000, "url": "http://a", "on": True, "none": None}, "NAME": "a\nb", "EMPTY": {}}
    rest.canned.answers["GetConfig"] = ParseDict({"settings": settings}, platform_pb2.GetConfigResponse())
    for accept in ({}, {"accept": "*/*"}, {"accept": "text/plain;q=0.5, application/json"}):
        got = await rest.ask("GET", "/6/config", headers=accept, authorized=False)
        assert (got.headers["content-type"], got.json) == ("application/json", settings)
    got = await rest.ask("GET", "/6/config", headers={"accept": "text/plain"}, authorized=False)
    assert got.headers["content-type"] == "text/plain; charset=utf-8"
    assert sorted(got.data.decode().splitlines()) == [
        "EMPTY = {}", 'NAME = "a\\nb"', "REST.none = null", "REST.on = true", "REST.port = 5000", "REST.url = http://a",
    ]  # fmt: skip
    refused = await rest.ask("GET", "/6/config", headers={"accept": "text/html"}, authorized=False)
    assert (refused.status, refused.json["error_code"]) == (406, 12023)


@pytest.mark.parametrize(("path", "page"), [
    ("/docs/dev/index.html", ""), ("/docs/dev/index.html?page=x", ""), ("/docs/dev/errors.html", "errors.html"),
    ("/docs/dev/how-to/a%20b.html", "how-to/a b.html"), ("/docs/dev/a%2F..%2Fb", "a%2F..%2Fb"),
])  # fmt: skip
async def test_every_path_below_the_manual_is_a_page_of_it(rest: Rest, path: str, page: str) -> None:
    rest.canned.answers["GetManual"] = documents_pb2.Document(data=b"<p>", content_type="text/html; charset=utf-8")
    got = await rest.ask("GET", path, authorized=False)
    assert (got.status, got.data, got.headers["x-content-type-options"]) == (200, b"<p>", "nosniff")
    assert re.search("frame-ancestors 'none'", got.headers["content-security-policy"])
    assert rest.canned.asked == [documents_pb2.GetManualRequest(page=page)]


async def test_the_manual_takes_no_other_path(rest: Rest) -> None:
    for path in ("/docs/dev", "/docs/dev/", "/docs/dev?a=b"):
        got = await rest.ask("GET", path, authorized=False)
        assert (got.status, got.headers["location"].partition("?")[0]) == (302, "/docs/dev/index.html")
    for path in ("/docs", "/docs/", "/docs/develop", "/docs/spec/x", "/docs/%64ev/x"):
        assert (await rest.ask("GET", path, authorized=False)).status == 404
    await rest.ask("GET", "/docs/spec", authorized=False)
    assert rest.canned.asked == [documents_pb2.GetSpecificationRequest()]
