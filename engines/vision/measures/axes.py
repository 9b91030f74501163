"""A face's own axes, in which regions of head and picture are placed whatever the face's size and tilt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.vision.view import FaceView

_EYES_TO_MOUTH = 1.108
"""Distance from the eyes' line to the corners of the mouth over that of the eyes (`engines.vision.pose.FIVE`)."""


@dataclass(frozen=True, slots=True)
class Axes:
    """Midway between the eyes is the origin; x grows along the eyes' line to the image's right, y towards the chin.

    Attributes:
        origin: float64 [2], in pixels of the picture.
        across: float64 [2], the direction of x, of unit length.
        unit: pixels of the picture in one unit, which is the distance of the eyes of the same face seen from in front.
    """

    origin: npt.NDArray[np.float64]
    across: npt.NDArray[np.float64]
    unit: float

    @property
    def down(self) -> npt.NDArray[np.float64]:
        """The direction of y, float64 [2], of unit length."""
        return np.array([-self.across[1], self.across[0]])

    def at(self, points: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Points [..., 2] of the picture in these axes."""
        turn = np.column_stack([self.across, self.down])
        return np.asarray((np.asarray(points, np.float64) - self.origin) @ turn / self.unit, np.float64)


def eyes(view: FaceView) -> npt.NDArray[np.float64]:
    """The centres of both eyes, float64 [2, 2] in pixels: the means of their lids, or two of the five points."""
    if view.points68 is None:
        return np.asarray(view.points[:2], np.float64)
    lids = np.asarray(view.points68[36:48], np.float64)
    return np.asarray(lids.reshape(2, 6, 2).mean(axis=1), np.float64)


def axes(view: FaceView) -> Axes:
    """The axes of a face.

    The unit is the larger of the distance of the eyes, which turning shortens, and of that from the eyes to the mouth
    in the proportion of an average face, which nodding shortens.
    """
    left, right = eyes(view)
    origin = (left + right) / 2
    distance = max(float(np.hypot(*(right - left))), 1e-6)
    across = (right - left) / distance
    mouth = np.asarray(view.points[3:5], np.float64).mean(axis=0) - origin
    below = abs(float(mouth @ (-across[1], across[0])))
    return Axes(origin, across, max(distance, below / _EYES_TO_MOUTH))
