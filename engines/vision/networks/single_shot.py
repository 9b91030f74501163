"""Face detectors that see a square picture at once, applied to pictures of any size.

Such a network finds faces of some ten to some three hundred pixels. A picture is therefore shown to it in several
scales, from the one in which the smallest wanted face is large enough down to the whole picture in one square, and a
scale that does not fit into a square is shown in squares that overlap.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from engines.vision.boxes import Boxes, Scores, suppress, suppress_contained
from engines.vision.decoding import Image
from engines.vision.detections import NOTHING, Detections
from engines.vision.networks.pixels import Images, resized

_SMALLEST = 32
"""Pixels that the smallest wanted face has in the largest scale.

Of 98 faces of 40 pixels laid on pictures of 3000x2200, YuNet found 64 where they had 20 pixels, 94 with 28, 97 with 32
and all with 40, which takes twice as long.
"""

_OVERLAPPING = 0.25
"""Part of a square's side that it shares with its neighbour: a face up to that size is whole in one of them."""

_EDGE = 2
"""A box within so many pixels of a cut through the picture is a part of a face; another square has all of it."""

_ABOUT = 0.7
"""A box has about the wanted size where its longer side has this part of it or more, as with MTCNN."""

_DUPLICATE = 0.7
"""Of two boxes, the smaller one is the same face where so much of it lies in the larger one."""

_CELLS = 4
_FACE = 0.65
"""Given boxes are looked at in a mosaic of 4 by 4 cells. A box takes up this part of its cell."""

_BATCH = 4


