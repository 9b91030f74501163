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

_THIRD: npt.NDArray[np.float32] = (np.arange(3 * 255 + 1) // 3).astype(np.float32)


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
        self._roots = np.zeros_like(self._tree_splits)
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
        shape = self._mean
        shifts = np.empty((len(self._tree_leaves) + 1, shape.size), np.float32)
        for cascade in range(len(self._first)):
            place = self._delta[cascade] @ self._turn(shape)
            place += shape.take(self._anchor[cascade], axis=0)
            feature = _grey(image, place * size + origin)
            bright = feature.take(self._first[cascade]) - feature.take(self._second[cascade]) > self._threshold[cascade]
            node = self._roots
            for _ in range(self._depth):
                node = 2 * node + 2 - bright.take(self._tree_splits + node)
            # Summed row by row, as dlib does: another order would round differently, and a feature on the edge between
            # two pixels would then be read from the other one.
            shifts[0] = shape.reshape(-1)
            np.take(self._leaf[cascade], self._tree_leaves + node - self._splits, axis=0, out=shifts[1:], mode="clip")
            shape = shifts.sum(axis=0).reshape(-1, 2)
        return np.asarray(shape * size + origin, np.float32)

    def _turn(self, shape: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The scaled rotation [2, 2] that takes the mean shape to this one, to be multiplied from the right.

        Umeyama, Least-squares estimation of transformation parameters between two point patterns, PAMI 1991.
        """
        centred = shape.astype(np.float64)
        centred -= centred.mean(axis=0)
        a = (self._centred * centred).sum()
        b = (self._centred[:, 0] * centred[:, 1] - self._centred[:, 1] * centred[:, 0]).sum()
        return np.array([[a, b], [-b, a]], np.float32)


def _grey(image: Image, place: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Grey values at places [n, 2] of an image, float32 [n]; 0 outside of it.

    Grey is the mean of the channels rounded down, as dlib takes it. Only the pixels that are asked for are converted.
    """
    height, width = image.shape[:2]
    place += 0.5
    x, y = np.floor(place, out=place).astype(np.intp).T
    index = y * width + x
    inside = None
    if x.min() < 0 or y.min() < 0 or x.max() >= width or y.max() >= height:
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        index *= inside
    pixels = image.reshape(-1, 3).take(index, axis=0).astype(np.intp)
    grey: npt.NDArray[np.float32] = _THIRD.take(pixels[:, 0] + pixels[:, 1] + pixels[:, 2])
    return grey if inside is None else np.asarray(grey * inside, np.float32)
