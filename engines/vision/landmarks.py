"""Landmarks by an ensemble of regression trees.

Kazemi and Sullivan, One Millisecond Face Alignment with an Ensemble of Regression Trees, CVPR 2014. Follows dlib's
`shape_predictor` to the rounding of single features, so that its points are dlib's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from engines.packs.errors import PackDamaged
from engines.vision.boxes import Boxes
from engines.vision.compiled import compiled
from engines.vision.decoding import Image

Points = npt.NDArray[np.float32]
"""float32 [n, p, 2], (x, y) in pixels."""

_NEVER = 256
"""No two grey values differ by more."""


class LandmarkPredictor:
    """Finds the points of faces whose rectangles are known.

    Args:
        model: an .npz file that `engines.packs.dlib_landmarks.arrays` describes.

    Raises:
        PackDamaged: its arrays do not fit together.
    """

    def __init__(self, model: Path) -> None:
        with np.load(model, allow_pickle=False) as arrays:
            self._mean: npt.NDArray[np.float32] = arrays["mean"]
            self._anchor = arrays["anchor"].astype(np.uint16)
            self._delta = np.ascontiguousarray(arrays["delta"], np.float32)
            # grey values are whole, and so are their differences: beyond a threshold is beyond its whole part
            threshold = np.clip(np.floor(arrays["threshold"]), -_NEVER, _NEVER)
            compared = arrays["first"], arrays["second"], threshold
            leaf = arrays["leaf"]
        if len({one.shape for one in compared}) != 1:
            raise PackDamaged(f"{model.name}: its arrays do not fit together")
        # side by side, because that is how they are read
        self._split = np.stack(compared, axis=-1).astype(np.int16)
        self._leaf = np.ascontiguousarray(leaf.reshape(*leaf.shape[:3], -1), np.float32)
        self._similarity = _similarity(self._mean.astype(np.float64))
        self._check(model)

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
        faces = np.ascontiguousarray(rectangles, np.float64)
        shapes = np.repeat(self._mean.reshape(1, -1), len(faces), axis=0)
        trees = self._split, self._leaf
        _fit(shapes, np.ascontiguousarray(image), faces, self._similarity, self._anchor, self._delta, *trees)
        origin, size = faces[:, None, :2], faces[:, None, 2:] - faces[:, None, :2]
        return np.asarray(shapes.reshape(len(faces), self.count, 2) * size + origin, np.float32)

    def _check(self, model: Path) -> None:
        """Compiled code does not look whether an index is within an array.

        Raises:
            PackDamaged: one would not be.
        """
        cascades, trees, splits = self._split.shape[:3]
        features, points = self._anchor.shape[1], self.count
        shapes = {
            (cascades, trees, splits + 1, 2 * points): self._leaf,
            (cascades, features): self._anchor,
            (cascades, features, 2): self._delta,
            (points, 2): self._mean,
        }
        fits = all(one.shape == shape for shape, one in shapes.items())
        compared = self._split[..., :2]
        within = compared.min() >= 0 and compared.max() < features and self._anchor.max() < points
        # a tree is full: all of its leaves are on one level
        if not (fits and within and splits & (splits + 1) == 0):
            raise PackDamaged(f"{model.name}: its arrays do not fit together")


def _similarity(mean: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The matrix [2 p, 2] that takes a shape's coordinates to its scaled rotation from the mean, as cosine and sine.

    The rotation with the least squared error is linear in the coordinates: its cosine is the sum of the products of
    both shapes' coordinates, its sine that of the crossed ones. The mean shape is centred, so the other need not be.

    Umeyama, Least-squares estimation of transformation parameters between two point patterns, PAMI 1991.
    """
    centred = mean - mean.mean(axis=0)
    centred /= np.square(centred).sum()
    crossed = np.stack([-centred[:, 1], centred[:, 0]], axis=1)
    return np.column_stack([centred.reshape(-1), crossed.reshape(-1)])


