"""Verifiers through the real Envoy, the gateway and the service, with an engine that sees everything.

No pack of the tests serves all that policies can ask for; here every field of a verification is written.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

import msgpack
import pytest
import pytest_asyncio

from server.domain.access import Scope
from server.domain.attributes import AttributeContent, TemporaryAttribute
from server.domain.claims import Claims
from server.domain.descriptors import Descriptor
from server.domain.events import Batch, EventRecord, EventStore, Facts
from server.domain.faces import Page
from server.domain.images import Images
from server.domain.liveness import LivenessThresholds
from server.domain.matching import Matching
from server.domain.samples import Sample, SampleType
from server.domain.verification import Verification
from server.domain.verifiers import Verifier, VerifierPolicies
from server.domain.vision import DetectedFace, Estimation, ExtractedDescriptor, HeadPose, MaskState
from server.errors import NotAnImage
from server.services.verifiers import VerifiersService
from tests.edge import ACCOUNT, Canned, Edge, Response, envoy, grpc_server
from tests.scripted_engine import Nowhere, ScriptedEngine, face
from tests.unit.server.domain_stores import (
    NOW,
    MemoryAttributes,
    MemoryFaces,
    MemorySamples,
    SlowComparer,
    SlowIndex,
    descriptor,
)

THRESHOLDS = LivenessThresholds(0.9, 0.5)
JPEG = {"content-type": "image/jpeg"}
JSON = {"content-type": "application/json"}
ALICE, LIKE_ALICE, BOB = descriptor(1), descriptor(1, 0.05), descriptor(0, 1)
ATTRIBUTE, EVENT = UUID(int=7), UUID(int=8)
SAMPLE = UUID("00000000-0000-4000-8000-000000000050")
SWITCHES = (
    "estimate_head_pose", "estimate_emotions", "estimate_mask", "estimate_quality", "estimate_gaze",
    "estimate_eyes_attributes", "estimate_mouth_attributes", "estimate_glasses", "detect_landmarks68", "extract_exif",
    "estimate_people_count",
)  # fmt: skip
EVERYTHING = {
    "verification_threshold": 0.5,
    "detect_policy": {
        **dict.fromkeys(SWITCHES, 1),
        "estimate_liveness": {"estimate": 1, "liveness_threshold": 0.99},
        "face_quality": {"estimate": 1, "checks": {"head_yaw": {"threshold": {"min": -6, "max": 6}}}},
    },
    "extract_policy": {"extract_basic_attributes": 1},
    "storage_policy": {"face_sample_policy": {"store_sample": 1}, "attribute_policy": {"store_attribute": 1, "ttl": 9}},
}


def like(of: Any, number: int, **changes: Any) -> DetectedFace:
    return replace(face(number, **changes), descriptor=ExtractedDescriptor(of.version, of.data, 0.75))


SEEN = {
    b"alice": [like(LIKE_ALICE, 1)],
    b"both": [like(LIKE_ALICE, 1), like(BOB, 2, pose=HeadPose(yaw=40.5, pitch=0, roll=0), mask=MaskState.OCCLUDED)],
    b"broken": NotAnImage(message="no"),
}


class MemoryVerifiers:
    """Verifiers by id."""

    def __init__(self) -> None:
        self.rows: dict[UUID, Verifier] = {}

    async def create(self, new: Verifier) -> None:
        self.rows[new.verifier_id] = new

    async def get(self, scope: Scope, verifier_id: UUID) -> Verifier | None:
        row = self.rows.get(verifier_id)
        return row if row is not None and scope.includes(row.account_id) else None

    async def find(self, scope: Scope, description: str | None, page: Page) -> list[Verifier]:
        found = [one for one in self.rows.values() if (description or "") in one.description]
        return found[page.offset : page.offset + page.size]

    async def count(self, scope: Scope, description: str | None) -> int:
        return len(await self.find(scope, description, Page(1, 1000)))

    async def replace(
        self, scope: Scope, verifier_id: UUID, description: str, policies: VerifierPolicies, now: Any
    ) -> int | None:
        row = await self.get(scope, verifier_id)
        if row is None:
            return None
        changed = replace(row, description=description, policies=policies, version=row.version + 1)
        self.rows[verifier_id] = changed
        return changed.version

    async def remove(self, scope: Scope, verifier_id: UUID) -> bool:
        return self.rows.pop(verifier_id, None) is not None


class Events:
    """Keeps batches, and knows one event."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        facts = Facts(age=33, mask=MaskState.MISSING)
        self.record = EventRecord(EVENT, ACCOUNT, UUID(int=70), NOW, NOW, "seen", tags=("red",), facts=facts)

    async def keep(self, batch: Batch) -> None:
        self.batches.append(batch)

    async def get(self, scope: Scope, event_id: UUID) -> EventRecord | None:
        return self.record if event_id == EVENT and scope.includes(ACCOUNT) else None

    async def descriptor(self, scope: Scope, event_id: UUID, version: int) -> Descriptor | None:
        return None if await self.get(scope, event_id) is None else ALICE

    async def descriptor_versions(self, scope: Scope, event_id: UUID) -> tuple[int, ...]:
        return () if await self.get(scope, event_id) is None else (ALICE.version,)


