"""Search among the descriptors of faces: what is asked, what is found, and the ports behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from server.domain.access import Scope
from server.domain.descriptors import Descriptor
from server.domain.faces import FaceFilter


@dataclass(frozen=True, slots=True)
class Hit:
    """A face that was found. `cosine` of the angle between the two descriptors, in [-1, 1]."""

    face_id: UUID
    cosine: float


@dataclass(frozen=True, slots=True)
class FaceQuery:
    """One search: the best `limit` faces under the filters whose cosine is at least `min_cosine`."""

    descriptor: Descriptor
    scope: Scope
    where: FaceFilter
    limit: int
    min_cosine: float = -1.0


class FaceIndex(Protocol):
    """Finds the nearest faces.

    What was committed before a search began is in it, and what was deleted before it began is not: in every process.
    """

    async def search(self, queries: Sequence[FaceQuery]) -> list[list[Hit]]:
        """Exact answers, one for each query: best first, equal cosines by ascending face_id.

        Raises:
            Unavailable: the index cannot be brought up to date.
        """
        ...


class Comparer(Protocol):
    """Compares descriptors that are at hand."""

    async def cosines(self, references: Sequence[Descriptor], candidates: Sequence[Descriptor]) -> list[list[float]]:
        """Cosines in [-1, 1] of every reference (row) with every candidate (column), all of one version.

        A descriptor of length 0 has the cosine 0 with everything.
        """
        ...


@dataclass(frozen=True, slots=True)
class IndexedFace:
    """Everything that the index keeps of one face. `descriptors` are raw, by version."""

    face_id: UUID
    account_id: UUID
    create_time: datetime
    external_id: str
    event_id: UUID | None
    list_ids: tuple[UUID, ...]
    descriptors: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class FeedUpdate:
    """One step of the feed: the present state of the faces that changed, and the ids of those that are gone.

    A face without any descriptor counts as gone. `reset` tells that the position was too old: everything that the
    follower holds is to be thrown away, and all faces are to be read again with `snapshot`.
    """

    changed: tuple[IndexedFace, ...]
    gone: tuple[UUID, ...]
    reset: bool = False


class FaceFeed(Protocol):
    """The committed changes of indexed faces, in PostgreSQL. Keeps its own position."""

    def snapshot(self) -> AsyncIterator[Sequence[IndexedFace]]:
        """All faces that have a descriptor, in batches, of one moment; the position becomes that moment."""
        ...

    async def catch_up(self) -> FeedUpdate:
        """Everything committed before this call began and since the last one. Applying it twice does no harm."""
        ...

    async def wait(self, seconds: float) -> None:
        """Return once something may have changed, or after the time."""
        ...

    async def select(self, scope: Scope, where: FaceFilter) -> list[UUID]:
        """Ids of the faces under filters that only the database knows (`user_data`)."""
        ...
