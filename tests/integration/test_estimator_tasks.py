"""Estimator tasks of real photos in the whole service: made over REST, done by its worker, read over REST."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.service import Account, Service, running

SECONDS = 60
DONE, FAILED, CANCELLED = 5, 3, 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("allowed")


@pytest.fixture(scope="module")
def estimating(folder: Path) -> Iterator[Service]:
    """A service whose worker may read a folder."""
    with running(TASKS__FOLDERS=str(folder)) as one:
        yield one


@pytest.fixture
def caller(estimating: Service) -> Account:
    return estimating.account()


def created(service: Service, account: Account, content: dict[str, Any]) -> requests.Response:
    body = {"content": content, "description": "photos"}
    return requests.post(f"{service.rest}/6/tasks/estimator", json=body, auth=account.auth, timeout=SECONDS)


def ended(service: Service, account: Account, task_id: int) -> dict[str, Any]:
    end = time.monotonic() + SECONDS
    while True:
        task = requests.get(f"{service.rest}/6/tasks/{task_id}", auth=account.auth, timeout=SECONDS).json()
        if task["task_status"] in {DONE, FAILED, CANCELLED}:
            return dict(task)
        assert time.monotonic() < end, task
        time.sleep(0.2)


def archive(photos: Path) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name in ("obama.jpg", "biden.jpg"):
            made.write(photos / name, f"people/{name}")
        made.writestr("people/note.txt", "no picture")
        made.writestr("../escape.jpg", "x")
    return out.getvalue()


def test_an_archive_becomes_events_of_its_pictures_and_errors_of_the_rest(
    estimating: Service, caller: Account, photos: Path
) -> None:
    kept = requests.post(
        f"{estimating.rest}/6/objects",
        data=archive(photos),
        headers={"content-type": "application/zip"},
        auth=caller.auth,
        timeout=SECONDS,
    )
    assert kept.status_code == 201, kept.text
    reference = f"/6/objects/{kept.json()['object_id']}"
    content = {
        "source": {"source_type": "zip", "reference": reference, "authorization": {"password": "geheim"}},
        "handler": {"policies": {"storage_policy": {"face_policy": {"store_face": 1}}}},
        "external_id": "from the archive",
    }
    answer = created(estimating, caller, content)
    assert answer.status_code == 202, answer.text
    task = ended(estimating, caller, answer.json()["task_id"])
    assert task["task_status"] == DONE, task
    assert (task["count_task_parts_done"], task["count_task_parts_all"]) == (1, 1)
    assert "geheim" not in str(task)
    url = f"{estimating.rest}/6/tasks/{task['task_id']}"
    result = requests.get(f"{url}/result", auth=caller.auth, timeout=SECONDS).json()
    assert [one["images"][0]["filename"] for one in result["result"]] == ["people/biden.jpg", "people/obama.jpg"]
    assert {one["additional_info"] for one in result["errors"]} == {"people/note.txt", "../escape.jpg"}
    errors = requests.get(f"{url}/errors", auth=caller.auth, timeout=SECONDS).json()["errors"]
    by_id = {one["error_id"]: one for one in errors}
    assert {one["error_id"]: one for one in result["errors"]} == by_id
    event_id = result["result"][0]["events"][0]["event_id"]
    event = requests.get(f"{estimating.rest}/6/events/{event_id}", auth=caller.auth, timeout=SECONDS)
    assert event.status_code == 200, event.text
    assert event.json()["external_id"] == "from the archive"
    faces = requests.get(f"{estimating.rest}/6/faces/count", auth=caller.auth, timeout=SECONDS)
    assert faces.json()["faces_count"] == 2


def test_a_generated_event_looks_as_it_does_where_it_is_asked_for(
    estimating: Service, caller: Account, photos: Path, folder: Path
) -> None:
    inside = folder / caller.account_id
    inside.mkdir()
    (inside / "obama.jpg").write_bytes((photos / "obama.jpg").read_bytes())
    body = {"description": "", "policies": {"extract_policy": {"extract_basic_attributes": 0}}}
    handler = requests.post(f"{estimating.rest}/6/handlers", json=body, auth=caller.auth, timeout=SECONDS).json()
    direct = requests.post(
        f"{estimating.rest}/6/handlers/{handler['handler_id']}/events",
        data=(photos / "obama.jpg").read_bytes(),
        headers={"content-type": "image/jpeg"},
        auth=caller.auth,
        timeout=SECONDS,
    ).json()
    content = {
        "source": {"source_type": "network_disk", "path": str(inside)},
        "handler": {"handler_id": handler["handler_id"]},
    }
    task = ended(estimating, caller, created(estimating, caller, content).json()["task_id"])
    result = requests.get(
        f"{estimating.rest}/6/tasks/{task['task_id']}/result", auth=caller.auth, timeout=SECONDS
    ).json()
    assert result["errors"] == []
    (made,) = result["result"]
    assert shape(made) == shape(direct)


def test_a_folder_that_is_not_allowed_fails_the_task(estimating: Service, caller: Account) -> None:
    content = {"source": {"source_type": "network_disk", "path": "/etc"}, "handler": {"policies": {}}}
    task = ended(estimating, caller, created(estimating, caller, content).json()["task_id"])
    assert task["task_status"] == FAILED
    (error,) = requests.get(
        f"{estimating.rest}/6/tasks/{task['task_id']}/errors", auth=caller.auth, timeout=SECONDS
    ).json()["errors"]
    assert "LUNA_TASKS__FOLDERS" in error["detail"]


@pytest.mark.parametrize(
    ("source", "field"),
    [
        ({"source_type": "zip", "reference": "file:///etc/passwd"}, "reference"),
        ({"source_type": "zip", "reference": "http://user:geheim@host/a.zip"}, "reference"),
        ({"source_type": "network_disk", "path": "images"}, "path"),
        ({"source_type": "samba", "host": "host", "path": "/"}, "path"),
        ({"source_type": "s3", "bucket_name": "images", "endpoint": "ftp://host"}, "endpoint"),
    ],
)
def test_a_source_that_cannot_be_is_refused_at_once(
    estimating: Service, caller: Account, source: dict[str, Any], field: str
) -> None:
    answer = created(estimating, caller, {"source": source, "handler": {"policies": {}}})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error_code"] == 12022
    assert f"content.source.{field}" in answer.json()["detail"]
    assert "geheim" not in answer.text


def shape(value: object) -> object:
    """The names and types of a value, without what differs from one event to the next."""
    match value:
        case dict():
            return {name: shape(one) for name, one in value.items()}
        case list():
            return [shape(one) for one in value]
        case str() | None:
            return "text"
        case _:
            return value
