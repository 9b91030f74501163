"""Where the head is in the picture and how large: the geometry of a full frontal image."""

from __future__ import annotations

import numpy as np

from engines.vision.measures.axes import axes, eyes
from engines.vision.measures.measure import OF_SAMPLE, Measures, Missing
from engines.vision.view import FaceView
from server.domain.checks import CheckName

_CROWN = 1.7
"""Height of the crown above the eyes' line in distances of the eyes: 1.68 in the mean of 23 bald or short-haired heads
on which it was marked by hand, with a standard deviation of .22 (most of it from nodding)."""

_EARS, _CHIN = (0, 16), 8
_NAMES = (
    CheckName.HEAD_HORIZONTAL_CENTER,
    CheckName.HEAD_VERTICAL_CENTER,
    CheckName.HEAD_WIDTH,
    CheckName.HEAD_HEIGHT,
    CheckName.EYE_DISTANCE,
)


def measured(view: FaceView, needs_68: str | None) -> Measures:
    """Position and size of the head, after ISO/IEC 19794-5, clause 8.3 (full frontal image).

    head_horizontal_center, head_vertical_center: the point midway between the eyes over the picture's width, from its
    left edge, and over its height, from its upper edge.

    head_width: the distance of the ears over the picture's width. The ears are the uppermost two points of the jaw's
    line among the 68; a turned head appears narrower than it is.

    head_height: from the chin to the crown over the picture's height. The chin is the lowest of the 68 points. The
    crown is not seen by any of them: it is taken to be 1.7 eye distances above the eyes, which is off by more than 6 %
    of the head's height in one of three faces.

    eye_distance: pixels between the centres of the eyes, in the picture as it came.

    Args:
        view: the face.
        needs_68: what has to be switched on for the 68 points.
    """
    if view.sample:
        return dict.fromkeys(_NAMES, OF_SAMPLE)
    height, width = view.image.shape[:2]
    left, right = eyes(view)
    face = axes(view)
    measures = {
        CheckName.HEAD_HORIZONTAL_CENTER: float(face.origin[0] + 0.5) / width,
        CheckName.HEAD_VERTICAL_CENTER: float(face.origin[1] + 0.5) / height,
        CheckName.EYE_DISTANCE: float(np.hypot(*(right - left))),
    }
    if view.points68 is None:
        missing = Missing(needs_68 or "the 68-point landmark model")
        return measures | {CheckName.HEAD_WIDTH: missing, CheckName.HEAD_HEIGHT: missing}
    ears = view.points68[_EARS[1]] - view.points68[_EARS[0]]
    chin = float(face.at(view.points68[_CHIN])[1])
    return measures | {
        CheckName.HEAD_WIDTH: float(np.hypot(*ears)) / width,
        CheckName.HEAD_HEIGHT: (chin + _CROWN) * face.unit / height,
    }
