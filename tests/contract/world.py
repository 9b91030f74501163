"""What the calls of a session need: accounts, one object of each kind, and fresh ones for calls that use them up."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import struct
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

import asyncpg
import cv2
import numpy as np
from numpy.typing import NDArray

from storage.embedded import EmbeddedPostgres
from tests.contract.operations import Operation
from tests.contract.rest import JSON, Answer, Rest
from tests.contract.schema import TIME, UUID
from tests.lambda_archives import archive, until
from tests.lambda_archives import create as create_lambda
from tests.service import Account, Service

OWN_VERSION = 1001
BODY_VERSION, BODY_LENGTH = 1101, 768 * 2
"""A version of descriptors of bodies, and how many bytes these have."""
BROUGHT = {46: 256, **dict.fromkeys((52, 54, 56, 57, 58, 59, 60), 512)}
"""Versions of descriptors that users bring, and their lengths in bytes."""
EVENT = "5a3f1f0e-6c1b-4a54-8f43-0a4f5d1f6f10"
JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+")
PDF = b"%PDF-1.7 \x00\xff any bytes"
"""Content of an object; nobody looks into it."""
MAIN = "async def main(request):\n    return {}\n"
LAMBDA = archive(MAIN, {"requirements.txt": "# nothing\n"})
"""An archive of a lambda."""
ONE = "the one of its kind"
"""Description of the handler and the verifier that calls only read."""
KNOWN = "one-of-its-kind"
"""An external id that one face has, and the events of the world."""
LONG = "86400"
"""Longest life of an attribute, in seconds."""


@dataclass(frozen=True)
class Pictures:
    """Images as arrays of uint8, height x width x 3, BGR."""

    one: NDArray[np.uint8]
    two: NDArray[np.uint8]
    none: NDArray[np.uint8]
    other: NDArray[np.uint8]

    @classmethod
    def of(cls, photos: Path) -> Pictures:
        """One face, two different ones side by side, none, and the second of the two alone."""
        obama = _small(photos / "obama.jpg", 240)
        biden = _small(photos / "biden.jpg", 480)[:240]
        width = min(obama.shape[1], biden.shape[1])
        two = np.hstack([_fit(obama, width), _fit(biden, width)])
        return cls(obama, two, np.full((120, 120, 3), 127, np.uint8), biden)


def encoded(image: NDArray[np.uint8], form: str = "jpg") -> bytes:
    """The bytes of a file with an image."""
    done, data = cv2.imencode(f".{form}", image)
    assert done, form
    return data.tobytes()


def _small(file: Path, height: int) -> NDArray[np.uint8]:
    image = cv2.imread(str(file))
    assert image is not None, file
    scale = height / image.shape[0]
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def _fit(image: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    left = (image.shape[1] - width) // 2
    return image[:, left : left + width]


class World:
    """A prepared service. Whatever a call only reads is made once and here; the methods make new objects."""

    def __init__(self, service: Service, rest: Rest, pictures: Pictures) -> None:
        self.service, self.rest, self.pictures = service, rest, pictures
        self.owner = service.account()
        self.other = service.account()
        self.advanced = service.account("advanced_user")
        self.jpeg = encoded(pictures.one)
        self.body = encoded(np.full((256, 128, 3), 99, np.uint8))
        """A sample of a body, as a file."""
        self.sample_id = self.detect(self.jpeg)
        self.sample = self.get(f"/6/samples/faces/{self.sample_id}").data
        self.descriptor = self._described(self.sample_id)
        self.stranger = self._described(self.detect(encoded(pictures.other)))
        self.list_id = self.new_list()
        self.attribute_id = self.new_attribute()
        self.face_id = self.new_face()
        self.lonely_id = self.new_face(attribute=None)
        """A face without attribute."""
        self.token_id = self.new_token()
        self.tokens_before = self._just_after(f"/6/tokens/{self.token_id}")
        """A time before which the owner has one token."""
        self.handler_id = self.new_handler(description=ONE)
        self.dynamic_id = self.new_handler(policies=None, handler_type=1)
        self.verifier_id = self.new_verifier(description=ONE)
        self.known_id = self.new_face(external_id=KNOWN)
        """A face whose external id is its own."""
        self.event_id = self.new_event()
        self.body_event_id = self.new_raw_event()
        """An event with the descriptor of a body."""
        self.image_id = self.new_image()
        self.object_id = self.new_object()
        self.unknown_id, self.linked_id = unknown(), self.new_list()
        """An id that nothing has, and a list that tasks put faces into."""
        self._stable = {text for text in map(str, vars(self).values()) if UUID.fullmatch(text)}
        self._stable |= {self.owner.account_id, self.other.account_id, self.advanced.account_id, EVENT}

    def get(self, path: str, account: Account | None = None) -> Answer:
        """Read something as its owner, or as another account."""
        return self.rest.send("GET", path, account=account or self.owner)

    def make(self, path: str, body: object, account: Account | None = None) -> Answer:
        """Create something from JSON."""
        call = self.rest.send(
            "POST", path, _json(body), {"content-type": JSON}, account if account is not None else self.owner
        )
        assert call.status == 201, call.data
        return call

    def detect(self, image: bytes, account: Account | None = None) -> str:
        """The sample of the first face of a JPEG."""
        found = self.rest.send("POST", "/6/detector", image, {"content-type": "image/jpeg"}, account or self.owner)
        ids: list[str] = re.findall(r'"sample_id":"([^"]+)"', found.data.decode())
        assert found.status == 201, found.data
        assert ids, found.data
        return ids[0]

    def new_account(self, account_type: str = "user") -> Account:
        """A fresh account."""
        return self.service.account(account_type)

    def new_sample(self, kind: str = "faces", account: Account | None = None) -> str:
        """A fresh sample."""
        image = self.sample if kind == "faces" else self.body
        headers = {"content-type": "image/jpeg"}
        made = self.rest.send("POST", f"/6/samples/{kind}", image, headers, account or self.owner)
        assert made.status == 201, made.data
        return made.text("sample_id")

    def new_list(self, account: Account | None = None) -> str:
        """A fresh list."""
        return self.make("/6/lists", {"user_data": "the list"}, account).text("list_id")

    def new_attribute(self, account: Account | None = None) -> str:
        """A fresh attribute with a descriptor of every version and basic attributes."""
        return self.make(f"/6/attributes?ttl={LONG}", self.attribute_body(), account).text("attribute_id")

    def new_face(self, attribute: object = ..., account: Account | None = None, external_id: str = "person-1") -> str:
        """A fresh face, in the list and with a descriptor unless told otherwise."""
        body = {"external_id": external_id, "user_data": "the face", "avatar": "/6/images/1", "event_id": EVENT}
        given = self.attribute_body() if attribute is ... else attribute
        lists = {"lists": [self.list_id]} if account is None else {}
        whole: dict[str, object] = {**body, **lists, **({"attribute": given} if given is not None else {})}
        return self.make("/6/faces", whole, account).text("face_id")

    def new_token(self, account: Account | None = None, **changes: object) -> str:
        """A fresh token of an account, with some of everything unless told otherwise."""
        return self.make("/6/tokens", {**token_body(), **changes}, account).text("token_id")

    def new_handler(self, account: Account | None = None, **changes: object) -> str:
        """A fresh handler, static unless told otherwise."""
        body = {"description": "the handler", "policies": {}, **changes}
        return self.make("/6/handlers", body, account).text("handler_id")

    def new_verifier(self, account: Account | None = None, **changes: object) -> str:
        """A fresh verifier, by which every two faces are alike."""
        body = {"description": "the verifier", "policies": {"verification_threshold": 0}, **changes}
        return self.make("/6/verifiers", body, account).text("verifier_id")

    def new_event(self, account: Account | None = None) -> str:
        """A fresh event of the face, with some of everything."""
        handler = self.handler_id if account is None else self.new_handler(account)
        path = f"/6/handlers/{handler}/events?source=gate&tags=a,b&user_data=the+event&external_id={KNOWN}"
        made = self._kept(path, self.jpeg, {"content-type": "image/jpeg"}, account).members["events"]
        assert isinstance(made, list)
        return str(made[0]["event_id"])

    def new_raw_event(self) -> str:
        """A fresh event that the caller made, of a body."""
        body = {"descriptor": text(bytes(BODY_LENGTH)), "version": BODY_VERSION}
        event = {"body_attributes": {"descriptor": body}, "external_id": "body"}
        return self.make(f"/6/handlers/{self.dynamic_id}/events/raw", event).text("event_id")

    def new_image(self, account: Account | None = None) -> str:
        """A fresh image with a text."""
        headers = {"content-type": "image/jpeg", "x-luna-meta-camera": "north"}
        return self._kept("/6/images", self.jpeg, headers, account).text("image_id")

    def new_object(self, account: Account | None = None) -> str:
        """A fresh object."""
        return self._kept("/6/objects", PDF, {"content-type": "application/pdf"}, account).text("object_id")

    @cached_property
    def task_id(self) -> str:
        """A task with a result."""
        return self.new_task()

    @cached_property
    def clustering_id(self) -> str:
        """A clustering with a result."""
        faces = {"objects_type": "faces", "filters": {"face_ids": [self.face_id, self.known_id]}}
        return self.ended("clustering", faces, status=5)

    @cached_property
    def failed_id(self) -> str:
        """A task with an error."""
        lost = {"source_type": "zip", "reference": f"/6/objects/{self.unknown_id}"}
        return self.ended("estimator", {"source": lost, "handler": {"handler_id": self.handler_id}}, status=3)

    @cached_property
    def error_id(self) -> str:
        """That error."""
        found = self.get(f"/6/tasks/{self.failed_id}/errors").members["errors"]
        assert isinstance(found, list)
        return str(found[0]["error_id"])

    @cached_property
    def schedule_id(self) -> str:
        """A schedule that makes nothing for long."""
        return self.new_schedule()

    @cached_property
    def lambda_id(self) -> str:
        """A lambda that is built and runs."""
        lambda_id = self.new_lambda()
        until(self.service, self.owner, lambda_id, "running")
        return lambda_id

    @cached_property
    def lambdas_before(self) -> str:
        """A time before which the owner has one lambda."""
        return self._just_after(f"/6/lambdas/{self.lambda_id}")

    @cached_property
    def changed_lambda_id(self) -> str:
        """A lambda that calls change again and again."""
        _ = self.lambdas_before
        return self.new_lambda()

    def new_lambda(self, account: Account | None = None) -> str:
        """A fresh lambda."""
        return create_lambda(self.service, account or self.owner, MAIN)

    def clear_lambdas(self) -> None:
        """Delete the lambdas that calls have created, whose names are ids: each would be a process."""
        kept = {self.lambda_id, self.changed_lambda_id}
        found = self.get("/6/lambdas?page_size=100").members["lambdas"]
        assert isinstance(found, list)
        for one in found:
            if one["lambda_id"] not in kept and UUID.fullmatch(one["lambda_name"]):
                self.rest.send("DELETE", f"/6/lambdas/{one['lambda_id']}", account=self.owner)

    def new_task(self, account: Account | None = None, *, going: bool = False) -> str:
        """A fresh task that is done; one that goes on for ever where that is wanted."""
        content = {"objects_type": "faces", "filters": {"face_ids": [self.unknown_id]}}
        task_id = self.ended("exporter", content, 5, account)
        if going:
            # a worker takes over what has had no job for half a minute
            going_on = "status = 1, end_time = NULL, last_update_time = now() + interval '1 day'"
            self._set(f"UPDATE tasks SET {going_on} WHERE task_id = $1", int(task_id))
        return task_id

    def ended(self, kind: str, content: Mapping[str, object], status: int, account: Account | None = None) -> str:
        """A fresh task that has come to a status."""
        body, headers = _json({"content": content}), {"content-type": JSON}
        made = self.rest.send("POST", f"/6/tasks/{kind}", body, headers, account or self.owner)
        assert made.status == 202, made.data
        path = f"/6/tasks/{made.members['task_id']}"
        end = time.monotonic() + 60
        while self.get(path, account).members["end_time"] is None:
            assert time.monotonic() < end, self.get(path, account).data
            time.sleep(0.05)
        assert self.get(path, account).members["task_status"] == status, self.get(f"{path}/errors", account).data
        return str(made.members["task_id"])

    def new_schedule(self, account: Account | None = None) -> str:
        """A fresh schedule that makes a task each year."""
        content = {"target": "events", "filters": {"event_ids": [self.unknown_id]}}
        body = {"task": {"task_type": 4, "content": content}, "trigger": {"cron": "0 0 1 1 *"}}
        return str(self.make("/6/tasks/schedules", body, account).members["schedule_id"])

    def _set(self, statement: str, number: int) -> None:
        """Change the database behind the service's back."""

        async def execute() -> None:
            connection = await asyncpg.connect(EmbeddedPostgres(self.service.data).url)
            try:
                await connection.execute(statement, number)
            finally:
                await connection.close()

        asyncio.run(execute())

    def attribute_body(self) -> dict[str, object]:
        """An attribute as a request gives it."""
        brought = [(version, bytes([1, 2, 3, 4]) * (size // 4)) for version, size in BROUGHT.items()]
        return {
            "face_descriptors": [
                {"descriptor": base64.b64encode(data).decode(), "version": version}
                for version, data in [(OWN_VERSION, self.descriptor), *brought]
            ],
            "face_descriptor_samples": [self.sample_id],
            "basic_attributes": {"age": 33, "gender": 1, "ethnicity": 4},
            "basic_attributes_samples": [self.sample_id],
        }

    def scrubbed(self, answer: Answer) -> tuple[int, str]:
        """Status and body of an answer, with placeholders for what two equal objects differ in.

        That is ids but for the world's own, times, and tokens.
        """
        text = answer.data.decode("utf-8", "replace")
        text = UUID.sub(lambda found: found[0] if found[0] in self._stable else "<id>", text)
        return answer.status, JWT.sub("<token>", TIME.sub("<time>", text))

    def _kept(self, path: str, data: bytes, headers: Mapping[str, str], account: Account | None) -> Answer:
        made = self.rest.send("POST", path, data, headers, account or self.owner)
        assert made.status == 201, made.data
        return made

    def _just_after(self, path: str) -> str:
        made = datetime.fromisoformat(self.get(path).text("create_time"))
        return (made + timedelta(microseconds=1)).isoformat()

    def _described(self, sample_id: str) -> bytes:
        made = self.rest.send("POST", "/6/extractor", _json([sample_id]), {"content-type": JSON}, self.owner)
        assert made.status == 201, made.data
        found = made.json
        assert isinstance(found, list)
        attribute = self.get(f"/6/attributes/{found[0]['attribute_id']}").text("face_descriptor")
        return base64.b64decode(attribute)


def token_body() -> dict[str, object]:
    """A token as a request asks for it: some actions, some resources, some handlers."""
    return {
        "description": "the token",
        "expiration_time": "2100-01-01T00:00:00.5+03:00",
        "permissions": {
            "face": ["view", "matching"],
            "token": ["view", "modification", "deletion"],
            "resources": ["iso"],
            "emit_events": {"allowed": 1, "white_list": [EVENT], "black_list": []},
        },
        "visibility_area": "account",
    }


def sdk(descriptor: bytes, version: int = OWN_VERSION) -> bytes:
    """A raw descriptor as an SDK descriptor: signature, version, vector."""
    return b"dp\x00\x00" + struct.pack("<I", version) + descriptor


def text(data: bytes) -> str:
    """Bytes as Base64."""
    return base64.b64encode(data).decode()


def settled(answer: Answer, *members: str) -> Answer:
    """An answer without the values of some members, which depend on when one looks, or on how much there was before."""
    if answer.status != 200:
        return Answer(answer.status, {}, re.sub(rb"'\d+'", b"'<number>'", answer.data))
    return Answer(200, {}, _json({**answer.members, **dict.fromkeys(members)}))


def unknown() -> str:
    """An id that nothing has."""
    return str(uuid.uuid4())


def nothing(operation: Operation, name: str) -> str:
    """A value of a variable of an operation's path that nothing has."""
    return str(2**62) if operation.numbered(name) else unknown()


def by_id(references: Sequence[tuple[str, str]]) -> list[Mapping[str, str]]:
    """References by id, from pairs of type and id."""
    return [{"id": one, "type": kind} for kind, one in references]


def _json(body: object) -> bytes:
    return json.dumps(body).encode()
