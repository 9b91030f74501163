"""Bad input through REST and gRPC: it is refused in LUNA's shape, quickly, and the server lives on."""

from __future__ import annotations

import base64
import http.client
import json
import struct
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import msgpack
import pytest
from luna.v6 import (
    attributes_pb2,
    faces_pb2,
    faces_pb2_grpc,
    images_pb2,
    lists_pb2,
    lists_pb2_grpc,
    matcher_pb2,
    matcher_pb2_grpc,
    samples_pb2,
    samples_pb2_grpc,
)

from tests.robustness.bombs import images
from tests.robustness.client import client, person
from tests.robustness.faults import engine_processes
from tests.service import Account, Service, running

JSON = {"content-type": "application/json"}
MSGPACK = {"content-type": "application/msgpack"}
JPEG = {"content-type": "image/jpeg"}
QUICK_SECONDS = 8.0
"""A bad image is answered in milliseconds; a machine at work on other things takes longer."""
MEMORY_BYTES = 700 << 20
"""How much the largest bomb may make the server grow: an image at the limit of 64 million pixels has 192 MB."""

NAN = struct.pack("<128e", *[0.1] * 127, float("nan"))
ZERO = bytes(256)


@dataclass(frozen=True)
class Answer:
    """What REST answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Rest:
    """Sends requests exactly as they are written, as one account. No answer may be of the kind 5xx."""

    def __init__(self, service: Service, account: Account) -> None:
        self._port = service.rest_port
        basic = base64.b64encode(f"{account.login}:{account.password}".encode()).decode()
        self.authorization = f"Basic {basic}"

    def ask(self, verb: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.putrequest(verb, "/6", skip_accept_encoding=True)
            # `putrequest` refuses what a hostile client would send
            connection._buffer[0] = f"{verb} {target} HTTP/1.1".encode("latin-1")  # type: ignore[attr-defined]
            connection.putheader("authorization", self.authorization)
            connection.putheader("content-length", str(len(body)))
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            got = Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()
        assert got.status < 500, got
        return got

    def refused(
        self, verb: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None, *, status: int = 400
    ) -> int:
        """The error code of a request that must be refused, in LUNA's shape."""
        got = self.ask(verb, target, body, headers)
        assert got.status == status, got
        assert got.headers["content-type"] == "application/json"
        assert got.json.keys() >= {"error_code", "desc", "detail"}, got
        assert got.headers["luna-request-id"]
        return int(got.json["error_code"])


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """A service of this module's own, so that a server that dies is this module's finding."""
    with running() as one:
        yield one


@pytest.fixture(scope="module")
def mine(service: Service) -> Account:
    return service.account()


@pytest.fixture(scope="module")
def rest(service: Service, mine: Account) -> Rest:
    return Rest(service, mine)


@pytest.fixture(autouse=True)
def lives_on(service: Service) -> Iterator[None]:
    """After every test the server and those of its engine are the same processes, and healthy."""
    before = processes(service)
    yield
    assert processes(service) == before
    service.wait(10)


