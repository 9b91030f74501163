"""Liveness by MiniFASNetV2-SE: tells a living face from a printed or displayed one in a single picture.

Source: Minivision's Silent-Face-Anti-Spoofing, in the form of face-antispoof-onnx: a square of 1.5 times the face's
longer side, mirrored where the picture ends, RGB in [0, 1], 128x128; two logits, real and spoof. The publisher decides
at 0.5 (`Liveness.state` takes the caller's threshold).

A single picture shows no movement and no depth. Networks of this kind are known to fail on cameras and attacks that
they were not trained with: it is a hurdle, not a proof. A face sample cannot be judged: what is around the face is not
in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from engines.packs.manifest import Pixels
from engines.runtime.runtime import RuntimeFailure, Session
from engines.vision.networks.pixels import only, planes, side
from engines.vision.networks.surroundings import crop, shown, square
from engines.vision.view import FaceView
from server.domain.vision import Liveness

PIXELS = Pixels(scale=(1 / 255,))

AROUND = 1.5
"""Side of the crop, in longer sides of the face's rectangle."""

_SIDE = 128
_CLASSES = 2


class LivenessNetwork:
    """Estimates liveness (protocol: `engines.vision.tasks.FaceEstimator`).

    Args:
        network: takes [n, 3, 128, 128]; gives two logits, real and spoof.
        pixels: how it takes colours.
        around: side of the crop, in longer sides of the face's rectangle.

    Raises:
        RuntimeFailure: the network gives something else.
    """

    def __init__(self, network: Session, pixels: Pixels = PIXELS, *, around: float = AROUND) -> None:
        self._network = network
        self._pixels = pixels
        self._around = around
        self._side = side(network, _SIDE)
        if network.outputs[0].shape[-1] not in {_CLASSES, None}:
            message = f"a network that gives [n, {_CLASSES}] is needed, not {network.outputs[0].shape}"
            raise RuntimeFailure(message)

    def estimate(self, faces: Sequence[FaceView]) -> list[Liveness]:
        """The liveness of each face.

        The score is the softmax of the logits. The quality is 1 where the crop has at least as many pixels as the
        network and lies in the picture; it falls with the missing part of its side and of its area.

        Raises:
            ValueError: a face is a sample.
        """
        if any(face.sample for face in faces):
            raise ValueError("liveness cannot be estimated of samples")
        areas = [square(face, self._around) for face in faces]
        cut = [crop(face, area, self._side, cv2.BORDER_REFLECT_101) for face, area in zip(faces, areas, strict=True)]
        logits = only(self._network, planes(np.stack(cut), self._pixels))
        scores = 1 / (1 + np.exp(np.clip(logits[:, 1] - logits[:, 0], -60, 60)))
        return [
            Liveness(float(score), min(1.0, area.width / self._side) * shown(face, area))
            for score, face, area in zip(scores, faces, areas, strict=True)
        ]