class Running:
    """An edge with verifiers behind it, and what they look with."""

    def __init__(self, edge: Edge, engine: ScriptedEngine, events: Events, faces: MemoryFaces) -> None:
        self.edge, self.engine, self.events = edge, engine, events
        self.alice = str(faces.put(1, ACCOUNT, ALICE, external_id="alice"))
        self.twin = str(faces.put(2, ACCOUNT, LIKE_ALICE, external_id="alice"))

    async def ask(
        self, verb: str, target: str, data: object = None, status: int = 200, kind: str = "application/json"
    ) -> Any:
        """A call that must have an answer of JSON, and a status."""
        body = data if isinstance(data, bytes) else None if data is None else json.dumps(data).encode()
        got = await self.edge.ask(verb, f"/6/verifiers{target}", body, {"content-type": kind})
        assert got.status == status, got.data
        return got.json

    async def verifier(self, **policies: object) -> str:
        """A new verifier."""
        return str((await self.ask("POST", "", {"policies": policies}, 201))["verifier_id"])

    async def verify(
        self, verifier_id: str, data: object = b"alice", query: str = "external_ids=alice", kind: str = "image/jpeg"
    ) -> Any:
        """The images of a verification."""
        return (await self.ask("POST", f"/{verifier_id}/verifications?{query}", data, kind=kind))["images"]

    async def refused(self, verifier_id: str, data: bytes, query: str, headers: dict[str, str] = JPEG) -> Response:
        return await self.edge.ask("POST", f"/6/verifiers/{verifier_id}/verifications?{query}", data, headers)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running() -> AsyncIterator[Running]:
    engine, faces, attributes, samples, events = (
        ScriptedEngine(SEEN), MemoryFaces(), MemoryAttributes(), MemorySamples(), Events(),
    )  # fmt: skip
    attributes.rows[ATTRIBUTE] = TemporaryAttribute(ATTRIBUTE, ACCOUNT, NOW, AttributeContent((BOB,)))
    await samples.add(Sample(SAMPLE, ACCOUNT, SampleType.FACES, 5, b"", NOW), b"alice")
    store = cast("EventStore", events)
    matching = Matching(SlowIndex(faces), SlowComparer(), faces, attributes, store, None, descriptor_version=1001)
    claims = Claims(matching, faces, attributes, store)
    verification = Verification(Images(engine, samples, Nowhere()), matching, claims, store)
    service = VerifiersService(MemoryVerifiers(), verification, matching, THRESHOLDS)
    canned = Canned()
    canned.answers = {
        name: getattr(service, name)
        for name in (
            "CreateVerifier", "ListVerifiers", "CountVerifiers", "GetVerifier", "ReplaceVerifier", "DeleteVerifier",
            "VerifyRaw", "PerformVerification",
        )
    }  # fmt: skip
    async with grpc_server(canned) as (_, port), envoy([port]) as edge:
        yield Running(edge, engine, events, faces)


