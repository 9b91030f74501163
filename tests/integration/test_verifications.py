"""Verifiers in the whole service, with real faces: REST and gRPC, accounts, tokens, and what is stored."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
import requests
from google.protobuf.message import Message
from luna.v6 import attributes_pb2, images_pb2, matcher_pb2, verifiers_pb2, verifiers_pb2_grpc

from tests.service import Account, Service

JPEG = {"content-type": "image/jpeg"}
STORING = {"face_sample_policy": {"store_sample": 1}, "attribute_policy": {"store_attribute": 1}}


class Caller:
    """An account's calls, or a token's."""

    def __init__(self, service: Service, account: Account, token: str = "") -> None:
        self.service, self.account, self.token = service, account, token

    def ask(self, verb: str, path: str, **given: Any) -> requests.Response:
        if self.token:
            given["headers"] = {**given.get("headers", {}), "authorization": f"Bearer {self.token}"}
        else:
            given["auth"] = self.account.auth
        return requests.request(verb, f"{self.service.rest}/6{path}", timeout=60, **given)

    def get(self, verb: str, path: str, status: int = 200, **given: Any) -> Any:
        answer = self.ask(verb, path, **given)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def verifier(self, **policies: Any) -> str:
        return str(self.get("POST", "/verifiers", 201, json={"policies": policies})["verifier_id"])

    def verify(self, verifier_id: str, query: str, photo: bytes) -> list[dict[str, Any]]:
        """The faces of one image."""
        path = f"/verifiers/{verifier_id}/verifications?{query}"
        (image,) = self.get("POST", path, data=photo, headers=JPEG)["images"]
        found: list[dict[str, Any]] = image["detections"]["face_detections"]
        return found

    def with_token(self, **permissions: list[str]) -> Caller:
        body = {"permissions": permissions}
        return Caller(self.service, self.account, self.get("POST", "/tokens", 201, json=body)["token"])


class People(Caller):
    """An account that knows one person as a face, as an attribute and by an external id."""

    def __init__(self, service: Service, photos: Path) -> None:
        super().__init__(service, service.account())
        self.same, self.other = (photos / "obama2.jpg").read_bytes(), (photos / "biden.jpg").read_bytes()
        self.known = (photos / "obama.jpg").read_bytes()
        found = self.get("POST", "/detector", 201, data=self.known, headers=JPEG)
        self.sample_id = found["images"][0]["detections"]["samples"][0]["face"]["sample_id"]
        made = self.get("POST", "/extractor?ttl=86400", 201, json=[self.sample_id])
        self.attribute_id = made[0]["attribute_id"]
        face = {"attribute": {"attribute_id": self.attribute_id}, "external_id": "president", "user_data": "44"}
        self.face_id = self.get("POST", "/faces", 201, json=face)["face_id"]


@pytest.fixture(scope="module")
def people(service: Service, photos: Path) -> People:
    return People(service, photos)


@pytest.fixture(scope="module")
def verifier_id(people: People) -> str:
    return people.verifier()


def statuses(found: dict[str, Any]) -> list[bool]:
    return [one["status"] for one in found["verifications"]]


def test_the_same_person_is_verified_and_another_one_is_not(people: People, verifier_id: str) -> None:
    query = f"face_ids={people.face_id}&attribute_ids={people.attribute_id}&external_ids=president"
    (same,) = people.verify(verifier_id, query, people.same)
    (other,) = people.verify(verifier_id, query, people.other)
    assert (statuses(same), statuses(other)) == ([True, True], [False, False])
    face = same["verifications"][0]["face"]
    assert (face["face_id"], face["external_id"], face["user_data"]) == (people.face_id, "president", "44")
    assert same["verifications"][1]["attribute"]["attribute_id"] == people.attribute_id
    # the threshold is the verifier's: one that is between the two similarities, and one that nobody reaches
    similar = same["verifications"][0]["similarity"]
    assert other["verifications"][0]["similarity"] < 0.5 < similar < 1
    strict = people.verifier(verification_threshold=1)
    (again,) = people.verify(strict, f"face_ids={people.face_id}", people.same)
    assert statuses(again) == [False]
    assert again["verifications"][0]["similarity"] == pytest.approx(similar)


def test_every_face_of_a_photo_is_compared(people: People, verifier_id: str, photos: Path) -> None:
    photo = (photos / "bald_guys.jpg").read_bytes()
    found = people.verify(verifier_id, "external_ids=president", photo)
    assert len(found) > 1
    assert all(statuses(one) == [False] for one in found)
    assert people.verify(verifier_id, "external_ids=president", (photos / "dogs.jpg").read_bytes()) == []


def test_matching_and_verifying_tell_one_similarity(people: People, verifier_id: str) -> None:
    storing = people.verifier(storage_policy={"attribute_policy": {"store_attribute": 1}})
    (found,) = people.verify(storing, f"face_ids={people.face_id}", people.same)
    body = {
        "references": [{"id": found["face_attributes"]["attribute_id"], "type": "attribute"}],
        "candidates": [{"filters": {"origin": "faces", "face_ids": [people.face_id]}}],
    }
    matches = people.get("POST", "/matcher/faces", json=body)
    searched = matches[0]["matches"][0]["result"][0]["similarity"]
    assert found["verifications"][0]["similarity"] == pytest.approx(searched)


def test_an_event_is_one_to_compare_with(people: People, verifier_id: str) -> None:
    handler = {"handler_type": 0, "policies": {"extract_policy": {"extract_basic_attributes": 0}}}
    handler_id = people.get("POST", "/handlers", 201, json=handler)["handler_id"]
    path = f"/handlers/{handler_id}/events?external_id=seen&tags=red"
    (event,) = people.get("POST", path, 201, data=people.known, headers=JPEG)["events"]
    (same,) = people.verify(verifier_id, f"event_ids={event['event_id']}", people.same)
    (other,) = people.verify(verifier_id, f"event_ids={event['event_id']}", people.other)
    assert (statuses(same), statuses(other)) == ([True], [False])
    told = same["verifications"][0]["event"]
    assert (told["event_id"], told["handler_id"], told["external_id"], told["tags"]) == (
        event["event_id"], handler_id, "seen", ["red"]
    )  # fmt: skip
    missing = people.ask(
        "POST", f"/verifiers/{verifier_id}/verifications?event_ids={uuid4()}", data=people.same, headers=JPEG
    )
    assert (missing.status_code, missing.json()["error_code"]) == (404, 23001)


def test_what_an_answer_names_is_stored_and_is_what_was_seen(people: People) -> None:
    verifier_id = people.verifier(storage_policy=STORING)
    (found,) = people.verify(verifier_id, "external_ids=president", people.same)
    sample, attribute = found["sample"]["face"], found["face_attributes"]
    assert attribute["samples"] == [sample["sample_id"]]
    warp = people.ask("GET", sample["url"].removeprefix("/6"))
    assert (warp.status_code, warp.headers["content-type"]) == (200, "image/jpeg")
    kept = people.get("GET", attribute["url"].removeprefix("/6"))
    assert kept["face_descriptor_samples"] == [sample["sample_id"]]
    # the sample itself is the same person, as a stored one and as one that is brought
    for given in (
        {"json": [{"sample_id": sample["sample_id"]}]},
        {"data": warp.content, "headers": JPEG, "params": {"image_type": 1}},
    ):
        path = f"/verifiers/{verifier_id}/verifications?attribute_ids={attribute['attribute_id']}"
        (image,) = people.get("POST", path, **given)["images"]
        (again,) = image["detections"]["face_detections"]
        assert again["verifications"][0]["similarity"] > 0.99


def test_a_broken_image_among_others_leaves_no_trace(people: People) -> None:
    verifier_id = people.verifier(storage_policy=STORING)
    files = [("image", ("a.jpg", people.same, "image/jpeg")), ("image", ("b.jpg", b"no image", "image/jpeg"))]
    path = f"/verifiers/{verifier_id}/verifications?external_ids=president"
    good, bad = people.get("POST", path, files=files)["images"]
    assert (good["filename"], good["status"], bad["filename"], bad["status"]) == ("a.jpg", 1, "b.jpg", 0)
    assert bad["error"]["error_code"] == 18002
    assert people.ask("POST", path, data=b"no image", headers=JPEG).json()["error_code"] == 18002
    # one who is claimed and is not there: nothing is worked on, and nothing stored
    refused = people.ask("POST", f"{path},nobody", data=people.same, headers=JPEG)
    assert (refused.status_code, refused.json()["error_code"]) == (404, 11041)


def test_what_no_pack_of_the_server_serves_is_refused_when_it_is_needed(people: People) -> None:
    # creating is no use of it: the reference document's own samples ask for masks
    verifier_id = people.verifier(detect_policy={"estimate_mask": 1})
    path = f"/verifiers/{verifier_id}/verifications?external_ids=president"
    refused = people.ask("POST", path, data=people.same, headers=JPEG)
    assert (refused.status_code, refused.json()["error_code"]) == (403, 11055)
    assert "estimate_mask" in refused.json()["detail"]


def test_the_life_of_a_verifier(people: People) -> None:
    created = people.ask("POST", "/verifiers", json={"description": "first one"})
    assert created.status_code == 201
    made = created.json()
    assert created.headers["location"] == made["url"] == f"/6/verifiers/{made['verifier_id']}"
    path = f"/verifiers/{made['verifier_id']}"
    first = people.get("GET", path)
    assert (first["description"], first["version"], first["account_id"]) == ("first one", 1, people.account.account_id)
    assert first["create_time"] == first["last_update_time"]
    policies = first["policies"]
    assert policies["verification_threshold"] == 0.9
    assert policies["detect_policy"]["face_quality"]["checks"]["head_roll"]["threshold"] == {"min": -8, "max": 8}
    assert policies["storage_policy"] == {
        "face_sample_policy": {"store_sample": 0}, "attribute_policy": {"store_attribute": 0, "ttl": None}
    }  # fmt: skip
    # what is shown can be given back
    assert people.get("PUT", path, json={"description": "second", "policies": policies}) == {"version": 2}
    second = people.get("GET", path)
    assert (second["policies"], second["description"], second["create_time"]) == (
        policies, "second", first["create_time"]
    )  # fmt: skip
    assert people.get("PUT", path, json={"policies": {"verification_threshold": 0.25}}) == {"version": 3}
    third = people.get("GET", path)
    assert (third["description"], third["policies"]["verification_threshold"]) == ("", 0.25)
    assert people.ask("HEAD", path).status_code == 200

    found = people.get("GET", "/verifiers?page_size=1000")
    assert isinstance(found, list)
    assert found[0] == third, "the newest one is first"
    assert people.get("GET", "/verifiers/count") == {"verifiers_count": len(found)}
    assert people.get("GET", "/verifiers/count?description=second") == {"verifiers_count": 0}

    assert people.ask("DELETE", path).status_code == 204
    for verb, more in (("GET", {}), ("DELETE", {}), ("PUT", {"json": {}}), ("HEAD", {})):
        gone = people.ask(verb, path, **more)
        assert gone.status_code == 404
        assert verb == "HEAD" or gone.json()["error_code"] == 34004


def test_another_account_sees_uses_and_changes_nothing(service: Service, people: People, verifier_id: str) -> None:
    others, advanced = Caller(service, service.account()), Caller(service, service.account("advanced_user"))
    path = f"/verifiers/{verifier_id}"
    verification = f"{path}/verifications?external_ids=president"
    photo = {"data": people.same, "headers": JPEG}
    for verb, target, given in (
        ("GET", path, {}),
        ("PUT", path, {"json": {}}),
        ("DELETE", path, {}),
        ("POST", verification, photo),
        ("POST", f"{path}/raw", {"json": raw(bytes(256), bytes(256))}),
    ):
        refused = others.ask(verb, target, **given)
        assert (refused.status_code, refused.json()["error_code"]) == (404, 34004), (verb, target)
    assert others.get("GET", "/verifiers") == []
    # an advanced user sees every account's verifiers, and uses and changes only their own
    assert advanced.get("GET", path)["verifier_id"] == verifier_id
    assert verifier_id in [one["verifier_id"] for one in advanced.get("GET", "/verifiers?page_size=1000")]
    assert advanced.ask("DELETE", path).status_code == advanced.ask("POST", verification, **photo).status_code == 404
    # and theirs are compared with nobody else's people
    own = advanced.verifier()
    for query, code in (
        (f"face_ids={people.face_id}", 22002),
        (f"attribute_ids={people.attribute_id}", 22011),
        ("external_ids=president", 11041),
    ):
        refused = advanced.ask("POST", f"/verifiers/{own}/verifications?{query}", **photo)
        assert (refused.status_code, refused.json()["error_code"]) == (404, code)
    sample = [{"sample_id": people.sample_id}]
    advanced.get("POST", "/faces", 201, json={"attribute": {"face_descriptors": [descriptor(b"\1\2" * 128)]}})
    refused = advanced.ask("POST", f"/verifiers/{own}/verifications?external_ids=president", json=sample)
    assert refused.status_code == 404


def descriptor(data: bytes) -> dict[str, object]:
    return {"descriptor": base64.b64encode(data).decode(), "version": 1001}


def raw(reference: bytes, candidate: bytes) -> dict[str, object]:
    return {
        name: [{"id": "x", "type": "raw_descriptor", "data": descriptor(data)}]
        for name, data in (("references", reference), ("candidates", candidate))
    }


def test_a_token_needs_what_the_call_does(people: People, verifier_id: str) -> None:
    query = "external_ids=president"
    storing = people.verifier(storage_policy=STORING)
    viewer = people.with_token(verifier=["view"])
    matcher = people.with_token(verifier=["view"], face=["matching"])
    keeper = people.with_token(verifier=["view"], face=["matching"], face_sample=["creation"], attribute=["creation"])
    photo = {"data": people.same, "headers": JPEG}

    def refused(caller: Caller, verb: str, path: str, **given: Any) -> str:
        answer = caller.ask(verb, path, **given)
        assert (answer.status_code, answer.json()["error_code"]) == (403, 11059), answer.text
        return str(answer.json()["detail"])

    assert viewer.get("GET", f"/verifiers/{verifier_id}")["verifier_id"] == verifier_id
    assert viewer.get("POST", f"/verifiers/{verifier_id}/raw", json=raw(b"\1" * 256, b"\1" * 256))["matches"]
    assert "face" in refused(viewer, "POST", f"/verifiers/{verifier_id}/verifications?{query}", **photo)
    assert statuses(matcher.verify(verifier_id, query, people.same)[0]) == [True]
    assert "face_sample" in refused(matcher, "POST", f"/verifiers/{storing}/verifications?{query}", **photo)
    assert keeper.verify(storing, query, people.same)[0]["sample"]["face"]["sample_id"]
    attribute = f"attribute_ids={people.attribute_id}"
    assert "attribute" in refused(keeper, "POST", f"/verifiers/{verifier_id}/verifications?{attribute}", **photo)
    for verb, path in (("POST", "/verifiers"), ("PUT", f"/verifiers/{storing}"), ("DELETE", f"/verifiers/{storing}")):
        refused(keeper, verb, path, **({} if verb == "DELETE" else {"json": {}}))
    nobody = people.with_token(handler=["view"])
    for path in ("/verifiers", "/verifiers/count", f"/verifiers/{verifier_id}"):
        refused(nobody, "GET", path)


def test_native_grpc_says_the_same(service: Service, people: People) -> None:
    with service.channel() as channel:
        stub = verifiers_pb2_grpc.VerifiersStub(channel)

        def call(method: str, request: Message) -> Any:
            return getattr(stub, method)(request, metadata=people.account.metadata, timeout=30)

        made = call("CreateVerifier", verifiers_pb2.CreateVerifierRequest(description="native"))
        found = call("GetVerifier", verifiers_pb2.GetVerifierRequest(verifier_id=made.verifier_id))
        assert found.policies.verification_threshold == 0.9
        assert found.policies.detect_policy.HasField("estimate_mask")
        assert found.policies.detect_policy.face_quality.checks.head_roll.threshold.min == -8
        counted = call("CountVerifiers", verifiers_pb2.CountVerifiersRequest(description="native"))
        listed = call("ListVerifiers", verifiers_pb2.ListVerifiersRequest(description="native"))
        assert (counted.verifiers_count, [one.verifier_id for one in listed.verifiers]) == (1, [made.verifier_id])

        verification = call(
            "PerformVerification",
            verifiers_pb2.PerformVerificationRequest(
                verifier_id=made.verifier_id,
                sources=[
                    images_pb2.Source(data=people.same),
                    images_pb2.Source(filename="other", data=people.other),
                    images_pb2.Source(sample_id=people.sample_id),
                ],
                face_ids=[people.face_id],
            ),
        )
        assert [one.filename for one in verification.images] == ["raw_image_0", "other", people.sample_id]
        told = [one.detections.face_detections[0].verifications[0] for one in verification.images]
        assert [one.status for one in told] == [True, False, True]
        assert {one.face.face_id for one in told} == {people.face_id}
        assert told[2].similarity > 0.99

        mine = attributes_pb2.DescriptorInput(descriptor=b"\1" * 256, version=1001)
        reference = matcher_pb2.Reference(id="r", type=matcher_pb2.REFERENCE_TYPE_RAW_DESCRIPTOR, data=mine)
        compared = call(
            "VerifyRaw",
            verifiers_pb2.VerifyRawRequest(
                verifier_id=made.verifier_id, references=[reference], candidates=[reference]
            ),
        )
        assert compared.matches[0].matches[0].status
        replaced = call("ReplaceVerifier", verifiers_pb2.ReplaceVerifierRequest(verifier_id=made.verifier_id))
        assert replaced.version == 2
        call("DeleteVerifier", verifiers_pb2.DeleteVerifierRequest(verifier_id=made.verifier_id))
        for request in (
            verifiers_pb2.GetVerifierRequest(verifier_id=made.verifier_id),
            verifiers_pb2.GetVerifierRequest(verifier_id=str(uuid4())),
        ):
            with pytest.raises(grpc.RpcError) as gone:
                call("GetVerifier", request)
            assert gone.value.code() is grpc.StatusCode.NOT_FOUND
