"""A lambda that stands in for a handler, from its archive to its events: the example that blurs every face."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import requests
from luna.v6 import events_pb2, events_pb2_grpc

from tests.drawn_people import PEOPLE, group
from tests.lambda_archives import running_lambda
from tests.service import Account, Service

DOCS = Path(__file__).resolve().parent.parent.parent / "docs" / "how-to"
MAIN = (DOCS / "lambdas" / "blur_faces" / "lambda_main.py").read_text()
PICTURES = DOCS / "pictures"
BEFORE, AFTER = "people.jpg", "people-blurred.jpg"
LARGEST_PICTURE = 100_000
KEEP = os.environ.get("LUNA_TEST_DRAW")
"""Set, the pictures of the documentation are made anew."""


@pytest.fixture
def handler(service: Service, account: Account) -> str:
    """A handler of type 2 whose lambda blurs faces."""
    lambda_id = running_lambda(service, account, MAIN, kind="handlers")
    body = {"handler_type": 2, "lambda_id": lambda_id, "description": "blurs faces"}
    answer = requests.post(f"{service.rest}/6/handlers", json=body, auth=account.auth, timeout=30)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["handler_id"])


@contextmanager
def following(service: Service, account: Account) -> Iterator[Any]:
    """A subscription that has begun."""
    with service.channel() as channel:
        stub = events_pb2_grpc.SubscriptionsStub(channel)
        stream = stub.Subscribe(events_pb2.SubscribeRequest(), metadata=account.metadata, timeout=60)
        stream.initial_metadata()
        yield stream
        stream.cancel()


def test_every_face_is_blurred_and_its_event_is_stored_and_told(
    service: Service, account: Account, handler: str
) -> None:
    photo = encoded(group())
    with following(service, account) as stream:
        answer = requests.post(
            f"{service.rest}/6/handlers/{handler}/events",
            params={"source": "hall", "tags": "visit", "external_id": "v1"},
            data=photo,
            headers={"Content-Type": "image/jpeg"},
            auth=account.auth,
            timeout=90,
        )
        assert answer.status_code == 201, answer.text
        assert answer.headers["Content-Type"].startswith("application/json")
        made = answer.json()
        received = [next(stream).event.event for _ in made["events"]]
    assert len(made["events"]) == len(PEOPLE)
    ids = {event["event_id"] for event in made["events"]}
    assert {event.event_id for event in received} == ids
    assert all(list(event.tags) == ["visit", "blurred"] and event.source == "hall" for event in received)
    listed = requests.get(f"{service.rest}/6/events", auth=account.auth, timeout=30).json()["events"]
    assert {event["event_id"] for event in listed} == ids
    (url,) = {detection["image_origin"] for event in made["events"] for detection in event["detections"]}
    blurred = requests.get(service.rest + url, auth=account.auth, timeout=30).content
    assert faces(service, account, photo) == len(PEOPLE)
    assert faces(service, account, blurred) == 0
    for empty in ("faces", "lists"):
        assert requests.get(f"{service.rest}/6/{empty}", auth=account.auth, timeout=30).json()[empty] == []
    if KEEP:
        PICTURES.mkdir(exist_ok=True)
        (PICTURES / BEFORE).write_bytes(photo)
        (PICTURES / AFTER).write_bytes(encoded(decoded(blurred)))


def test_a_body_in_no_form_of_a_handler_is_the_lambdas_to_refuse(
    service: Service, account: Account, handler: str
) -> None:
    answer = requests.post(
        f"{service.rest}/6/handlers/{handler}/events",
        data=b"no photo",
        headers={"Content-Type": "text/plain"},
        auth=account.auth,
        timeout=60,
    )
    assert (answer.status_code, answer.json()["error_code"]) == (400, 12022)
    assert "text/plain" in answer.json()["detail"]


def test_the_pictures_of_the_documentation_are_those_of_the_example(service: Service, account: Account) -> None:
    before, after = (PICTURES / name for name in (BEFORE, AFTER))
    assert max(before.stat().st_size, after.stat().st_size) < LARGEST_PICTURE
    assert faces(service, account, before.read_bytes()) == len(PEOPLE)
    assert faces(service, account, after.read_bytes()) == 0
    drawn = decoded(encoded(group())).astype(int)
    assert np.abs(drawn - decoded(before.read_bytes())).mean() < 1
    assert drawn.shape == decoded(after.read_bytes()).shape


def faces(service: Service, account: Account, photo: bytes) -> int:
    """How many faces the service finds."""
    answer = requests.post(
        f"{service.rest}/6/sdk",
        params={"detect_face": 1, "estimate_face_descriptor": 0, "estimate_body_descriptor": 0},
        data=photo,
        headers={"Content-Type": "image/jpeg"},
        auth=account.auth,
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    return len(answer.json()["images_estimations"][0]["estimations"])


def encoded(picture: npt.NDArray[Any]) -> bytes:
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


def decoded(data: bytes) -> npt.NDArray[Any]:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture
