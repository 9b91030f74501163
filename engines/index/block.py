"""The descriptors of one version, in one contiguous block of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from server.domain.descriptors import DescriptorSpec, Element

Rows = NDArray[np.intp]
"""Row numbers, shape (n,)."""

_FIRST_ROWS = 1024
_GROWTH = 1.5
_CODE_LIMIT = 127
_PIECE = 4096
"""Rows that are widened to float64 at a time: 4 MB for 128 dimensions."""

_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Probe:
    """A descriptor to look for.

    Attributes:
        vector: its elements as they came, or zeros for a vector that is not finite; shape (dimensions,), float64.
        squared: the square of its L2 norm; 0 for a vector without direction.
        codes: its int8 codes, shape (dimensions,).
        scale: `scale * codes` approximates the unit vector.
        residual: L2 norm of what the codes leave over, an upper bound.
    """

    vector: NDArray[np.float64]
    squared: float
    codes: NDArray[np.int8]
    scale: float
    residual: float


class Block:
    """Descriptors of one version by row: int8 codes to scan, the elements as they came to score exactly.

    The unit vector x of a row is approximated by x^ = scale * codes, and the norm of x - x^ is kept as the row's
    residual. For a probe q with q^ likewise, Cauchy and Schwarz give

        |q.x - q^.x^| = |q.(x - x^) + (q - q^).x^| <= residual(x) + residual(q) * (1 + residual(x)),

    so a scan of the codes, which integer arithmetic does without error on every processor, tells for certain which
    rows cannot be among the best. int8 descriptors are their own codes: they are stored once, and nothing is left over.

    A vector that is zero or not finite has no direction: its cosine with everything is 0.

    Attributes:
        codes: shape (capacity, dimensions), int8.
        scale: shape (capacity,), float32; 0 for a row that is free.
        residual: shape (capacity,), float32, rounded up.
        residual_limit: no row's residual has ever been larger.
    """

    def __init__(self, spec: DescriptorSpec) -> None:
        self.spec = spec
        self.residual_limit = 0.0
        self.codes: NDArray[np.int8] = np.zeros((_FIRST_ROWS, spec.dimensions), np.int8)
        self.scale: NDArray[np.float32] = np.zeros(_FIRST_ROWS, np.float32)
        self.residual: NDArray[np.float32] = np.zeros(_FIRST_ROWS, np.float32)
        self._squared: NDArray[np.float64] = np.zeros(_FIRST_ROWS, np.float64)
        self._halves: NDArray[np.float16] | None = None
        if spec.element is Element.FLOAT16:
            self._halves = np.zeros((_FIRST_ROWS, spec.dimensions), np.float16)

    @property
    def capacity(self) -> int:
        """Rows that memory is held for."""
        return len(self.codes)

    @property
    def byte_size(self) -> int:
        """Bytes of memory held."""
        halves = 0 if self._halves is None else self._halves.nbytes
        return self.codes.nbytes + self.scale.nbytes + self.residual.nbytes + self._squared.nbytes + halves

    def reserve(self, rows: int) -> None:
        """Hold memory for this many rows; it grows geometrically. What is left behind is overwritten."""
        if rows <= self.capacity:
            return
        capacity = max(rows, int(self.capacity * _GROWTH))
        self.codes = grown(self.codes, capacity)
        self.scale = grown(self.scale, capacity)
        self.residual = grown(self.residual, capacity)
        self._squared = grown(self._squared, capacity)
        if self._halves is not None:
            self._halves = grown(self._halves, capacity)

    def put(self, rows: Rows, data: Sequence[bytes]) -> None:
        """Write raw descriptors, one for each row. The rows are distinct and reserved."""
        raw = self._elements(b"".join(data))
        squared, codes, scale, residual = self._encode(raw)
        self._squared[rows] = squared
        self.codes[rows] = codes
        self.scale[rows] = scale
        self.residual[rows] = residual
        if self._halves is not None:
            self._halves[rows] = raw
        self.residual_limit = max(self.residual_limit, float(residual.max(initial=0)))

    def wipe(self, rows: Rows) -> None:
        """Overwrite rows with zeros."""
        self.codes[rows] = 0
        self.scale[rows] = 0
        self.residual[rows] = 0
        self._squared[rows] = 0
        if self._halves is not None:
            self._halves[rows] = 0

    def wipe_all(self) -> None:
        """Overwrite everything with zeros."""
        for array in (self.codes, self.scale, self.residual, self._squared, self._halves):
            if array is not None:
                array.fill(0)

    def probe(self, data: bytes) -> Probe:
        """Prepare a raw descriptor of this version for a search."""
        raw = self._elements(data)
        squared, codes, scale, residual = self._encode(raw)
        return Probe(raw[0].astype(np.float64), float(squared[0]), codes[0], float(scale[0]), float(residual[0]))

    def cosines(self, probe: Probe, rows: Rows) -> NDArray[np.float64]:
        """Exact cosines with the rows, shape (n,), float64 in [-1, 1].

        A row's cosine does not depend on where the row is or what is asked with it: equal descriptors score equal.
        """
        elements = self.codes if self._halves is None else self._halves
        found = np.empty(len(rows), np.float64)
        for start in range(0, len(rows), _PIECE):
            piece = rows[start : start + _PIECE]
            # Not a BLAS product: that one rounds a row differently depending on its neighbours, and ties would break.
            np.einsum("ij,j->i", elements[piece].astype(np.float64), probe.vector, out=found[start : start + _PIECE])
        # The root of the product, not two roots: parallel vectors of integers then have a cosine of exactly 1.
        norms = np.sqrt(self._squared[rows] * probe.squared)
        np.divide(found, norms, out=found, where=norms > 0)
        return np.clip(found, -1, 1, out=found)

    def _elements(self, data: bytes) -> NDArray[np.float16] | NDArray[np.int8]:
        """The elements of raw descriptors, shape (n, dimensions): zeros where a descriptor is not finite."""
        if self._halves is None:
            return np.frombuffer(data, np.int8).reshape(-1, self.spec.dimensions)
        raw = np.frombuffer(data, Element.FLOAT16.value).astype(np.float16).reshape(-1, self.spec.dimensions)
        raw[~np.isfinite(raw).all(axis=1)] = 0
        return raw

    def _encode(
        self, raw: NDArray[np.float16] | NDArray[np.int8]
    ) -> tuple[NDArray[np.float64], NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]:
        """Squared norms, codes, scales and residuals of n vectors."""
        vectors = raw.astype(np.float64)
        squared = np.einsum("ij,ij->i", vectors, vectors)
        inverse = np.divide(1.0, np.sqrt(squared), out=np.zeros_like(squared), where=squared > 0)
        vectors *= inverse[:, None]
        if raw.dtype == np.int8:
            codes = raw.astype(np.int8)
            scale = inverse.astype(np.float32)
        else:
            step = np.abs(vectors).max(axis=1) / _CODE_LIMIT
            codes = np.rint(np.divide(vectors, step[:, None], out=np.zeros_like(vectors), where=step[:, None] > 0))
            codes = codes.astype(np.int8)
            scale = step.astype(np.float32)
        vectors -= codes * scale[:, None].astype(np.float64)
        residual = np.sqrt(np.einsum("ij,ij->i", vectors, vectors)).astype(np.float32)
        residual = np.nextafter(residual, np.float32(np.inf), out=residual, where=residual > 0)
        return squared, codes, scale, residual


def grown(array: NDArray[_Scalar], rows: int) -> NDArray[_Scalar]:
    """A longer copy, zero at its end. The old array is overwritten: what it held may have to be forgotten later."""
    longer: NDArray[_Scalar] = np.zeros((rows, *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    array.fill(0)
    return longer
