"""Matching with events through the whole service: two servers, by gRPC and by REST."""

from __future__ import annotations

import base64
import random
import struct
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import grpc
import msgpack
import numpy as np
import pytest
import requests
from luna.v6 import attributes_pb2, event_filters_pb2, events_pb2, events_pb2_grpc, matcher_pb2, matcher_pb2_grpc

from server.domain.descriptors import LAYOUTS
from tests.service import Account, Service, running

FACE, BODY = 1001, 1911
ROUNDS = 40


@pytest.fixture(scope="module")
def pair() -> Iterator[Service]:
    """A service with two servers."""
    with running(servers=2) as one:
        yield one


def vector(seed: int, version: int = FACE) -> bytes:
    """A raw descriptor that nobody else has."""
    source = random.Random(seed)
    count = LAYOUTS[version].dimensions
    return struct.pack(f"<{count}e", *(source.gauss(0, 1) for _ in range(count)))


def near(seed: int, version: int = FACE) -> bytes:
    """One that is very like another."""
    numbers = list(struct.unpack(f"<{LAYOUTS[version].dimensions}e", vector(seed, version)))
    numbers[0] += 0.25
    return struct.pack(f"<{len(numbers)}e", *numbers)


class Client:
    """An account with a handler, which calls either server."""

    def __init__(self, service: Service, account: Account) -> None:
        self.service, self.account = service, account
        made = self.post("/6/handlers", {"handler_type": 1, "description": "raw events"})
        assert made.status_code == 201, made.text
        self.handler_id = made.json()["handler_id"]
        self._stack = ExitStack()
        self.channels = [
            self._stack.enter_context(service.channel(server)) for server in range(len(service.server_ports))
        ]

    def close(self) -> None:
        self._stack.close()

    def post(self, path: str, body: object, **headers: str) -> requests.Response:
        """POST as JSON."""
        return requests.post(self.service.rest + path, json=body, headers=headers, auth=self.account.auth, timeout=30)

    def save(self, face: bytes | None = None, body: bytes | None = None, server: int = 0, **fields: object) -> str:
        """Save an event by one of the servers. Its id."""
        event = events_pb2.RawEvent(**fields)  # type: ignore[arg-type]
        if face is not None:
            event.face_attributes.descriptor.CopyFrom(attributes_pb2.DescriptorInput(descriptor=face, version=FACE))
        if body is not None:
            event.body_attributes.descriptor.CopyFrom(attributes_pb2.DescriptorInput(descriptor=body, version=BODY))
        request = events_pb2.SaveEventRequest(handler_id=self.handler_id, event=event)
        stub = events_pb2_grpc.EventsStub(self.channels[server])
        return str(stub.SaveEvent(request, metadata=self.account.metadata, timeout=30).event_id)

    def faces(self, descriptor: bytes, server: int = 0, limit: int = 3, **filters: object) -> list[tuple[str, float]]:
        """The events whose faces are nearest."""
        request = matcher_pb2.MatchFacesRequest(
            references=[given(descriptor, FACE)],
            candidates=[matcher_pb2.Candidates(events=event_filters_pb2.EventFilters(**filters), limit=limit)],  # type: ignore[arg-type]
        )
        answer = self._matcher(server).MatchFaces(request, metadata=self.account.metadata, timeout=30)
        return [(one.event.event_id, one.similarity) for one in answer.matches[0].matches[0].result]

    def bodies(self, descriptor: bytes, server: int = 0, limit: int = 3, **filters: object) -> list[tuple[str, float]]:
        """The events whose bodies are nearest."""
        request = matcher_pb2.MatchBodiesRequest(
            references=[given(descriptor, BODY)],
            candidates=[matcher_pb2.BodyCandidates(events=event_filters_pb2.EventFilters(**filters), limit=limit)],  # type: ignore[arg-type]
        )
        answer = self._matcher(server).MatchBodies(request, metadata=self.account.metadata, timeout=30)
        return [(one.event.event_id, one.similarity) for one in answer.matches[0].matches[0].result]

    def _matcher(self, server: int) -> matcher_pb2_grpc.MatcherStub:
        return matcher_pb2_grpc.MatcherStub(self.channels[server])


