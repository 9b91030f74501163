"""Events of real photos in the whole service: over REST and gRPC, and what is there afterwards."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import msgpack
import pytest
import requests
from google.protobuf.json_format import MessageToDict
from luna.v6 import events_pb2, events_pb2_grpc, images_pb2, policies_pb2

from tests.service import Account, Service

SECONDS = 60
JPEG = {"content-type": "image/jpeg"}
EVERYTHING = {
    "extract_policy": {"extract_face_descriptor": 1},
    "match_policy": [{"label": "known", "candidates": {"origin": "faces"}, "limit": 5}],
    "conditional_tags_policy": [
        {"tag": "stranger", "filters": {"match": [{"label": "known", "similarity__lte": 0.9}]}},
        {"tag": "regular", "filters": {"match": [{"label": "known", "similarity__gte": 0.9}]}},
    ],
    "storage_policy": {
        "image_origin_policy": {"store_image": 1},
        "attribute_policy": {"store_attribute": 1},
        "face_policy": {"store_face": 1},
    },
}


class Caller:
    """One account and its handlers."""

    def __init__(self, service: Service, account: Account) -> None:
        self.service = service
        self.account = account

    def handler(self, policies: dict[str, Any] | None = None, **more: Any) -> str:
        body = {"description": "", "policies": policies, **more} if policies is not None else more
        answer = requests.post(f"{self.service.rest}/6/handlers", json=body, auth=self.account.auth, timeout=SECONDS)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["handler_id"])

    def post(self, handler_id: str, query: str = "", **request: Any) -> requests.Response:
        url = f"{self.service.rest}/6/handlers/{handler_id}/events?{query}"
        return requests.post(url, auth=self.account.auth, timeout=SECONDS, **request)

    def made(self, handler_id: str, query: str = "", **request: Any) -> dict[str, Any]:
        answer = self.post(handler_id, query, **request)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def get(self, path: str) -> requests.Response:
        return requests.get(f"{self.service.rest}{path}", auth=self.account.auth, timeout=SECONDS)

    def count(self, what: str) -> int:
        return int(self.get(f"/6/{what}/count").json()[f"{what}_count"])


@pytest.fixture
def caller(service: Service, account: Account) -> Caller:
    return Caller(service, account)


@pytest.fixture(scope="session")
def obama(photos: Path) -> bytes:
    return (photos / "obama.jpg").read_bytes()


@pytest.fixture(scope="session")
def biden(photos: Path) -> bytes:
    return (photos / "biden.jpg").read_bytes()


def test_everything_that_an_event_names_is_there_when_it_is_answered(caller: Caller, obama: bytes) -> None:
    handler_id = caller.handler(EVERYTHING)
    began = "2020-10-10T09:11:41.674Z"
    (event,) = caller.made(
        handler_id,
        "source=gate&tags=a,b&longitude=36.5&latitude=55.5&city=Moscow&external_id=e%2B1&user_data=u&track_id=t",
        data=obama,
        headers={**JPEG, "Luna-Event-Time": began, "Luna-Event-End-Time": "yesterday"},
    )["events"]
    sample = event["detections"][0]["samples"]["face"]
    for url in (sample["url"], event["detections"][0]["image_origin"]):
        assert caller.get(url).headers["content-type"] == "image/jpeg"
    assert caller.get(event["detections"][0]["image_origin"]).content == obama
    assert (
        caller.get(event["face_attributes"]["url"]).json()["attribute_id"] == event["face_attributes"]["attribute_id"]
    )
    face = caller.get(event["face"]["url"]).json()
    assert (face["event_id"], face["external_id"], face["avatar"]) == (event["event_id"], "e+1", sample["url"])
    stored = caller.get(event["url"]).json()
    assert stored["create_time"] == stored["end_time"] == "2020-10-10T09:11:41.674000Z"
    assert stored["handler_id"] == handler_id
    assert stored["face_id"] == event["face"]["face_id"]
    assert stored["tags"] == event["tags"] == ["a", "b", "stranger"]
    assert stored["location"] == event["location"]
    assert stored["location"]["geo_position"] == {"longitude": 36.5, "latitude": 55.5}
    assert stored["face_detections"][0]["sample_id"] == sample["sample_id"]
    assert stored["face_detections"][0]["detection"]["rect"] == sample["detection"]["rect"]


def test_a_face_that_one_event_made_is_found_by_the_next_one(caller: Caller, obama: bytes, biden: bytes) -> None:
    handler_id = caller.handler(EVERYTHING)
    (first,) = caller.made(handler_id, data=obama, headers=JPEG)["events"]
    assert first["matches"] == [{"label": "known", "candidates": []}]
    (second,) = caller.made(handler_id, data=obama, headers=JPEG)["events"]
    assert [one["face"]["face_id"] for one in second["matches"][0]["candidates"]] == [first["face"]["face_id"]]
    assert second["tags"] == ["regular"]
    (third,) = caller.made(handler_id, data=biden, headers=JPEG)["events"]
    assert third["tags"] == ["stranger"]
    stored = caller.get(second["url"]).json()
    assert stored["top_match"]["face_id"] == first["face"]["face_id"]
    assert stored["match_result"] == second["matches"]


def test_events_are_found_among_events(caller: Caller, obama: bytes) -> None:
    handler_id = caller.handler({"match_policy": [{"label": "seen", "candidates": {"origin": "events"}}]})
    (first,) = caller.made(handler_id, data=obama, headers=JPEG)["events"]
    (second,) = caller.made(handler_id, data=obama, headers=JPEG)["events"]
    (found,) = second["matches"][0]["candidates"]
    assert found["event"]["event_id"] == first["event_id"]
    assert "match_result" not in found["event"]


def test_grpc_answers_what_rest_answers(caller: Caller, service: Service, account: Account, obama: bytes) -> None:
    handler_id = caller.handler(EVERYTHING)
    with service.channel() as channel:
        stub = events_pb2_grpc.EventsStub(channel)
        request = events_pb2.GenerateEventsRequest(handler_id=handler_id, sources=[images_pb2.Source(data=obama)])
        response = stub.GenerateEvents(request, metadata=account.metadata)
    (event,) = caller.made(handler_id, data=obama, headers=JPEG)["events"]
    rect = event["detections"][0]["samples"]["face"]["detection"]["rect"]
    assert MessageToDict(response.events[0].detections[0].samples.face.detection.rect) == rect
    assert response.events[0].face_attributes.score == pytest.approx(event["face_attributes"]["score"], abs=1e-6)
    candidate = event["matches"][0]["candidates"][0]
    assert candidate["face"]["face_id"] == response.events[0].face.face_id


class TestHandlers:
    """Which handlers make events, and of what."""

    def test_a_dynamic_handler_takes_the_policies_of_the_request(self, caller: Caller, obama: bytes) -> None:
        handler_id = caller.handler(None, handler_type=1)
        policies = {"storage_policy": {"event_policy": {"store_event": 0}}}
        parts = [
            ("image", ("one.jpg", obama, "image/jpeg")),
            ("policies", ("policies", json.dumps(policies), "application/json")),
            ("meta", ("meta", json.dumps({"number": 5, "deep": {"list": [1.5, None]}}), "application/json")),
        ]
        (event,) = caller.made(handler_id, files=parts)["events"]
        assert event["url"] is None
        assert event["meta"] == {"number": 5, "deep": {"list": [1.5, None]}}
        assert event["detections"][0]["filename"] == "one.jpg"
        assert caller.get(f"/6/events/{event['event_id']}").status_code == 404

    def test_policies_and_kinds_of_handlers_that_do_not_fit_are_refused(self, caller: Caller, obama: bytes) -> None:
        dynamic, static = caller.handler(None, handler_type=1), caller.handler({})
        answer = caller.post(dynamic, data=obama, headers=JPEG)
        assert (answer.status_code, answer.json()["error_code"]) == (400, 12022)
        assert "policies" in answer.json()["detail"]
        parts = [
            ("image", ("one.jpg", obama, "image/jpeg")),
            ("policies", ("policies", "{}", "application/json")),
        ]
        assert caller.post(static, files=parts).json()["error_code"] == 12022

    def test_a_handler_of_another_account_is_not_there(self, caller: Caller, service: Service, obama: bytes) -> None:
        handler_id = caller.handler({})
        stranger = Caller(service, service.account())
        for unknown, one in ((handler_id, stranger), (str(uuid4()), caller)):
            answer = one.post(unknown, data=obama, headers=JPEG)
            assert (answer.status_code, answer.json()["error_code"]) == (404, 34000)

    def test_liveness_that_no_pack_serves_is_named(self, caller: Caller, obama: bytes) -> None:
        handler_id = caller.handler({"detect_policy": {"detect_body": 1, "estimate_gaze": 1}})
        answer = caller.post(handler_id, data=obama, headers=JPEG)
        if answer.status_code == 201:
            pytest.skip("the installed packs serve gaze and bodies")
        assert (answer.status_code, answer.json()["error_code"]) == (403, 11055)


class TestSources:
    """Every form that a source comes in."""

    def test_a_broken_image_among_others_is_its_own_entry(self, caller: Caller, obama: bytes) -> None:
        parts = [("image", ("a.jpg", obama, "image/jpeg")), ("image", ("b.jpg", b"no image", "image/jpeg"))]
        answer = caller.made(caller.handler({}), files=parts)
        assert [(one["filename"], one["status"]) for one in answer["images"]] == [("a.jpg", 1), ("b.jpg", 0)]
        assert answer["images"][1]["error"]["error_code"] == 18002
        assert len(answer["events"]) == 1

    def test_the_only_image_that_is_broken_fails_the_request(self, caller: Caller) -> None:
        answer = caller.post(caller.handler({}), data=b"no image", headers=JPEG)
        assert (answer.status_code, answer.json()["error_code"]) == (400, 18002)

    def test_a_photo_without_faces_makes_no_event(self, caller: Caller, photos: Path) -> None:
        dogs = (photos / "dogs.jpg").read_bytes()
        answer = caller.made(caller.handler({}), data=dogs, headers=JPEG)
        assert (answer["events"], answer["filtered_detections"]) == ([], {"face_detections": []})
        assert answer["images"][0]["error"] == {"error_code": 0, "desc": "Success", "detail": "Success"}

    def test_a_stored_sample_and_a_descriptor_make_events(self, caller: Caller, obama: bytes) -> None:
        handler_id = caller.handler(EVERYTHING)
        (photo,) = caller.made(handler_id, data=obama, headers=JPEG)["events"]
        sample_id = photo["detections"][0]["samples"]["face"]["sample_id"]
        given = [{"sample_id": sample_id, "face_bounding_boxes": [{"x": 1, "y": 2, "width": 3, "height": 4}]}]
        (event,) = caller.made(handler_id, json=given)["events"]
        face = event["detections"][0]["samples"]["face"]
        assert face["sample_id"] == sample_id
        assert face["detection"]["rect"] == {"x": 1, "y": 2, "width": 3, "height": 4}
        assert event["detections"][0]["image_origin"] == f"/6/samples/faces/{sample_id}"
        assert event["matches"][0]["candidates"][0]["similarity"] > 0.9
        estimated = requests.post(
            f"{caller.service.rest}/6/sdk?detect_face=1&estimate_face_descriptor=1",
            data=obama,
            headers=JPEG,
            auth=caller.account.auth,
            timeout=SECONDS,
        ).json()
        face = estimated["images_estimations"][0]["estimations"][0]["face"]["detection"]
        sdk = base64.b64decode(face["attributes"]["descriptor"]["sdk_descriptor"])
        (of_descriptor,) = caller.made(handler_id, data=sdk, headers={"content-type": "application/x-sdk-descriptor"})[
            "events"
        ]
        assert of_descriptor["detections"] == []
        assert of_descriptor["face_attributes"]["score"] is None
        assert of_descriptor["matches"][0]["candidates"][0]["similarity"] > 0.99

    def test_several_photos_of_one_person_make_one_event(self, caller: Caller, photos: Path) -> None:
        parts = [("image", (name, (photos / name).read_bytes(), "image/jpeg")) for name in ("obama.jpg", "obama2.jpg")]
        (event,) = caller.made(caller.handler(EVERYTHING), "aggregate_attributes=1", files=parts)["events"]
        assert [one["filename"] for one in event["detections"]] == ["obama.jpg", "obama2.jpg"]
        samples = [one["samples"]["face"]["sample_id"] for one in event["detections"]]
        assert event["face_attributes"]["samples"] == samples
        assert len(caller.get(event["url"]).json()["face_detections"]) == 2

    def test_several_persons_fail_an_aggregate(self, caller: Caller, photos: Path) -> None:
        several = (photos / "bald_guys.jpg").read_bytes()
        answer = caller.post(caller.handler({}), "aggregate_attributes=1", data=several, headers=JPEG)
        assert (answer.status_code, answer.json()["error_code"]) == (400, 11038)

    def test_a_stream_gives_each_source_its_own_data(self, caller: Caller, obama: bytes, biden: bytes) -> None:
        body = {
            "aggregate_attributes": 0,
            "sources": [
                {"body": obama, "filename": "o", "source_data": {"external_id": "1", "meta": {"a": 1}}},
                {"body": biden, "filename": "b", "detect_ts": 0, "source_data": None},
            ],
        }
        answer = requests.post(
            f"{caller.service.rest}/6/handlers/{caller.handler({})}/events/stream",
            data=msgpack.packb(body),
            headers={"content-type": "application/msgpack"},
            auth=caller.account.auth,
            timeout=SECONDS,
        )
        assert answer.status_code == 201, answer.text
        first, second = answer.json()["events"]
        assert (first["external_id"], first["meta"]) == ("1", {"a": 1})
        assert (second["external_id"], second["meta"]) == ("", None)
        assert second["detections"][0]["detect_ts"] == 0


class TestAllOrNothing:
    """A failure leaves nothing behind."""

    def test_a_list_that_is_gone_fails_the_request_and_nothing_is_stored(self, caller: Caller, obama: bytes) -> None:
        made = requests.post(
            f"{caller.service.rest}/6/lists", json={"user_data": ""}, auth=caller.account.auth, timeout=SECONDS
        )
        list_id = made.json()["list_id"]
        links = [{"list_id": list_id}]
        handler_id = caller.handler(
            {"storage_policy": {"face_policy": {"store_face": 1, "link_to_lists_policy": links}}}
        )
        (event,) = caller.made(handler_id, data=obama, headers=JPEG)["events"]
        assert event["face"]["lists"] == caller.get(event["url"]).json()["attach_result"] == [list_id]
        deleted = requests.delete(f"{caller.service.rest}/6/lists/{list_id}", auth=caller.account.auth, timeout=SECONDS)
        assert deleted.status_code == 204, deleted.text
        before = caller.count("faces")
        answer = caller.post(handler_id, data=obama, headers=JPEG)
        assert (answer.status_code, answer.json()["error_code"]) == (404, 22005)
        assert caller.count("faces") == before
        assert len(caller.get("/6/events?page_size=100").json()["events"]) == 1

    def test_who_does_not_wait_finds_the_event_a_little_later(self, caller: Caller, obama: bytes) -> None:
        handler_id = caller.handler({"storage_policy": {"event_policy": {"wait_saving": 0}}})
        (event,) = caller.made(handler_id, data=obama, headers=JPEG)["events"]
        assert event["url"] == f"/6/events/{event['event_id']}"
        end = time.monotonic() + SECONDS
        while caller.get(event["url"]).status_code != 200:
            assert time.monotonic() < end
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("longitude=3", "latitude"),
        ("latitude=3", "longitude"),
        ("track_id=a%20b", "track_id"),
        ("image_type=7", "image_type"),
    ],
)
def test_a_bad_parameter_is_named(caller: Caller, obama: bytes, query: str, named: str) -> None:
    answer = caller.post(caller.handler({}), query, data=obama, headers=JPEG)
    assert answer.status_code == 400
    assert named in answer.json()["detail"]


class TestBadMessages:
    """What only gRPC can send is refused with its name, and crashes nothing."""

    def refused(self, caller: Caller, request: events_pb2.GenerateEventsRequest) -> str:
        with caller.service.channel() as channel:
            stub = events_pb2_grpc.EventsStub(channel)
            with pytest.raises(grpc.RpcError) as failed:
                stub.GenerateEvents(request, metadata=caller.account.metadata)
        assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        return str(failed.value.details())

    def test_numbers_that_json_does_not_know(self, caller: Caller, obama: bytes) -> None:
        request = events_pb2.GenerateEventsRequest(
            handler_id=caller.handler({}), sources=[images_pb2.Source(data=obama)]
        )
        request.meta.update({"deep": {"list": [float("nan")]}})
        assert "meta.deep.list.0" in self.refused(caller, request)
        request.ClearField("meta")
        request.sources[0].detect_ts = float("nan")
        assert "detect_ts" in self.refused(caller, request)

    def test_a_source_without_anything_and_a_time_before_all(self, caller: Caller, obama: bytes) -> None:
        request = events_pb2.GenerateEventsRequest(handler_id=caller.handler({}), sources=[images_pb2.Source()])
        assert "sources.0" in self.refused(caller, request)
        request.sources[0].data = obama
        request.event_time.seconds = 10**15
        assert "event_time" in self.refused(caller, request)

    def test_policies_of_a_request_are_held_to_the_rules_of_handlers(self, caller: Caller, obama: bytes) -> None:
        tag = policies_pb2.ConditionalTag(tag="x", filters=policies_pb2.PolicyFilters())
        tag.filters.match.add(label="nobody")
        request = events_pb2.GenerateEventsRequest(
            handler_id=caller.handler(None, handler_type=1),
            sources=[images_pb2.Source(data=obama)],
            policies=policies_pb2.Policies(conditional_tags_policy=[tag]),
        )
        assert "nobody" in self.refused(caller, request)
