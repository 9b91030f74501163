"""Landmarks by an ensemble of regression trees, evaluated for several faces at once.

Kazemi and Sullivan, One Millisecond Face Alignment with an Ensemble of Regression Trees, CVPR 2014. Follows dlib's
`shape_predictor` to the rounding of single features, so that its points are dlib's.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from engines.vision.boxes import Boxes
from engines.vision.decoding import Image

Points = npt.NDArray[np.float32]
"""float32 [n, p, 2], (x, y) in pixels."""

_THIRD: npt.NDArray[np.int16] = (np.arange(3 * 255 + 1) // 3).astype(np.int16)

_BYTE = 8
_WORD = 16
"""Splits of a tree whose outcomes are looked up at once; a tree of four levels has 15."""


_NEVER = 256
"""No two grey values differ by more."""


class LandmarkPredictor:
    """Finds the points of faces whose rectangles are known.

    All splits of all trees are judged at once, and a tree's outcomes, as bits of one number, tell the leaf: each step
    of the interpreter costs more than the few splits that are judged in vain.

    Args:
        model: an .npz file that `engines.packs.dlib_landmarks.arrays` describes.
    """

    def __init__(self, model: Path) -> None:
        with np.load(model, allow_pickle=False) as arrays:
            self._mean: npt.NDArray[np.float32] = arrays["mean"]
            self._anchor = arrays["anchor"].astype(np.intp)
            self._delta = np.ascontiguousarray(arrays["delta"].transpose(0, 2, 1))
            first, second, threshold, leaf = (arrays[name] for name in ("first", "second", "threshold", "leaf"))
        cascades, trees, splits = first.shape
        # a split that no tree has never succeeds, so that the outcomes of a tree fill whole bytes
        spare = [(0, 0), (0, 0), (0, -splits % _BYTE)]
        if splits < _WORD:
            spare[2] = (0, _WORD - splits)
        compared = (np.pad(one, spare).astype(np.intp).reshape(cascades, -1) for one in (first, second))
        self._compared = np.concatenate(list(compared), axis=1)
        # grey values are whole, and so are their differences: they exceed a threshold where they exceed its whole part
        threshold = np.clip(np.floor(threshold), -_NEVER, _NEVER).astype(np.int16)
        self._threshold = np.pad(threshold, spare, constant_values=_NEVER).reshape(cascades, -1)
        self._leaf = leaf.reshape(cascades, trees * (splits + 1), -1)
        self._splits = splits
        self._trees = trees
        self._tree_leaves = np.arange(trees)[:, None] * (splits + 1)
        self._leaf_of = _leaf_of(splits) if splits < _WORD else None
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
        origin, size = corners[:, :2, None], corners[:, 2:, None] - corners[:, :2, None]
        faces = len(corners)
        # coordinates by axis, [n, 2, points]: two long rows instead of many short ones
        shapes = np.repeat(self._mean.T[None], faces, axis=0)
        shifts = np.empty((self._trees + 1, faces, self._mean.size), np.float32)
        for cascade in range(len(self._compared)):
            place = self._turns(shapes) @ self._delta[cascade]
            place += shapes.take(self._anchor[cascade], axis=2)
            feature = _grey(image, place * size + origin)
            compared = feature.take(self._compared[cascade], axis=1, mode="clip")
            half = compared.shape[1] // 2
            leaf = self._reached(compared[:, :half] - compared[:, half:] > self._threshold[cascade])
            # Summed tree by tree, as dlib does: another order would round differently, and a feature on the edge
            # between two pixels would then be read from the other one.
            shifts[0] = shapes.transpose(0, 2, 1).reshape(faces, -1)
            self._leaf[cascade].take(leaf.T + self._tree_leaves, axis=0, out=shifts[1:], mode="clip")
            points = np.asarray(cv2.reduce(shifts.reshape(len(shifts), -1), 0, cv2.REDUCE_SUM), np.float32)
            shapes = points.reshape(faces, -1, 2).transpose(0, 2, 1)
        return np.asarray((shapes * size + origin).transpose(0, 2, 1), np.float32)

    def _reached(self, outcomes: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
        """The leaf of each tree, [n, trees], counted within the tree, from the outcomes of all splits."""
        faces = len(outcomes)
        if self._leaf_of is not None:
            words = np.packbits(outcomes, axis=1, bitorder="little").view("<u2")
            return self._leaf_of.take(words)
        outcomes = outcomes.reshape(faces, self._trees, -1)
        node = np.zeros((faces, self._trees, 1), np.intp)
        while node[0, 0, 0] < self._splits:
            node = 2 * node + 2 - np.take_along_axis(outcomes, node, axis=2)
        return np.asarray(node[..., 0] - self._splits, np.intp)

    def _turns(self, shapes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The scaled rotations [n, 2, 2] that take the mean shape to these, [n, 2, p], to be multiplied from the left.

        Umeyama, Least-squares estimation of transformation parameters between two point patterns, PAMI 1991.
        """
        scaled = shapes.reshape(len(shapes), -1).astype(np.float64) @ self._similarity
        return scaled.astype(np.float32).reshape(-1, 2, 2)


def _similarity(mean: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The matrix [2 p, 4] that takes a shape's coordinates, all x before all y, to its scaled rotation from the mean.

    The rotation with the least squared error is linear in the coordinates: its cosine is the sum of the products of
    both shapes' coordinates, its sine that of the crossed ones. The mean shape is centred, so the other need not be.
    """
    centred = mean - mean.mean(axis=0)
    centred /= np.square(centred).sum()
    x, y = centred.T
    cosine, sine = np.concatenate([x, y]), np.concatenate([-y, x])
    return np.column_stack([cosine, -sine, sine, cosine])


def _leaf_of(splits: int) -> npt.NDArray[np.intp]:
    """The leaf for each word of outcomes, the first split's in the lowest bit; a split that succeeds turns left."""
    words = np.arange(1 << _WORD)
    node = np.zeros_like(words)
    for _ in range((splits + 1).bit_length() - 1):
        node = 2 * node + 2 - (words >> node & 1)
    return np.asarray(node - splits, np.intp)


def _grey(image: Image, place: npt.NDArray[np.float64]) -> npt.NDArray[np.int16]:
    """Grey values at places [n, 2, f] of an image, int16 [n, f]; 0 outside of it.

    Grey is the mean of the channels rounded down, as dlib takes it. Only the pixels that are asked for are converted.
    """
    height, width = image.shape[:2]
    place += 0.5
    whole = np.floor(place, out=place).astype(np.int64)
    x, y = whole[:, 0], whole[:, 1]
    index = y * width
    index += x
    inside = None
    # read as unsigned, what is negative is beyond the end too
    unsigned = whole.view(np.uint64)
    if unsigned[:, 0].max() >= width or unsigned[:, 1].max() >= height:
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        index *= inside
    pixels = image.reshape(-1, 3).take(index, axis=0)
    total = pixels[..., 0].astype(np.uint16)
    total += pixels[..., 1]
    total += pixels[..., 2]
    grey = _THIRD.take(total)
    return grey if inside is None else np.asarray(grey * inside, np.int16)
