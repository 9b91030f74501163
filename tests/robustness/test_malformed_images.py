"""Malformed images against the running service, several at a time over both protocols: each gets the error of its kind.

CI sends a few hundred; LUNA_TEST_MALFORMED=2000 sends as many as that.
"""

from __future__ import annotations

import base64
import json
import os
import random
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import grpc
import psutil
import pytest
import requests
from luna.v6 import images_pb2, samples_pb2, samples_pb2_grpc

from tests.robustness.faults import engine_processes
from tests.robustness.malformed import READ, Malformed, corpus
from tests.service import Account, Service

COUNT = int(os.environ.get("LUNA_TEST_MALFORMED", "360"))
SEED = 20240611
WARM_UP = 72
AT_A_TIME = 4
GROWTH_BYTES = 64 << 20
"""How much higher the server's memory may be in its lowest moment of the second half than in that of the first.

What an allocator has not given back yet comes and goes with the pictures; what leaks raises the floor.
"""

TYPES = {"ppm": ("image/x-portable-pixmap", "image/x-portable-pixmap-base64")}
"""Content types of bytes and of Base64, where they do not follow from the format."""


class Sender:
    """Sends one picture over both protocols and says what came back, as one account; one for each thread."""

    def __init__(self, service: Service, account: Account, channel: grpc.Channel) -> None:
        self._rest = f"{service.rest}/6/detector?extract_exif=1"
        self._session = requests.Session()
        self._session.auth = account.auth
        self._samples = samples_pb2_grpc.SamplesStub(channel)
        self._metadata = account.metadata

    def grpc(self, picture: Malformed) -> tuple[int, int]:
        """Error code of the image, and faces in it."""
        image = images_pb2.ImageInput(data=picture.data)
        request = samples_pb2.DetectFacesRequest(images=[image], extract_exif=True)
        answer = self._samples.DetectFaces(request, metadata=self._metadata, timeout=60)
        (found,) = answer.images
        assert found.status is (found.error.error_code == READ), found
        return found.error.error_code, len(found.detections.samples)

    def rest(self, picture: Malformed, form: str) -> tuple[int, int]:
        """The same over REST, in one of the forms of a body."""
        plain, packed = TYPES.get(picture.form, (f"image/{picture.form}", f"image/x-{picture.form}-base64"))
        match form:
            case "base64":
                answer = self._ask(base64.b64encode(picture.data), packed)
            case "json":
                image = {"image": base64.b64encode(picture.data).decode(), "filename": "a"}
                answer = self._ask(json.dumps({"images": [image]}).encode(), "application/json")
            case "parts":
                head = f'--b\r\ncontent-disposition: form-data; name="i"\r\ncontent-type: {plain}\r\n\r\n'
                answer = self._ask(head.encode() + picture.data + b"\r\n--b--\r\n", "multipart/form-data; boundary=b")
            case _:
                answer = self._ask(picture.data, plain)
        assert answer.status_code == 201, (picture.kind, form, answer.status_code, answer.text)
        (found,) = answer.json()["images"]
        code = found["error"]["error_code"]
        assert found["status"] == (1 if code == READ else 0)
        assert found["error"].keys() >= {"error_code", "desc", "detail"}
        return code, len(found["detections"]["samples"])

    def garbage(self, data: bytes) -> tuple[int, int]:
        """Status and error code of a body that says it is Base64."""
        answer = self._ask(data, "image/x-jpeg-base64")
        return answer.status_code, answer.json()["error_code"]

    def _ask(self, body: bytes, content_type: str) -> requests.Response:
        answer = self._session.post(self._rest, data=body, headers={"content-type": content_type}, timeout=60)
        assert answer.status_code < 500, answer.text
        return answer


@pytest.fixture(scope="module")
def sent(service: Service) -> Iterator[Senders]:
    with service.channel() as channel:
        yield Senders(service, service.account(), channel)


class Senders:
    """Sends many pictures, several at a time."""

    def __init__(self, service: Service, account: Account, channel: grpc.Channel) -> None:
        self._local = threading.local()
        self._made = lambda: Sender(service, account, channel)

    @property
    def mine(self) -> Sender:
        """The sender of this thread."""
        if not hasattr(self._local, "sender"):
            self._local.sender = self._made()
        sender: Sender = self._local.sender
        return sender

    def wrong(self, pictures: Iterable[Malformed]) -> list[Any]:
        """Pictures that were answered with another error than one of theirs, or otherwise by the other protocol."""
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            return [found for found in pool.map(self._judge, enumerate(pictures)) if found]

    def _judge(self, numbered: tuple[int, Malformed]) -> tuple[str, int, Any, Any] | None:
        number, picture = numbered
        native = self.mine.grpc(picture)
        rest = self.mine.rest(picture, ("bytes", "base64", "json", "parts")[number % 4])
        if native[0] in picture.right and native == rest:
            return None
        return picture.kind, number, native, rest


def processes(service: Service) -> list[int]:
    """The server, and where its engine works on images."""
    return service.pids("server") + engine_processes(service)


def resident(service: Service) -> int:
    """Memory of these, in bytes."""
    return sum(psutil.Process(one).memory_info().rss for one in processes(service))


@pytest.mark.timeout(900)
def test_every_malformed_image_gets_the_error_of_its_kind_and_the_server_neither_dies_nor_grows(
    service: Service, sent: Senders
) -> None:
    before = processes(service)
    assert sent.wrong(corpus(SEED + 1, WARM_UP)) == []
    pictures = corpus(SEED, COUNT)
    memory = []
    for _ in range(8):
        assert sent.wrong(islice(pictures, COUNT // 8)) == []
        assert processes(service) == before
        memory.append(resident(service))
    print(f"{COUNT} images; the server's memory after each eighth: {[one >> 20 for one in memory]} MiB")
    assert min(memory[4:]) - min(memory[:4]) < GROWTH_BYTES
    service.wait(10)


def test_base64_garbage_is_a_bad_request_and_never_an_image(sent: Senders) -> None:
    source = random.Random(SEED)
    for picture in corpus(SEED, 60):
        text = bytearray(base64.b64encode(picture.data))
        at = source.randrange(len(text))
        match source.randrange(4):
            case 0:  # a character of no alphabet
                text[at] = source.choice(b"!*-_ \n\x00\xff%")
                at_edge = at in (0, len(text) - 1)
                body = b"*" if at_edge else bytes(text)  # white space around is not garbage
            case 1:  # no length of Base64
                body = bytes(text.rstrip(b"=")[: len(text) // 4 * 4 - 3])
            case 2:  # it goes on after its padding
                body = bytes(text.rstrip(b"=")) + b"==" + bytes(text)
            case _:
                body = b"data:image/jpeg;base64," + bytes(text)
        assert sent.mine.garbage(body) == (400, 18001), body[:80]


def test_the_corpus_is_the_same_for_the_same_seed_and_has_what_can_be_read_among_it() -> None:
    first, again, other = (list(corpus(seed, 90)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert 20 < sum(picture.right == {READ} for picture in first) < 70
