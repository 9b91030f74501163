"""Emotions from the expression of a face, by a MobileFaceNet.

Jiang and Deng, Boosting Facial Expression Recognition by a Semi-Supervised Progressive Teacher, TAC 2021 (source:
opencv_zoo, models/facial_expression_recognition): the 112x112 crop, RGB in [-1, 1], seven classes. What is estimated is
what a face shows, not what a person feels. No threshold: the probabilities are the network's.
"""

from __future__ import annotations

from collections.abc import Sequence

from engines.packs.manifest import Pixels
from engines.runtime.runtime import RuntimeFailure, Session
from engines.vision.networks.pixels import only, planes, probabilities, side
from engines.vision.networks.template import SIZE, crops
from engines.vision.view import FaceView
from server.domain.vision import Emotion, Emotions

PIXELS = Pixels(mean=(127.5,), scale=(1 / 127.5,))

CLASSES = (
    Emotion.ANGER,
    Emotion.DISGUST,
    Emotion.FEAR,
    Emotion.HAPPINESS,
    Emotion.NEUTRAL,
    Emotion.SADNESS,
    Emotion.SURPRISE,
)
"""The network's classes in its order: angry, disgust, fearful, happy, neutral, sad, surprised."""


class ExpressionNetwork:
    """Estimates emotions (protocol: `engines.vision.tasks.FaceEstimator`).

    Args:
        network: takes [n, 3, 112, 112]; gives scores or probabilities [n, 7].
        pixels: how it takes colours.

    Raises:
        RuntimeFailure: the network takes or gives something else.
    """

    def __init__(self, network: Session, pixels: Pixels = PIXELS) -> None:
        self._network = network
        self._pixels = pixels
        if side(network, SIZE) != SIZE or network.outputs[0].shape[-1] not in {len(CLASSES), None}:
            message = f"a network from [n, 3, {SIZE}, {SIZE}] to [n, {len(CLASSES)}] is needed"
            raise RuntimeFailure(message)

    def estimate(self, faces: Sequence[FaceView]) -> list[Emotions]:
        """The emotions of each face."""
        rows = probabilities(only(self._network, planes(crops([face.warp for face in faces]), self._pixels)))
        return [Emotions(dict(zip(CLASSES, map(float, row), strict=True))) for row in rows]
