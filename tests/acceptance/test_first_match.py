"""From a photo to a match, through Envoy and through gRPC: the whole way that the product exists for."""

from __future__ import annotations

from pathlib import Path

import requests
from luna.v6 import matcher_pb2, matcher_pb2_grpc

from tests.service import Account, Service

ENOUGH = 0.73
"""Similarity at which one in a thousand pairs of different people of LFW passes (server.domain.descriptors)."""


def enrol(service: Service, account: Account, photo: Path, list_id: str) -> str:
    base = f"{service.rest}/6"
    image = {"content-type": "image/jpeg"}
    found = requests.post(f"{base}/detector", data=photo.read_bytes(), headers=image, auth=account.auth, timeout=60)
    assert found.status_code == 201, found.text
    sample_id = found.json()["images"][0]["detections"]["samples"][0]["face"]["sample_id"]
    extracted = requests.post(f"{base}/extractor", json=[sample_id], auth=account.auth, timeout=60)
    assert extracted.status_code == 201, extracted.text
    attribute_id = extracted.json()[0]["attribute_id"]
    body = {"attribute": {"attribute_id": attribute_id}, "lists": [list_id], "external_id": photo.stem}
    created = requests.post(f"{base}/faces", json=body, auth=account.auth, timeout=60)
    assert created.status_code == 201, created.text
    assert created.headers["location"] == created.json()["url"]
    return str(created.json()["face_id"])


def test_a_person_is_found_again_and_gone_once_deleted(service: Service, account: Account, photos: Path) -> None:
    base = f"{service.rest}/6"
    list_id = requests.post(f"{base}/lists", auth=account.auth, timeout=60).json()["list_id"]
    obama = enrol(service, account, photos / "obama.jpg", list_id)
    biden = enrol(service, account, photos / "biden.jpg", list_id)
    again = enrol(service, account, photos / "obama2.jpg", list_id)

    body = {
        "references": [{"id": again, "type": "face"}],
        "candidates": [
            {
                "filters": {"origin": "faces", "list_id": list_id},
                "limit": 10,
                "targets": ["face_id", "similarity", "external_id"],
            }
        ],
    }
    answer = requests.post(f"{base}/matcher/faces", json=body, auth=account.auth, timeout=60)
    assert answer.status_code == 200, answer.text
    result = answer.json()[0]["matches"][0]["result"]
    assert [one["face"]["face_id"] for one in result] == [again, obama, biden]
    assert result[1]["similarity"] > ENOUGH > result[2]["similarity"]
    assert result[1]["face"] == {"face_id": obama, "external_id": "obama"}

    with service.channel() as channel:
        stub = matcher_pb2_grpc.MatcherStub(channel)
        request = matcher_pb2.MatchFacesRequest(
            references=[matcher_pb2.Reference(id=again, type=matcher_pb2.REFERENCE_TYPE_FACE)],
            candidates=[matcher_pb2.Candidates(faces=matcher_pb2.FaceCandidates(list_id=list_id), limit=10)],
        )
        native = stub.MatchFaces(request, metadata=account.metadata, timeout=60)
        found = native.matches[0].matches[0].result
        assert [one.face.face_id for one in found] == [again, obama, biden]
        assert [one.similarity for one in found] == [one["similarity"] for one in result]

    assert requests.delete(f"{base}/faces/{obama}", auth=account.auth, timeout=60).status_code == 204
    answer = requests.post(f"{base}/matcher/faces", json=body, auth=account.auth, timeout=60)
    result = answer.json()[0]["matches"][0]["result"]
    assert [one["face"]["face_id"] for one in result] == [again, biden]
