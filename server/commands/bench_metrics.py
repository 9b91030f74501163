"""Measures of verification: how well similarities tell pairs of one person from pairs of two.

Similarities are float64 [n]; `same` is bool [n], true where the two pictures show one person. A pair that could not be
compared, because a picture has no detection, has the similarity NaN. It counts as follows.

- Accuracy: it is an error, whichever kind of pair it is.
- AUC: it is an error as well, a pair of one person below every other pair and a pair of two people above.
- TAR at FAR: it is never accepted. The rates are over all pairs, so that it lowers the TAR (ISO/IEC 19795-1,
  generalised rates with failures to acquire).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


def accuracies(similarities: Floats, same: Bools, folds: Ints) -> Floats:
    """Accuracy in [0, 1] on each fold, with the threshold that is best on all other folds; float64 [folds].

    Args:
        similarities: of all pairs.
        same: their truth.
        folds: the fold of each pair, int64 [n]; at least two different ones.

    Raises:
        ValueError: there is one fold only, or none.
    """
    numbers = np.unique(folds)
    if len(numbers) < 2:
        raise ValueError("a threshold is chosen on other folds: at least two folds are needed")
    found = []
    for number in numbers:
        test = folds == number
        threshold = best_threshold(similarities[~test], same[~test])
        found.append(correct(similarities[test], same[test], threshold).mean())
    return np.array(found, np.float64)


def correct(similarities: Floats, same: Bools, threshold: float) -> Bools:
    """For each pair whether the threshold decides it rightly; a similarity equal to the threshold is accepted."""
    return np.asarray(~np.isnan(similarities) & ((similarities >= threshold) == same), np.bool_)


def best_threshold(similarities: Floats, same: Bools) -> float:
    """The threshold that decides the most pairs rightly; the middle one of equally good ones.

    Thresholds lie halfway between neighbouring similarities, and below and above all of them.
    """
    values = np.unique(similarities[~np.isnan(similarities)])
    if not len(values):
        return math.nan
    thresholds = np.concatenate(([values[0] - 1], (values[:-1] + values[1:]) / 2, [values[-1] + 1]))
    mates = np.sort(similarities[same & ~np.isnan(similarities)])
    others = np.sort(similarities[~same & ~np.isnan(similarities)])
    accepted = len(mates) - np.searchsorted(mates, thresholds, side="left")
    rejected = np.searchsorted(others, thresholds, side="left")
    right = accepted + rejected
    best = np.flatnonzero(right == right.max())
    return float(thresholds[best[(len(best) - 1) // 2]])


def auc(similarities: Floats, same: Bools) -> float:
    """Area under the ROC curve in [0, 1]: how often a pair of one person beats a pair of two, ties counting half.

    By the rank sum of Mann and Whitney (Hanley and McNeil, Radiology 143, 1982). NaN without pairs of both kinds.
    """
    mates, others = int(same.sum()), int((~same).sum())
    if not mates or not others:
        return math.nan
    values = np.where(np.isnan(similarities), np.where(same, -np.inf, np.inf), similarities)
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[places]
    return float((ranks[same].sum() - mates * (mates + 1) / 2) / (mates * others))


def allowed(far: float, others: int) -> int:
    """How many of so many pairs of two people may be accepted at a FAR."""
    return math.floor(far * others + 1e-9)


def tar_at_far(similarities: Floats, same: Bools, far: float) -> float:
    """Share of the pairs of one person that is accepted while at most `far` of the pairs of two people is.

    The threshold lies just above the highest similarity that must not be accepted; nothing is interpolated. NaN without
    pairs of both kinds.
    """
    values = np.where(np.isnan(similarities), -np.inf, similarities)
    mates, others = values[same], np.sort(values[~same])[::-1]
    if not len(mates) or not len(others):
        return math.nan
    passed = allowed(far, len(others))
    bound = others[passed] if passed < len(others) else -np.inf
    return float((mates > bound).mean())
