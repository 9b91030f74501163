"""Boxes in pixels: float32 [n, 4], (x1, y1, x2, y2)."""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

Boxes: TypeAlias = npt.NDArray[np.float32]
Scores: TypeAlias = npt.NDArray[np.float32]


def suppress(boxes: Boxes, scores: Scores, threshold: float) -> npt.NDArray[np.intp]:
    """Greedy non-maximum suppression.

    Args:
        boxes: [n, 4].
        scores: [n], above 0.
        threshold: a box whose intersection over union with a better one is above this is dropped.

    Returns:
        Indices of the boxes that stay, best first.
    """
    if not len(boxes):
        return np.empty(0, np.intp)
    corner_and_size = boxes.copy()
    corner_and_size[:, 2:] -= boxes[:, :2]
    kept = cv2.dnn.NMSBoxes(corner_and_size, scores, 0.0, threshold)  # type: ignore[arg-type]  # takes arrays
    return np.asarray(kept, np.intp).reshape(-1)


def suppress_contained(boxes: Boxes, scores: Scores, threshold: float) -> npt.NDArray[np.intp]:
    """As `suppress`, with the intersection measured as a part of the smaller box: one box inside another is dropped."""
    x1, y1, x2, y2 = boxes.T
    area = (x2 - x1) * (y2 - y1)
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        width = np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest])
        height = np.minimum(y2[best], y2[rest]) - np.maximum(y1[best], y1[rest])
        common = np.maximum(width, 0) * np.maximum(height, 0)
        order = rest[common <= threshold * np.minimum(area[best], area[rest])]
    return np.array(kept, np.intp)


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