async def test_every_field_of_a_verification_is_written(running: Running) -> None:
    verifier_id = await running.verifier(**EVERYTHING)
    (image,) = await running.verify(
        verifier_id, query=f"face_ids={running.alice}&event_ids={EVENT}&attribute_ids={ATTRIBUTE}"
    )
    assert (image["filename"], image["status"], image["error"]["error_code"]) == ("raw_image", 1, 0)
    assert (image["exif"], image["people_count"]) == ({"Make": "A camera"}, 7)
    (found,) = image["detections"]["face_detections"]
    assert image["detections"]["filtered_detections"] == {"face_detections": []}

    seen = found["sample"]["face"]
    batch = running.events.batches[-1]
    ((sample, data),) = batch.samples
    assert (seen["sample_id"], seen["url"]) == (str(sample.sample_id), f"/6/samples/faces/{sample.sample_id}")
    assert data == b"warp 1"
    detection = seen["detection"]
    assert detection.keys() == {"rect", "landmarks5", "landmarks68", "quality", "attributes", "face_quality"}
    assert detection["rect"] == {"x": 1, "y": 2, "width": 50, "height": 60}
    assert detection["attributes"].keys() == {
        "head_pose", "emotions", "mask", "gaze", "eyes_attributes", "mouth_attributes", "glasses", "liveness"
    }  # fmt: skip
    # a score of .95 is a living face by the server's setting, and not by this verifier's
    assert detection["attributes"]["liveness"]["prediction"] == "spoof"
    told = {one["name"]: one for one in detection["face_quality"]["checks"]}
    assert told["head_yaw"]["threshold_value"] == {"min": -6, "max": 6}
    assert told["head_yaw"]["result"] == 1, "5.25 degrees pass this verifier's threshold, and not the default"

    ((attribute, seconds),) = batch.attributes
    extracted = found["face_attributes"]
    assert extracted == {
        "attribute_id": str(attribute.attribute_id),
        "url": f"/6/attributes/{attribute.attribute_id}",
        "basic_attributes": extracted["basic_attributes"],
        "score": 0.75,
        "samples": [str(sample.sample_id)],
    }
    assert (extracted["basic_attributes"]["age"], extracted["basic_attributes"]["gender"]) == (33, 1)
    assert (seconds, attribute.content.descriptors) == (9, (LIKE_ALICE,))

    first, second, third = found["verifications"]
    assert first.keys() == {"status", "similarity", "face"}
    assert (first["status"], second["status"], third["status"]) == (True, True, False)
    assert first["face"] == {
        "face_id": running.alice, "account_id": str(ACCOUNT), "event_id": None, "user_data": "",
        "create_time": "2026-01-01T00:00:00.000000Z", "external_id": "alice", "avatar": "", "lists": [],
    }  # fmt: skip
    told = second["event"]
    assert (told["event_id"], told["external_id"], told["tags"], told["age"], told["mask"], told["gender"]) == (
        str(EVENT), "seen", ["red"], 33, 1, None
    )  # fmt: skip
    assert told.keys().isdisjoint({"match_result", "top_match", "face_detections", "body_detections"})
    assert third["attribute"] == {
        "attribute_id": str(ATTRIBUTE), "account_id": str(ACCOUNT), "create_time": "2026-01-01T00:00:00.000000Z"
    }  # fmt: skip
    assert first["similarity"] == second["similarity"] > 0.9 > 0.1 > third["similarity"]


async def test_without_policies_nothing_is_stored_or_estimated(running: Running) -> None:
    before = len(running.events.batches)
    (image,) = await running.verify(await running.verifier())
    assert "exif" not in image
    assert "people_count" not in image
    (found,) = image["detections"]["face_detections"]
    assert found["sample"]["face"] == {
        "sample_id": None, "url": None, "detection": {**found["sample"]["face"]["detection"], "attributes": {}}
    }  # fmt: skip
    assert found["face_attributes"] == {
        "attribute_id": None, "url": None, "basic_attributes": None, "score": 0.75, "samples": []
    }  # fmt: skip
    assert [one["face"]["face_id"] for one in found["verifications"]] == [running.alice, running.twin]
    assert len(running.events.batches) == before
    assert running.engine.asked[-1] == {Estimation.DESCRIPTOR}


