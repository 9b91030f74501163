"""All checks of one face."""

from __future__ import annotations

from engines.vision.measures import background, estimated, picture, portrait, red_eyes, skin
from engines.vision.measures.estimated import Needs
from engines.vision.measures.measure import Missing
from engines.vision.view import FaceView
from server.domain.checks import CheckName, FaceQuality
from server.domain.vision import DetectedFace, Estimation


def measured(view: FaceView, face: DetectedFace, needs: Needs) -> FaceQuality:
    """The values of all checks that can be measured, and why the others cannot.

    Args:
        view: the face in its picture. Of a sample everything about picture, size and background is unavailable; its
            tilt is that of the sample, which alignment has taken away.
        face: what has been estimated of it: everything that checks are held to and that is served.
        needs: what must be installed or switched on for an estimation.
    """
    of_skin = skin.measured(view)
    coloured = of_skin[CheckName.FACE_COLOR_TYPE] == "color"
    measures = {
        **picture.measured(view),
        **background.measured(view),
        **portrait.measured(view, needs(Estimation.LANDMARKS68)),
        **of_skin,
        **red_eyes.measured(view, coloured=coloured),
        **estimated.measured(face, needs),
    }
    values = {name: value for name, value in measures.items() if not isinstance(value, Missing)}
    unavailable = {name: value.reason for name, value in measures.items() if isinstance(value, Missing)}
    return FaceQuality(values, unavailable)