def given(descriptor: bytes, version: int) -> matcher_pb2.Reference:
    """A reference that carries a descriptor."""
    data = attributes_pb2.DescriptorInput(descriptor=descriptor, version=version)
    return matcher_pb2.Reference(id="given", type=matcher_pb2.REFERENCE_TYPE_RAW_DESCRIPTOR, data=data)


@pytest.fixture
def client(pair: Service) -> Iterator[Client]:
    one = Client(pair, pair.account())
    yield one
    one.close()


def raw(descriptor: bytes, version: int) -> dict[str, object]:
    """A reference of REST that carries a descriptor."""
    data = {"descriptor": base64.b64encode(descriptor).decode(), "version": version}
    return {"id": "given", "type": "raw_descriptor", "data": data}


def test_an_event_is_found_by_the_very_next_search_through_the_other_server(client: Client) -> None:
    saved: list[str] = []
    for number in range(ROUNDS):
        writer, reader = number % 2, 1 - number % 2
        event_id = client.save(vector(number), vector(number, BODY), server=writer, external_id=f"{number % 3}")
        assert [one for one, _ in client.faces(vector(number), reader, limit=1)] == [event_id]
        assert [one for one, _ in client.bodies(vector(number, BODY), reader, limit=1)] == [event_id]
        assert [one for one, _ in client.faces(vector(number), reader, limit=1, external_ids=["x"])] == []
        saved.append(event_id)
    (found, similarity), *_ = client.faces(near(7), limit=1)
    assert found == saved[7]
    assert 0.9 < similarity < 1


def test_searches_of_bodies_and_faces_agree_with_a_full_comparison(client: Client) -> None:
    rng = np.random.default_rng(3)
    for version in (FACE, BODY):
        layout = LAYOUTS[version]
        vectors = rng.standard_normal((60, layout.dimensions)).astype("<f2")
        ids = [
            client.save(row.tobytes(), source=f"s{n % 4}")
            if version == FACE
            else client.save(None, row.tobytes(), source=f"s{n % 4}")
            for n, row in enumerate(vectors)
        ]
        asked = rng.standard_normal(layout.dimensions).astype("<f2")
        wide = vectors.astype(np.float64)
        cosines = (
            wide @ asked.astype(np.float64) / np.linalg.norm(wide, axis=1) / np.linalg.norm(asked.astype(np.float64))
        )
        search = client.faces if version == FACE else client.bodies
        for filters, chosen in (
            ({}, range(60)),
            ({"sources": ["s1", "s2"]}, [n for n in range(60) if n % 4 in (1, 2)]),
        ):
            expected = sorted(((layout.similarity(float(cosines[n])), ids[n]) for n in chosen), key=lambda one: -one[0])
            expected.sort(key=lambda one: (-one[0], one[1]))
            found = search(asked.tobytes(), limit=1000, **filters)
            assert [similarity for _, similarity in found] == pytest.approx([one for one, _ in expected], abs=1e-9)
            assert {one for one, _ in found} == {one for _, one in expected}
            above = [one for one in expected if one[0] > 1e-9]
            assert [one for one, _ in found][: len(above)] == [event_id for _, event_id in above]