async def test_a_face_that_is_left_out_is_told_with_its_reasons(running: Running) -> None:
    policies = {"detect_policy": {"yaw_threshold": 30, "mask_states": [1, 2]}}
    (image,) = await running.verify(await running.verifier(**policies), b"both")
    assert len(image["detections"]["face_detections"]) == 1
    (left_out,) = image["detections"]["filtered_detections"]["face_detections"]
    assert left_out["filename"] == "raw_image"
    assert left_out["detection"]["rect"]["x"] == 2
    told = [(one["name"], one["value"], one["threshold"]) for one in left_out["filter_reasons"]]
    assert told == [("yaw_threshold", 40.5, 30), ("mask_states", 3, [1, 2])]


async def test_images_samples_and_descriptors_come_in_one_body(running: Running) -> None:
    encoded = base64.b64encode
    sources = [
        {"data": encoded(b"both").decode(), "filename": "a.jpg"},
        {"sample_id": str(SAMPLE)},
        {"id": "mine", "type": "sdk_descriptor", "data": encoded(ALICE.to_sdk()).decode()},
        {"data": encoded(b"broken").decode(), "filename": "b.jpg"},
    ]
    verifier_id = await running.verifier(storage_policy={"face_sample_policy": {"store_sample": 1}})
    images = await running.verify(verifier_id, sources, kind="application/json")
    assert [one["filename"] for one in images] == ["a.jpg", str(SAMPLE), "mine", "b.jpg"]
    assert [one["status"] for one in images] == [1, 1, 1, 0]
    assert [len(one["detections"]["face_detections"]) for one in images] == [2, 1, 1, 0]
    assert images[3]["error"]["error_code"] == 18002
    assert images[3]["detections"] == {"face_detections": [], "filtered_detections": {"face_detections": []}}

    sample = images[1]["detections"]["face_detections"][0]
    assert sample["sample"]["face"]["sample_id"] == str(SAMPLE)
    assert sample["sample"]["face"]["detection"] == {"rect": None, "attributes": {}}
    assert sample["face_attributes"]["samples"] == [str(SAMPLE)]

    brought = images[2]["detections"]["face_detections"][0]
    assert brought["sample"] == {"face": None}
    assert brought["face_attributes"] == {
        "attribute_id": None, "url": None, "basic_attributes": None, "score": None, "samples": []
    }  # fmt: skip
    assert [one["status"] for one in brought["verifications"]] == [True, True]


async def test_a_descriptor_as_bytes_is_verified(running: Running) -> None:
    verifier_id = await running.verifier()
    for kind, data in (
        ("application/x-sdk-descriptor", ALICE.to_sdk()),
        ("application/x-sdk-descriptor-base64", base64.b64encode(ALICE.to_sdk())),
    ):
        (image,) = await running.verify(verifier_id, data, kind=kind)
        (found,) = image["detections"]["face_detections"]
        assert [one["status"] for one in found["verifications"]] == [True, True]


async def test_boxes_are_looked_at_with_photos_and_ignored_with_samples(running: Running) -> None:
    box = {"x": 10, "y": 2, "width": 3, "height": 4}
    photo = {"data": base64.b64encode(b"alice").decode(), "face_bounding_boxes": [box]}
    verifier_id = await running.verifier()
    await running.verify(verifier_id, [photo], kind="application/json")
    looked = running.engine.looks[-1].face_box
    assert looked is not None
    assert (looked.x, looked.width) == (10, 3)
    looks = len(running.engine.looks)
    (image,) = await running.verify(verifier_id, [photo], "external_ids=alice&image_type=1", "application/json")
    assert len(running.engine.looks) == looks, "nothing is detected in a sample"
    assert image["detections"]["face_detections"][0]["sample"]["face"]["detection"]["rect"] is None


