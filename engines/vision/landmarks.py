"""Landmarks by an ensemble of regression trees, evaluated for several faces at once.

Kazemi and Sullivan, One Millisecond Face Alignment with an Ensemble of Regression Trees, CVPR 2014. Follows dlib's
`shape_predictor` to the rounding of single features, so that its points are dlib's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from engines.vision.boxes import Boxes
from engines.vision.decoding import Image

Points = npt.NDArray[np.float32]
"""float32 [n, p, 2], (x, y) in pixels."""

_MARGIN = 1.0
"""Features reach beyond the rectangle; this much of its size is kept around it."""


class LandmarkPredictor:
    """Finds the points of faces whose rectangles are known.

    Args:
        model: an .npz file that `engines.packs.dlib_landmarks.arrays` describes.
    """

    def __init__(self, model: Path) -> None:
        with np.load(model, allow_pickle=False) as arrays:
            self._mean: npt.NDArray[np.float32] = arrays["mean"]
            self._anchor = arrays["anchor"].astype(np.intp)
            self._delta = arrays["delta"]
            first, second, threshold, leaf = (arrays[name] for name in ("first", "second", "threshold", "leaf"))
        cascades, trees, splits = first.shape
        self._first = first.astype(np.intp).reshape(cascades, -1)
        self._second = second.astype(np.intp).reshape(cascades, -1)
        self._threshold = threshold.reshape(cascades, -1)
        self._leaf = leaf.reshape(cascades, trees * (splits + 1), -1)
        self._splits = splits
        self._depth = (splits + 1).bit_length() - 1
        self._tree_splits = np.arange(trees) * splits
        self._tree_leaves = np.arange(trees) * (splits + 1)
        centred = self._mean.astype(np.float64)
        centred -= centred.mean(axis=0)
        self._centred = centred / np.square(centred).sum()

    @property
    def count(self) -> int:
        """Points of one face."""
        return len(self._mean)

    @property
    def mean(self) -> npt.NDArray[np.float32]:
        """The mean shape, float32 [p, 2], in a frame where the rectangle is the unit square."""
        return self._mean

    def predict(self, image: Image, rectangles: Boxes) -> Points:
        """Points of each face, float32 [n, p, 2].

        Args:
            image: the picture.
            rectangles: [n, 4], as dlib's face detector would draw them: from the brows to the chin. The corners are
                pixels of the rectangle, both of them.
        """
        if not len(rectangles):
            return np.empty((0, self.count, 2), np.float32)
        return np.stack([self._one(image, rectangle) for rectangle in np.asarray(rectangles, np.float64)])

    def _one(self, image: Image, rectangle: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        origin, size = rectangle[:2], rectangle[2:] - rectangle[:2]
        grey, corner = _surroundings(image, rectangle)
        origin = origin - corner
        height, width = grey.shape
        shape = self._mean
        shifts = np.empty((len(self._tree_leaves) + 1, shape.size), np.float32)
        for cascade in range(len(self._first)):
            anchors = shape[self._anchor[cascade]]
            place = (self._delta[cascade] @ self._turn(shape) + anchors) * size + origin
            x, y = np.floor(place.T + 0.5).astype(np.intp)
            inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
            feature = np.where(inside, grey[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)], np.float32(0))
            bright = feature[self._first[cascade]] - feature[self._second[cascade]] > self._threshold[cascade]
            node = np.zeros_like(self._tree_splits)
            for _ in range(self._depth):
                node = 2 * node + 2 - bright[self._tree_splits + node]
            # Summed row by row, as dlib does: another order would round differently, and a feature on the edge between
            # two pixels would then be read from the other one.
            shifts[0] = shape.reshape(-1)
            np.take(self._leaf[cascade], self._tree_leaves + node - self._splits, axis=0, out=shifts[1:], mode="clip")
            shape = shifts.sum(axis=0).reshape(-1, 2)
        return np.asarray(shape * size + origin + corner, np.float32)

    def _turn(self, shape: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The scaled rotation [2, 2] that takes the mean shape to this one, to be multiplied from the right.

        Umeyama, Least-squares estimation of transformation parameters between two point patterns, PAMI 1991.
        """
        centred = shape.astype(np.float64)
        centred -= centred.mean(axis=0)
        a = (self._centred * centred).sum()
        b = (self._centred[:, 0] * centred[:, 1] - self._centred[:, 1] * centred[:, 0]).sum()
        return np.array([[a, b], [-b, a]], np.float32)


def _surroundings(
    image: Image, rectangle: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Grey values around a rectangle, float32 [height, width], and the image's pixel at their origin.

    Grey is the mean of the channels rounded down, as dlib takes it. Outside the image features are 0, so cropping to
    the image changes nothing.
    """
    height, width = image.shape[:2]
    margin = _MARGIN * (rectangle[2:] - rectangle[:2]).max()
    left, top = np.clip(np.floor(rectangle[:2] - margin), 0, (width - 1, height - 1)).astype(int)
    right, bottom = np.clip(np.ceil(rectangle[2:] + margin), (left + 1, top + 1), (width, height)).astype(int)
    crop = image[top:bottom, left:right].astype(np.uint16)
    grey = (crop.sum(axis=2, dtype=np.uint16) // 3).astype(np.float32)
    return grey, np.array([left, top], np.float64)
