"""Search among the descriptors of faces and of events: what is asked, what is found, and the ports behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar
from uuid import UUID

from server.domain.access import Scope
from server.domain.descriptors import Descriptor

_Filter = TypeVar("_Filter")
_Filter_contra = TypeVar("_Filter_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Hit:
    """An object that was found. `cosine` of the angle between the two descriptors, in [-1, 1]."""

    object_id: UUID
    cosine: float


@dataclass(frozen=True, slots=True)
class Where:
    """What an index judges by itself; every condition that is given must hold. Lower bounds are inclusive.

    Attributes:
        account_id: of this account.
        ids: one of these objects.
        selected: one of these too: ids that the database has selected, 16 bytes each, in any order.
        id_gte, id_lt: bounds of the id.
        create_time_gte, create_time_lt: bounds of the time of creation.
        external_ids: one of these; an empty one is that of objects without any.
        group_id: a member of this group.
        origin_id: comes from this.
    """

    account_id: UUID | None = None
    ids: frozenset[UUID] | None = None
    selected: bytes | None = None
    id_gte: UUID | None = None
    id_lt: UUID | None = None
    create_time_gte: datetime | None = None
    create_time_lt: datetime | None = None
    external_ids: frozenset[str] | None = None
    group_id: UUID | None = None
    origin_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Query(Generic[_Filter]):
    """One search: the best `limit` objects under the conditions whose cosine is at least `min_cosine`.

    Where not all conditions are the index's own, `filters` are all of them: the database then selects the ids.
    """

    descriptor: Descriptor
    scope: Scope
    where: Where
    limit: int
    min_cosine: float = -1.0
    filters: _Filter | None = None


class Index(Protocol[_Filter]):
    """Finds the nearest objects of one kind.

    What was committed before a search began is in it, and what was deleted before it began is not: in every process.
    """

    async def search(self, queries: Sequence[Query[_Filter]]) -> list[list[Hit]]:
        """Exact answers, one for each query: best first, equal cosines by ascending id.

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
class IndexedObject:
    """Everything that an index keeps of a face or of an event. `descriptors` are raw, by version.

    `group_ids` are the lists of a face, `origin_id` is the event that it came from. Events have neither.
    """

    object_id: UUID
    account_id: UUID
    create_time: datetime
    external_id: str
    descriptors: tuple[Descriptor, ...]
    group_ids: tuple[UUID, ...] = ()
    origin_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """The time from `start` on and before `end`."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class FeedUpdate:
    """One step of the feed: the present state of the objects that changed, and the ids of those that are gone.

    An object without any descriptor counts as gone. Everything that was created within `dropped` is gone too, unless it
    is among those that changed. `reset` tells that the position was too old: everything that the follower holds is to
    be thrown away, and all objects are to be read again with `snapshot`.
    """

    changed: tuple[IndexedObject, ...] = ()
    gone: tuple[UUID, ...] = ()
    dropped: tuple[Span, ...] = ()
    reset: bool = False


class Feed(Protocol[_Filter_contra]):
    """The committed changes of the indexed objects of one kind, in PostgreSQL. Keeps its own position."""

    def snapshot(self) -> AsyncIterator[Sequence[IndexedObject]]:
        """All objects that have a descriptor, in batches, of one moment; the position becomes that moment."""
        ...

    async def catch_up(self) -> FeedUpdate:
        """Everything committed before this call began and since the last one. Applying it twice does no harm."""
        ...

    async def wait(self, seconds: float) -> None:
        """Return once something may have changed, or after the time."""
        ...

    async def select(self, scope: Scope, filters: _Filter_contra) -> bytes:
        """Ids of the objects under filters of which some only the database knows, 16 bytes each, in any order.

        There may be millions of them: bytes are read and looked up without making an object of each.
        """
        ...
