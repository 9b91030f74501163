"""Gender and age by InsightFace's attribute network.

Source: insightface, model_zoo/attribute.py: a square of 1.5 times the face's longer side, black where the picture ends,
RGB in [0, 255], 96x96; scores of female and male, and the age over 100. Both are apparent: an age is off by years.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from engines.packs.manifest import Pixels
from engines.runtime.runtime import RuntimeFailure, Session, Tensor
from engines.vision.networks.pixels import only, planes, probabilities, side
from engines.vision.networks.surroundings import crop, square
from engines.vision.view import FaceView

PIXELS = Pixels()

_SIDE = 96
_AROUND = 1.5
_YEARS = 100


class _AttributeNetwork:
    """The network, which both estimators share."""

    def __init__(self, network: Session, pixels: Pixels = PIXELS) -> None:
        """See `GenderNetwork` and `AgeNetwork`."""
        self._network = network
        self._pixels = pixels
        self._side = side(network, _SIDE)
        if network.outputs[0].shape[-1] not in {3, None}:
            message = f"a network that gives [n, 3] is needed, not {network.outputs[0].shape}"
            raise RuntimeFailure(message)

    def _rows(self, faces: Sequence[FaceView]) -> Tensor:
        crops = [crop(face, square(face, _AROUND), self._side, cv2.BORDER_CONSTANT) for face in faces]
        return only(self._network, planes(np.stack(crops), self._pixels)).reshape(len(faces), 3)


class GenderNetwork(_AttributeNetwork):
    """Estimates the probability of the gender male (protocol: `engines.vision.tasks.FaceEstimator`).

    Args:
        network: takes [n, 3, 96, 96]; gives [n, 3].
        pixels: how it takes colours.

    Raises:
        RuntimeFailure: the network gives something else.
    """

    def estimate(self, faces: Sequence[FaceView]) -> list[float]:
        """The probability of the gender male of each face, in [0, 1]."""
        return [float(male) for male in probabilities(self._rows(faces)[:, :2])[:, 1]]


class AgeNetwork(_AttributeNetwork):
    """Estimates the age (protocol: `engines.vision.tasks.FaceEstimator`).

    Args:
        network: takes [n, 3, 96, 96]; gives [n, 3].
        pixels: how it takes colours.

    Raises:
        RuntimeFailure: the network gives something else.
    """

    def estimate(self, faces: Sequence[FaceView]) -> list[float]:
        """The age of each face in years, in [0, 100]."""
        return [float(age) for age in np.clip(self._rows(faces)[:, 2] * _YEARS, 0, _YEARS)]
