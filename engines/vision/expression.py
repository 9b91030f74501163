"""Eyes and mouth, from the geometry of the 68 points. Coarse: the points of lids and lips follow an average face."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from engines.vision.iris import Iris
from server.domain.vision import Eye, Eyes, EyeState, Mouth, Point

_LEFT_EYE, _RIGHT_EYE = slice(36, 42), slice(42, 48)

_CLOSED_BELOW = 0.15
"""Soukupová and Čech, Real-Time Eye Blink Detection using Facial Landmarks, CVWW 2016, take .2 for videos. Of the eyes
in 1,581 photos, nearly all open, that would call 10 % closed; .15 calls 2 %."""

_MOUTH_SHUT, _MOUTH_OPEN = 0.08, 0.4
_UNSMILING, _SMILING = 0.03, 0.23
_LIPS_FORWARD = 0.32
"""How much nearer to the camera the middle of the lips is than their corners, in widths of the mouth: the slope of the
lift over the sine of the pitch on 1,581 photos of Labeled Faces in the Wild. Unheeded, a nod reads as a smile."""
_WIDER, _WIDTH = 0.15, 0.89
"""How much the width of the mouth counts, and the mean shape's, in distances of the eyes."""


def eyes(points: npt.NDArray[np.floating], irises: tuple[Iris, Iris] | None) -> Eyes:
    """State, lids and irises of both eyes from the 68 points [68, 2] and what `iris.irises` sees; none of a closed eye.

    An eye counts as closed where its aspect ratio (mean height over width) is below .15. That is coarse, for the points
    of lids follow an average face: of the 22 faces of Labeled Faces in the Wild with both eyes below it about half look
    down or have them shut, the others screw them up or wear sunglasses; of 792 eyes onto which lids were painted 17 %
    are below it. So closed is a good reason to look again, and open is no proof. Occlusion is not seen.
    """
    left, right = irises or (None, None)
    return Eyes(_eye(points[_LEFT_EYE], left), _eye(points[_RIGHT_EYE], right))


def mouth(points: npt.NDArray[np.floating], confidence: float, pitch: float) -> Mouth:
    """Scores of the mouth from the 68 points [68, 2].

    opened: the gap between the lips over its width, from .08 (shut, 0) to .4 (wide open, 1).

    smile: from .03 (0) to .23 (1), how far the corners lie above the middle of the lips over the mouth's width, along
    the mouth's own axes and less what the head's nod does to it, and .15 of how much wider than the mean the mouth is.
    By eye, of 30 photos with a smile above .5 and the lips apart 26 smile, of 40 above .5 with closed lips 25, of 30
    between .15 and .5 five.

    occluded is 0: points are placed on an occluder as on a mouth, so that only a mask model can tell. score: the
    detector's `confidence`.

    Args:
        points: float32 [68, 2].
        confidence: the detector's, in [0, 1].
        pitch: of the head in degrees, from `pose.from_68`.
    """
    left, right = points[48], points[54]
    across = right - left
    width = max(float(np.hypot(*across)), 1e-6)
    down = np.array([-across[1], across[0]]) / width
    gap = float(np.mean([_distance(points[a], points[b]) for a, b in ((61, 67), (62, 66), (63, 65))]))
    opening = gap / max(_distance(points[60], points[64]), 1e-6)
    lift = float(((points[51] + points[57]) / 2 - (left + right) / 2) @ down) / width
    level = lift + _LIPS_FORWARD * math.sin(math.radians(pitch))
    eyes_apart = _distance(points[_LEFT_EYE].mean(axis=0), points[_RIGHT_EYE].mean(axis=0))
    wider = width / max(eyes_apart, 1e-6) - _WIDTH
    return Mouth(
        opened=_between(opening, _MOUTH_SHUT, _MOUTH_OPEN),
        smile=_between(level + _WIDER * wider, _UNSMILING, _SMILING),
        occluded=0.0,
        score=confidence,
    )


def rounded(points: npt.NDArray[np.floating]) -> tuple[Point, ...]:
    """Points [n, 2] as whole pixels."""
    return tuple((int(x), int(y)) for x, y in np.rint(points))


def _eye(lid: npt.NDArray[np.floating], iris: Iris | None) -> Eye:
    height = (_distance(lid[1], lid[5]) + _distance(lid[2], lid[4])) / 2
    ratio = height / max(_distance(lid[0], lid[3]), 1e-6)
    if ratio < _CLOSED_BELOW:
        return Eye(EyeState.CLOSED, rounded(lid))
    return Eye(EyeState.OPEN, rounded(lid), rounded(iris.landmarks()) if iris else ())


def _distance(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> float:
    return float(np.hypot(*(a - b)))


def _between(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low)))