@compiled
def _fit(
    shapes: npt.NDArray[np.float32],
    image: Image,
    faces: npt.NDArray[np.float64],
    similarity: npt.NDArray[np.float64],
    anchor: npt.NDArray[np.uint16],
    delta: npt.NDArray[np.float32],
    split: npt.NDArray[np.int16],
    leaf: npt.NDArray[np.float32],
) -> None:
    """Moves shapes to where the faces show them, cascade by cascade.

    Args:
        shapes: coordinates within the rectangles, x before y, [n, 2 p]; they are changed.
        image: the picture.
        faces: rectangles, [n, 4].
        similarity: takes a shape to its rotation from the mean, [2 p, 2].
        anchor: the point that a feature is near to, [c, f].
        delta: where it is from there in a face that is not turned, [c, f, 2].
        split: two features, and by how much the first must be brighter to turn left, [c, t, d, 3].
        leaf: shifts, [c, t, d + 1, 2 p].
    """
    grey = np.empty((len(faces), anchor.shape[1]), np.int16)
    reached = np.empty((split.shape[1], len(faces)), np.uint64)
    for cascade in range(len(anchor)):
        for face in range(len(faces)):
            _look(grey[face], image, faces[face], shapes[face], similarity, anchor[cascade], delta[cascade])
        for tree in range(split.shape[1]):
            for face in range(len(faces)):
                reached[tree, face] = _reached(split[cascade, tree], grey[face])
        # When all are known, so that the processor can fetch many at once. Tree by tree, as dlib adds them: another
        # order would round differently, and a feature on the edge between two pixels be read from the other one.
        for tree in range(split.shape[1]):
            for face in range(len(faces)):
                for coordinate in range(shapes.shape[1]):
                    shapes[face, coordinate] += leaf[cascade, tree, reached[tree, face], coordinate]


@compiled
def _look(
    grey: npt.NDArray[np.int16],
    image: Image,
    face: npt.NDArray[np.float64],
    shape: npt.NDArray[np.float32],
    similarity: npt.NDArray[np.float64],
    anchor: npt.NDArray[np.uint16],
    delta: npt.NDArray[np.float32],
) -> None:
    """Fills in the grey values that trees compare, [f]; 0 outside of the image. The others are those of one face.

    Grey is the mean of the channels rounded down, as dlib takes it. Only the pixels that are asked for are converted.
    """
    height, width = image.shape[:2]
    turn = np.zeros(2, np.float64)
    for coordinate in range(len(shape)):
        turn += similarity[coordinate] * np.float64(shape[coordinate])
    cosine, sine = np.float32(turn[0]), np.float32(turn[1])
    left, top = face[0], face[1]
    across, down = face[2] - left, face[3] - top
    for feature in range(len(anchor)):
        # unsigned, because numba would look at each other index whether it is negative
        point = np.uint64(2) * np.uint64(anchor[feature])
        right, below = delta[feature, 0], delta[feature, 1]
        x = cosine * right - sine * below + shape[point]
        y = sine * right + cosine * below + shape[point + np.uint64(1)]
        column = np.int64(np.floor(x * across + left + 0.5))
        row = np.int64(np.floor(y * down + top + 0.5))
        grey[feature] = 0
        if 0 <= row < height and 0 <= column < width:
            total = (
                np.uint32(image[row, column, 0]) + np.uint32(image[row, column, 1]) + np.uint32(image[row, column, 2])
            )
            grey[feature] = total // np.uint32(3)


@compiled
def _reached(split: npt.NDArray[np.int16], grey: npt.NDArray[np.int16]) -> np.uint64:
    """The leaf of one tree [d, 3] for the grey values of one face."""
    splits = np.uint64(len(split))
    node = np.uint64(0)
    while node < splits:
        first, second = np.uint64(split[node, 0]), np.uint64(split[node, 1])
        brighter = np.int32(grey[first]) - np.int32(grey[second])
        node = np.uint64(2) * node + np.uint64(2) - np.uint64(brighter > split[node, 2])
    return node - splits
