"""Gender by dlib's small network.

Antipov, Berrani and Dugelay, Minimalistic CNN-based Ensemble Model for Gender Prediction from Face Images, PRL 2016, as
trained by Cydral (source: davisking/dlib-models, gender-classifier): dlib's chip of 32 pixels with a padding of 0.2,
RGB in [0, 255]; probabilities of female and male. It says what a face looks like to a network that knows two answers,
and nothing about who a person is.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from engines.packs.manifest import Pixels
from engines.runtime.runtime import RuntimeFailure, Session
from engines.vision import alignment
from engines.vision.decoding import Image
from engines.vision.networks.pixels import only, planes, probabilities, side
from engines.vision.view import FaceView

PIXELS = Pixels()

_SIDE = 32
_PADDING = 0.2
_FINE = 6
"""The chip is first cut with so many times its pixels, about those of the warp, and then shrunk by area means."""


class DlibGenderNetwork:
    """Estimates the probability of the gender male (protocol: `engines.vision.tasks.FaceEstimator`).

    Args:
        network: takes [n, 3, 32, 32]; gives probabilities of female and male, [n, 2].
        pixels: how it takes colours.

    Raises:
        RuntimeFailure: the network takes or gives something else.
    """

    def __init__(self, network: Session, pixels: Pixels = PIXELS) -> None:
        self._network = network
        self._pixels = pixels
        if side(network, _SIDE) != _SIDE or network.outputs[0].shape[-1] not in {2, None}:
            message = f"a network from [n, 3, {_SIDE}, {_SIDE}] to [n, 2] is needed"
            raise RuntimeFailure(message)

    def estimate(self, faces: Sequence[FaceView]) -> list[float]:
        """The probability of the gender male of each face, in [0, 1]."""
        chips = np.stack([chip(face.warp) for face in faces])
        rows = probabilities(only(self._network, planes(chips, self._pixels)))
        return [float(male) for male in rows[:, 1]]


def chip(warp: Image) -> Image:
    """The chip of dlib, uint8 [32, 32, 3], cut out of a warp by a fixed transform."""
    start, unit = alignment.unit_square()
    begin, length = start - _PADDING * unit, (1 + 2 * _PADDING) * unit
    fine = _SIDE * _FINE
    scale = fine / length
    shift = (0.5 - begin) * scale - 0.5
    matrix = np.array([[scale, 0, shift], [0, scale, shift]])
    cut = cv2.warpAffine(warp, matrix, (fine, fine), flags=cv2.INTER_LINEAR)
    return np.asarray(cv2.resize(cut, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.uint8)
