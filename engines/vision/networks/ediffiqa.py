"""How well a face can be recognised, by eDifFIQA(T).

Babnik, Peer and Štruc, eDifFIQA: Towards Efficient Face Image Quality Assessment Based on Denoising Diffusion
Probabilistic Models, TBIOM 2024 (source: opencv_zoo, models/face_image_quality_assessment_ediffiqa): the 112x112 crop,
RGB in [-1, 1], one number. It is trained towards [0, 1] and cut off there. On LFW most faces have more than 0.5
(publisher's figure); no threshold is applied here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engines.packs.manifest import Pixels
from engines.runtime.runtime import RuntimeFailure, Session
from engines.vision.networks.pixels import only, planes, side
from engines.vision.networks.template import SIZE, crops
from engines.vision.view import FaceView

PIXELS = Pixels(mean=(127.5,), scale=(1 / 127.5,))


class FaceQualityNetwork:
    """Estimates the quality of samples (protocol: `engines.vision.tasks.FaceEstimator`).

    Args:
        network: takes [n, 3, 112, 112]; gives one number for each.
        pixels: how it takes colours.

    Raises:
        RuntimeFailure: the network takes something else.
    """

    def __init__(self, network: Session, pixels: Pixels = PIXELS) -> None:
        self._network = network
        self._pixels = pixels
        if side(network, SIZE) != SIZE:
            message = f"a network that takes [n, 3, {SIZE}, {SIZE}] is needed, not {network.inputs[0].shape}"
            raise RuntimeFailure(message)

    def estimate(self, faces: Sequence[FaceView]) -> list[float]:
        """The quality of each face, in [0, 1]."""
        values = only(self._network, planes(crops([face.warp for face in faces]), self._pixels))
        return [float(value) for value in np.clip(values.reshape(len(faces)), 0, 1)]
