"""The examples of the documentation, each a process of its own, with a service behind it that lets a token in."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import httpx
import msgpack
import numpy as np
import pytest
import requests

from server.domain.permissions import ACTIONS
from tests.lambda_process import ROOT, Running, described, lambda_process
from tests.service import Account, Service

EXAMPLES = ROOT / "docs" / "how-to" / "lambdas"
ALL: Mapping[str, Any] = {
    **{kind: list(actions) for kind, actions in ACTIONS.items() if kind not in {"token", "lambda"}},
    "resources": ["sdk"],
}
"""What the token of a lambda may do."""


def token(service: Service, account: Account, permissions: Mapping[str, Any] = ALL) -> str:
    body = {"expiration_time": None, "permissions": permissions}
    answer = requests.post(f"{service.rest}/6/tokens", json=body, auth=account.auth, timeout=30)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


@contextmanager
def example(name: str, service: Service, account: Account, **variables: str) -> Iterator[Running]:
    secret = token(service, account)
    with lambda_process(
        EXAMPLES / name,
        PLATFORM=service.target,
        TOKEN=secret,
        ACCOUNT=account.account_id,
        REQUEST_BYTES=str(64 << 20),
        **variables,
    ) as one:
        yield one
        assert secret not in one.log


def get(service: Service, account: Account, path: str, **params: str) -> Any:
    answer = requests.get(service.rest + path, params=params, auth=account.auth, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def photo(folder: Path, *names: str) -> bytes:
    """Photos side by side as one."""
    pictures = [cv2.imread(str(folder / name)) for name in names]
    height = min(picture.shape[0] for picture in pictures if picture is not None)
    scaled = [
        cv2.resize(picture, (picture.shape[1] * height // picture.shape[0], height))
        for picture in pictures
        if picture is not None
    ]
    return cv2.imencode(".jpg", np.hstack(scaled))[1].tobytes()


JPEG = {"Content-Type": "image/jpeg"}


def test_visitors_are_entered_listed_greeted_and_taken_out(service: Service, account: Account, photos: Path) -> None:
    with example("visitors", service, account) as book, example("greet", service, account) as greet:

        def put(name: str, body: bytes) -> httpx.Response:
            return book.client.put(f"/people/{name}", content=body, headers=JPEG, timeout=60)

        assert book.client.get("/people").json() == {"people": []}
        entered = put("Barack", (photos / "obama.jpg").read_bytes())
        assert entered.status_code == 201, entered.text
        assert get(service, account, f"/6/faces/{entered.json()['face_id']}")["user_data"] == "Barack"
        assert book.client.get("/people").json() == {"people": ["Barack"]}
        (found,) = get(service, account, "/6/lists")["lists"]
        assert found["list_id"] in book.log

        both = photo(photos, "biden.jpg", "obama2.jpg")
        answer = greet.client.post("/main", content=both, headers=JPEG, timeout=60)
        assert answer.json() == {"faces": 2, "greetings": ["Hello, stranger!", "Hello, Barack!"]}

        assert put("Both", both).status_code == 400
        assert put("Dogs", (photos / "dogs.jpg").read_bytes()).status_code == 400
        broken = put("None", b"no photo")
        assert (broken.status_code, broken.json()["error_code"]) == (400, 18002)
        assert book.client.delete("/people/Joe").status_code == 404
        assert book.client.delete("/people/Barack").status_code == 204
        assert book.client.get("/people").json() == {"people": []}
        assert book.client.post("/main").json()["book"] == "visitors"
        nobody = greet.client.post("/main", content=(photos / "dogs.jpg").read_bytes(), headers=JPEG, timeout=60)
        assert nobody.json() == {"faces": 0, "greetings": []}
        assert book.stop() == 0
        assert book.log.endswith("the book is closed\n")
    with example("visitors", service, account):
        assert len(get(service, account, "/6/lists")["lists"]) == 1


def test_what_is_no_photo_is_the_callers_error(service: Service, account: Account) -> None:
    with example("greet", service, account) as greet:
        answer = greet.client.post("/main", content=b"no photo", headers=JPEG, timeout=60)
        assert (answer.status_code, answer.json()["error_code"]) == (400, 18002)


def test_faces_are_blurred_and_their_events_stored(service: Service, account: Account, photos: Path) -> None:
    body = photo(photos, "biden.jpg", "obama2.jpg")
    query = "source=door&tags=a,b&external_id=e&city=Town&longitude=1.5&latitude=2"
    with example("blur_faces", service, account, TYPE="handlers") as one:
        answer = one.client.post(f"/main?{query}", content=body, headers=JPEG, timeout=60)
        assert answer.status_code == 201, answer.text + one.log
        made = answer.json()
        assert [(image["filename"], image["status"]) for image in made["images"]] == [("raw_image", 1)]
        assert made["images"][0]["error"] == {"error_code": 0, "desc": "Success", "detail": "Success"}
        assert made["filtered_detections"] == {"face_detections": []}
        assert len(made["events"]) == 2
        stored = {event["event_id"]: event for event in get(service, account, "/6/events")["events"]}
        assert set(stored) == {event["event_id"] for event in made["events"]}
        for event in made["events"]:
            kept = stored[event["event_id"]]
            assert event["url"] == f"/6/events/{event['event_id']}"
            assert (kept["source"], kept["tags"], kept["external_id"]) == ("door", ["a", "b", "blurred"], "e")
            assert kept["location"]["city"] == event["location"]["city"] == "Town"
            assert event["tags"] == ["a", "b", "blurred"]
            (url,) = {one["image_origin"] for one in (*kept["face_detections"], *event["detections"])}
            blurred = requests.get(service.rest + url, auth=account.auth, timeout=30).content
            check_blurred(service, account, body, blurred, [one["detections"][0] for one in made["events"]])
        assert get(service, account, "/6/faces")["faces"] == []


def check_blurred(
    service: Service, account: Account, before: bytes, after: bytes, detections: list[dict[str, Any]]
) -> None:
    """No face is found any more, and what is outside of them is as it was."""
    old, new = (cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in (before, after))
    assert old is not None
    assert new is not None
    assert old.shape == new.shape
    outside = np.ones(old.shape[:2], bool)
    for detection in detections:
        rect = detection["samples"]["face"]["detection"]["rect"]
        x, y, width, height = rect["x"], rect["y"], rect["width"], rect["height"]
        inside = np.abs(old[y : y + height, x : x + width].astype(int) - new[y : y + height, x : x + width]).mean()
        assert inside > 8
        across, along = width // 5, height // 5
        outside[max(y - along, 0) : y + height + along, max(x - across, 0) : x + width + across] = False
    assert np.abs(old.astype(int) - new)[outside].mean() < 3
    answer = requests.post(
        f"{service.rest}/6/sdk",
        params={"detect_face": 1, "estimate_face_descriptor": 0, "estimate_body_descriptor": 0},
        data=after,
        headers=JPEG,
        auth=account.auth,
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["images_estimations"][0]["estimations"] == []


def test_blur_faces_takes_what_a_handler_takes(service: Service, account: Account, photos: Path) -> None:
    body = (photos / "obama.jpg").read_bytes()
    stream = {
        "aggregate_attributes": 0,
        "sources": [
            {"body": body, "filename": "a.jpg", "source_data": {"track_id": "t1", "meta": {"a": [1, "b"]}}},
            {"body": (photos / "dogs.jpg").read_bytes(), "filename": "dogs.jpg"},
        ],
    }
    with example("blur_faces", service, account, TYPE="handlers") as one:
        kind = {"Content-Type": "application/msgpack"}
        made = one.client.post("/main", content=msgpack.packb(stream), headers=kind, timeout=60).json()
        assert [image["filename"] for image in made["images"]] == ["a.jpg", "dogs.jpg"]
        (event,) = made["events"]
        assert (event["track_id"], event["meta"], event["detections"][0]["filename"]) == (
            "t1",
            {"a": [1, "b"]},
            "a.jpg",
        )
        again = one.client.post("/main", files={"image": ("b.jpg", body, "image/jpeg")}, timeout=60)
        assert again.status_code == 201
        wrong = one.client.post("/main", content=b"no photo", headers=JPEG, timeout=60)
        assert (wrong.status_code, wrong.json()["error_code"]) == (400, 12022)
    with example("blur_faces", service, account, TYPE="handlers"):
        assert len(get(service, account, "/6/handlers")) == 1


@pytest.mark.parametrize("name", ["greet", "visitors", "blur_faces"])
def test_every_example_describes_itself(name: str) -> None:
    done = described(EXAMPLES / name)
    assert done.returncode == 0, done.stderr
    assert "/main:" in done.stdout
    assert "summary: ''" not in done.stdout


PROBE = """
import asyncio
from luna_lambda import PlatformError
from luna.v6 import accounts_pb2, accounts_pb2_grpc, faces_pb2, tokens_pb2, tokens_pb2_grpc

