"""The exact best rows of a block: int8 codes narrow them down, the stored elements decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numkong
import numpy as np
from numpy.typing import NDArray

from engines.index.block import Block, Probe, Rows
from engines.index.filters import Few, Many, Register, Selection

_DIRECT = 512
"""Up to so many rows are scored from their stored elements at once; the codes would cost more than they save."""

_FIRST_STEP = 2048
_LAST_STEP = 32768
"""Rows that are looked at together: a few to raise the bar for the others, then as many as fit a core's cache."""

_TOGETHER = 8
"""Probes that are multiplied together. Each further one costs as much as on its own, and spreads the products out."""

_ROUNDING = 2e-6
"""Bounds what float32 loses in scale * dot product: three roundings of values up to 1, and the stored scale."""

_WIDE = 256
"""From this many dimensions on, a single probe is multiplied faster row by row than as a packed matrix."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One search in a block. The result is the best `limit` selected rows with a cosine of at least `min_cosine`."""

    probe: Probe
    selection: Selection
    limit: int
    min_cosine: float


@dataclass(frozen=True, slots=True)
class Found:
    """Rows, best first and equal cosines by id, with their cosines."""

    rows: Rows
    cosines: NDArray[np.float64]


class Contest:
    """The best rows so far of one search. A row whose cosine is certainly below `bar` cannot become one of them."""

    def __init__(self, block: Block, register: Register, wanted: Wanted) -> None:
        self._block = block
        self._register = register
        self._wanted = wanted
        self._rows: Rows = np.empty(0, np.intp)
        self._cosines: NDArray[np.float64] = np.empty(0, np.float64)
        self.bar = max(wanted.min_cosine, -1.0)
        self.allowance = wanted.probe.residual * (1.0 + block.residual_limit) + _ROUNDING

    def enter(self, rows: Rows) -> None:
        """Score rows exactly, and keep the best. No row enters twice."""
        cosines = self._block.cosines(self._wanted.probe, rows)
        good = cosines >= self.bar
        self._rows = np.concatenate((self._rows, rows[good]))
        self._cosines = np.concatenate((self._cosines, cosines[good]))
        limit = self._wanted.limit
        if len(self._rows) > limit:
            # Everything that ties with the last place stays until its ids are compared.
            last = np.partition(self._cosines, len(self._cosines) - limit)[len(self._cosines) - limit]
            ties = np.flatnonzero(self._cosines >= last)
            best = ties[self._order(self._rows[ties], self._cosines[ties])[:limit]]
            self._rows = self._rows[best]
            self._cosines = self._cosines[best]
        if len(self._rows) == limit:
            self.bar = max(self.bar, float(self._cosines.min()))

    def enter_likely(self, rows: Rows, scores: NDArray[np.float32], reach: NDArray[np.float32]) -> None:
        """Enter those of the rows that can be among the best.

        Args:
            rows: shape (n,).
            scores: approximate cosines, shape (n,).
            reach: the rows' residuals: how far a cosine can lie above its score, but for `allowance`. Shape (n,).
        """
        limit = self._wanted.limit
        if len(rows) > 2 * limit:
            # The best by score are nearly the best: they raise the bar, so that few others have to be looked at.
            order = np.argpartition(scores, len(rows) - limit)
            self.enter(rows[order[-limit:]])
            rest = order[:-limit]
            rows, scores, reach = rows[rest], scores[rest], reach[rest]
            likely = scores + reach >= self.bar - self.allowance
            rows = rows[likely]
        self.enter(rows)

    def found(self) -> Found:
        """The result."""
        order = self._order(self._rows, self._cosines)
        return Found(self._rows[order], self._cosines[order])

    def _order(self, rows: Rows, cosines: NDArray[np.float64]) -> NDArray[np.intp]:
        return np.lexsort((self._register.id_low[rows], self._register.id_high[rows], -cosines))


def nearest(block: Block, register: Register, wanted: Sequence[Wanted]) -> list[Found]:
    """The exact answer to each search. Searches that read most of the block share one pass over it."""
    contests = [Contest(block, register, one) for one in wanted]
    together: list[tuple[Contest, Wanted, NDArray[np.bool_]]] = []
    for contest, one in zip(contests, wanted, strict=True):
        if one.limit <= 0 or one.min_cosine > 1.0:
            continue
        match one.selection:
            case Few(rows):
                _gather(block, contest, one, rows)
            case Many(mask):
                together.append((contest, one, mask))
    for start in range(0, len(together), _TOGETHER):
        _pass_over(block, register.height, together[start : start + _TOGETHER])
    return [contest.found() for contest in contests]


def _gather(block: Block, contest: Contest, wanted: Wanted, rows: Rows) -> None:
    """Search in few rows."""
    if len(rows) <= max(_DIRECT, 2 * wanted.limit):
        contest.enter(rows)
        return
    for start, stop in _steps(len(rows)):
        piece = rows[start:stop]
        reach = block.residual[piece]
        scores = _scores(block.codes[piece], block.scale[piece], [wanted.probe])[0]
        likely = np.flatnonzero(scores + reach >= contest.bar - contest.allowance)
        contest.enter_likely(piece[likely], scores[likely], reach[likely])


def _pass_over(block: Block, height: int, searches: Sequence[tuple[Contest, Wanted, NDArray[np.bool_]]]) -> None:
    """Search in all rows, each search under its mask."""
    probes = [wanted.probe for _, wanted, _ in searches]
    for start, stop in _steps(height):
        reach = block.residual[start:stop]
        scores = _scores(block.codes[start:stop], block.scale[start:stop], probes)
        tops = scores + reach
        for (contest, _, mask), score, top in zip(searches, scores, tops, strict=True):
            possible = top >= contest.bar - contest.allowance
            possible &= mask[start:stop]
            likely = np.flatnonzero(possible)
            if len(likely):
                contest.enter_likely(likely + start, score[likely], reach[likely])


def _steps(rows: int) -> Iterator[tuple[int, int]]:
    """Where the parts of a scan begin and end."""
    start, step = 0, _FIRST_STEP
    while start < rows:
        yield start, min(start + step, rows)
        start += step
        step = min(4 * step, _LAST_STEP)


def _scores(codes: NDArray[np.int8], scale: NDArray[np.float32], probes: Sequence[Probe]) -> NDArray[np.float32]:
    """Approximate cosines of k probes with n rows, shape (k, n). The dot products are integers, and free of error."""
    asked = np.stack([probe.codes for probe in probes])
    if len(probes) == 1 and codes.shape[1] >= _WIDE:
        products = np.asarray(numkong.cdist(codes, asked, "dot"))
    else:
        products = np.asarray(numkong.dots_packed(codes, numkong.dots_pack(asked)))
    scores = products.T.astype(np.float32, order="C")
    scores *= scale
    scores *= np.array([[probe.scale] for probe in probes], np.float32)
    return scores
