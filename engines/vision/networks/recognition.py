"""Descriptors of faces by networks that take the 112x112 crop: SFace, ArcFace and their like.

Zhong et al., SFace: Sigmoid-Constrained Hypersphere Loss for Robust Face Recognition, TIP 2021, takes RGB in [0, 255]
(source: OpenCV's FaceRecognizerSF). Deng et al., ArcFace, CVPR 2019, takes RGB in [-1, 1] (source: insightface,
arcface_onnx.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engines.packs.manifest import Pixels
from engines.runtime.runtime import RuntimeFailure, Session
from engines.vision.decoding import Image
from engines.vision.networks.pixels import only, planes, side, unit
from engines.vision.networks.template import SIZE, crops

SFACE = Pixels()
ARCFACE = Pixels(mean=(127.5,), scale=(1 / 127.5,))


class RecognitionNetwork:
    """Describes warps (protocol: `engines.vision.tasks.Describer`).

    Args:
        network: takes [n, 3, 112, 112]; gives [n, dimensions].
        version: of the descriptors.
        dimensions: of the descriptors.
        pixels: how it takes colours.

    Raises:
        RuntimeFailure: the network takes or gives something else.
    """

    def __init__(self, network: Session, *, version: int, dimensions: int, pixels: Pixels) -> None:
        self._network = network
        self._version = version
        self._dimensions = dimensions
        self._pixels = pixels
        if side(network, SIZE) != SIZE or network.outputs[0].shape[-1] not in {dimensions, None}:
            shapes = network.inputs[0].shape, network.outputs[0].shape
            message = f"a network from [n, 3, {SIZE}, {SIZE}] to [n, {dimensions}] is needed, this one is {shapes}"
            raise RuntimeFailure(message)

    @property
    def version(self) -> int:
        """Version of the descriptors."""
        return self._version

    def describe(self, warps: Sequence[Image]) -> npt.NDArray[np.float32]:
        """Descriptors of unit length, float32 [n, dimensions]."""
        rows = only(self._network, planes(crops(warps), self._pixels))
        return unit(rows.reshape(len(warps), self._dimensions))
