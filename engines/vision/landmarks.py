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
        self._tree_leaves = np.arange(trees) * (splits + 1)
        self._similarity = _similarity(self._mean.astype(np.float64))

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
        corners = np.asarray(rectangles, np.float64)
        origin, size = corners[:, None, :2], corners[:, None, 2:] - corners[:, None, :2]
        faces = len(corners)
        shapes = np.repeat(self._mean[None], faces, axis=0)
        rows = np.arange(faces)[:, None] * self._delta.shape[1]
        shifts = np.empty((faces, len(self._tree_leaves) + 1, self._mean.size), np.float32)
        for cascade in range(len(self._first)):
            place = self._delta[cascade] @ self._turns(shapes)
            place += shapes.take(self._anchor[cascade], axis=1)
            feature = _grey(image, place * size + origin)
            node = np.zeros((faces, len(self._tree_splits)), np.intp)
            for _ in range(self._depth):
                split = self._tree_splits + node
                difference = feature.take(self._first[cascade].take(split) + rows)
                difference -= feature.take(self._second[cascade].take(split) + rows)
                node = 2 * node + 2 - (difference > self._threshold[cascade].take(split))
            # Summed row by row, as dlib does: another order would round differently, and a feature on the edge between
            # two pixels would then be read from the other one.
            shifts[:, 0] = shapes.reshape(faces, -1)
            shifts[:, 1:] = self._leaf[cascade].take(self._tree_leaves + node - self._splits, axis=0)
            shapes = shifts.sum(axis=1).reshape(shapes.shape)
        return np.asarray(shapes * size + origin, np.float32)

    def _turns(self, shapes: Points) -> npt.NDArray[np.float32]:
        """The scaled rotations [n, 2, 2] that take the mean shape to these, to be multiplied from the right.

        Umeyama, Least-squares estimation of transformation parameters between two point patterns, PAMI 1991.
        """
        scaled = shapes.reshape(len(shapes), -1).astype(np.float64) @ self._similarity
        return scaled.astype(np.float32).reshape(-1, 2, 2)


def _similarity(mean: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The matrix [2 p, 4] that takes a shape's coordinates to the entries of its scaled rotation from the mean shape.

    The rotation with the least squared error is linear in the coordinates: its cosine is the sum of the products of
    both shapes' coordinates, its sine that of the crossed ones. The mean shape is centred, so the other need not be.
    """
    centred = mean - mean.mean(axis=0)
    centred /= np.square(centred).sum()
    cosine = centred.reshape(-1)
    sine = np.column_stack([-centred[:, 1], centred[:, 0]]).reshape(-1)
    return np.column_stack([cosine, sine, -sine, cosine])


def _grey(image: Image, place: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Grey values at places [n, f, 2] of an image, float32 [n, f]; 0 outside of it.

    Grey is the mean of the channels rounded down, as dlib takes it. Only the pixels that are asked for are converted.
    """
    height, width = image.shape[:2]
    place += 0.5
    whole = np.floor(place, out=place).astype(np.intp)
    x, y = whole[..., 0], whole[..., 1]
    index = y * width + x
    inside = None
    if x.min() < 0 or y.min() < 0 or x.max() >= width or y.max() >= height:
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        index *= inside
    pixels = image.reshape(-1, 3).take(index, axis=0).astype(np.intp)
    grey: npt.NDArray[np.float32] = _THIRD.take(pixels[..., 0] + pixels[..., 1] + pixels[..., 2])
    return grey if inside is None else np.asarray(grey * inside, np.float32)
