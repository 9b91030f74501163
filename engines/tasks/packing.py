"""Descriptors of one version in one file: ids, elements, tracks and labels as arrays."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from server.domain.descriptors import DescriptorSpec, Element
from server.domain.galleries import Member

Rows = NDArray[np.intp]
Elements = NDArray[np.float16] | NDArray[np.int8]

_PIECE = 4096
"""Rows that are widened to float64 at a time: 4 MB for 128 dimensions."""
_NO_TRACK = -1


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Descriptors by ascending id.

    A vector that is zero or not finite has no direction: its cosine with everything is 0.

    Attributes:
        ids: shape (n, 16), uint8.
        elements: as they came, but zeros for a vector that is not finite; shape (n, dimensions), float16 or int8.
        tracks: numbers of tracks, -1 for none; shape (n,), int32.
        labels: whose the objects are; shape (n,), int64.
        squared: squares of the L2 norms; shape (n,), float64.
        inverse: 1 / norm, and 0 for a vector without direction; shape (n,), float32.
    """

    ids: NDArray[np.uint8]
    elements: Elements
    tracks: NDArray[np.int32]
    labels: NDArray[np.int64]
    squared: NDArray[np.float64]
    inverse: NDArray[np.float32]

    @classmethod
    def read(cls, data: bytes) -> Packed:
        """The descriptors that `DescriptorPacking` has packed."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            elements = arrays["elements"]
            squared = np.empty(len(elements), np.float64)
            for start in range(0, len(elements), _PIECE):
                wide = elements[start : start + _PIECE].astype(np.float64)
                np.einsum("ij,ij->i", wide, wide, out=squared[start : start + _PIECE])
            inverse = np.divide(1.0, np.sqrt(squared), out=np.zeros_like(squared), where=squared > 0)
            return cls(arrays["ids"], elements, arrays["tracks"], arrays["labels"], squared, inverse.astype(np.float32))

    @property
    def size(self) -> int:
        """How many descriptors there are."""
        return len(self.elements)

    @property
    def tolerance(self) -> float:
        """Bounds what the products of `engines.tasks.scores` may be wrong by, as cosines.

        Sums of d products in float32 are off by d / 2**24 of the norms' product at most (Higham, Accuracy and Stability
        of Numerical Algorithms, 3.1); twice that covers the scaling too. Integers are summed up without error.
        """
        return (int(self.elements.shape[1]) + 8) * 2.0**-23

    def uuid(self, row: int) -> UUID:
        """The id of a row."""
        return UUID(bytes=self.ids[row].tobytes())


def cosines(first: Packed, rows: Rows, second: Packed, others: Rows) -> NDArray[np.float64]:
    """Exact cosines of pairs, row by row; shape (n,), float64 in [-1, 1].

    The cosine of two rows depends on nothing else, not even on their order: equal descriptors score equal.
    """
    found = np.empty(len(rows), np.float64)
    for start in range(0, len(rows), _PIECE):
        piece = slice(start, start + _PIECE)
        one, two = first.elements[rows[piece]].astype(np.float64), second.elements[others[piece]].astype(np.float64)
        np.einsum("ij,ij->i", one, two, out=found[piece])
    # The root of the product, not two roots: parallel vectors of integers then have a cosine of exactly 1.
    norms = np.sqrt(first.squared[rows] * second.squared[others])
    np.divide(found, norms, out=found, where=norms > 0)
    return np.clip(found, -1, 1, out=found)


class DescriptorPacking:
    """Implements `server.domain.task_numbers.Packing`."""

    def __init__(self, spec: DescriptorSpec) -> None:
        self._spec = spec
        self._ids = bytearray()
        self._elements = bytearray()
        self._tracks: list[int] = []
        self._labels: list[int] = []
        self._numbers: dict[str, int] = {}

    @property
    def size(self) -> int:
        """How many descriptors there are by now."""
        return len(self._tracks)

    def add(self, members: Sequence[Member], labels: Sequence[int] = ()) -> None:
        """Take the members that have a descriptor."""
        for number, member in enumerate(members):
            if member.descriptor is None or len(member.descriptor) != self._spec.byte_length:
                continue
            self._ids += member.object_id.bytes
            self._elements += member.descriptor
            track = member.track_id
            self._tracks.append(_NO_TRACK if track is None else self._numbers.setdefault(track, len(self._numbers)))
            self._labels.append(labels[number] if labels else 0)

    def packed(self) -> bytes:
        """All of them, by ascending id."""
        ids = np.frombuffer(self._ids, np.uint8).reshape(-1, 16)
        halves = ids.view(">u8")
        order = np.lexsort((halves[:, 1], halves[:, 0]))
        elements = np.frombuffer(self._elements, self._spec.element.value).reshape(-1, self._spec.dimensions)[order]
        self._elements = bytearray()
        if self._spec.element is Element.FLOAT16:
            elements = elements.astype(np.float16, copy=False)
            elements[~np.isfinite(elements).all(axis=1)] = 0
        file = io.BytesIO()
        np.savez(
            file,
            ids=ids[order],
            elements=elements,
            tracks=np.array(self._tracks, np.int32)[order],
            labels=np.array(self._labels, np.int64)[order],
        )
        return file.getvalue()


class DescriptorPacker:
    """Implements `server.domain.task_numbers.Packer`."""

    def packing(self, spec: DescriptorSpec) -> DescriptorPacking:
        """Begin to pack descriptors of a version."""
        return DescriptorPacking(spec)
