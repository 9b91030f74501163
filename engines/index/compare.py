"""Comparing descriptors that are at hand, all with all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from server.domain.descriptors import LAYOUTS, Descriptor


class MatrixComparer:
    """Comparer by one matrix product, on a thread: a thousand by a thousand takes a few milliseconds."""

    async def cosines(self, references: Sequence[Descriptor], candidates: Sequence[Descriptor]) -> list[list[float]]:
        """Cosines in [-1, 1] of every reference (row) with every candidate (column), all of one version."""
        return await asyncio.to_thread(_cosines, references, candidates)


def _cosines(references: Sequence[Descriptor], candidates: Sequence[Descriptor]) -> list[list[float]]:
    products = unit_rows(references) @ unit_rows(candidates).T
    cosines: list[list[float]] = np.clip(products, -1.0, 1.0).tolist()
    return cosines


def unit_rows(descriptors: Sequence[Descriptor]) -> NDArray[np.float64]:
    """Descriptors of one version as rows of length 1, (n, dimensions) float64; a row of zeros stays zeros."""
    element = LAYOUTS[descriptors[0].version].element.value
    rows = np.stack([np.frombuffer(d.data, dtype=element) for d in descriptors]).astype(np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: NDArray[np.float64] = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    return unit
