"""Boxes in pixels: float32 [n, 4], (x1, y1, x2, y2)."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from engines.vision.compiled import compiled

Boxes: TypeAlias = npt.NDArray[np.float32]
Scores: TypeAlias = npt.NDArray[np.float32]


def suppress(boxes: Boxes, scores: Scores, threshold: float) -> npt.NDArray[np.intp]:
    """Greedy non-maximum suppression.

    Args:
        boxes: [n, 4].
        scores: [n]; a box whose score is not above 0 is dropped.
        threshold: so is a box whose intersection over union with a better one is above this.

    Returns:
        Indices of the boxes that stay, best first.
    """
    return _best(boxes, scores, threshold, of_smaller=False)


def suppress_contained(boxes: Boxes, scores: Scores, threshold: float) -> npt.NDArray[np.intp]:
    """As `suppress`, with the intersection measured as a part of the smaller box: one box inside another is dropped."""
    return _best(boxes, scores, threshold, of_smaller=True)


def _best(boxes: Boxes, scores: Scores, threshold: float, *, of_smaller: bool) -> npt.NDArray[np.intp]:
    order = np.argsort(-scores, kind="stable")[: np.count_nonzero(scores > 0)]
    return _kept(np.ascontiguousarray(boxes, np.float32), order, threshold, of_smaller)


@compiled
def _kept(boxes: Boxes, order: npt.NDArray[np.intp], threshold: float, of_smaller: bool) -> npt.NDArray[np.intp]:
    kept = np.empty(len(order), np.intp)
    count = 0
    for one in order:
        stays = True
        for better in kept[:count]:
            width = min(boxes[one, 2], boxes[better, 2]) - max(boxes[one, 0], boxes[better, 0])
            height = min(boxes[one, 3], boxes[better, 3]) - max(boxes[one, 1], boxes[better, 1])
            if width <= 0 or height <= 0:
                continue
            common = width * height
            first = (boxes[one, 2] - boxes[one, 0]) * (boxes[one, 3] - boxes[one, 1])
            second = (boxes[better, 2] - boxes[better, 0]) * (boxes[better, 3] - boxes[better, 1])
            if common > threshold * (min(first, second) if of_smaller else first + second - common):
                stays = False
                break
        if stays:
            kept[count] = one
            count += 1
    return kept[:count]


def squared(boxes: Boxes) -> Boxes:
    """Squares around the same centres, with the longer side."""
    size = boxes[:, 2:] - boxes[:, :2]
    centre = boxes[:, :2] + size / 2
    half = size.max(axis=1, keepdims=True) / 2
    return np.hstack([centre - half, centre + half])


def overlap(a: Boxes, b: Boxes) -> npt.NDArray[np.float32]:
    """Intersection over union of each of `a` [n, 4] with the one box `b` [4]; [n], in [0, 1]."""
    low = np.maximum(a[:, :2], b[:2])
    high = np.minimum(a[:, 2:], b[2:])
    common = np.maximum(high - low, 0).prod(axis=1)
    union = (a[:, 2:] - a[:, :2]).prod(axis=1) + (b[2:] - b[:2]).prod() - common
    return np.asarray(common / np.maximum(union, 1e-9), np.float32)
