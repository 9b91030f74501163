"""A whole service with optional model packs: installed by the command, served over both protocols."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from luna.v6 import images_pb2, sdk_pb2, sdk_pb2_grpc

from engines.packs.pack import DEFAULT
from tests.packs import default_pack
from tests.service import Account, Service, running

LUNA = str(Path(sys.executable).with_name("luna"))
PACKS = {
    "liveness": "antispoof_minifasnetv2se.onnx",
    "gender": "gender_dlib.onnx",
    "people": "fastestdet.onnx",
}
JPEG = {"content-type": "image/jpeg"}


@pytest.fixture(scope="module")
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with every pack whose files are at hand, and the 68 points."""
    shared = request.config.rootpath.parent / "shared" / "models"
    if not all((shared / file).is_file() for file in PACKS.values()):
        pytest.skip(f"the optional models are not in {shared}")
    models = tmp_path_factory.mktemp("models")
    (models / DEFAULT).symlink_to(default_pack().folder)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LUNA_")}
    for pack, file in PACKS.items():
        argv = [LUNA, "models", "install", pack, "--file", str(shared / file)]
        done = subprocess.run(
            argv, env={**environment, "LUNA_MODELS": str(models)}, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
    packs = ",".join([DEFAULT, *PACKS])
    with running(
        MODELS=str(models), ENGINE__PACKS=packs, ENGINE__DEMOGRAPHICS="true", ENGINE__LANDMARKS68="true"
    ) as one:
        yield one


def look(service: Service, account: Account, image: bytes, query: str) -> Any:
    answer = requests.post(
        f"{service.rest}/6/sdk?detect_face=1&estimate_face_descriptor=0&{query}",
        data=image,
        headers=JPEG,
        auth=account.auth,
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_what_the_packs_serve_is_a_feature(service: Service) -> None:
    served = requests.get(f"{service.rest}/6/features", timeout=30).json()["estimations"]
    assert served["liveness"] is served["people_count"] is served["basic_attributes"] is True
    assert served["emotions"] is served["gaze"] is served["body_attributes"] is False


def test_people_are_found_with_their_faces_and_counted(service: Service, account: Account, photos: Path) -> None:
    image = (photos / "2007_007763.jpg").read_bytes()
    query = "detect_body=1&estimate_body_descriptor=0&estimate_people_count=1&estimate_body_warp=1"
    (found,) = look(service, account, image, query)["images_estimations"]
    assert found["image_estimations"] == {"people": {"count": 7}}
    together = [one for one in found["estimations"] if one["face"] and one["body"]]
    assert len(together) >= 6
    for one in together:
        face, body = one["face"]["detection"]["rect"], one["body"]["detection"]["rect"]
        assert body["x"] <= face["x"] + face["width"] / 2 <= body["x"] + body["width"]
        assert one["body"]["warp"]


def test_gender_and_liveness_are_told_of_a_portrait(service: Service, account: Account, photos: Path) -> None:
    image = (photos / "biden.jpg").read_bytes()
    query = "estimate_basic_attributes=1&estimate_liveness=1&estimate_eyes_attributes=1"
    (found,) = look(service, account, image, query)["images_estimations"]
    attributes = found["estimations"][0]["face"]["detection"]["attributes"]
    assert attributes["basic_attributes"] == {"age": None, "gender": 1, "ethnicities": None}
    assert attributes["liveness"]["prediction"] == "real"
    assert len(attributes["eyes_attributes"]["left_eye"]["iris_landmarks"]) == 32


def test_both_protocols_tell_the_same_liveness(service: Service, account: Account, photos: Path) -> None:
    image = (photos / "biden.jpg").read_bytes()
    url = f"{service.rest}/6/liveness"
    answer = requests.post(url, data=image, headers=JPEG, auth=account.auth, timeout=60).json()
    (one,) = answer["images"]
    assert one["liveness"]["prediction"] == 1
    request = sdk_pb2.EstimateRequest(
        images=[images_pb2.ImageInput(data=image)], detect_face=True, estimate_liveness=True
    )
    with service.channel() as channel:
        response = sdk_pb2_grpc.SdkStub(channel).Estimate(request, metadata=account.metadata, timeout=60)
    liveness = response.images_estimations[0].estimations[0].face.detection.attributes.liveness
    assert liveness.estimations.score == pytest.approx(one["liveness"]["estimations"]["probability"], abs=1e-9)


def test_spoofs_alone_are_let_through_where_that_is_asked_for(service: Service, account: Account, photos: Path) -> None:
    image = (photos / "biden.jpg").read_bytes()
    (found,) = look(service, account, image, "liveness_states=0")["images_estimations"]
    assert found["estimations"] == []
    (dropped,) = found["filtered_detections"]["face_detections"]
    (reason,) = dropped["filter_reasons"]
    assert (reason["type"], reason["value"], reason["threshold"]) == ("liveness_states", 1, [0])
