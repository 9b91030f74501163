"""Faces that a detector has found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.vision.boxes import Boxes, Scores


@dataclass(frozen=True, slots=True)
class Detections:
    """Faces found: `boxes` float32 [n, 4], `scores` [n] in [0, 1], `points` [n, 5, 2] (eyes, nose, mouth corners)."""

    boxes: Boxes
    scores: Scores
    points: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.boxes)

    def moved(self, x: int, y: int) -> Detections:
        """The same faces in an image whose origin is (-x, -y) of this one's."""
        shift = np.array([x, y], np.float32)
        return Detections(self.boxes + np.tile(shift, 2), self.scores, self.points + shift)

    def only(self, index: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> Detections:
        """Some of the faces."""
        return Detections(self.boxes[index], self.scores[index], self.points[index])


NOTHING = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty((0, 5, 2), np.float32))
