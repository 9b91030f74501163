"""The numeric work of tasks, as ports: packed descriptors, clusters, nearest neighbours, ROC curves.

Packed descriptors and links are bytes that parts of a task hand to each other through its files. Everything here
computes: it is called on threads, and calls `check` often, which raises where the task is to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias
from uuid import UUID

from server.domain.descriptors import DescriptorSpec
from server.domain.galleries import Member

Check: TypeAlias = Callable[[], None]


class Packing(Protocol):
    """Descriptors of one version on their way into one file."""

    @property
    def size(self) -> int:
        """How many descriptors there are by now."""
        ...

    def add(self, members: Sequence[Member], labels: Sequence[int] = ()) -> None:
        """Take the members that have a descriptor. `labels` tell whose they are, one for each member."""
        ...

    def packed(self) -> bytes:
        """All of them, by ascending id. Nothing can be added any more."""
        ...


class Packer(Protocol):
    """Packs descriptors."""

    def packing(self, spec: DescriptorSpec) -> Packing:
        """Begin to pack descriptors of a version."""
        ...


class Clusterer(Protocol):
    """Finds connected components: a pair of descriptors is connected where its cosine is `least_cosine` or more.

    Blocks of rows are numbered; each pair of rows is looked at in exactly one block.
    """

    def parts(self, size: int, dimensions: int) -> list[list[int]]:
        """The blocks of so many descriptors, in parts of about equal work."""
        ...

    def links(self, packed: bytes, blocks: Sequence[int], least_cosine: float, check: Check) -> bytes:
        """What some blocks connect."""
        ...

    def clusters(self, packed: bytes, links: Iterable[bytes], *, by_track: bool) -> list[list[UUID]]:
        """The components of all links, and of equal tracks where asked for.

        The largest come first, equal ones by their first id; ids ascend. Single descriptors are clusters of one.
        """
        ...


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Nearest candidates of a reference with their cosines: best first, equal cosines by ascending id."""

    reference_id: UUID
    candidates: tuple[tuple[UUID, float], ...]


class NeighbourFinder(Protocol):
    """Compares all with all."""

    def neighbours(
        self,
        references: bytes,
        candidates: bytes,
        rows: tuple[int, int],
        *,
        limit: int,
        least_cosine: float,
        check: Check,
    ) -> Iterator[Neighbours]:
        """For each reference in rows [start, stop) its best `limit` candidates with this cosine or a higher one."""
        ...


@dataclass(frozen=True, slots=True)
class RocPoint:
    """An operating point: rates in [0, 1] of pairs whose cosine is at least `cosine`.

    None is the point (1, 1) of pairs that were never ranked because their group was cut.
    """

    fpr: float
    tpr: float
    cosine: float | None


@dataclass(frozen=True, slots=True)
class RocCurve:
    """A ROC curve and what is read off it.

    Attributes:
        points: of the curve, from (0, 0) to (1, 1): corners of it, so many that nothing is lost to the eye.
        auc: area below the whole curve.
        eer: where the false positive rate equals the false negative rate, on the line between two corners.
        key_points: the largest true positive rate whose false positive rate does not exceed each wanted one.
        top: shares of the objects with a mate one of whose first 1, 2, ... 5 matches is a mate.
        objects, positives, negatives: how many objects, and ordered pairs of one label and of two, there are.
        ranked: how many pairs were left when each group had been cut.
    """

    points: tuple[RocPoint, ...]
    auc: float
    eer: RocPoint
    key_points: tuple[RocPoint, ...]
    top: tuple[float, ...]
    objects: int
    positives: int
    negatives: int
    ranked: int


class RocMaker(Protocol):
    """Measures how well descriptors tell labels apart."""

    def ranks(
        self, packed: bytes, rows: tuple[int, int], *, limit: int, least_hit_cosine: float, check: Check
    ) -> bytes:
        """The pairs of the objects in rows [start, stop), each with all others, its group cut to `limit`."""
        ...

    def curve(self, packed: bytes, ranks: Iterable[bytes], fprs: Sequence[float]) -> RocCurve:
        """The curve of all pairs, with the points at these false positive rates."""
        ...


Labels: TypeAlias = Mapping[UUID, int]
"""Whose objects are."""