def code_of(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    code: grpc.StatusCode = caught.value.code()
    return code


def processes(service: Service) -> list[int]:
    """The server, and where its engine works on images."""
    return service.pids("server") + engine_processes(service)


def memory(service: Service) -> int:
    """The most memory that each of them ever had, together, in bytes."""
    return sum(_largest(pid) for pid in processes(service))


def _largest(pid: int) -> int:
    line = next(one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


# -------------------------------------------------------------------------------------------------------- images

IMAGES = images()


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_that_is_none_is_refused_quickly_by_both_protocols(
    service: Service, mine: Account, rest: Rest, name: str
) -> None:
    data = IMAGES[name]
    largest = memory(service)
    began = time.monotonic()
    got = rest.ask("POST", "/6/detector", data, JPEG)
    assert got.status in {201, 400}, got
    if got.status == 201:
        (image,) = got.json["images"]
        # a decoder may make something of a cut image; there is no face in any of these
        assert image["status"] == 1 or image["error"]["error_code"] in {18002, 100012}, image
        assert image["detections"]["samples"] == []
    rest.refused("POST", "/6/samples/faces", data, JPEG)
    with service.channel() as channel:
        request = samples_pb2.DetectFacesRequest(images=[images_pb2.ImageInput(data=data)])
        answer = samples_pb2_grpc.SamplesStub(channel).DetectFaces(request, metadata=mine.metadata, timeout=60)
        assert answer.images[0].detections.samples == []
        create = samples_pb2.CreateSampleRequest(samples_type=samples_pb2.SAMPLE_TYPE_FACES, data=data)
        code = code_of(
            lambda: samples_pb2_grpc.SamplesStub(channel).CreateSample(create, metadata=mine.metadata, timeout=60)
        )
        assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert time.monotonic() - began < QUICK_SECONDS
    assert memory(service) - largest < MEMORY_BYTES


def test_a_body_above_the_limit_is_413(rest: Rest) -> None:
    assert rest.refused("POST", "/6/detector", bytes(33 << 20), JPEG, status=413) == 12046


@pytest.mark.parametrize(
    ("headers", "code"),
    [({"content-type": "text/plain"}, 12024), ({"content-type": "image/../etc"}, 11028), ({}, 12024),
     ({"content-type": "a" * 8000}, 12024), ({"content-type": "image/jpeg\xff"}, 12046),
     ({"content-type": "multipart/form-data"}, 11049), ({"content-type": "multipart/form-data; boundary="}, 11049),
     ({"content-type": "multipart/form-data; boundary=" + "b" * 500}, 11049)],
)  # fmt: skip
def test_a_wrong_type_of_image_is_refused(rest: Rest, headers: dict[str, str], code: int) -> None:
    assert rest.refused("POST", "/6/detector", b"\xff\xd8\xff", headers) == code


@pytest.mark.parametrize(
    "body",
    [
        b"", b"--b", b"--b--", b"--b\r\n\r\n--b--", b"--b\r\n" + b"x: y\r\n" * 200_000 + b"\r\n1\r\n--b--\r\n",
        b"--b\r\ncontent-disposition: form-data; name=" + b"n" * 5_000_000 + b"\r\n\r\n1\r\n--b--\r\n",
        b"--b\r\n" + b"h" * 5_000_000 + b": 1\r\n\r\n1\r\n--b--\r\n",
        b"".join(b"--b\r\ncontent-disposition: form-data; name=f%d\r\n\r\n1\r\n" % n for n in range(50_000)),
        b'--b\r\ncontent-disposition: form-data; filename="../x"; name="i"\r\ncontent-type: x/\xff\r\n\r\n1\r\n--b--',
        b"--b\r\n" * 500_000,
    ],
    ids=["empty", "begun", "ended", "headless", "many headers", "long name", "long header", "many parts", "path",
         "boundaries"],
)  # fmt: skip
def test_a_monstrous_multipart_body_is_refused_quickly(rest: Rest, body: bytes) -> None:
    began = time.monotonic()
    rest.refused("POST", "/6/detector", body, {"content-type": "multipart/form-data; boundary=b"})
    assert time.monotonic() - began < QUICK_SECONDS


def test_two_faces_where_one_is_allowed_are_told_and_none_is_an_empty_answer(rest: Rest, photos: Path) -> None:
    several = rest.ask("POST", "/6/detector?multiface_policy=0", (photos / "bald_guys.jpg").read_bytes(), JPEG)
    (image,) = several.json["images"]
    assert (image["status"], image["error"]["error_code"]) == (0, 11038)
    none = rest.ask("POST", "/6/detector?multiface_policy=0", (photos / "dogs.jpg").read_bytes(), JPEG)
    (image,) = none.json["images"]
    assert (image["status"], image["detections"]["samples"]) == (1, [])


def test_a_deleted_sample_cannot_be_extracted_nor_one_of_another_account(
    service: Service, rest: Rest, photos: Path
) -> None:
    def sample(by: Rest) -> str:
        found = by.ask("POST", "/6/detector", (photos / "obama.jpg").read_bytes(), JPEG)
        return str(found.json["images"][0]["detections"]["samples"][0]["face"]["sample_id"])

    other = Rest(service, service.account())
    others, deleted = sample(other), sample(rest)
    assert rest.ask("DELETE", f"/6/samples/faces/{deleted}").status == 204
    for sample_id in (others, deleted, str(uuid.uuid4())):
        assert rest.refused("POST", "/6/extractor", json.dumps([sample_id]).encode(), JSON, status=404) == 13003
        assert rest.refused("GET", f"/6/samples/faces/{sample_id}", status=404) == 13003
        assert rest.refused("DELETE", f"/6/samples/faces/{sample_id}", status=404) == 13003
    assert other.ask("GET", f"/6/samples/faces/{others}").status == 200


# ---------------------------------------------------------------------------------------------- documents, texts

TEXTS = {
    "cut": b"{", "array": b"[]", "text": b'"x"', "null": b"null", "number": b"1", "two documents": b"{}{}",
    "deep arrays": b"[" * 1_000_000 + b"]" * 1_000_000, "deep objects": b'{"a":' * 1_000_000 + b"1" + b"}" * 1_000_000,
    "deep and open": b"[" * 5_000_000, "unknown field": b'{"user_data":"","nope":1}',
    "twice": b'{"user_data":"a","user_data":"b"}', "not a number": b'{"user_data":NaN}',
    "infinity": b'{"user_data":Infinity}', "large number": b'{"user_data":1e999}',
    "long number": b'{"user_data":' + b"9" * 1_000_000 + b"}", "number for text": b'{"user_data":7}',
    "zero character": b'{"user_data":"a\\u0000b"}', "lone surrogate": b'{"user_data":"\\ud800"}',
    "reversed surrogates": b'{"user_data":"\\udc00\\ud800"}', "raw surrogate": b'{"user_data":"\xed\xa0\x80"}',
    "not utf-8": b'{"user_data":"\xff\xfe"}', "overlong": b'{"user_data":"\xc0\x80"}',
    "utf-16": '{"user_data":"a"}'.encode("utf-16"),
    "control": b'{"user_data":"a\nb"}', "too long": b'{"user_data":"' + b"x" * 129 + b'"}',
    "bare key": b"{user_data:1}", "comment": b'{"user_data":"a"/**/}', "comma": b'{"user_data":"a",}',
    "prototype": b'{"__proto__":{},"user_data":""}', "bool": b'{"user_data":true}', "list": b'{"user_data":["a"]}',
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_bad_json_is_refused_quickly(rest: Rest, name: str) -> None:
    began = time.monotonic()
    assert rest.refused("POST", "/6/lists", TEXTS[name], JSON) in {12002, 12022, 12003}
    assert time.monotonic() - began < QUICK_SECONDS


def nested(depth: int, head: bytes) -> bytes:
    return head * depth + b"\xc0"


PACKED = {
    "empty": b"\xc1", "cut": b"\x81", "array of 2^32": b"\xdd\xff\xff\xff\xff", "map of 2^32": b"\xdf\xff\xff\xff\xff",
    "text of 2^32": b"\xdb\xff\xff\xff\xffa", "bytes of 2^32": b"\xc6\xff\xff\xff\xffa",
    "extension of 2^32": b"\xc9\xff\xff\xff\xff\x01", "deep arrays": nested(1_000_000, b"\x91"),
    "deep maps": nested(500_000, b"\x81\xa1a"), "arrays of 2^32 within each other": b"\xdd\xff\xff\xff\xff" * 1000,
    "number as key": b"\x81\x01\x01", "map as key": b"\x81\x80\x01",
    "text that is not utf-8": b"\x81\xa9user_data\xa1\xff",
    "extension": msgpack.packb({"user_data": msgpack.ExtType(5, b"x" * 100)}),
    "time": b"\x81\xa9user_data\xd6\xff\x00\x00\x00\x00",
    "more": b"\x80\x80", "bytes for text": msgpack.packb({"user_data": b"x"}),
    "twice": b"\x82\xa9user_data\xa0\xa9user_data\xa0",
    "not a number": msgpack.packb({"user_data": float("nan")}), "2^64": msgpack.packb({"user_data": 2**64 - 1}),
    "zero character": msgpack.packb({"user_data": "\0"}),
}  # fmt: skip


@pytest.mark.parametrize("name", PACKED)
def test_bad_msgpack_is_refused_quickly_and_in_little_memory(service: Service, rest: Rest, name: str) -> None:
    largest = memory(service)
    began = time.monotonic()
    assert rest.refused("POST", "/6/faces", PACKED[name], MSGPACK) in {12002, 12022, 12003}
    assert time.monotonic() - began < QUICK_SECONDS
    assert memory(service) - largest < MEMORY_BYTES


@pytest.mark.parametrize("headers", [{"content-type": "text/plain"}, {"content-type": "application/xml"}, {}])
def test_a_document_of_another_type_is_refused(rest: Rest, headers: dict[str, str]) -> None:
    assert rest.refused("POST", "/6/lists", b'{"user_data":"a"}', headers) == 12024


# ------------------------------------------------------------------------------------------ paths, queries, ids


@pytest.mark.parametrize(
    "bad", ["x", "0" * 36, "%00", "%ff%fe", "\xff\xfe", "a" * 5000, "..", "%2e%2e%2f", "*", "%", "%zz"]
)
def test_a_path_with_an_id_that_is_none_is_refused(rest: Rest, bad: str) -> None:
    got = rest.ask("GET", f"/6/faces/{bad}")
    assert got.status in {400, 404, 405}
    assert got.json["error_code"]


@pytest.mark.parametrize(
    "query",
    [
        "page=0", "page=-1", "page=99999999999999999999", "page_size=0", "page_size=1001", "page=1.5", "page=NaN",
        "page=1e3", "page=%d9%a1", "page=+1", "page=", "face_ids=x", "face_ids=%00", "user_data=%00", "user_data=%ff",
        "user_data=%ed%a0%80", "create_time__lt=9999-99-99", "create_time__lt=%00", "targets=nose",
        "account_id=x", "list_id=" + "a" * 3000, "face_id__lt=%27%20OR%201=1",
        "external_ids=" + "a" * 37,
    ],
)  # fmt: skip
def test_a_bad_query_is_refused_by_its_name(rest: Rest, query: str) -> None:
    assert rest.refused("GET", f"/6/faces?{query}") in {12012, 12014, 22016}


@pytest.mark.parametrize(
    "query",
    [
        "page=2147483647",
        "targets=",
        "page=1&page=1",
        "page=2147483647&page_size=1000",
        "&&&&",
        "=",
        "a=b",
        "%",
        "user_data=%25",
        "user_data='%3B--",
    ],
)
def test_an_odd_query_does_no_harm(rest: Rest, query: str) -> None:
    assert rest.ask("GET", f"/6/faces?{query}").status in {200, 400}


def test_ten_thousand_parameters_are_answered_quickly(rest: Rest) -> None:
    for query in (
        "&".join(f"a{n}=1" for n in range(5_000)),
        "&".join(["page=1"] * 8_000),
        "a&" * 20_000,
        "face_ids=" + "," * 50_000,
    ):
        began = time.monotonic()
        assert rest.ask("GET", f"/6/faces?{query}").status in {200, 400}
        assert time.monotonic() - began < QUICK_SECONDS
    assert rest.ask("GET", "/6/faces?" + "&".join(f"a{n}=1" for n in range(10_000))).status == 400


@pytest.mark.parametrize("verb", ["TRACE", "PROPFIND", "X" * 100, "get"])
def test_an_odd_verb_is_refused(rest: Rest, verb: str) -> None:
    assert rest.ask(verb, "/6/faces").status in {400, 405}


@pytest.mark.parametrize("body", [b"x" * 10_000_000, b"{}"])
def test_a_body_where_none_belongs_does_no_harm(rest: Rest, body: bytes) -> None:
    assert rest.ask("GET", "/6/faces", body, JSON).status in {200, 400}


def test_ids_of_another_account_are_not_there(service: Service, rest: Rest, mine: Account) -> None:
    other = service.account()
    with client(service, other) as theirs:
        list_id = theirs.new_list()
        face_id = theirs.enrol(person(1), lists=[list_id])
        attribute_id = theirs.remember(person(2))
        assert rest.refused("GET", f"/6/faces/{face_id}", status=404) == 22002
        assert rest.refused("DELETE", f"/6/faces/{face_id}", status=404) == 22002
        assert rest.refused("PATCH", f"/6/faces/{face_id}", b'{"user_data":"x"}', JSON, status=404) == 22002
        assert rest.refused("GET", f"/6/lists/{list_id}", status=404) == 22003
        assert rest.refused("GET", f"/6/attributes/{attribute_id}", status=404) == 22011
        taken = json.dumps({"attribute": {"attribute_id": attribute_id}}).encode()
        assert rest.refused("POST", "/6/faces", taken, JSON, status=404) == 22011
        joined = json.dumps({"lists": [list_id]}).encode()
        assert rest.refused("POST", "/6/faces", joined, JSON, status=404) == 22005
        with client(service, mine) as me:
            own = me.new_list()
            assert me.search(person(1), list_id) == []
            assert code_of(lambda: me.put(face_id, own, into=True)) is grpc.StatusCode.NOT_FOUND
            assert code_of(lambda: me.put(face_id, list_id, into=False)) is grpc.StatusCode.NOT_FOUND
            assert code_of(lambda: me.forget(face_id)) is grpc.StatusCode.NOT_FOUND
        assert theirs.search(person(1), list_id) == [face_id]
        assert theirs.remembered(attribute_id) == person(2)


def test_an_attribute_is_gone_after_its_time(service: Service, rest: Rest, mine: Account) -> None:
    with client(service, mine) as me:
        attribute_id = me.remember(person(3), 1)
        assert me.remembered(attribute_id) == person(3)
        time.sleep(1.1)
        assert code_of(lambda: me.remembered(attribute_id)) is grpc.StatusCode.NOT_FOUND
    assert rest.refused("GET", f"/6/attributes/{attribute_id}", status=404) == 22011
    body = json.dumps({"attribute": {"attribute_id": attribute_id}}).encode()
    assert rest.refused("POST", "/6/faces", body, JSON, status=404) == 22011


# --------------------------------------------------------------------------------------------------- descriptors


@pytest.mark.parametrize(
    ("descriptor", "version", "codes"),
    [(NAN, 1001, {12038}), (struct.pack("<128e", *[float("inf")] * 128), 1001, {12038}), (b"", 1001, {12003}),
     (bytes(255), 1001, {12034}), (bytes(257), 1001, {12034}), (bytes(5_000_000), 1001, {12034}),
     (ZERO, 7, {12036}), (ZERO, -1, {12036}), (ZERO, 2**31 - 1, {12036}), (ZERO, 52, {12034})],
)  # fmt: skip
def test_a_bad_descriptor_is_refused_by_both_protocols(
    service: Service, mine: Account, rest: Rest, descriptor: bytes, version: int, codes: set[int]
) -> None:
    given = {"descriptor": base64.b64encode(descriptor).decode(), "version": version}
    face = json.dumps({"attribute": {"face_descriptors": [given]}}).encode()
    assert rest.refused("POST", "/6/faces", face, JSON) in codes
    attribute = json.dumps({"face_descriptors": [given]}).encode()
    assert rest.refused("POST", "/6/attributes", attribute, JSON) in codes
    reference = {"id": "x", "type": "raw_descriptor", "data": given}
    raw = json.dumps({"references": [reference], "candidates": [reference]}).encode()
    assert rest.refused("POST", "/6/matcher/raw", raw, JSON) in codes
    message = attributes_pb2.DescriptorInput(descriptor=descriptor, version=version)
    with service.channel() as channel:
        create = faces_pb2.CreateFaceRequest(attribute=faces_pb2.FaceAttributeInput(face_descriptors=[message]))
        code = code_of(lambda: faces_pb2_grpc.FacesStub(channel).CreateFace(create, metadata=mine.metadata, timeout=10))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        pair = [matcher_pb2.Reference(id="x", type=matcher_pb2.REFERENCE_TYPE_RAW_DESCRIPTOR, data=message)]
        match = matcher_pb2.MatchRawRequest(references=pair, candidates=pair)
        code = code_of(
            lambda: matcher_pb2_grpc.MatcherStub(channel).MatchRaw(match, metadata=mine.metadata, timeout=10)
        )
        assert code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("data", ["ZHAAAA==", "ZHAAAOkDAAA=", "", "====", "not base64", "AAAA", "Z" * 1_000_001])
def test_a_bad_sdk_descriptor_is_refused(rest: Rest, data: str) -> None:
    reference = {"id": "x", "type": "sdk_descriptor", "data": data}
    body = json.dumps({"references": [reference], "candidates": [reference]}).encode()
    assert rest.refused("POST", "/6/matcher/raw", body, JSON)


def test_a_zero_descriptor_is_kept_and_like_nothing(service: Service, mine: Account) -> None:
    with client(service, mine) as me:
        face_id = me.enrol(ZERO)
        found = me.search(ZERO, limit=1000)
        assert face_id in found
        other = me.enrol(person(77))
        assert me.search(person(77), limit=1) == [other]
        me.forget(face_id)
        me.forget(other)


@pytest.mark.parametrize(
    "change",
    [{"limit": 0}, {"limit": 1001}, {"limit": 1e300}, {"threshold": -0.1}, {"threshold": 1.1}, {"targets": ["nose"]},
     {"filters": {}}, {"filters": {"origin": "faces", "list_id": "x"}}, {"filters": {"origin": "events", "masks": [7]}},
     {"filters": {"origin": "x" * 10_000}}, {"filters": None}, {"filters": {"origin": "faces", "face_ids": []}},
     {"filters": {"origin": "faces", "user_data": "\0"}}, {"filters": {"origin": "faces", "nope": 1}}],
    ids=lambda change: str(change)[:40],
)  # fmt: skip
def test_bad_candidates_are_refused(rest: Rest, change: dict[str, object]) -> None:
    given = {"descriptor": base64.b64encode(person(1)).decode(), "version": 1001}
    candidates = {"filters": {"origin": "faces"}, "limit": 3, **change}
    body = {"references": [{"id": "x", "type": "raw_descriptor", "data": given}], "candidates": [candidates]}
    assert rest.refused("POST", "/6/matcher/faces", json.dumps(body).encode(), JSON)


def test_too_many_references_are_refused(rest: Rest) -> None:
    reference = {"id": str(uuid.uuid4()), "type": "face"}
    body = {"references": [reference] * 31, "candidates": [{"filters": {"origin": "faces"}}]}
    assert rest.refused("POST", "/6/matcher/faces", json.dumps(body).encode(), JSON) == 12022
    many = {"references": [reference] * 100_000, "candidates": []}
    began = time.monotonic()
    assert rest.refused("POST", "/6/matcher/raw", json.dumps(many).encode(), JSON) == 12022
    assert time.monotonic() - began < QUICK_SECONDS


# ------------------------------------------------------------------------------------------------- native texts


@pytest.mark.parametrize("text", ["\0", "a\0b", "x" * 129, "x" * 10_000_000])
def test_bad_texts_are_refused_natively(service: Service, mine: Account, text: str) -> None:
    with service.channel() as channel:
        stub = lists_pb2_grpc.ListsStub(channel)
        request = lists_pb2.CreateListRequest(user_data=text)
        assert code_of(lambda: stub.CreateList(request, metadata=mine.metadata, timeout=20)) is (
            grpc.StatusCode.INVALID_ARGUMENT
        )


@pytest.mark.parametrize("header", ["Basic \xff", "Basic " + "A" * 60_000, "Bearer \x01", "\xe9", "Basic\tYTpi"])
def test_odd_authorization_is_refused(service: Service, mine: Account, header: str) -> None:
    stranger = Rest(service, mine)
    stranger.authorization = header
    assert stranger.ask("GET", "/6/account").status in {400, 401}