@pytest.mark.parametrize(
    ("data", "query", "status", "code", "named"),
    [
        (b"alice", "", 400, 12016, "face_ids, event_ids, attribute_ids, external_ids"),
        (b"alice", "face_ids=&external_ids=", 400, 12016, "face_ids, event_ids, attribute_ids, external_ids"),
        (b"alice", "face_ids=x", 400, 12012, "face_ids"),
        (b"alice", f"external_ids={'x' * 37}", 400, 12012, "external_ids"),
        (b"alice", "external_ids=alice&image_type=2", 400, 12012, "image_type"),
        (b"alice", "external_ids=alice&use_exif_info=2", 400, 12012, "use_exif_info"),
        (b"alice", "external_ids=nobody", 404, 11041, "nobody"),
        (b"alice", f"face_ids={UUID(int=99)}", 404, 22002, str(UUID(int=99))),
        (b"alice", f"event_ids={UUID(int=99)}", 404, 23001, str(UUID(int=99))),
        (b"alice", f"attribute_ids={UUID(int=99)}", 404, 22011, str(UUID(int=99))),
        (b"broken", "external_ids=alice", 400, 18002, "no"),
        (b"", "external_ids=alice", 400, 12030, "no body"),
    ],
)
async def test_what_is_wrong_is_named(
    running: Running, data: bytes, query: str, status: int, code: int, named: str
) -> None:
    got = await running.refused(await running.verifier(), data, query)
    assert (got.status, got.json["error_code"]) == (status, code), got.json
    assert named in str(got.json["detail"])


async def test_a_verifier_that_is_not_there_is_told_before_anything_else(running: Running) -> None:
    got = await running.refused(str(UUID(int=3)), b"broken", "external_ids=nobody")
    assert (got.status, got.json["error_code"]) == (404, 34004)


async def test_a_feature_that_is_not_installed_is_named_by_its_policy(running: Running) -> None:
    verifier_id = await running.verifier(detect_policy={"estimate_gaze": 1})
    running.engine.off = frozenset({Estimation.GAZE})
    try:
        got = await running.refused(verifier_id, b"alice", "external_ids=alice")
    finally:
        running.engine.off = frozenset()
    assert (got.status, got.json["error_code"]) == (403, 11055)
    assert "estimate_gaze" in str(got.json["detail"])


def raw(kind: str, of: Any, name: str, *, binary: bool = False) -> dict[str, object]:
    if kind == "sdk_descriptor":
        return {"id": name, "type": kind, "data": of.to_sdk() if binary else base64.b64encode(of.to_sdk()).decode()}
    data = of.data if binary else base64.b64encode(of.data).decode()
    return {"id": name, "type": kind, "data": {"descriptor": data, "version": of.version}}


def raw_of(data: str, version: int) -> dict[str, object]:
    return {"id": "o", "type": "raw_descriptor", "data": {"descriptor": data, "version": version}}


@pytest.mark.parametrize("binary", [False, True])
async def test_descriptors_are_verified_in_json_and_in_msgpack(running: Running, binary: bool) -> None:
    verifier_id = await running.verifier(verification_threshold=0.5)
    body = {
        "references": [
            raw("sdk_descriptor", ALICE, "a", binary=binary),
            raw("raw_descriptor", BOB, "b", binary=binary),
        ],
        "candidates": [raw("raw_descriptor", LIKE_ALICE, "c", binary=binary)],
    }
    data = cast("bytes", msgpack.packb(body)) if binary else json.dumps(body).encode()
    kind = "application/msgpack" if binary else "application/json"
    # the answer is JSON whatever the request is
    got = await running.edge.ask(
        "POST", f"/6/verifiers/{verifier_id}/raw", data, {"content-type": kind, "accept": "application/msgpack"}
    )
    assert (got.status, got.headers["content-type"]) == (200, "application/json")
    found: Any = got.json
    first, second = found["matches"]
    assert first["reference"] == {"id": "a", "type": "sdk_descriptor"}
    assert second["reference"] == {"id": "b", "type": "raw_descriptor"}
    for one, status in ((first, True), (second, False)):
        (match,) = one["matches"]
        assert match["candidate"] == {"id": "c", "type": "raw_descriptor"}
        assert match["status"] is status
        assert (match["similarity"] > 0.5) is status


