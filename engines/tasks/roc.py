"""ROC curves of descriptors whose owners are known.

Every object is compared with every other one, the matches of an object are cut to the best few, and all ordered pairs
that are left are ranked. The rates count the pairs that were cut too: they are ranked behind all others, as ties, so
that the curve goes from where the ranking ends straight to (1, 1).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engines.tasks.nearest import nearest
from engines.tasks.packing import Packed
from server.domain.task_numbers import Check, RocCurve, RocPoint

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

TOP: Final = 5
"""Hits are counted among the first 1, 2, ... 5 matches."""
_POINTS: Final = 250
"""Corners that are kept for each way of looking at the curve: evenly by both rates, and by their logarithms."""


class RocMeasurement:
    """Implements `server.domain.task_numbers.RocMaker`."""

    def ranks(
        self, packed: bytes, rows: tuple[int, int], *, limit: int, least_hit_cosine: float, check: Check
    ) -> bytes:
        """The pairs of the objects in rows [start, stop). See `RocMaker.ranks`.

        They are kept as the cosines of pairs of one label and of two, and as counts of the objects that have their
        first mate in place 1 to 5, with a cosine of at least `least_hit_cosine`.
        """
        objects = Packed.read(packed)
        same: list[Floats] = []
        other: list[Floats] = []
        hits = np.zeros(TOP, np.int64)
        for one in nearest(objects, objects, rows, limit=limit, least_cosine=-2.0, check=check, apart=True):
            mates = objects.labels[one.rows] == objects.labels[one.reference]
            same.append(one.cosines[mates])
            other.append(one.cosines[~mates])
            places = np.flatnonzero(mates[:TOP] & (one.cosines[:TOP] >= least_hit_cosine))
            if len(places):
                hits[places[0]] += 1
        file = io.BytesIO()
        np.savez(file, same=np.concatenate(same), other=np.concatenate(other), hits=hits)
        return file.getvalue()

    def curve(self, packed: bytes, ranks: Iterable[bytes], fprs: Sequence[float]) -> RocCurve:
        """The curve of all pairs. See `RocMaker.curve`."""
        objects = Packed.read(packed)
        _, group = np.unique(objects.labels, return_counts=True)
        positives = int((group * (group - 1)).sum())
        negatives = objects.size * (objects.size - 1) - positives
        hits = np.zeros(TOP, np.int64)
        found: list[tuple[Floats, Floats]] = []
        for one in ranks:
            with np.load(io.BytesIO(one), allow_pickle=False) as part:
                found.append((part["same"], part["other"]))
                hits += part["hits"]
        same, other = (np.concatenate(values) for values in zip(*found, strict=True))
        del found
        ranking = Ranking(same, other, positives, negatives)
        eer = ranking.equal_error()
        key_points = tuple(ranking.at_fpr(fpr) for fpr in fprs)
        mates = int(group[group > 1].sum())
        return RocCurve(
            points=ranking.outline(),
            auc=ranking.auc(),
            eer=eer,
            key_points=key_points,
            top=tuple((hits.cumsum() / mates).tolist()),
            objects=objects.size,
            positives=positives,
            negatives=negatives,
            ranked=len(same) + len(other),
        )


class Ranking:
    """Cosines of pairs of one label and of two, and the curve's corners.

    Args:
        same: cosines of the pairs of one label that are ranked, in any order; sorted here.
        other: those of two labels.
        positives: pairs of one label altogether, 1 or more.
        negatives: pairs of two labels altogether, 1 or more.
    """

    def __init__(self, same: Floats, other: Floats, positives: int, negatives: int) -> None:
        same.sort()
        other.sort()
        self._same, self._other = same, other
        self._positives, self._negatives = positives, negatives
        # Between two cosines of the rarer class the curve is a straight line along an axis: the corners are at these.
        corners = _distinct(same if len(same) <= len(other) else other)[::-1]
        before_fp, before_tp = _above(other, corners), _above(same, corners)
        after_fp, after_tp = _from(other, corners), _from(same, corners)
        ends = (np.array([0, len(other), negatives]), np.array([0, len(same), positives]))
        fp = np.concatenate((_woven(before_fp, after_fp), ends[0]))
        tp = np.concatenate((_woven(before_tp, after_tp), ends[1]))
        order = np.argsort(fp + tp, kind="stable")
        fp, tp = fp[order], tp[order]
        new = np.concatenate(([True], (np.diff(fp) != 0) | (np.diff(tp) != 0)))
        self._fp: Counts = fp[new]
        self._tp: Counts = tp[new]

    def auc(self) -> float:
        """Area below the curve, in [0, 1]."""
        return float(np.trapezoid(self._tp / self._positives, self._fp / self._negatives))

    def equal_error(self) -> RocPoint:
        """Where the false positive rate is the false negative rate, between two corners."""
        fpr, tpr = self._fp / self._negatives, self._tp / self._positives
        after = int(np.argmax(fpr + tpr >= 1))
        before = max(after - 1, 0)
        rise = (fpr + tpr)[after] - (fpr + tpr)[before]
        share = 0.0 if rise == 0 else (1 - (fpr + tpr)[before]) / rise
        rate = float(fpr[before] + share * (fpr[after] - fpr[before]))
        return RocPoint(rate, 1 - rate, self._cosine_of(*self._between(before, after, share)))

    def at_fpr(self, fpr: float) -> RocPoint:
        """The point with the largest true positive rate whose false positive rate is `fpr` or less."""
        allowed = int(np.floor(fpr * self._negatives * (1 + 1e-12)))
        if allowed >= self._negatives:
            return RocPoint(fpr, 1.0, None)
        if allowed >= len(self._other):
            fp, tp = len(self._other), len(self._same)
        else:
            stop = self._other[len(self._other) - 1 - allowed]
            fp, tp = (int(_above(values, stop)) for values in (self._other, self._same))
        return RocPoint(fpr, tp / self._positives, self._cosine_of(fp, tp))

    def outline(self) -> tuple[RocPoint, ...]:
        """A thousand corners or fewer, as many as it takes to draw the curve by its rates and by their logarithms."""
        fp, tp = self._fp.astype(np.float64), self._tp.astype(np.float64)
        missed = self._positives - tp
        kept = {0, len(fp) - 1, max(len(fp) - 2, 0)}
        for values in (fp, np.log1p(fp), tp, -np.log1p(missed)):
            kept.update(np.searchsorted(values, np.linspace(values[0], values[-1], _POINTS)).tolist())
        return tuple(
            RocPoint(
                int(self._fp[one]) / self._negatives,
                int(self._tp[one]) / self._positives,
                self._cosine_of(int(self._fp[one]), int(self._tp[one])),
            )
            for one in sorted(kept)
        )

    def _between(self, before: int, after: int, share: float) -> tuple[int, int]:
        """The first point of the ranking that is no nearer than a share of the way between two corners."""
        fp, tp = (values[before] + share * (values[after] - values[before]) for values in (self._fp, self._tp))
        return int(np.ceil(fp - 1e-9)), int(np.ceil(tp - 1e-9))

    def _cosine_of(self, fp: int, tp: int) -> float | None:
        """The lowest cosine of a point: 1 of the point (0, 0), None where pairs that were cut would count."""
        if fp > len(self._other) or tp > len(self._same):
            return None
        lowest = [values[len(values) - count] for values, count in ((self._other, fp), (self._same, tp)) if count]
        return float(min(lowest, default=1.0))


def _distinct(ascending: Floats) -> Floats:
    """Values of a sorted array, each once."""
    if not len(ascending):
        return ascending
    return ascending[np.concatenate(([True], np.diff(ascending) > 0))]


def _above(ascending: Floats, values: Floats | float) -> Counts:
    """How many are greater than each value."""
    counts: Counts = len(ascending) - np.searchsorted(ascending, values, "right")
    return counts


def _from(ascending: Floats, values: Floats) -> Counts:
    """How many are at least each value."""
    counts: Counts = len(ascending) - np.searchsorted(ascending, values, "left")
    return counts


def _woven(first: Counts, second: Counts) -> Counts:
    """One of each, in turn."""
    return np.stack((first, second), axis=1).ravel()
