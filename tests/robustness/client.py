"""A client of one server, in the words of the tests."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import grpc
from luna.v6 import (
    attributes_pb2,
    attributes_pb2_grpc,
    faces_pb2,
    faces_pb2_grpc,
    lists_pb2,
    lists_pb2_grpc,
    matcher_pb2,
    matcher_pb2_grpc,
)

from tests.service import Account, Service

VERSION = 1001
OPTIONS = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 300)]
"""A client that tries again soon: tests measure how long the service is away, not how long a client waits."""


def person(seed: int) -> bytes:
    """A raw descriptor of unit length that nobody else has."""
    source = random.Random(seed)
    numbers = [source.gauss(0, 1) for _ in range(128)]
    length = sum(number * number for number in numbers) ** 0.5
    return struct.pack("<128e", *(number / length for number in numbers))


class Client:
    """Calls one server as one account. What goes wrong is raised as `grpc.RpcError`."""

    def __init__(self, channel: grpc.Channel, account: Account, seconds: float = 10) -> None:
        self._metadata = account.metadata
        self._seconds = seconds
        self._faces = faces_pb2_grpc.FacesStub(channel)
        self._lists = lists_pb2_grpc.ListsStub(channel)
        self._matcher = matcher_pb2_grpc.MatcherStub(channel)
        self._attributes = attributes_pb2_grpc.AttributesStub(channel)

    def enrol(self, descriptor: bytes, *, lists: Sequence[str] = (), external_id: str = "") -> str:
        """Create a face with a descriptor. Its id."""
        given = attributes_pb2.DescriptorInput(descriptor=descriptor, version=VERSION)
        request = faces_pb2.CreateFaceRequest(
            attribute=faces_pb2.FaceAttributeInput(face_descriptors=[given]), lists=lists, external_id=external_id
        )
        return self._faces.CreateFace(request, metadata=self._metadata, timeout=self._seconds).face_id

    def forget(self, face_id: str) -> None:
        """Delete a face."""
        request = faces_pb2.DeleteFaceRequest(face_id=face_id)
        self._faces.DeleteFace(request, metadata=self._metadata, timeout=self._seconds)

    def faces(self) -> dict[str, tuple[str, ...]]:
        """Every face of the account and the lists that it is in."""
        found: dict[str, tuple[str, ...]] = {}
        page = 1
        while True:
            request = faces_pb2.ListFacesRequest(page=page, page_size=1000)
            answer = self._faces.ListFaces(request, metadata=self._metadata, timeout=self._seconds)
            found.update({face.face_id: tuple(face.lists) for face in answer.faces})
            if len(answer.faces) < 1000:
                return found
            page += 1

    def new_list(self) -> str:
        """Create a list. Its id."""
        request = lists_pb2.CreateListRequest()
        return self._lists.CreateList(request, metadata=self._metadata, timeout=self._seconds).list_id

    def lists(self) -> set[str]:
        """Every list of the account."""
        found: set[str] = set()
        page = 1
        while True:
            request = lists_pb2.ListListsRequest(page=page, page_size=1000)
            answer = self._lists.ListLists(request, metadata=self._metadata, timeout=self._seconds)
            found |= {one.list_id for one in answer.lists}
            if len(answer.lists) < 1000:
                return found
            page += 1

    def put(self, face_id: str, list_id: str, *, into: bool) -> None:
        """Attach a face to a list, or detach it."""
        action = lists_pb2.LIST_ACTION_ATTACH if into else lists_pb2.LIST_ACTION_DETACH
        request = lists_pb2.UpdateListFacesRequest(list_id=list_id, action=action, face_ids=[face_id])
        self._lists.UpdateListFaces(request, metadata=self._metadata, timeout=self._seconds)

    def remember(self, descriptor: bytes, seconds: int = 3600) -> str:
        """Create a temporary attribute. Its id."""
        given = attributes_pb2.DescriptorInput(descriptor=descriptor, version=VERSION)
        request = attributes_pb2.CreateAttributeRequest(face_descriptors=[given], ttl=seconds)
        return self._attributes.CreateAttribute(request, metadata=self._metadata, timeout=self._seconds).attribute_id

    def remembered(self, attribute_id: str) -> bytes:
        """The descriptor of a temporary attribute."""
        request = attributes_pb2.GetAttributeRequest(attribute_id=attribute_id)
        return self._attributes.GetAttribute(request, metadata=self._metadata, timeout=self._seconds).face_descriptor

    def search(self, descriptor: bytes, list_id: str = "", limit: int = 3) -> list[str]:
        """Ids of the faces most like a descriptor, best first."""
        given = attributes_pb2.DescriptorInput(descriptor=descriptor, version=VERSION)
        reference = matcher_pb2.Reference(id="x", type=matcher_pb2.REFERENCE_TYPE_RAW_DESCRIPTOR, data=given)
        candidates = matcher_pb2.Candidates(faces=matcher_pb2.FaceCandidates(list_id=list_id), limit=limit)
        request = matcher_pb2.MatchFacesRequest(references=[reference], candidates=[candidates])
        answer = self._matcher.MatchFaces(request, metadata=self._metadata, timeout=self._seconds)
        return [one.face.face_id for one in answer.matches[0].matches[0].result]


@contextmanager
def client(service: Service, account: Account, server: int | None = None) -> Iterator[Client]:
    """A client of the service, or of one of its servers past Envoy."""
    target = service.target if server is None else service.behind(server)
    with grpc.insecure_channel(target, options=OPTIONS) as channel:
        yield Client(channel, account)