def test_another_account_finds_nothing(client: Client, pair: Service) -> None:
    event_id = client.save(vector(1), vector(1, BODY), external_id="mine", track_id="track")
    other = Client(pair, pair.account())
    try:
        assert other.faces(vector(1)) == other.bodies(vector(1, BODY)) == []
        assert other.faces(vector(1), event_ids=[event_id]) == []
        for kind, named, code in (
            ("event", event_id, 23001),
            ("event_external_id", "mine", 11057),
            ("event_track_id", "track", 11058),
        ):
            for path in ("/6/matcher/faces", "/6/matcher/bodies"):
                body = {"references": [{"id": named, "type": kind}], "candidates": [{"filters": {"origin": "events"}}]}
                answer = other.post(path, body)
                assert (answer.status_code, answer.json()["error_code"]) == (404, code)
    finally:
        other.close()


def test_rest_tells_the_filters_as_they_were_and_the_fields_that_were_asked_for(client: Client) -> None:
    event_id = client.save(vector(2), vector(2, BODY), external_id="two", source="door", track_id="t2", tags=["a", "b"])
    filters: dict[str, object] = {
        "event_ids": [event_id],
        "tags": ["a"],
        "create_time__gte": "now-1h",
        "sources": ["door", None],
    }
    body: dict[str, object] = {
        "references": [
            {"id": event_id, "type": "event"},
            {"id": "two", "type": "event_external_id"},
            {"id": "t2", "type": "event_track_id"},
        ],
        "candidates": [
            {"filters": {"origin": "events", **filters}},
            {"filters": {"origin": "events"}, "targets": ["external_id", "source", "tags", "similarity"], "limit": 1},
            {"filters": {"origin": "events", "sources": ["window"]}, "targets": ["user_data"]},
        ],
    }
    for path in ("/6/matcher/faces", "/6/matcher/bodies"):
        answer = client.post(path, body)
        assert answer.status_code == 200, answer.text
        for row, reference in zip(answer.json(), body["references"], strict=True):  # type: ignore[call-overload]
            assert row["reference"] == reference
            first, second, third = row["matches"]
            assert first["filters"] == {"origin": "events", **filters}
            assert (first["limit"], [one["event"] for one in first["result"]]) == (3, [{"event_id": event_id}])
            assert first["result"][0]["similarity"] == pytest.approx(1, abs=1e-3)
            (shown,) = second["result"]
            assert shown["event"] == {"external_id": "two", "source": "door", "tags": ["a", "b"]}
            assert third["result"] == []


def test_bodies_need_no_origin_and_answer_in_msgpack(client: Client) -> None:
    event_id = client.save(None, vector(4, BODY))
    body = {
        "references": [raw(near(4, BODY), BODY)],
        "candidates": [{"filters": {}}, {"filters": {"origin": "events"}, "threshold": 1}],
    }
    answer = client.post("/6/matcher/bodies", body, accept="application/msgpack")
    assert answer.status_code == 200, answer.text
    (row,) = msgpack.unpackb(answer.content)
    assert [len(one["result"]) for one in row["matches"]] == [1, 0]
    assert row["matches"][0]["result"][0]["event"] == {"event_id": event_id}


ONLY_FACE = str(uuid.UUID(int=1))


