"""Tasks over populations in the whole service: photos go in over REST, workers do the tasks, results come out."""

from __future__ import annotations

import csv
import io
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.service import Account, Service

SECONDS = 60
JPEG = {"content-type": "image/jpeg"}
STORING = {
    "extract_policy": {"extract_face_descriptor": 1},
    "storage_policy": {"image_origin_policy": {"store_image": 1}, "face_policy": {"store_face": 1}},
}


class Client:
    """REST as one account, with faces and events of photos."""

    def __init__(self, service: Service, account: Account) -> None:
        self._service = service
        self._account = account

    def ask(self, verb: str, path: str, **how: Any) -> requests.Response:
        return requests.request(verb, f"{self._service.rest}/6{path}", auth=self._account.auth, timeout=SECONDS, **how)

    def got(self, path: str, **query: object) -> Any:
        answer = self.ask("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def events_of(self, *photos: bytes) -> list[dict[str, Any]]:
        answer = self.ask("POST", "/handlers", json={"description": "", "policies": STORING})
        assert answer.status_code == 201, answer.text
        path = f"/handlers/{answer.json()['handler_id']}/events"
        made = [self.ask("POST", path, data=photo, headers=JPEG).json()["events"] for photo in photos]
        return [event for events in made for event in events]

    def done(self, kind: str, content: dict[str, object]) -> int:
        """A task of a kind, waited for."""
        answer = self.ask("POST", f"/tasks/{kind}", json={"content": content})
        assert answer.status_code == 202, answer.text
        task_id = int(answer.json()["task_id"])
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            task = self.got(f"/tasks/{task_id}")
            if task["task_status"] in {2, 3, 5}:
                assert task["task_status"] == 5, self.got(f"/tasks/{task_id}/errors")
                return task_id
            time.sleep(0.2)
        raise AssertionError(f"task {task_id} of {kind} did not end: {task}")

    def result(self, task_id: int) -> Any:
        return self.got(f"/tasks/{task_id}/result")["result"]

    def archive(self, task_id: int) -> dict[str, bytes]:
        answer = self.ask("GET", f"/tasks/{task_id}/result")
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/zip"
        assert answer.headers["content-disposition"] == f"attachment; filename=task_{task_id}.zip"
        with zipfile.ZipFile(io.BytesIO(answer.content)) as found:
            return {name: found.read(name) for name in found.namelist()}


@pytest.fixture
def client(service: Service, account: Account) -> Client:
    return Client(service, account)


def table(found: dict[str, bytes]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(found["report.csv"].decode(), newline="")))


def test_photos_become_clusters_reports_lists_and_nothing(service: Service, client: Client, photos: Path) -> None:
    obama, biden = ((photos / name).read_bytes() for name in ("obama.jpg", "biden.jpg"))
    other = Client(service, service.account())
    kept = other.events_of(obama)
    events = client.events_of(obama, biden, obama)
    faces = {event["face"]["face_id"] for event in events}

    exported = client.archive(client.done("exporter", {"objects_type": "events", "save_images": 1}))
    assert {row["event_id"] for row in table(exported)} == {event["event_id"] for event in events}
    assert {row["face_id"] for row in table(exported)} == faces
    assert sum(data.startswith(b"\xff\xd8") for name, data in exported.items() if name.startswith("images/")) == 3

    clustering = client.done("clustering", {"objects_type": "faces", "threshold": 0.8})
    report = client.done("reporter", {"task_id": clustering, "columns": ["event_id", "avatar"], "save_images": 1})
    rows = table(client.archive(report))
    assert {row["face_id"] for row in rows} == faces
    by_cluster = {row["face_id"]: row["cluster"] for row in rows}
    assert by_cluster[events[0]["face"]["face_id"]] == by_cluster[events[2]["face"]["face_id"]]
    assert by_cluster[events[0]["face"]["face_id"]] != by_cluster[events[1]["face"]["face_id"]]
    page = client.ask("GET", f"/tasks/{report}/result", params={"format": "html"})
    assert page.headers["content-type"].startswith("text/html")
    assert page.text.count("<img") == 3

    linked = client.result(client.done("linker", {"objects_type": "events", "create_list": 1, "user_data": "all"}))
    members = client.got("/faces", list_id=linked["list_id"], page_size=100)["faces"]
    assert {one["face_id"] for one in members} == set(linked["faces"])
    assert {one["event_id"] for one in members} == {event["event_id"] for event in events}
    assert client.got("/faces/count")["faces_count"] == 6

    extracted = client.result(client.done("additional_extract", {"objects_type": "faces", "overwrite": 1}))
    assert (extracted["extracted"], extracted["skipped"]) == (6, 0)

    everything = {"create_time__lt": "now-0s"}
    collecting = {"filters": everything, "remove_samples": 1, "remove_image_origins": 1}
    gone = client.result(client.done("gc", {"target": "events", **collecting}))
    assert (gone["count"], gone["samples"], gone["samples_in_use"], gone["image_origins"]) == (3, 0, 3, 3)
    gone = client.result(client.done("gc", {"target": "faces", "filters": everything, "remove_samples": 1}))
    assert (gone["count"], gone["samples"]) == (6, 3)
    for event in events:
        sample = event["detections"][0]["samples"]["face"]["sample_id"]
        assert client.ask("GET", f"/samples/faces/{sample}").status_code == 404
        assert client.ask("GET", event["detections"][0]["image_origin"].removeprefix("/6")).status_code == 404
        assert client.ask("GET", f"/events/{event['event_id']}").status_code == 404
    sample = kept[0]["detections"][0]["samples"]["face"]["sample_id"]
    assert other.ask("GET", f"/samples/faces/{sample}").status_code == 200
    assert other.got("/faces/count")["faces_count"] == 1
