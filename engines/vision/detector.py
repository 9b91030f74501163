"""MTCNN: faces and their five points.

Zhang et al., Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks, SPL 2016. The
proposal network scans a pyramid of the image, the refinement and output networks judge what it proposes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
import numpy.typing as npt

from engines.runtime.runtime import Session, Tensor
from engines.vision.boxes import Boxes, Scores, squared, suppress, suppress_contained
from engines.vision.compiled import compiled
from engines.vision.decoding import Image
from engines.vision.detections import NOTHING, Detections

_WINDOW = 12
_STRIDE = 2
_FACTOR = 0.709
_REFINEMENT_SIZE = 24
_OUTPUT_SIZE = 48
_OVERLAP_IN_SCALE, _OVERLAP = 0.5, 0.7
_BATCH = 128

_SPARE = 1.4
"""How much larger than the first pyramid level the image stays when it is shrunk by a whole number."""

_HALF = 0.5

_TILE = 1024
"""A pyramid level is scanned in tiles of this height and width, so that memory does not grow with the image and plans
for GPUs can be made for all sizes (`engines.runtime.tensorrt_plans.MAX_SIDE`). A multiple of the stride."""

_MAX_PROPOSALS = 2000
"""The best proposals that one level may make: a bound for images that are made to look like faces everywhere."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Smallest probabilities, in [0, 1], that the three networks let pass.

    The defaults have a recall of .96 with one false positive on 179 faces in 111 photos.
    """

    proposal: float = 0.6
    refinement: float = 0.7
    output: float = 0.9


class Detector:
    """Runs the three networks.

    Args:
        proposal, refinement, output: the networks (`engines.packs.mtcnn_networks` says what they take and give).
        thresholds: what they let pass.
    """

    def __init__(
        self, proposal: Session, refinement: Session, output: Session, thresholds: Thresholds | None = None
    ) -> None:
        self._proposal = proposal
        self._refinement = refinement
        self._output = output
        self._thresholds = thresholds or Thresholds()

    def detect(self, image: Image, min_face: int) -> Detections:
        """All faces of an image whose box is about `min_face` pixels or more, best first."""
        scale = _WINDOW / min_face
        copies = [image, *_shrunk(image, scale)]
        levels = list(_pyramid(copies[-1], image.shape, scale))
        boxes = self._proposed(image, levels)
        if not len(boxes):
            return NOTHING
        copies += levels
        boxes = squared(boxes)
        answer = self._judge(self._refinement, copies, boxes, _REFINEMENT_SIZE)
        scores = answer["probability"][:, 1]
        passed = np.flatnonzero(scores > self._thresholds.refinement)
        boxes, scores = _shifted(boxes[passed], answer["regression"][passed]), scores[passed]
        kept = suppress(boxes, scores, _OVERLAP)
        if not len(kept):
            return NOTHING
        found = self._examined(copies, squared(boxes[kept]))
        found = found.only(found.scores > self._thresholds.output)
        return found.only(suppress_contained(found.boxes, found.scores, _OVERLAP))

    def examine(self, image: Image, boxes: Boxes) -> Detections:
        """What the output network says of given square boxes, without any threshold, in their order."""
        return self._examined([image, *_halves(image, boxes)], boxes)

    def _examined(self, copies: Sequence[Image], boxes: Boxes) -> Detections:
        answer = self._judge(self._output, copies, boxes, _OUTPUT_SIZE)
        size = boxes[:, 2:] - boxes[:, :2]
        points = answer["points"].reshape(-1, 2, 5).transpose(0, 2, 1) * size[:, None] + boxes[:, None, :2]
        return Detections(_shifted(boxes, answer["regression"]), answer["probability"][:, 1], points)

    def _proposed(self, image: Image, levels: Sequence[Image]) -> Boxes:
        height, width = image.shape[:2]
        boxes, scores = [np.empty((0, 4), np.float32)], [np.empty(0, np.float32)]
        for level in levels:
            found, probability = self._scan(level)
            if not len(found):
                continue
            kept = suppress(found, probability, _OVERLAP_IN_SCALE)
            stretch = width / level.shape[1], height / level.shape[0]
            boxes.append(found[kept] * np.array(stretch + stretch, np.float32))
            scores.append(probability[kept])
        everything, all_scores = np.concatenate(boxes), np.concatenate(scores)
        return everything[suppress(everything, all_scores, _OVERLAP)]

    def _scan(self, level: npt.NDArray[np.uint8]) -> tuple[Boxes, Scores]:
        """Proposals on one pyramid level, in its pixels."""
        height, width = level.shape[:2]
        reach = _WINDOW - _STRIDE
        boxes, scores = [np.empty((0, 4), np.float32)], [np.empty(0, np.float32)]
        for top, left in product(range(0, max(1, height - reach), _TILE), range(0, max(1, width - reach), _TILE)):
            tile = level[None, top : top + _TILE + reach, left : left + _TILE + reach]
            answer = self._proposal.run({"image": _scaled(tile)})
            windows, certainty = _windows(answer["probability"][0], answer["regression"][0], self._thresholds.proposal)
            boxes.append(windows + np.array([left, top, left, top], np.float32))
            scores.append(certainty)
        found, probability = np.concatenate(boxes), np.concatenate(scores)
        if len(found) <= _MAX_PROPOSALS:
            return found, probability
        best = np.argsort(-probability, kind="stable")[:_MAX_PROPOSALS]
        return found[best], probability[best]

    def _judge(self, network: Session, copies: Sequence[Image], boxes: Boxes, size: int) -> dict[str, Tensor]:
        """What a network says of boxes in an image, the first of the `copies`; the others are smaller and smaller."""
        parts = [
            network.run({"crops": _scaled(_crops(copies, boxes[begin : begin + _BATCH], size))})
            for begin in range(0, len(boxes), _BATCH)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@compiled
def _windows(probability: Tensor, regression: Tensor, threshold: float) -> tuple[Boxes, Scores]:
    """The windows of a tile that the proposal network lets pass, row by row, and their probabilities.

    Args:
        probability: of no face and of a face, [2, rows, columns].
        regression: corrections of the windows' corners, in units of their size, [4, rows, columns].
        threshold: what the probability of a face must exceed.
    """
    rows, columns = probability.shape[1:]
    boxes = np.empty((np.sum(probability[1] > threshold), 4), np.float32)
    scores = np.empty(len(boxes), np.float32)
    count = 0
    for row in range(rows):
        for column in range(columns):
            if probability[1, row, column] > threshold:
                boxes[count, 0], boxes[count, 1] = column * _STRIDE, row * _STRIDE
                boxes[count, 2], boxes[count, 3] = boxes[count, 0] + _WINDOW, boxes[count, 1] + _WINDOW
                for corner in range(4):
                    boxes[count, corner] += regression[corner, row, column] * _WINDOW
                scores[count] = probability[1, row, column]
                count += 1
    return boxes, scores


def _shrunk(image: Image, scale: float) -> Iterator[Image]:
    """A copy that is smaller by a whole number and still larger than `scale` makes it, where there is one.

    To shrink by a whole number is quick. With the pyramid made of it, each level of the one before, that costs a
    fourteenth of shrinking the whole image for every level, and finds the same faces: 580 and 581 in 528 photos, 39 and
    38 in 8.
    """
    height, width = image.shape[:2]
    whole = max(1, int(1 / (_SPARE * scale)))
    if whole > 1 and min(height, width) >= whole:
        yield _resized(image, (width // whole, height // whole))


def _halves(image: Image, boxes: Boxes) -> Iterator[Image]:
    """Copies of half the size, a quarter and so on, while boxes in them are not smaller than their crops will be."""
    height, width = image.shape[:2]
    side = (boxes[:, 2] - boxes[:, 0]).min(initial=width) / 2
    while side >= _OUTPUT_SIZE and height % 2 == width % 2 == 0:
        height, width, side = height // 2, width // 2, side / 2
        image = _resized(image, (width, height))
        yield image


def _pyramid(level: Image, shape: Sequence[int], scale: float) -> Iterator[Image]:
    """An image of this shape at `scale` and at every smaller scale that the window still fits into, largest first.

    Args:
        level: the image, or a smaller copy that is larger than the first level.
        shape: of the image, [height, width, ...].
        scale: of the first level.
    """
    height, width = shape[:2]
    while min(height, width) * scale >= _WINDOW:
        level = _resized(level, (int(width * scale), int(height * scale)))
        yield level
        scale *= _FACTOR


def _resized(image: Image, size: tuple[int, int]) -> Image:
    return np.asarray(cv2.resize(image, size, interpolation=_interpolation(size[0] / image.shape[1])), np.uint8)


def _interpolation(scale: float) -> int:
    """Means of areas take five times as long as bilinear values, which read every pixel down to half the size."""
    return cv2.INTER_LINEAR if scale > _HALF else cv2.INTER_AREA


def _scaled(pixels: npt.NDArray[np.uint8]) -> Tensor:
    """Network input [n, 3, height, width] from uint8 [n, height, width, 3]."""
    planes = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32)
    planes -= 127.5
    planes /= 128
    return planes


def _crops(copies: Sequence[Image], boxes: Boxes, size: int) -> npt.NDArray[np.uint8]:
    """Square crops [n, size, size, 3] of an image, the first of its `copies`; what lies outside the image is black.

    A crop is cut out of the smallest copy in which it is not smaller than it will be.
    """
    crops = np.zeros((len(boxes), size, size, 3), np.uint8)
    scales = np.array([[copy.shape[1], copy.shape[0]] for copy in copies], np.float32) / copies[0].shape[1::-1]
    sides = np.maximum(boxes[:, 2] - boxes[:, 0], 1)
    choice = (scales.min(axis=1) * sides[:, None] >= size).sum(axis=1)
    choice = np.maximum(choice - 1, 0)
    placed = boxes * np.tile(scales[choice], 2)
    low = np.floor(placed[:, :2]).astype(int)
    high = np.maximum(np.ceil(placed[:, 2:]).astype(int), low + 1)
    for crop, which, (x1, y1), (x2, y2) in zip(crops, choice.tolist(), low.tolist(), high.tolist(), strict=True):
        image = copies[which]
        height, width = image.shape[:2]
        left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
        if left >= right or top >= bottom:
            continue
        part = image[top:bottom, left:right]
        border = top - y1, y2 - bottom, left - x1, x2 - right
        if any(border):
            part = cv2.copyMakeBorder(part, *border, cv2.BORDER_CONSTANT)
        cv2.resize(part, (size, size), dst=crop, interpolation=_interpolation(size / (x2 - x1)))
    return crops


def _shifted(boxes: Boxes, regression: Tensor) -> Boxes:
    """Boxes corrected by what a network says, in units of their size."""
    size = boxes[:, 2:] - boxes[:, :2]
    return np.asarray(boxes + regression * np.tile(size, 2), np.float32)
