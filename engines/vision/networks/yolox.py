"""People by YOLOX.

Ge et al., YOLOX: Exceeding YOLO Series in 2021, arXiv 2107.08430 (source: opencv_zoo, models/object_detection_yolox):
the picture in the upper left of a square of grey 114, RGB in [0, 255]; at each cell of the strides 8, 16 and 32 a box,
an object's score and COCO's 80 classes, of which the first is a person.
"""

from __future__ import annotations

import numpy as np

from engines.packs.manifest import Pixels
from engines.runtime.runtime import RuntimeFailure, Session
from engines.vision.boxes import Boxes, Scores, suppress
from engines.vision.decoding import Image
from engines.vision.networks.pixels import letterboxed, only, planes, side

PIXELS = Pixels()
SCORE, OVERLAP = 0.5, 0.5

_SIDE = 640
_STRIDES = (8, 16, 32)
_GREY = 114
_VALUES = 85
_PERSON = 5


class YoloxPeople:
    """Finds people (protocol: `engines.vision.tasks.BodyDetector`).

    Args:
        network: takes [1, 3, side, side]; gives [1, cells, 85].
        pixels: how it takes colours.
        score: smallest score of a person.
        overlap: a box that overlaps a better one by more than this part of their union is the same person.

    Raises:
        RuntimeFailure: the network gives something else.
    """

    def __init__(
        self, network: Session, pixels: Pixels = PIXELS, *, score: float = SCORE, overlap: float = OVERLAP
    ) -> None:
        self._network = network
        self._pixels = pixels
        self._score = score
        self._overlap = overlap
        self._side = side(network, _SIDE)
        sizes = [self._side // stride for stride in _STRIDES]
        grids = [np.stack(np.meshgrid(np.arange(size), np.arange(size)), axis=-1).reshape(-1, 2) for size in sizes]
        self._cells = np.concatenate(grids).astype(np.float32)
        self._strides = np.repeat(_STRIDES, [size * size for size in sizes]).astype(np.float32)[:, None]
        shape = network.outputs[0].shape
        if len(shape) != 3 or shape[1] not in {len(self._cells), None} or shape[2] not in {_VALUES, None}:
            message = f"a network that gives [1, {len(self._cells)}, {_VALUES}] is needed, not {shape}"
            raise RuntimeFailure(message)

    def detect(self, image: Image) -> tuple[Boxes, Scores]:
        """Boxes float32 [n, 4] and scores [n] in [0, 1], best first."""
        square, scale = letterboxed(image, self._side, _GREY)
        rows = only(self._network, planes([square], self._pixels))[0]
        scores = np.clip(rows[:, 4] * rows[:, _PERSON], 0, 1)
        kept = np.flatnonzero(scores >= self._score)
        rows, scores, strides = rows[kept], scores[kept], self._strides[kept]
        centre, half = (rows[:, :2] + self._cells[kept]) * strides, np.exp(rows[:, 2:4]) * strides / 2
        boxes = np.asarray(np.hstack([centre - half, centre + half]) / scale, np.float32)
        best = suppress(boxes, scores, self._overlap)
        return boxes[best], scores[best]