@dataclass(frozen=True, slots=True)
class Seen:
    """What a network sees in n squares, at each of its a anchors, in pixels of the square.

    Attributes:
        boxes: float32 [n, a, 4].
        scores: float32 [n, a], in [0, 1].
        points: float32 [n, a, 5, 2].
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    points: npt.NDArray[np.float32]


class Head(Protocol):
    """A network together with how it is read."""

    @property
    def side(self) -> int:
        """Side of the squares in pixels."""
        ...

    def see(self, squares: Images) -> Seen:
        """What is seen in squares, uint8 [n, side, side, 3], RGB."""
        ...


@dataclass(frozen=True, slots=True)
class _Square:
    """A part of a scaled picture: its place there, the scale, and the cuts (left, top, right, bottom) in its pixels."""

    pixels: Image
    origin: tuple[int, int]
    scale: tuple[float, float]
    cuts: tuple[float, float, float, float]


class SingleShotDetector:
    """Finds faces with one network (protocol: `engines.vision.tasks.FaceDetector`).

    Args:
        head: the network.
        score: smallest score of a face, in [0, 1].
        overlap: a box that overlaps a better one by more than this part of their union is the same face.
    """

    def __init__(self, head: Head, *, score: float, overlap: float) -> None:
        self._head = head
        self._score = score
        self._overlap = overlap

    def detect(self, image: Image, min_face: int) -> Detections:
        """All faces whose box is about `min_face` pixels or more, best first."""
        found = [NOTHING]
        squares = list(_squares(image, min(1.0, _SMALLEST / min_face), self._head.side))
        for begin in range(0, len(squares), _BATCH):
            group = squares[begin : begin + _BATCH]
            seen = self._head.see(np.stack([square.pixels for square in group]))
            found += [self._of_square(seen, place, square) for place, square in enumerate(group)]
        whole = Detections(*(np.concatenate([getattr(part, name) for part in found]) for name in _FIELDS))
        large = (whole.boxes[:, 2:] - whole.boxes[:, :2]).max(axis=1, initial=0) >= _ABOUT * min_face
        whole = whole.only(large)
        whole = whole.only(suppress(whole.boxes, whole.scores, self._overlap))
        return whole.only(suppress_contained(whole.boxes, whole.scores, _DUPLICATE))

    def examine(self, image: Image, boxes: Boxes) -> Detections:
        """What is seen in given square boxes, one face for each, without any threshold, in their order."""
        step = _CELLS * _CELLS
        mosaics = (self._mosaic(image, boxes[begin : begin + step]) for begin in range(0, len(boxes), step))
        parts = [NOTHING, *mosaics]
        return Detections(*(np.concatenate([getattr(part, name) for part in parts]) for name in _FIELDS))

    def _of_square(self, seen: Seen, place: int, square: _Square) -> Detections:
        scores, boxes = seen.scores[place], seen.boxes[place]
        left, top, right, bottom = square.cuts
        whole = (boxes[:, 0] >= left) & (boxes[:, 1] >= top) & (boxes[:, 2] <= right) & (boxes[:, 3] <= bottom)
        kept = np.flatnonzero((scores >= self._score) & whole)
        kept = kept[suppress(boxes[kept], scores[kept], self._overlap)]
        origin, scale = np.array(square.origin, np.float32), np.array(square.scale, np.float32)
        return Detections(
            (boxes[kept] + np.tile(origin, 2)) / np.tile(scale, 2),
            scores[kept],
            (seen.points[place][kept] + origin) / scale,
        )

    def _mosaic(self, image: Image, boxes: Boxes) -> Detections:
        cell = self._head.side // _CELLS
        canvas = np.zeros((self._head.side, self._head.side, 3), np.uint8)
        scales: Scores = np.asarray(_FACE * cell / np.maximum(boxes[:, 2] - boxes[:, 0], 1), np.float32)
        corners = np.array([divmod(place, _CELLS)[::-1] for place in range(len(boxes))], np.float32) * cell
        # the place in the canvas of the picture's origin, for each cell
        origins = corners + cell / 2 - (boxes[:, :2] + boxes[:, 2:]) / 2 * scales[:, None]
        for corner, origin, scale in zip(corners.astype(int), origins, scales, strict=True):
            matrix = np.array([[scale, 0, origin[0] - corner[0]], [0, scale, origin[1] - corner[1]]], np.float64)
            canvas[corner[1] : corner[1] + cell, corner[0] : corner[0] + cell] = _scaled(image, matrix, cell)
        seen = self._head.see(canvas[None])
        centres = (seen.boxes[0, :, :2] + seen.boxes[0, :, 2:]) / 2
        found_boxes, scores, points = [], [], []
        for corner, origin, scale in zip(corners, origins, scales, strict=True):
            inside = ((centres >= corner) & (centres < corner + cell)).all(axis=1)
            best = int(np.argmax(np.where(inside, seen.scores[0], -1)))
            found_boxes.append((seen.boxes[0, best] - np.tile(origin, 2)) / scale)
            scores.append(seen.scores[0, best])
            points.append((seen.points[0, best] - origin) / scale)
        return Detections(np.stack(found_boxes), np.array(scores, np.float32), np.stack(points))


_FIELDS = ("boxes", "scores", "points")


def _squares(image: Image, largest: float, side: int) -> Iterator[_Square]:
    """The squares that show the picture in every scale, from the largest one down to the whole in one square."""
    whole = side / max(image.shape[:2])
    scale = largest
    while scale > whole:
        yield from _tiles(image, scale, side)
        scale /= 2
    yield from _tiles(image, min(whole, largest), side)


def _tiles(image: Image, scale: float, side: int) -> Iterator[_Square]:
    height, width = (max(1, round(size * scale)) for size in image.shape[:2])
    level = resized(image, width, height)
    exact = width / image.shape[1], height / image.shape[0]
    for top in _starts(height, side):
        for left in _starts(width, side):
            part = level[top : top + side, left : left + side]
            pixels = np.zeros((side, side, 3), np.uint8)
            pixels[: part.shape[0], : part.shape[1]] = part
            cuts = (
                _EDGE if left else -math.inf,
                _EDGE if top else -math.inf,
                side - _EDGE if left + side < width else math.inf,
                side - _EDGE if top + side < height else math.inf,
            )
            yield _Square(pixels, (left, top), exact, cuts)


def _starts(length: int, side: int) -> list[int]:
    """Where squares begin along one side of a picture; the last one ends with it."""
    if length <= side:
        return [0]
    count = math.ceil((length - side) / (side * (1 - _OVERLAPPING))) + 1
    return [round(value) for value in np.linspace(0, length - side, count)]


def _scaled(image: Image, matrix: npt.NDArray[np.float64], cell: int) -> Image:
    """The picture through a scaling matrix [2, 3], uint8 [cell, cell, 3]; what lies outside it is black."""
    scale = float(matrix[0, 0])
    if scale < 0.5:
        small = resized(image, max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        ratio = np.array([image.shape[1] / small.shape[1], image.shape[0] / small.shape[0]])
        image = small
        matrix = matrix.copy()
        matrix[:, :2] *= ratio
    return np.asarray(cv2.warpAffine(image, matrix, (cell, cell), flags=cv2.INTER_LINEAR), np.uint8)
