"""People by FastestDet, a detector of 250,000 parameters.

Source: dog-qiuqiu/FastestDet, utils/tool.py: the whole picture stretched to a square, BGR in [0, 1]; at each cell of
one grid an object's score, a box and COCO's 80 classes, of which the first is a person. It sees 352 pixels of a whole
picture: people who take up a small part of it are missed.
"""

from __future__ import annotations

import numpy as np

from engines.packs.manifest import Pixels
from engines.runtime.runtime import RuntimeFailure, Session
from engines.vision.boxes import Boxes, Scores, suppress
from engines.vision.decoding import Image
from engines.vision.networks.pixels import only, planes, resized, side

PIXELS = Pixels(colours="bgr", scale=(1 / 255,))
SCORE, OVERLAP = 0.5, 0.45

_SIDE = 352
_CHANNELS = 85
_PERSON = 5


class FastestDetPeople:
    """Finds people (protocol: `engines.vision.tasks.BodyDetector`).

    Args:
        network: takes [1, 3, side, side]; gives [1, 85, rows, columns].
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
        shape = network.outputs[0].shape
        if len(shape) != 4 or shape[1] not in {_CHANNELS, None}:
            message = f"a network that gives [1, {_CHANNELS}, rows, columns] is needed, not {shape}"
            raise RuntimeFailure(message)

    def detect(self, image: Image) -> tuple[Boxes, Scores]:
        """Boxes float32 [n, 4] and scores [n] in [0, 1], best first."""
        height, width = image.shape[:2]
        answer = only(self._network, planes([resized(image, self._side, self._side)], self._pixels))[0]
        scores = np.clip(answer[0] * answer[_PERSON], 0, 1)
        row, column = np.nonzero(scores >= self._score)
        dx, dy, w, h = answer[1:5, row, column]
        grid = answer.shape[1:]
        centre = np.stack([(column + np.tanh(dx)) / grid[1], (row + np.tanh(dy)) / grid[0]], axis=1)
        half = np.stack([1 / (1 + np.exp(-w)), 1 / (1 + np.exp(-h))], axis=1) / 2
        boxes = np.hstack([centre - half, centre + half]) * np.array([width, height] * 2)
        boxes, found = np.asarray(boxes, np.float32), scores[row, column]
        best = suppress(boxes, found, self._overlap)
        return boxes[best], found[best]
