"""Enrol a folder of photos and watch a door, over REST: http://HOST:PORT LOGIN PASSWORD FOLDER PROBE."""

import json
import sys
import time
from pathlib import Path

import requests
from websockets.sync.client import connect

host, login, password, folder, probe = sys.argv[1:6]
session = requests.Session()
session.auth = (login, password)  # or session.headers["Authorization"] = "Bearer TOKEN"
JPEG = {"Content-Type": "image/jpeg"}


def call(verb: str, path: str, **options) -> requests.Response:
    """One request. A busy server is asked again when it says; any other error ends the program with its sentence."""
    for _ in range(10):
        answer = session.request(verb, f"{host}/6{path}", timeout=60, **options)
        if answer.status_code != requests.codes.too_many_requests:
            break
        time.sleep(float(answer.headers["Retry-After"]))
    if not answer.ok:
        told = answer.json()
        sys.exit(f"{verb} {path}: {answer.status_code}, {told['error_code']} {told['detail']}")
    return answer


def attribute_of(photo: Path) -> str:
    """Detect the largest face of a photo and describe it; the attribute lives for five minutes."""
    looked = call("POST", "/detector", params={"multiface_policy": 2}, data=photo.read_bytes(), headers=JPEG).json()
    # an image that cannot be used fails alone: the answer is 200 or 201, and the error is in its place
    (image,) = looked["images"]
    if not image["status"] or not image["detections"]["samples"]:
        sys.exit(f"{photo}: {image['error']['detail'] if not image['status'] else 'no face'}")
    sample = image["detections"]["samples"][0]["face"]["sample_id"]
    return call("POST", "/extractor", json=[sample]).json()[0]["attribute_id"]


# enrol: every face is in one list
staff = call("POST", "/lists", json={"user_data": "staff"}).json()["list_id"]
for photo in sorted(path for path in Path(folder).iterdir() if path.is_file()):
    body = {"attribute": {"attribute_id": attribute_of(photo)}, "user_data": photo.stem, "lists": [staff]}
    call("POST", "/faces", json=body)
print("enrolled", call("GET", "/faces/count", params={"list_id": staff}).json()["faces_count"])

# search
body = {
    "references": [{"type": "attribute", "id": attribute_of(Path(probe))}],
    "candidates": [
        {"filters": {"origin": "faces", "list_id": staff}, "limit": 3, "targets": ["user_data", "similarity"]}
    ],
}
for found in call("POST", "/matcher/faces", json=body).json()[0]["matches"][0]["result"]:
    print(f"found {found['face']['user_data']} {found['similarity']:.3f}")

# a handler does all of it in one request
policies = {
    "match_policy": [{"label": "staff", "candidates": {"origin": "faces", "list_id": staff}, "limit": 1}],
    "conditional_tags_policy": [
        {"tag": "staff", "filters": {"match": [{"label": "staff", "similarity__gte": 0.73}]}},
        {"tag": "stranger", "filters": {"match": [{"label": "staff", "similarity__lte": 0.73}]}},
    ],
}
handler = call("POST", "/handlers", json={"description": "door", "policies": policies}).json()["handler_id"]

# follow its events while they are made: the socket takes the headers and the filters that GET /6/events takes
basic = requests.Request("GET", host, auth=session.auth).prepare().headers["Authorization"]
address = f"ws{host.removeprefix('http')}/6/ws?handler_ids={handler}"
with connect(address, additional_headers={"Authorization": basic}, proxy=None) as socket:
    call("POST", f"/handlers/{handler}/events", params={"source": "door"}, data=Path(probe).read_bytes(), headers=JPEG)
    told = json.loads(socket.recv(timeout=30))
print("event", told["event"]["source"], told["event"]["tags"])

# export them: a task, whose result is an archive with a CSV file
content = {"objects_type": "events", "filters": {"handler_ids": [handler]}, "columns": ["event_id", "source", "tags"]}
task = call("POST", "/tasks/exporter", json={"content": content}).json()["task_id"]
DONE, FAILED, CANCELLED = 5, 3, 2
while (status := call("GET", f"/tasks/{task}").json()["task_status"]) not in {DONE, FAILED, CANCELLED}:
    time.sleep(0.5)
if status != DONE:
    sys.exit(f"the task ended with status {status}; GET /6/tasks/{task}/errors tells why")
Path("events.zip").write_bytes(call("GET", f"/tasks/{task}/result").content)
print("exported events.zip")