@pytest.mark.parametrize(
    ("change", "code", "named"),
    [
        ({"references": []}, 12022, "references"),
        ({"candidates": None}, 12022, "candidates"),
        ({"references": [{"id": "f", "type": "face"}]}, 12022, "references.0.type"),
        ({"candidates": [{"id": "x", "type": "xpk_file", "data": "AAAA"}]}, 12037, "XPK"),
        ({"candidates": [{"id": "x", "type": "sdk_descriptor", "data": "AAAA"}]}, 12038, "SDK descriptor"),
        ({"candidates": [raw_of("AAAA", 52)]}, 12034, "3"),
        ({"extra": 1}, 12022, "extra"),
    ],
)  # fmt: skip
async def test_descriptors_that_are_none_are_refused(
    running: Running, change: dict[str, object], code: int, named: str
) -> None:
    body = {"references": [raw("sdk_descriptor", ALICE, "a")], "candidates": [raw("sdk_descriptor", BOB, "b")]} | change
    target = f"/6/verifiers/{await running.verifier()}/raw"
    got = await running.edge.ask("POST", target, json.dumps(body).encode(), JSON)
    assert (got.status, got.json["error_code"]) == (400, code), got.json
    assert named in str(got.json["detail"])


async def test_comparisons_of_one_call_are_bounded(running: Running) -> None:
    body = {
        "references": [raw("sdk_descriptor", ALICE, "a")] * 101, "candidates": [raw("sdk_descriptor", BOB, "b")] * 1000
    }  # fmt: skip
    target = f"/6/verifiers/{await running.verifier()}/raw"
    got = await running.edge.ask("POST", target, json.dumps(body).encode(), JSON)
    assert (got.status, got.json["error_code"]) == (400, 11043)
    assert "101 x 1000" in str(got.json["detail"])


async def test_versions_are_not_mixed(running: Running) -> None:
    old = {
        "id": "o",
        "type": "raw_descriptor",
        "data": {"descriptor": base64.b64encode(bytes(512)).decode(), "version": 56},
    }
    body = {"references": [raw("sdk_descriptor", ALICE, "a")], "candidates": [old]}
    target = f"/6/verifiers/{await running.verifier()}/raw"
    got = await running.edge.ask("POST", target, json.dumps(body).encode(), JSON)
    assert (got.status, got.json["error_code"]) == (400, 31005)


@pytest.mark.parametrize(
    ("policies", "named"),
    [
        ({"verification_threshold": 1.5}, "policies.verification_threshold"),
        ({"verification_threshold": None}, "policies.verification_threshold"),
        ({"detect_policy": {"detect_body": 1}}, "policies.detect_policy.detect_body"),
        ({"detect_policy": {"multiface_policy": 1}}, "policies.detect_policy.multiface_policy"),
        ({"detect_policy": {"estimate_mask": True}}, "policies.detect_policy.estimate_mask"),
        ({"detect_policy": {"mask_states": []}}, "policies.detect_policy.mask_states"),
        ({"detect_policy": {"mask_states": [4]}}, "policies.detect_policy.mask_states.0"),
        ({"extract_policy": {"extract_face_descriptor": 0}}, "policies.extract_policy.extract_face_descriptor"),
        ({"storage_policy": {"face_policy": {"store_face": 1}}}, "policies.storage_policy.face_policy"),
        ({"storage_policy": {"attribute_policy": {"ttl": 0}}}, "policies.storage_policy.attribute_policy.ttl"),
        (
            {"detect_policy": {"face_quality": {"checks": {"left_eye": {"threshold": ["winking"]}}}}},
            "policies.detect_policy.face_quality.checks.left_eye.threshold",
        ),
        ({"match_policy": []}, "policies.match_policy"),
    ],
)
async def test_policies_that_are_none_are_refused_by_name_and_change_nothing(
    running: Running, policies: dict[str, object], named: str
) -> None:
    verifier_id = await running.verifier(verification_threshold=0.25)
    before = await running.ask("GET", "/count")
    body = json.dumps({"description": "changed", "policies": policies}).encode()
    for verb, target in (("POST", "/6/verifiers"), ("PUT", f"/6/verifiers/{verifier_id}")):
        got = await running.edge.ask(verb, target, body, JSON)
        assert (got.status, got.json["error_code"]) == (400, 12022), got.json
        assert named in str(got.json["detail"])
    assert await running.ask("GET", "/count") == before
    kept = await running.ask("GET", f"/{verifier_id}")
    assert (kept["description"], kept["policies"]["verification_threshold"]) == ("", 0.25)
