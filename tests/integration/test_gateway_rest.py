"""REST through the real Envoy: statuses, verbs, paths, bodies and errors, as a client sees them."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc
import msgpack
import pytest
import pytest_asyncio
import yaml
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.message import Message
from luna.v6 import attributes_pb2, faces_pb2, lists_pb2, matcher_pb2, samples_pb2

from gateway.edge import MOST_CALLS, render
from gateway.facade import ENVELOPE_BYTES
from server.errors import Busy, FaceNotFound
from server.rpc.calls import Context, current
from server.settings import Settings
from tests.edge import AUTHORIZATION, ENVOY, KEY, LARGEST, Canned, Edge, envoy, grpc_server, services
from tests.ports import free_ports

ID = "2c7e4b3a-6f0d-4a0e-9c4b-0d1e2f3a4b5c"
OTHER = "11111111-1111-4111-8111-111111111111"
FACE = f"/6/faces/{ID}"
JSON = {"content-type": "application/json"}
LOOPBACK = "127.0.0.1"
SAMPLE = bytes(range(256)) * 5000
JPEG = {"content-type": "image/jpeg"}
REQUEST_ID = re.compile(r"\d{10},[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
INNER = {"x-http-status", "x-content-length", "grpc-status", "grpc-message", "grpc-accept-encoding"}


class Rest:
    """An edge, the servicers behind it and the port of their server."""

    def __init__(self, edge: Edge, canned: Canned, port: int) -> None:
        self.edge, self.canned, self.port = edge, canned, port
        self.ask = edge.ask


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running() -> AsyncIterator[Rest]:
    canned = Canned()
    async with grpc_server(canned) as (_, port), envoy([port]) as edge:
        yield Rest(edge, canned, port)


@pytest.fixture
def rest(running: Rest) -> Rest:
    running.canned.answers = {"GetFace": faces_pb2.Face(face_id=ID, user_data="x", lists=[OTHER])}
    running.canned.asked.clear()
    return running


def test_envoy_accepts_the_rendered_configuration(tmp_path: Path) -> None:
    edge = render(Settings(), services(), [50051, 50052], tmp_path / "edge", images=100)
    done = subprocess.run([*edge.argv(ENVOY), "--mode", "validate"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    again = render(Settings(), services(), [50051, 50052], tmp_path / "again", images=100)
    assert (edge.folder / "facade.pb").read_bytes() == (again.folder / "facade.pb").read_bytes()


def test_calls_with_images_and_no_others_are_bounded_at_the_edge(tmp_path: Path) -> None:
    edge = render(Settings(), services(), [50051], tmp_path, images=77)
    config = yaml.safe_load(edge.config.read_text())["static_resources"]
    most = {
        cluster["name"]: cluster["circuit_breakers"]["thresholds"][0]["max_requests"] for cluster in config["clusters"]
    }
    assert (most["servers"], most["images"]) == (MOST_CALLS, 77)
    manager = config["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    routes = manager["route_config"]["virtual_hosts"][0]["routes"]
    bounded = [
        route["match"]["safe_regex"]["regex"] for route in routes if route.get("route", {}).get("cluster") == "images"
    ]
    for path in ("/6/detector", "/6/sdk", "/6/iso", "/6/liveness"):
        assert any(re.fullmatch(one, path) for one in bounded)
    for path in ("/6/images", "/6/samples/faces", "/6/extractor", "/6/detector/", "/6/sdkx", "/6/matcher/faces"):
        assert not any(re.fullmatch(one, path) for one in bounded)


async def test_a_response_has_its_members_and_no_trace_of_grpc(rest: Rest) -> None:
    got = await rest.ask("GET", FACE)
    assert got.status == 200
    assert got.headers["content-type"] == "application/json"
    assert not INNER & got.headers.keys()
    empty = {"account_id": "", "event_id": None, "external_id": "", "avatar": ""}
    assert got.json == {"face_id": ID, "user_data": "x", "lists": [OTHER], **empty}


async def test_a_creation_is_answered_with_201_and_the_location(rest: Rest) -> None:
    rest.canned.answers["CreateFace"] = faces_pb2.CreateFaceResponse(face_id=ID, url=FACE)
    got = await rest.ask("POST", "/6/faces", b'{"user_data": "x"}', JSON)
    assert (got.status, got.headers["location"]) == (201, FACE)


async def test_204_has_neither_body_nor_headers_of_one(rest: Rest) -> None:
    got = await rest.ask("DELETE", FACE)
    assert (got.status, got.data) == (204, b"")
    assert not {"content-type", "content-length", "transfer-encoding"} & got.headers.keys()


async def test_head_has_the_headers_of_get_and_no_body_on_a_connection_that_is_kept(rest: Rest) -> None:
    head = f"HEAD {FACE} HTTP/1.1\r\nhost: a\r\nauthorization: Basic dTpw\r\n\r\n"
    unknown = "HEAD /nope HTTP/1.1\r\nhost: a\r\n\r\n"
    last = f"GET {FACE} HTTP/1.1\r\nhost: a\r\nauthorization: Basic dTpw\r\nconnection: close\r\n\r\n"
    got = await rest.edge.send((head + head + unknown + last).encode())
    lengths = re.findall(rb"Content-Length: (\d+)", got)
    assert re.findall(rb"HTTP/1.1 (\d+)", got) == [b"200", b"200", b"404", b"200"]
    assert lengths[0] == lengths[1] == lengths[3]
    assert int(lengths[2]) > 0
    assert got.count(b"{") == 1
    assert json.loads(got[got.index(b"{") :])["face_id"] == ID


async def test_what_is_bytes_is_answered_as_bytes_with_their_type(rest: Rest) -> None:
    rest.canned.answers["GetSample"] = samples_pb2.SampleContent(
        data=bytes(range(256)) * 5000, content_type="image/jpeg"
    )
    for path in (f"/6/samples/faces/{ID}", f"/6/samples/{ID}", f"/5/samples/{ID}"):
        got = await rest.ask("GET", path)
        assert (got.status, got.headers["content-type"], got.data) == (200, "image/jpeg", SAMPLE)
        head = await rest.ask("HEAD", path)
        assert (head.headers["content-type"], head.headers["content-length"]) == ("image/jpeg", "1280000")


async def test_errors_have_the_shape_of_luna(rest: Rest) -> None:
    rest.canned.answers["GetFace"] = FaceNotFound(face_id=ID)
    got = await rest.ask("GET", FACE)
    assert got.status == 404
    detail = f"Face with id '{ID}' not found"
    assert got.json == {
        "error_code": 22002,
        "desc": "Object not found",
        "detail": detail,
        "link": "/docs/dev/errors.html#22002",
    }
    rest.canned.answers["GetFace"] = Busy(message="queue is full", retry_after=1.5)
    busy = await rest.ask("GET", FACE)
    assert (busy.status, busy.headers["retry-after"]) == (429, "2")


async def test_an_unexpected_exception_tells_the_request_id_and_nothing_else(rest: Rest) -> None:
    rest.canned.answers["GetFace"] = RuntimeError("secret")
    got = await rest.ask("GET", FACE, headers={"luna-request-id": "1536751345,abc"})
    assert (got.status, got.json["detail"]) == (500, "Internal server error, request 1536751345,abc")


async def test_without_authorization_401_names_the_scheme(rest: Rest) -> None:
    got = await rest.ask("GET", FACE, authorized=False)
    assert (got.status, got.json["error_code"], got.headers["www-authenticate"]) == (401, 11065, 'Basic realm="luna"')
    bearer = await rest.ask("GET", FACE, headers={"authorization": "Bearer x"}, authorized=False)
    assert (bearer.status, bearer.headers["www-authenticate"]) == (401, 'Bearer realm="luna"')


@pytest.mark.parametrize(
    "path",
    ["/nope", "/", "/6", "//6/faces", "/6//faces", "/6/faces//", "/6/faces/count/x", "/6/f%61ces", "/6/faces/../lists"],
)
async def test_unknown_paths_are_not_found(rest: Rest, path: str) -> None:
    got = await rest.ask("GET", path)
    assert (got.status, got.json["error_code"], got.headers["content-type"]) == (404, 12013, "application/json")


async def test_one_slash_at_the_end_of_a_path_changes_nothing(rest: Rest) -> None:
    assert (await rest.ask("GET", "/6/faces/")).json == {"faces": []}


@pytest.mark.parametrize(("verb", "path", "allow"), [
    ("PUT", "/6/faces", "DELETE, GET, OPTIONS, POST"),
    ("HEAD", "/6/faces", "DELETE, GET, OPTIONS, POST"),
    ("HEAD", "/6/faces/count", "GET, OPTIONS"),
    ("TRACE", FACE, "DELETE, GET, HEAD, OPTIONS, PATCH"),
    ("POST", "/healthcheck", "GET, OPTIONS"),
])  # fmt: skip
async def test_other_verbs_are_answered_with_those_that_are_allowed(
    rest: Rest, verb: str, path: str, allow: str
) -> None:
    got = await rest.ask(verb, path, authorized=False)
    assert (got.status, got.headers["allow"]) == (405, allow)
    assert verb == "HEAD" or got.json["error_code"] == 12021


async def test_options_needs_no_authorization(rest: Rest) -> None:
    got = await rest.ask("OPTIONS", FACE, headers={"luna-request-id": "7"}, authorized=False)
    assert (got.status, got.json, got.headers["allow"]) == (200, {}, "DELETE, GET, HEAD, OPTIONS, PATCH")
    assert got.headers["luna-request-id"] == "7"
    assert (await rest.ask("OPTIONS", "/nope", authorized=False)).status == 404
    assert (await rest.ask("OPTIONS", "*", authorized=False)).json["error_code"] == 12013


async def test_a_path_that_redirects_tells_its_methods_like_any_other(rest: Rest) -> None:
    for path in ("/healthcheck", "/healthcheck?x=1", "/docs/dev"):
        got = await rest.ask("OPTIONS", path, authorized=False)
        assert (got.status, got.json, got.headers["allow"]) == (200, {}, "GET, OPTIONS")


async def test_a_redirect_keeps_the_query(rest: Rest) -> None:
    got = await rest.ask("GET", "/healthcheck?include_luna_services=1&x=%20", authorized=False)
    assert (got.status, got.headers["location"]) == (302, "/6/healthcheck?include_luna_services=1&x=%20")
    assert got.data == b""


@pytest.mark.parametrize(
    ("path", "code"),
    [("/6/faces/a%2Fb", 12012), ("/6/faces/%zz", 12012), ("/6/faces/a:b", 12012), ("/6/faces/%ff", 12046)],
)
async def test_odd_path_variables_are_refused(rest: Rest, path: str, code: int) -> None:
    got = await rest.ask("GET", path)
    assert (got.status, got.json["error_code"]) == (400, code)


async def test_a_path_variable_cannot_be_overridden(rest: Rest) -> None:
    await rest.ask("GET", f"{FACE}?face_id={OTHER}&face_id={OTHER}")
    patched = await rest.ask("PATCH", f"{FACE}?face_id={OTHER}", b'{"user_data": "y"}', JSON)
    refused = await rest.ask("PATCH", FACE, b'{"face_id": "%s"}' % OTHER.encode(), JSON)
    assert [request.face_id for request in rest.canned.asked] == [ID, ID]  # type: ignore[attr-defined]
    assert (patched.status, refused.status, refused.json["error_code"]) == (204, 400, 12022)


@pytest.mark.parametrize("query", [
    "data=eyJ1c2VyX2RhdGEiOiAiZXZpbCJ9", "content_type=application/msgpack", "contentType=x", "extensions.value=AA",
    "http_body.data=AA", "extensions=1", "user_data=evil", "%ff=1", "a=%zz", "&&=&", "meta.field__gt:numeric=1",
])  # fmt: skip
async def test_a_query_cannot_reach_into_the_body(rest: Rest, query: str) -> None:
    got = await rest.ask("POST", f"/6/faces?{query}", b'{"user_data": "mine"}', JSON)
    assert got.status == 201
    empty = await rest.ask("POST", f"/6/faces?{query}")
    assert empty.status == 201
    assert [request.user_data for request in rest.canned.asked] == ["mine", ""]  # type: ignore[attr-defined]


async def test_headers_that_mean_something_to_grpc_or_envoy_are_dropped(rest: Rest) -> None:
    odd = {
        "x-luna-bin": "!!", "grpc-timeout": "1n", "grpc-encoding": "gzip", "te": "gzip", "x-http-status": "299",
        "$": "1", "a^b": "1", "a'b!": "1", "x-tab": "a\tb", "x-luna-meta-": "1",
        "x-envoy-original-path": "/6/lists", "x-envoy-original-method": "DELETE", "x-envoy-upstream-rq-timeout-ms": "1",
    }  # fmt: skip
    got = await rest.ask("GET", FACE, headers=odd)
    assert (got.status, got.json["face_id"]) == (200, ID)


async def test_the_id_of_a_request_is_echoed_or_made(rest: Rest) -> None:
    for sent in ("1536751345,8b8b5937-2e9c-4e8b-a7a7-5caf86621b5a", 'a"b\\c%1'):
        assert (await rest.ask("GET", FACE, headers={"luna-request-id": sent})).headers["luna-request-id"] == sent
    made = {
        (await rest.ask("GET", path, headers={"luna-request-id": sent})).headers["luna-request-id"]
        for path, sent in ((FACE, "x" * 48), (FACE, "a b"), ("/nope", "\xe9"))
    }
    assert len(made) == 3
    assert all(REQUEST_ID.fullmatch(one) for one in made)


async def test_native_grpc_is_refused_on_the_rest_port(rest: Rest) -> None:
    for kind in ("application/grpc", "Application/GRPC+proto"):
        got = await rest.ask("POST", "/luna.v6.Faces/GetFace", b"\0\0\0\0\0", {"content-type": kind, "te": "trailers"})
        assert (got.status, got.json["error_code"]) == (400, 12024)
    assert rest.canned.asked == []


async def test_a_native_call_of_the_facade_passes_the_same_checks(rest: Rest) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{rest.port}") as channel:
        call = channel.unary_unary(
            "/luna.facade.Faces/GetFace",
            request_serializer=HttpBody.SerializeToString,
            response_deserializer=HttpBody.FromString,
        )
        for path, verb, status in ((FACE, "GET", "401"), ("", "", "404"), ("x?%", "GET", "404"), (FACE, "\x7e", "405")):
            reply = call(HttpBody(), metadata=(("x-envoy-original-path", path), ("x-envoy-original-method", verb)))
            assert dict(await reply.initial_metadata())["x-http-status"] == status
            await reply
    assert rest.canned.asked == []


@pytest.mark.parametrize(("key", "seen"), [(KEY, "127.0.0.2"), (KEY + "x", LOOPBACK), (None, LOOPBACK)])
async def test_the_address_of_a_client_is_believed_of_envoy_with_the_key(
    rest: Rest, key: str | None, seen: str
) -> None:
    found: list[tuple[str, bool]] = []

    async def looks(request: Message, context: Context) -> Message:
        found.append((current().address, "luna-edge-key" in current().headers))
        return faces_pb2.Face()

    rest.canned.answers["GetFace"] = looks
    async with envoy([rest.port], key=key) as edge:
        got = await replace(edge, source="127.0.0.2").ask("GET", FACE, headers={"luna-edge-key": "x" * 16})
    assert got.status == 200
    assert found == [(seen, False)]


async def test_bodies_may_come_in_chunks(rest: Rest) -> None:
    got = await rest.ask("POST", "/6/detector", [b"\xff\xd8" * 50_000] * 6, JPEG)
    assert got.status == 201
    assert [len(image.data) for image in rest.canned.asked[0].images] == [600_000]  # type: ignore[attr-defined]


async def test_requests_that_do_not_end_take_no_place_and_one_that_is_refused_keeps_its_connection() -> None:
    headers = {"host": "edge", "content-length": str(1 << 20), **JPEG, **AUTHORIZATION}
    lines = [f"{name}: {value}" for name, value in headers.items()]
    request = "\r\n".join(["POST /6/detector HTTP/1.1", *lines, "", ""]).encode() + bytes(1 << 20)
    arrived, go = asyncio.Event(), asyncio.Event()

    async def waits(_request: Message, _context: Context) -> Message:
        arrived.set()
        await go.wait()
        return samples_pb2.DetectFacesResponse()

    async def answered(reader: asyncio.StreamReader) -> bytes:
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        await reader.readexactly(next(int(line.split(b":")[1]) for line in lines if line.startswith(b"Content-Length")))
        return status.split()[1]

    canned = Canned({"DetectFaces": waits})
    async with grpc_server(canned) as (_, port), envoy([port], images=1) as edge:
        slow = [await asyncio.open_connection("127.0.0.1", edge.port) for _ in range(4)]
        for _, writer in slow:
            writer.write(request[: 1 << 19])
        await asyncio.sleep(0.5)
        held = asyncio.create_task(edge.ask("POST", "/6/detector", b"x", JPEG))
        await asyncio.wait_for(arrived.wait(), 10)
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
        for _ in range(3):
            writer.write(request)
            assert await asyncio.wait_for(answered(reader), 10) == b"429"
        go.set()
        assert (await held).status == 201
        writer.write(request)
        assert await asyncio.wait_for(answered(reader), 10) == b"201"
        for _, other in (*slow, (reader, writer)):
            other.close()
    assert len(canned.asked) == 2


async def test_the_largest_body_passes_and_a_larger_one_does_not(rest: Rest) -> None:
    most = LARGEST - ENVELOPE_BYTES
    assert (await rest.ask("POST", "/6/detector", bytes(most), JPEG)).status == 201
    for body in (bytes(most + 1), [bytes(most // 2)] * 3):
        got = await rest.ask("POST", "/6/detector", body, JPEG)
        assert (got.status, got.json["error_code"], got.headers["content-type"]) == (413, 12046, "application/json")
        assert str(most) in str(got.json["detail"])


async def test_the_largest_response_passes_and_a_larger_one_is_an_error(rest: Rest) -> None:
    frame = len(b'{"lists":[{"list_id":"","account_id":"","user_data":""}]}')
    for size, status in ((LARGEST - ENVELOPE_BYTES - frame, 200), (LARGEST - ENVELOPE_BYTES - frame + 1, 400)):
        answer = lists_pb2.ListListsResponse(lists=[lists_pb2.List(user_data="x" * size)])
        rest.canned.answers["ListLists"] = answer
        assert (await rest.ask("GET", "/6/lists")).status == status


async def test_a_response_that_is_cut_off_is_an_error() -> None:
    canned = Canned({"GetFace": faces_pb2.Face(user_data="x" * LARGEST)})
    async with grpc_server(canned, limited=False) as (_, port), envoy([port]) as edge:
        got = await edge.ask("GET", FACE, headers={"luna-request-id": "7"})
        assert (got.status, got.data, got.headers["luna-request-id"]) == (500, b"", "7")
        assert not INNER & got.headers.keys()


@pytest.mark.parametrize("host", ["host: a\r\n", ""])
async def test_http_1_0_is_served_and_needs_no_host(rest: Rest, host: str) -> None:
    authorization = f"authorization: {AUTHORIZATION['authorization']}\r\n"
    got = await rest.edge.send(f"GET {FACE} HTTP/1.0\r\n{host}{authorization}\r\n".encode())
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.split()[1] == b"200"
    assert f"content-length: {len(body)}".encode() in head.lower()
    assert json.loads(body)["face_id"] == ID
    rest.canned.answers["CreateFace"] = faces_pb2.CreateFaceResponse(face_id=ID, url=FACE)
    sent = b'{"user_data":"x"}'
    kind = f"content-type: application/json\r\ncontent-length: {len(sent)}\r\n"
    got = await rest.edge.send(f"POST /6/faces HTTP/1.0\r\n{host}{authorization}{kind}\r\n".encode() + sent)
    assert (got.split()[1], rest.canned.asked[-1].user_data) == (b"201", "x")


async def test_bad_http_is_answered_in_the_shape_of_luna(rest: Rest) -> None:
    for data in (b"GARBAGE\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"FOO /6/faces HTTP/1.1\r\nhost: a\r\n\r\n"):
        got = await rest.edge.send(data)
        assert got.startswith(b"HTTP/1.1 400")
        assert json.loads(got.partition(b"\r\n\r\n")[2])["error_code"] == 12046
    long = await rest.ask("GET", "/6/faces?" + "a" * 70_000)
    assert (long.status, long.json["error_code"]) == (400, 12046)


async def test_msgpack_is_taken_and_given(rest: Rest) -> None:
    rest.canned.answers["MatchFaces"] = matcher_pb2.MatchFacesResponse(
        matches=[
            matcher_pb2.ReferenceMatches(
                matches=[
                    matcher_pb2.CandidateMatches(
                        attributes=matcher_pb2.AttributeCandidates(attribute_ids=[ID]),
                        result=[matcher_pb2.Match(attribute=attributes_pb2.Attribute(face_descriptor=b"\0\xff"))],
                    )
                ]
            )
        ]
    )
    body = {
        "references": [{"id": "x", "type": "raw_descriptor", "data": {"descriptor": b"\0\xff", "version": 1001}}],
        "candidates": [{"filters": {"origin": "faces", "list_id": ID}, "limit": 1}],
    }
    sent = {"content-type": "application/msgpack", "accept": "application/json;q=0.5, application/msgpack"}
    got = await rest.ask("POST", "/6/matcher/faces", msgpack.packb(body), sent)
    assert (got.status, got.headers["content-type"]) == (200, "application/msgpack")
    found = msgpack.unpackb(got.data)[0]["matches"][0]
    assert found["filters"] == {"origin": "attributes", "attribute_ids": [ID]}
    assert found["result"][0]["attribute"]["face_descriptor"] == b"\0\xff"
    asked = rest.canned.asked[0]
    assert isinstance(asked, matcher_pb2.MatchFacesRequest)
    assert asked.references[0].data.descriptor == b"\0\xff"
    assert asked.candidates[0].faces.list_id == ID
    plain = await rest.ask("POST", "/6/matcher/faces", msgpack.packb(body), {**sent, "accept": "*/*"})
    assert plain.json[0]["matches"][0]["result"][0]["attribute"]["face_descriptor"] == "AP8="  # type: ignore[index]
    refused = await rest.ask("POST", "/6/matcher/faces", msgpack.packb(body), {**sent, "accept": "text/html"})
    assert (refused.status, refused.json["error_code"]) == (406, 12023)


@pytest.mark.parametrize(("body", "headers", "code"), [
    (b"", {}, 12030), (b"", JSON, 12005), (b"  ", JSON, 12005), (b"{", JSON, 12002), (b"[]", JSON, 12022),
    (b"{}", JSON, 12003), (b'{"face_ids": []}', JSON, 12022), (b'{"face_ids": ["x"], "a": 1}', JSON, 12022),
    (b'{"face_ids": ["x"]}', JSON, 12022), (b'{"face_ids": null}', JSON, 12022), (b"{}", {}, 12024),
    (b"{}", {"content-type": "text/plain"}, 12024),
    (b"{}", {"content-type": "application/json; charset=utf-16"}, 12024),
    (b'{"face_ids": ["a"], "face_ids": ["b"]}', JSON, 12002),
])  # fmt: skip
async def test_bad_bodies_are_told_apart(rest: Rest, body: bytes, headers: dict[str, str], code: int) -> None:
    got = await rest.ask("DELETE", "/6/faces", body, headers)
    assert (got.status, got.json["error_code"]) == (400, code), got.data


async def test_query_parameters_are_told_by_name(rest: Rest) -> None:
    for query, code, name in (
        ("page=abc", 12012, "page"), ("page=0", 12012, "page"), ("create_time__lt=yesterday", 12012, "create_time__lt"),
        ("targets=face_id,nose", 22016, "nose"), ("face_ids=x", 12012, "face_ids"), ("page=1&page=2", 12012, "page"),
    ):  # fmt: skip
        got = await rest.ask("GET", f"/6/faces?{query}")
        assert (got.status, got.json["error_code"]) == (400, code), got.data
        assert name in str(got.json["detail"])
    missing = await rest.ask("GET", "/6/attributes")
    assert (missing.status, missing.json["error_code"]) == (400, 12014)


async def test_a_call_that_takes_too_long_is_answered_with_504() -> None:
    cancelled = asyncio.Event()

    async def slow(_request: Message, _context: Context) -> Message:
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return faces_pb2.Face()

    canned = Canned({"GetFace": slow})
    async with grpc_server(canned) as (_, port), envoy([port], timeout_seconds=0.5) as edge:
        got = await edge.ask("GET", FACE)
        assert (got.status, got.json["error_code"]) == (504, 9)
        await asyncio.wait_for(cancelled.wait(), 5)


async def test_without_a_server_502_is_answered_in_the_shape_of_luna() -> None:
    async with envoy(free_ports(1)) as edge:
        got = await edge.ask("GET", FACE)
        assert (got.status, got.json["error_code"], got.headers["content-type"]) == (502, 11, "application/json")
        assert REQUEST_ID.fullmatch(got.headers["luna-request-id"])
        head = await edge.ask("HEAD", FACE)
        assert (head.status, head.data) == (502, b"")


async def test_a_server_without_the_facade_is_an_internal_error() -> None:
    async with grpc_server(Canned(), facade=False) as (_, port), envoy([port]) as edge:
        got = await edge.ask("GET", FACE, headers={"luna-request-id": 'a"b\\c%1'})
        assert (got.status, got.json["error_code"], got.headers["luna-request-id"]) == (500, 1, 'a"b\\c%1')
        assert got.json["detail"] == 'Internal server error, request a"b\\c%1'
        head = f"HEAD {FACE} HTTP/1.1\r\nhost: a\r\n"
        heads = await edge.send(f"{head}\r\n{head}connection: close\r\n\r\n".encode())
        assert (heads.count(b"HTTP/1.1 500"), heads.count(b"{")) == (2, 0)


async def test_a_server_that_is_gone_is_passed_over() -> None:
    canned = Canned({"GetFace": faces_pb2.Face(face_id=ID)})
    async with grpc_server(canned) as (first, one), grpc_server(canned) as (_, two), envoy([one, two]) as edge:
        for _ in range(10):
            assert (await edge.ask("GET", FACE)).status == 200
        await first.stop(0)
        assert [(await edge.ask("GET", FACE)).status for _ in range(30)] == [200] * 30
        assert [(await edge.ask("DELETE", FACE)).status for _ in range(30)] == [204] * 30
