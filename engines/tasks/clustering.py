"""Clusters of descriptors: exact connected components over all pairs that are similar enough."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from engines.tasks.components import Components
from engines.tasks.packing import Packed, Rows, cosines
from engines.tasks.scores import Block
from server.domain.task_numbers import Check

Edges: TypeAlias = tuple[Rows, Rows]

BLOCK: Final = 512
"""Rows of a block: its products with another one stay in a core's cache."""

_PART_PRODUCTS: Final = 2.5e8 * 128
"""Multiplications of one part: about a second of one core."""
_MOST_EDGES: Final = 1 << 16
"""Edges that wait to be joined together: it costs a pass over all rows."""
_MOST_PARTS: Final = 64
"""Beyond this, parts grow: each of them has to read all descriptors."""


class ComponentClusterer:
    """Implements `server.domain.task_numbers.Clusterer`.

    Block k is compared with itself and with all blocks behind it. Approximate cosines decide wherever they are
    certain; the few pairs so close to the threshold that they are not are scored exactly.
    """

    def parts(self, size: int, dimensions: int) -> list[list[int]]:
        """The blocks, in parts of about equal work: the longest row of pairs goes together with the shortest."""
        blocks = math.ceil(size / BLOCK)
        wanted = math.ceil(size * (size + 1) / 2 * dimensions / _PART_PRODUCTS)
        pairs = math.ceil(blocks / 2)
        parts: list[list[int]] = [[] for _ in range(min(max(wanted, 1), pairs, _MOST_PARTS))]
        for number in range(pairs):
            parts[number % len(parts)] += sorted({number, blocks - 1 - number})
        return parts

    def links(self, packed: bytes, blocks: Sequence[int], least_cosine: float, check: Check) -> bytes:
        """What some blocks connect, as the root of each row."""
        objects = Packed.read(packed)
        components = Components(objects.size)
        edges: list[Edges] = []
        waiting = 0
        for number in blocks:
            start, stop = _rows(number, objects.size)
            block = Block(objects, start, stop)
            for other in range(number, math.ceil(objects.size / BLOCK)):
                check()
                begin, end = _rows(other, objects.size)
                if components.together(slice(start, stop), slice(begin, end)):
                    continue
                found = _connected(components, objects, block, (start, begin, end), least_cosine)
                edges.append(found)
                waiting += len(found[0])
                if waiting > _MOST_EDGES:
                    _join(components, edges)
                    waiting = 0
            _join(components, edges)
            waiting = 0
        file = io.BytesIO()
        np.save(file, components.root, allow_pickle=False)
        return file.getvalue()

    def clusters(self, packed: bytes, links: Iterable[bytes], *, by_track: bool) -> list[list[UUID]]:
        """The components of all links. See `Clusterer.clusters`."""
        objects = Packed.read(packed)
        components = Components(objects.size)
        rows = np.arange(objects.size, dtype=np.int32)
        for one in links:
            components.join(rows, np.load(io.BytesIO(one), allow_pickle=False))
        if by_track:
            on_track = np.flatnonzero(objects.tracks >= 0)
            _, first, track = np.unique(objects.tracks[on_track], return_index=True, return_inverse=True)
            components.join(on_track, on_track[first][track])
        return [[objects.uuid(row) for row in cluster] for cluster in members(components.root)]


def members(roots: NDArray[np.int32]) -> list[NDArray[np.intp]]:
    """The rows of each component by ascending row: the largest component first, equal ones by their first row."""
    if not len(roots):
        return []
    order = np.argsort(roots, kind="stable")
    found = np.split(order, np.flatnonzero(np.diff(roots[order])) + 1)
    return sorted(found, key=lambda rows: (-len(rows), rows[0]))


def _rows(block: int, size: int) -> tuple[int, int]:
    return block * BLOCK, min((block + 1) * BLOCK, size)


def _join(components: Components, edges: list[Edges]) -> None:
    if edges:
        components.join(*(np.concatenate(rows) for rows in zip(*edges, strict=True)))
        edges.clear()


def _connected(
    components: Components, objects: Packed, block: Block, place: tuple[int, int, int], least_cosine: float
) -> Edges:
    """What is similar enough of a block, whose rows begin at place[0], and of rows [place[1], place[2]).

    Pairs that are in one component already may be left out.
    """
    start, begin, end = place
    scores = block.scores(objects, begin, end)
    # score * inverse >= bound is score >= bound * norm; a vector without direction has the score 0 with everything
    bound = least_cosine - objects.tolerance
    norms = np.divide(1, block.inverse, out=np.ones_like(block.inverse), where=block.inverse > 0)
    likely = np.flatnonzero(scores >= np.float32(bound) * norms)
    others, rows = np.divmod(likely, len(norms))
    certain = scores.ravel()[likely] * block.inverse[rows] >= least_cosine + objects.tolerance
    rows += start
    others += begin
    open_still = np.flatnonzero(~certain & (components.root[rows] != components.root[others]))
    exact = cosines(objects, rows[open_still], objects, others[open_still]) >= least_cosine
    certain[open_still[exact]] = True
    return rows[certain], others[certain]
