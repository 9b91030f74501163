"""A population in real stores, and what the tests of tasks over it look into."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import cv2
import numpy as np

from server.domain.access import Scope
from server.domain.attributes import AttributeContent, FaceAttribute
from server.domain.events import Batch, EventRecord, NewEvent
from server.domain.faces import Face, NewFace
from server.domain.media import Media, MediaKind
from server.domain.samples import Sample, SampleType
from server.domain.tasks import Collected
from server.tasks.objects import ObjectReader
from storage.blobs import BlobStore
from storage.cleaning import PostgresCleaning
from storage.database import Database
from storage.described import PostgresDescribed
from storage.events import PostgresEventStore
from storage.faces import PostgresFaceStore
from storage.linking import PostgresLinking
from storage.lists import PostgresListStore
from storage.media import PostgresMediaStore
from storage.populations import PostgresPopulations
from storage.samples import PostgresSampleStore
from tests.integration.storage.made import NOW, OURS, vector
from tests.integration.storage.made_events import a_new_event
from tests.task_contexts import Interruptions


@dataclass
class World:
    """The stores, and what puts objects into them. With `deaths` every store that kinds get lets workers die."""

    database: Database
    blobs: BlobStore
    deaths: Interruptions | None = None

    def __post_init__(self) -> None:
        self.faces = PostgresFaceStore(self.database)
        self.lists = PostgresListStore(self.database)
        self.events = PostgresEventStore(self.database, self.blobs, attributes=None)  # type: ignore[arg-type]
        self.samples = PostgresSampleStore(self.database, self.blobs)
        self.media = PostgresMediaStore(self.database, self.blobs)
        self.populations = PostgresPopulations(self.database)
        self.linking = PostgresLinking(self.database)
        self.cleaning = PostgresCleaning(self.database, self.blobs)
        self.described = PostgresDescribed(self.database)

    def store(self, name: str) -> Any:
        """A store as kinds get it."""
        found = getattr(self, name)
        return found if self.deaths is None else self.deaths.around(found)

    def reader(self) -> ObjectReader:
        """A reader over the stores."""
        return ObjectReader(self.store("populations"), self.store("samples"))

    async def face(self, face: Face, *, samples: tuple[UUID, ...] = (), vectors: tuple[int, ...] = (1001,)) -> Face:
        """A face with descriptors of these versions, which came from these samples."""
        content = AttributeContent(tuple(vector(1, one) for one in vectors), samples)
        attribute = FaceAttribute(NOW, content) if samples or vectors else None
        await self.faces.create(NewFace(face, attribute, face.lists))
        return face

    async def bare_face(self, face: Face) -> Face:
        """A face without anything."""
        await self.faces.create(NewFace(face, None, face.lists))
        return face

    async def event(self, *records: EventRecord, plain: bool = False) -> None:
        """Events with a face and a body descriptor, or without any."""
        new = [NewEvent(one) if plain else a_new_event(one, notice=None) for one in records]
        await self.events.keep(Batch(tuple(new)))

    async def sample(
        self, sample_id: UUID, account: UUID = OURS, kind: SampleType = SampleType.FACES, data: bytes | None = None
    ) -> UUID:
        """A stored sample."""
        data = picture(sample_id.int % 255) if data is None else data
        await self.samples.add(Sample(sample_id, account, kind, len(data), hashlib.sha256(data).digest(), NOW), data)
        return sample_id

    async def image(self, media_id: UUID, account: UUID = OURS) -> UUID:
        """A stored image."""
        await self.media.add(Media(media_id, account, MediaKind.IMAGES, "image/jpeg", 1, b"hash", NOW), b"i")
        return media_id

    async def keys(self) -> set[str]:
        """Every blob that is there."""
        return {entry.key async for batch in self.blobs.entries("") for entry in batch}

    async def has_face(self, face_id: UUID) -> bool:
        return await self.faces.get(Scope(None), face_id) is not None

    async def has_event(self, event_id: UUID) -> bool:
        return await self.events.get(Scope(None), event_id) is not None

    async def has_sample(self, sample_id: UUID, kind: SampleType = SampleType.FACES) -> bool:
        """True where row and bytes are there; a row without bytes, and bytes without a row, is wrong."""
        row = await self.samples.get(Scope(None), kind, sample_id) is not None
        there = any(str(sample_id) in key for key in await self.keys())
        assert row == there
        return row


def picture(shade: int, size: int = 250) -> bytes:
    """A JPEG of one shade."""
    _, encoded = cv2.imencode(".jpg", np.full((size, size, 3), shade, np.uint8))
    return bytes(encoded.tobytes())


def entries(collected: Collected) -> dict[str, bytes]:
    """What is in an archive, which is deleted as a worker does."""
    path = collected.result.file
    assert path is not None
    data = path.read_bytes()
    path.unlink()
    with zipfile.ZipFile(io.BytesIO(data)) as found:
        assert found.testzip() is None
        names = found.namelist()
        assert len(names) == len(set(names))
        return {name: found.read(name) for name in names}
