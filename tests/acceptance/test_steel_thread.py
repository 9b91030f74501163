"""The whole of events once through: enrolled people, pictures, events, subscribers who hear of each, and numbers."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from luna.v6 import event_filters_pb2, events_pb2, events_pb2_grpc
from websockets.sync.client import connect

from tests.conftest import SHARED
from tests.service import Account, Service

PICTURES = 50
PEOPLE = 5
ENOUGH = 0.73
SECONDS = 60


@dataclass
class Picture:
    """A photograph, who it is of, and where it is said to come from."""

    path: Path
    person: str
    source: str


@dataclass
class Heard:
    """What a subscriber has been told."""

    events: list[dict[str, Any]] = field(default_factory=list)

    def wait(self, count: int) -> None:
        """Wait until so many have come, and a little longer for what should not."""
        end = time.monotonic() + SECONDS
        while len(self.events) < count and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(0.5)


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    folder = SHARED / "data" / "lfw-2folds" / "images"
    if not folder.is_dir():
        pytest.skip("the shared photographs of LFW are not there")
    several = [one for one in sorted(folder.iterdir()) if len(list(one.glob("*.jpg"))) >= 2]
    chosen = [(path, one.name) for one in several for path in sorted(one.glob("*.jpg"))[:2]]
    return [
        Picture(path, name, f"camera {number % 3}") for number, (path, name) in enumerate(chosen[: PICTURES + PEOPLE])
    ]


class Client:
    """REST as one account."""

    def __init__(self, service: Service, account: Account) -> None:
        self._base = f"{service.rest}/6"
        self._auth = account.auth

    def post(self, path: str, **request: Any) -> Any:
        answer = requests.post(f"{self._base}{path}", auth=self._auth, timeout=SECONDS, **request)
        assert answer.status_code in {200, 201, 204}, answer.text
        return answer.json() if answer.content else None

    def get(self, path: str, **query: Any) -> Any:
        answer = requests.get(f"{self._base}{path}", auth=self._auth, timeout=SECONDS, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def status(self, path: str) -> int:
        return requests.get(f"{self._base}{path}", auth=self._auth, timeout=SECONDS).status_code


@contextmanager
def told_by_grpc(service: Service, account: Account, source: str) -> Iterator[Heard]:
    """Subscribe to the events of a source over gRPC."""
    heard = Heard()
    with service.channel() as channel:
        request = events_pb2.SubscribeRequest(filters=event_filters_pb2.EventFilters(sources=[source]))
        stream = events_pb2_grpc.SubscriptionsStub(channel).Subscribe(request, metadata=account.metadata)

        def listen() -> None:
            try:
                for message in stream:
                    heard.events.append({"event_id": message.event.event.event_id, "message": message})
            except Exception as error:  # noqa: BLE001 - the stream ends when the test is over
                heard.events.append({"ended": error})

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        stream.initial_metadata()
        yield heard
        stream.cancel()
        thread.join(SECONDS)
        heard.events = [one for one in heard.events if "ended" not in one]


@contextmanager
def told_by_websocket(service: Service, account: Account) -> Iterator[Heard]:
    """Subscribe to all events over a WebSocket."""
    heard = Heard()
    login = base64.b64encode(f"{account.login}:{account.password}".encode()).decode()
    address = f"{service.rest.replace('http', 'ws')}/6/ws"
    with connect(address, additional_headers={"Authorization": f"Basic {login}"}) as socket:

        def listen() -> None:
            for frame in socket:
                heard.events.append(json.loads(frame))

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield heard
    thread.join(SECONDS)


def policies(known: str, seen: str) -> dict[str, Any]:
    """Every policy: known people are tagged and put into a list, strangers become faces of another one."""
    match = {"label": "known", "candidates": {"origin": "faces", "list_id": known}, "limit": 2, "threshold": 0.3}
    is_known = {"match": [{"label": "known", "similarity__gte": ENOUGH}]}
    is_not = {"match": [{"label": "known", "similarity__lte": ENOUGH}]}
    return {
        "detect_policy": {
            "multiface_policy": 2,
            "estimate_head_pose": 1,
            "estimate_quality": 1,
            "yaw_threshold": 60,
            "face_quality": {"estimate": 1, "filter": 0},
        },
        "extract_policy": {"extract_face_descriptor": 1, "fd_score_threshold": 0.1},
        "match_policy": [match],
        "conditional_tags_policy": [
            {"tag": "known", "filters": is_known},
            {"tag": "stranger", "filters": is_not},
        ],
        "storage_policy": {
            "face_sample_policy": {"store_sample": 1},
            "body_sample_policy": {"store_sample": 0},
            "image_origin_policy": {"store_image": 1, "filters": is_not},
            "attribute_policy": {"store_attribute": 1, "ttl": 600, "filters": is_known},
            "face_policy": {
                "store_face": 1,
                "set_sample_as_avatar": 1,
                "link_to_lists_policy": [{"list_id": seen}],
                "filters": is_not,
            },
            "event_policy": {"store_event": 1, "wait_saving": 1},
            "notification_policy": {"send_notification": 1},
        },
    }


def enrol(client: Client, picture: Picture, list_id: str) -> str:
    """A face of a person, in a list."""
    found = client.post("/detector", data=picture.path.read_bytes(), headers={"content-type": "image/jpeg"})
    sample = found["images"][0]["detections"]["samples"][0]["face"]["sample_id"]
    (extracted,) = client.post("/extractor", json=[sample])
    body = {
        "attribute": {"attribute_id": extracted["attribute_id"]},
        "lists": [list_id],
        "external_id": picture.person[:36],
    }
    return str(client.post("/faces", json=body)["face_id"])


def test_pictures_become_events_that_everyone_hears_of_and_that_add_up(
    service: Service, account: Account, pictures: list[Picture]
) -> None:
    client = Client(service, account)
    known, seen = (str(client.post("/lists")["list_id"]) for _ in range(2))
    enrolled = {one.person: enrol(client, one, known) for one in pictures[: 2 * PEOPLE : 2]}
    handler = client.post("/handlers", json={"description": "all of it", "policies": policies(known, seen)})
    shown = [one for one in pictures if one not in pictures[: 2 * PEOPLE : 2]][:PICTURES]

    events: dict[str, dict[str, Any]] = {}
    of: dict[str, Picture] = {}
    with told_by_grpc(service, account, "camera 1") as by_grpc, told_by_websocket(service, account) as by_socket:
        for picture in shown:
            answer = client.post(
                f"/handlers/{handler['handler_id']}/events",
                data=picture.path.read_bytes(),
                headers={"content-type": "image/jpeg"},
                params={
                    "source": picture.source,
                    "city": "Springfield",
                    "tags": "thread",
                    "track_id": picture.person[:36],
                },
            )
            assert answer["images"][0]["status"] == 1
            assert len(answer["events"]) + len(answer["filtered_detections"]["face_detections"]) <= 1
            for event in answer["events"]:
                events[event["event_id"]] = event
                of[event["event_id"]] = picture
                # what is answered can be read at once
                assert client.get(event["url"].removeprefix("/6"))["event_id"] == event["event_id"]
        assert len(events) > 0.9 * len(shown)
        by_socket.wait(len(events))
        by_grpc.wait(sum(of[one].source == "camera 1" for one in events))

    # two subscribers have heard exactly the events that are theirs, as they were answered
    assert {one["event"]["event_id"] for one in by_socket.events} == set(events)
    for one in by_socket.events:
        assert one["event"] == events[one["event"]["event_id"]]
        assert one["handler_id"] == handler["handler_id"]
        assert set(one) == {"event", "handler_id", "event-create-time", "event-end-time", "Luna-Request-id"}
    expected = {one for one in events if of[one].source == "camera 1"}
    assert {one["event_id"] for one in by_grpc.events} == expected

    # each policy has done what it says
    right = 0
    for event_id, event in events.items():
        (match,) = event["matches"]
        best = match["candidates"][0] if match["candidates"] else None
        is_known = best is not None and best["similarity"] >= ENOUGH
        assert ("known" in event["tags"]) == is_known
        assert "thread" in event["tags"]
        right += is_known == (of[event_id].person in enrolled)
        (detection,) = event["detections"]
        sample = detection["samples"]["face"]["sample_id"]
        assert client.status(f"/samples/faces/{sample}") == 200
        stored = client.get(f"/events/{event_id}")
        assert stored["tags"] == event["tags"]
        assert stored["source"] == of[event_id].source
        assert stored["face_detections"][0]["sample_id"] == sample
        if is_known:
            assert best is not None
            assert stored["top_match"]["face_id"] == best["face"]["face_id"]
            assert event["face"] is None
            assert client.status(event["face_attributes"]["url"].removeprefix("/6")) == 200
            assert detection["image_origin"] is None
        else:
            face = client.get(event["face"]["url"].removeprefix("/6"))
            assert face["lists"] == [seen]
            assert face["event_id"] == event_id
            assert face["avatar"] == f"/6/samples/faces/{sample}"
            assert client.status(detection["image_origin"].removeprefix("/6")) == 200
            assert stored["attach_result"] == [seen]
    assert right >= 0.95 * len(events)

    # statistics agree with a recount
    counted = client.post(
        "/events/stats",
        json={
            "targets": [
                {"column": "source", "aggregator": "group_by"},
                {"column": "event_id", "aggregator": "count"},
                {"column": "top_similar_object_similarity", "aggregator": "max"},
            ],
            "filters": [{"column": "tags", "operator": "like", "value": "thread"}],
        },
    )
    similar = {
        one: max((c["similarity"] for m in event["matches"] for c in m["candidates"]), default=None)
        for one, event in events.items()
    }
    counts = Counter(of[one].source for one in events)
    told = {row[0]: row[1:] for row in counted["stats"]}
    assert {source: row[0] for source, row in told.items()} == dict(counts)
    for source, (_, highest) in told.items():
        values = [value for one, value in similar.items() if of[one].source == source and value is not None]
        assert highest == pytest.approx(max(values))

    # pages together are all of them, newest first
    listed = [one for page in (1, 2, 3) for one in client.get("/events", page=page, page_size=20)["events"]]
    assert {one["event_id"] for one in listed} == set(events)
    times = [one["create_time"] for one in listed]
    assert times == sorted(times, reverse=True)
