"""Populations: the objects that a task selects, and what it reads and changes of many of them at once.

Every method takes ids by the thousand at the most; a whole population is gone through in batches by its key.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from server.domain.access import Scope
from server.domain.descriptors import Descriptor
from server.domain.events import EventDescriptor, EventRecord
from server.domain.faces import Face, FaceList, NewFace
from server.domain.media import MediaKind
from server.domain.samples import SampleType
from server.domain.task_contents import DescriptorSelection, EventSelection, FaceSelection

_UUID = r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
_SAMPLE = re.compile(rf"/6/samples/faces/{_UUID}")
_IMAGE = re.compile(rf"/6/images/{_UUID}")


@dataclass(frozen=True, slots=True)
class EventKey:
    """By what events are gone through: newest first."""

    create_time: datetime
    event_id: UUID


@dataclass(frozen=True, slots=True)
class StoredFace:
    """A face with the samples that its attribute came from, descriptors' first, each once."""

    face: Face
    samples: tuple[UUID, ...] = ()

    @property
    def portrait(self) -> UUID | None:
        """The sample that shows the face: its avatar where that is a sample, else the first of its attribute."""
        return sample_at(self.face.avatar) or next(iter(self.samples), None)


def sample_at(address: str) -> UUID | None:
    """The face sample that an address of this service names; None where it names something else."""
    found = _SAMPLE.fullmatch(address)
    return UUID(found[1]) if found else None


def image_at(address: str) -> UUID | None:
    """The image that an address of this service names; None where it names something else."""
    found = _IMAGE.fullmatch(address)
    return UUID(found[1]) if found else None


class Populations(Protocol):
    """Selects and reads objects. Nothing outside the given scope is seen."""

    async def face_ids(
        self, scope: Scope, selection: FaceSelection, now: datetime, after: UUID | None, limit: int
    ) -> list[UUID]:
        """The next ids of a selection, ascending. `now` is what relative times count from."""
        ...

    async def event_keys(
        self, scope: Scope, selection: EventSelection, now: datetime, after: EventKey | None, limit: int
    ) -> list[EventKey]:
        """The next keys of a selection, newest first. `now` is what relative times count from."""
        ...

    async def described_faces(self, scope: Scope, version: int, after: UUID | None, limit: int) -> list[UUID]:
        """The next ids of the faces that have a descriptor of a version, ascending."""
        ...

    async def described_events(
        self, scope: Scope, selection: DescriptorSelection, after: EventKey | None, limit: int
    ) -> list[EventKey]:
        """The next keys of the events that have a descriptor of a version and kind, newest first."""
        ...

    async def faces(self, scope: Scope, face_ids: Collection[UUID]) -> dict[UUID, StoredFace]:
        """Those of the faces that are there."""
        ...

    async def events(self, scope: Scope, event_ids: Collection[UUID]) -> dict[UUID, EventRecord]:
        """Those of the events that are there."""
        ...

    async def event_faces(self, scope: Scope, event_ids: Collection[UUID]) -> dict[UUID, tuple[Descriptor, ...]]:
        """The face descriptors of events, by ascending version; events without one are left out."""
        ...


class Linking(Protocol):
    """Puts many faces into a list."""

    async def ensure_list(self, wanted: FaceList) -> bool:
        """Make a list unless it is there. False where its id belongs to another account."""
        ...

    async def has_list(self, scope: Scope, list_id: UUID) -> bool:
        """Whether a list is there."""
        ...

    async def link(self, scope: Scope, list_id: UUID, face_ids: Sequence[UUID], now: datetime) -> list[UUID]:
        """Put those of the faces into a list that are there; which ones these are, ascending.

        Raises:
            ListNotFound: the list is not there.
        """
        ...

    async def link_new(self, scope: Scope, list_id: UUID, new: Sequence[NewFace]) -> list[UUID]:
        """Make faces, as far as they are not there, and put all of them into a list. The ids that are in it now.

        A face whose id is another account's is left alone.

        Raises:
            ListNotFound: the list is not there.
        """
        ...


@dataclass(frozen=True, slots=True)
class Links:
    """By what objects find those that share samples and images with them.

    A face and the event that it was made with or of name each other; events of one image have one time.
    """

    face_ids: tuple[UUID, ...] = ()
    event_ids: tuple[UUID, ...] = ()
    times: tuple[datetime, ...] = ()


@dataclass(frozen=True, slots=True)
class InUse:
    """Ids of samples, and addresses of images."""

    samples: frozenset[UUID]
    origins: frozenset[str]


class Cleaning(Protocol):
    """Deletes what belongs to many objects."""

    async def in_use(self, scope: Scope, links: Links, wanted: InUse) -> InUse:
        """Which of some samples and images the objects use that are linked with others, and are there."""
        ...

    async def media(self, scope: Scope, kind: MediaKind, media_ids: Collection[UUID]) -> list[UUID]:
        """Those of the images that are there, ascending."""
        ...

    async def remove_samples(self, scope: Scope, sample_type: SampleType, sample_ids: Collection[UUID]) -> None:
        """Delete samples, rows first, then bytes; also the bytes that an earlier attempt has left without a row."""
        ...

    async def remove_media(self, scope: Scope, kind: MediaKind, media_ids: Collection[UUID]) -> None:
        """Delete images as samples are."""
        ...

    async def remove_face_descriptors(self, scope: Scope, version: int, face_ids: Collection[UUID]) -> None:
        """Delete descriptors of a version."""
        ...

    async def remove_event_descriptors(
        self, scope: Scope, selection: DescriptorSelection, event_ids: Collection[UUID]
    ) -> None:
        """Delete descriptors of a version and kind."""
        ...


class Origins(Protocol):
    """Images that lie elsewhere."""

    async def delete(self, url: str) -> None:
        """Ask whoever has an image to delete it; that it is not there is fine.

        Raises:
            OriginNotRemoved: the address is not allowed, or the answer is no success.
        """
        ...


class Described(Protocol):
    """Adds descriptors to stored objects."""

    async def faces(self, scope: Scope, version: int, face_ids: Collection[UUID]) -> set[UUID]:
        """Those of the faces that have a descriptor of a version."""
        ...

    async def events(self, scope: Scope, version: int, event_ids: Collection[UUID]) -> set[UUID]:
        """Those of the events that have a descriptor of a version."""
        ...

    async def describe_faces(
        self, scope: Scope, found: Mapping[UUID, tuple[Descriptor, tuple[UUID, ...]]], now: datetime
    ) -> None:
        """Write descriptors, with the samples that they came from, over what there may be, of faces that are there."""
        ...

    async def describe_events(self, scope: Scope, found: Mapping[UUID, EventDescriptor]) -> None:
        """Write descriptors over what there may be, of events that are there."""
        ...


class Thumbnails(Protocol):
    """Makes pictures small."""

    async def make(self, sample: bytes, size: int) -> bytes | None:
        """A JPEG that fits into a square of so many pixels; None where the bytes are no image."""
        ...