async def main(request):
    platform = request.platform
    try:
        match request.query["do"]:
            case "face":
                face = await platform.faces.GetFace(faces_pb2.GetFaceRequest(face_id=request.query["id"]))
                return {"user_data": face.user_data, "account": face.account_id}
            case "create":
                return {"id": (await platform.faces.CreateFace(faces_pb2.CreateFaceRequest(user_data="x"))).face_id}
            case "wrong":
                await platform.faces.GetFace(faces_pb2.GetFaceRequest(face_id="none"))
            case "late":
                await platform.faces.CountFaces(faces_pb2.CountFacesRequest(), timeout=0)
            case "tokens":
                stub = tokens_pb2_grpc.TokensStub(platform.channel)
                await stub.ListTokens(tokens_pb2.ListTokensRequest())
            case "many":
                asked = [platform.faces.CountFaces(faces_pb2.CountFacesRequest()) for _ in range(50)]
                return sum(found.faces_count for found in await asyncio.gather(*asked))
    except PlatformError as error:
        return {"code": error.code, "reason": error.reason, "error_code": error.error_code, "desc": error.desc,
                "detail": error.detail, "text": str(error)}
"""


@pytest.fixture(scope="module")
def probe(service: Service) -> Iterator[tuple[Running, Account]]:
    account = service.account()
    with lambda_process({"lambda_main.py": PROBE}, PLATFORM=service.target, TOKEN=token(service, account)) as one:
        yield one, account


def do(one: Running, what: str, **query: str) -> Any:
    answer = one.client.post("/main", params={"do": what, **query}, timeout=30)
    assert answer.status_code == 200, one.log
    return answer.json()


def test_calls_act_for_the_account_of_the_lambda_and_for_no_other(
    probe: tuple[Running, Account], service: Service, account: Account
) -> None:
    one, own = probe
    made = do(one, "create")["id"]
    assert do(one, "face", id=made) == {"user_data": "x", "account": own.account_id}
    body = {"user_data": "of another account"}
    other = requests.post(f"{service.rest}/6/faces", json=body, auth=account.auth, timeout=30).json()["face_id"]
    refused = do(one, "face", id=other)
    assert (refused["code"], refused["reason"], refused["error_code"]) == ("NOT_FOUND", "FACE_NOT_FOUND", 22002)
    assert other in refused["detail"]
    assert refused["text"] == f"FACE_NOT_FOUND: {refused['detail']}"


def test_errors_say_what_the_service_said(probe: tuple[Running, Account]) -> None:
    one, _ = probe
    wrong = do(one, "wrong")
    assert wrong["code"] == "INVALID_ARGUMENT"
    assert wrong["error_code"] > 0
    assert "face_id" in wrong["detail"]
    assert do(one, "late")["code"] == "DEADLINE_EXCEEDED"
    assert do(one, "tokens")["code"] == "PERMISSION_DENIED"


def test_calls_are_made_side_by_side(probe: tuple[Running, Account]) -> None:
    one, _ = probe
    started = time.monotonic()
    assert do(one, "many") >= 0
    assert time.monotonic() - started < 20


def test_calls_carry_the_id_of_the_request_that_they_are_made_for(
    probe: tuple[Running, Account], service: Service
) -> None:
    one, own = probe
    request_id = f"1536751345,{one.lambda_id}"
    one.client.post("/main", params={"do": "create"}, headers={"Luna-Request-Id": request_id}, timeout=30)
    command = [Path(sys.executable).parent / "luna", "audit", "--account", own.account_id]
    trail = subprocess.run(command, env={**service.environment}, capture_output=True, text=True, timeout=60, check=True)
    assert request_id in trail.stdout


def test_a_service_that_is_not_there_is_told_apart() -> None:
    with lambda_process({"lambda_main.py": PROBE}, PLATFORM="unix:/nothing/there", TOKEN="a.b.c") as one:
        told = do(one, "many")
        assert (told["code"], told["error_code"], told["reason"]) == ("UNAVAILABLE", 0, "")
    with lambda_process({"lambda_main.py": PROBE}) as one:
        answer = one.client.post("/main", params={"do": "many"})
        assert (answer.status_code, answer.headers["luna-lambda-error"]) == (500, "PlatformError")
        assert "LUNA_LAMBDA_PLATFORM" in one.log