@pytest.mark.parametrize(
    ("path", "change", "status", "code"),
    [
        ("bodies", {"candidates": []}, 400, 12022),
        ("bodies", {"candidates": [{}]}, 400, 12003),
        ("bodies", {"candidates": [{"filters": {"origin": "faces"}}]}, 400, 12022),
        ("bodies", {"candidates": [{"filters": {}, "targets": ["avatar"]}]}, 400, 12022),
        ("bodies", {"candidates": [{"filters": {"create_time__gte": "yesterday"}}]}, 400, 12022),
        ("bodies", {"candidates": [{"filters": {"meta": {"a__like:integer": "1"}}}]}, 400, 12022),
        ("bodies", {"references": [{"id": ONLY_FACE, "type": "face"}]}, 400, 12022),
        ("bodies", {"references": [{"id": ONLY_FACE, "type": "attribute"}]}, 400, 12022),
        ("bodies", {"references": [{"id": "nobody", "type": "event"}]}, 400, 12022),
        ("bodies", {"references": [{"id": str(uuid.uuid4()), "type": "event"}]}, 404, 23001),
        ("bodies", {"references": [{"id": "nobody", "type": "event_external_id"}]}, 404, 11057),
        ("bodies", {"references": [raw(vector(0), FACE)]}, 400, 31001),
        ("bodies", {"references": [raw(vector(0), BODY)]}, 400, 12034),
        ("bodies", {"references": [raw(vector(0), 61)]}, 400, 12036),
        ("faces", {"references": [raw(vector(0, BODY), BODY)]}, 400, 31001),
        ("faces", {"references": [{"id": "nobody", "type": "event_track_id"}]}, 404, 11058),
        ("faces", {"candidates": [{"filters": {"origin": "events"}, "targets": ["avatar"]}]}, 400, 12022),
        ("faces", {"candidates": [{"filters": {"origin": "events", "user_data": "a\0b"}}]}, 400, 12022),
    ],
)
def test_what_cannot_be_matched_is_told_with_its_code(
    client: Client, path: str, change: Mapping[str, object], status: int, code: int
) -> None:
    good = {"references": [raw(vector(9, BODY), BODY) if path == "bodies" else raw(vector(9), FACE)]}
    body = {**good, "candidates": [{"filters": {"origin": "events"}}]}
    assert client.post(f"/6/matcher/{path}", body).status_code == 200
    answer = client.post(f"/6/matcher/{path}", {**body, **change})
    assert (answer.status_code, answer.json()["error_code"]) == (status, code), answer.text


def test_an_event_without_what_is_compared_is_no_reference(client: Client) -> None:
    only_face, only_body = client.save(vector(5)), client.save(None, vector(5, BODY))
    for path, event_id, status, code in (("bodies", only_face, 404, 23007), ("faces", only_body, 400, 11034)):
        body = {"references": [{"id": event_id, "type": "event"}], "candidates": [{"filters": {"origin": "events"}}]}
        answer = client.post(f"/6/matcher/{path}", body)
        assert (answer.status_code, answer.json()["error_code"]) == (status, code), answer.text


def test_a_token_needs_to_match_events(client: Client) -> None:
    def token(*actions: str) -> str:
        made = client.post(
            "/6/tokens", {"permissions": {"event": list(actions), "face": ["matching"]}, "expiration_time": None}
        )
        assert made.status_code == 201, made.text
        return str(made.json()["token"])

    for path, reference in (("faces", raw(vector(9), FACE)), ("bodies", raw(vector(9, BODY), BODY))):
        body = {"references": [reference], "candidates": [{"filters": {"origin": "events"}}]}
        for bearer, status in ((token("matching"), 200), (token("view"), 403)):
            answer = requests.post(
                f"{client.service.rest}/6/matcher/{path}",
                json=body,
                headers={"authorization": f"Bearer {bearer}"},
                timeout=30,
            )
            assert answer.status_code == status, answer.text
            assert status == 200 or answer.json()["error_code"] == 11059


def test_where_events_are_not_searched_they_are_references_and_no_candidates() -> None:
    with running(EVENTS__MATCHING="false") as service:
        client = Client(service, service.account())
        try:
            event_id = client.save(vector(1), vector(1, BODY))
            with pytest.raises(grpc.RpcError) as caught:
                client.faces(vector(1))
            assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION  # type: ignore[attr-defined]
            for path in ("faces", "bodies"):
                body = {
                    "references": [{"id": event_id, "type": "event"}],
                    "candidates": [{"filters": {"origin": "events"}}],
                }
                answer = client.post(f"/6/matcher/{path}", body)
                assert (answer.status_code, answer.json()["error_code"]) == (403, 11040)
            body = {"references": [{"id": event_id, "type": "event"}], "candidates": [{"filters": {"origin": "faces"}}]}
            answer = client.post("/6/matcher/faces", body)
            assert answer.status_code == 200, answer.text
        finally:
            client.close()
