"""Nearest neighbours of many descriptors among many, exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engines.tasks.packing import Packed, Rows, cosines
from engines.tasks.scores import Block
from server.domain.task_numbers import Check, Neighbours

_SCORES: Final = 1 << 23
"""Approximate cosines that are in memory at a time: 32 MB."""
_MOST_TOGETHER: Final = 256
_STEP: Final = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """The best candidates of a reference, by row, and their cosines: best first, equal ones by ascending row."""

    reference: int
    rows: Rows
    cosines: NDArray[np.float64]


class ExactNeighbours:
    """Implements `server.domain.task_numbers.NeighbourFinder`."""

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
        """For each reference in rows [start, stop) its best candidates. See `NeighbourFinder.neighbours`."""
        asked, among = Packed.read(references), Packed.read(candidates)
        for one in nearest(asked, among, rows, limit=limit, least_cosine=least_cosine, check=check):
            found = zip(one.rows.tolist(), one.cosines.tolist(), strict=True)
            yield Neighbours(asked.uuid(one.reference), tuple((among.uuid(row), cosine) for row, cosine in found))


def nearest(
    references: Packed,
    candidates: Packed,
    rows: tuple[int, int],
    *,
    limit: int,
    least_cosine: float,
    check: Check,
    apart: bool = False,
) -> Iterator[Nearest]:
    """The exact best candidates of each reference in rows [start, stop).

    Approximate cosines preselect: whatever lies less than twice their error below the last place is scored exactly.

    Args:
        references: what is looked for.
        candidates: where it is looked for.
        rows: start and stop.
        limit: most candidates of a reference.
        least_cosine: of a candidate.
        check: called for each few references.
        apart: both are the same descriptors, and none is a candidate of its own.
    """
    together = min(max(_SCORES // max(candidates.size, 1), 1), _MOST_TOGETHER)
    for start in range(rows[0], rows[1], together):
        stop = min(start + together, rows[1])
        scores = _scores(references, candidates, start, stop, check)
        for reference in range(start, stop):
            check()
            likely = _likely(scores[reference - start], limit + apart, least_cosine, candidates.tolerance)
            if apart:
                likely = likely[likely != reference]
            exact = cosines(references, np.full(len(likely), reference), candidates, likely)
            good = exact >= least_cosine
            likely, exact = likely[good], exact[good]
            best = np.lexsort((likely, -exact))[:limit]
            yield Nearest(reference, likely[best], exact[best])


def _scores(references: Packed, candidates: Packed, start: int, stop: int, check: Check) -> NDArray[np.float32]:
    """Approximate cosines of references [start, stop) with all candidates, shape (stop - start, n)."""
    block = Block(references, start, stop)
    scores = np.empty((stop - start, candidates.size), np.float32)
    for begin in range(0, candidates.size, _STEP):
        check()
        end = min(begin + _STEP, candidates.size)
        scores[:, begin:end] = block.scores(candidates, begin, end).T
    scores *= block.inverse[:, None]
    return scores


def _likely(scores: NDArray[np.float32], limit: int, least_cosine: float, tolerance: float) -> Rows:
    """The rows of all that may be among the best `limit`."""
    likely = np.flatnonzero(scores >= least_cosine - tolerance)
    if len(likely) <= limit:
        return likely
    found = scores[likely]
    last = np.partition(found, len(found) - limit)[len(found) - limit]
    near: Rows = likely[found >= last - 2 * tolerance]
    return near
