"""Clustering, cross-matching and ROC through the whole service: faces in, results and pages out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import requests
from luna.v6 import attributes_pb2, faces_pb2, faces_pb2_grpc

from server.domain.descriptors import spec
from tests.service import Account, Service

PEOPLE, EACH = 5, 4


@pytest.fixture
def people(service: Service, account: Account) -> list[list[str]]:
    """Ids of faces of the account, by person. Faces of a person are alike, persons are not."""
    rng = np.random.default_rng(1)
    with service.channel() as channel:
        stub = faces_pb2_grpc.FacesStub(channel)

        def face(vector: Sequence[float]) -> str:
            raw = np.asarray(vector, "<f2").tobytes()
            described = attributes_pb2.DescriptorInput(descriptor=raw, version=1001)
            attribute = faces_pb2.FaceAttributeInput(face_descriptors=[described])
            request = faces_pb2.CreateFaceRequest(attribute=attribute)
            return str(stub.CreateFace(request, metadata=account.metadata, timeout=30).face_id)

        centres = np.linalg.qr(rng.standard_normal((128, PEOPLE)))[0].T
        return [[face(centre + 0.01 * rng.standard_normal(128)) for _ in range(EACH)] for centre in centres]


class Client:
    """Tasks over REST."""

    def __init__(self, service: Service, account: Account) -> None:
        self._address = f"{service.rest}/6/tasks"
        self._auth = account.auth

    def done(self, kind: str, content: object, status: int = 5) -> int:
        """Create a task and wait for its end."""
        answer = requests.post(f"{self._address}/{kind}", json={"content": content}, auth=self._auth, timeout=30)
        assert answer.status_code == 202, answer.text
        task_id = int(answer.json()["task_id"])
        end = time.monotonic() + 60
        while (task := self.get(f"/{task_id}").json())["task_status"] not in (2, 3, 5):
            assert time.monotonic() < end, task
            time.sleep(0.1)
        assert task["task_status"] == status, self.get("/errors", task_ids=task_id).text
        return task_id

    def get(self, path: str, **query: object) -> requests.Response:
        answer = requests.get(self._address + path, params=query, auth=self._auth, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer

    def result(self, task_id: int) -> Any:
        return self.get(f"/{task_id}/result").json()


@pytest.fixture
def client(service: Service, account: Account) -> Client:
    return Client(service, account)


def test_faces_of_a_person_are_one_cluster(client: Client, people: list[list[str]]) -> None:
    task_id = client.done("clustering", {"objects_type": "faces", "threshold": 0.9})
    wanted = sorted((sorted(faces) for faces in people), key=lambda faces: faces[0])
    assert client.result(task_id) == {"result": wanted, "errors": []}
    page = client.get(f"/{task_id}/result", format="html").text
    assert f"<b>{PEOPLE}</b>clusters" in page


def test_a_clustering_of_nothing_fails_with_its_error(client: Client) -> None:
    task_id = client.done("clustering", {"objects_type": "faces", "threshold": 0.9}, status=3)
    (error,) = client.get("/errors", task_ids=task_id).json()["errors"]
    assert error["error_code"] == 28010


def test_references_find_those_who_are_alike(client: Client, people: list[list[str]]) -> None:
    wanted, *_ = people
    content = {
        "reference_filters": {"origin": "faces", "face_ids": wanted[:1]},
        "candidate_filters": {"origin": "faces"},
        "threshold": 0.9,
        "limit": 10,
    }
    result = client.result(client.done("cross_match", content))
    (found,) = result["result"]
    assert found["reference_id"] == wanted[0]
    assert sorted(one["candidate_id"] for one in found["candidates"]) == sorted(wanted)
    assert found["candidates"][0] == {"candidate_id": wanted[0], "similarity": spec(1001).similarity(1.0)}
    similarities = [one["similarity"] for one in found["candidates"]]
    assert similarities == sorted(similarities, reverse=True)


def test_faces_that_are_well_apart_have_a_perfect_curve(client: Client, people: list[list[str]]) -> None:
    markup = [{"face_id": face, "label": label} for label, faces in enumerate(people) for face in faces]
    task_id = client.done("roc", {"markup": markup, "limit": 100, "key_FPRs": [0.01]})
    result = client.result(task_id)["result"]
    assert (result["AUC"], result["EER"]["FPR"], result["TOP_N"]["1"]) == (1, 0, 1)
    assert result["key_points"][0]["TPR"] == 1
    assert "DET curve" in client.get(f"/{task_id}/result", format="html").text
