"""Descriptors of bodies by Tencent Youtu's re-identification network.

Source: opencv_zoo, models/person_reid_youtureid: the body's 128x256 crop, RGB, normalised by ImageNet's means and
deviations; 768 numbers, compared by their cosine. It recognises clothes and shapes, for hours and not for years.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engines.packs.manifest import Pixels
from engines.runtime.runtime import RuntimeFailure, Session
from engines.vision.decoding import Image
from engines.vision.networks.pixels import only, planes, unit
from server.domain.vision import BODY_HEIGHT, BODY_WIDTH

PIXELS = Pixels(mean=(123.675, 116.28, 103.53), scale=(1 / 58.395, 1 / 57.12, 1 / 57.375))


class ReidentificationNetwork:
    """Describes body warps (protocol: `engines.vision.tasks.Describer`).

    Args:
        network: takes [n, 3, 256, 128]; gives [n, dimensions], with or without ones behind.
        version: of the descriptors.
        dimensions: of the descriptors.
        pixels: how it takes colours.

    Raises:
        RuntimeFailure: the network takes something else.
    """

    def __init__(self, network: Session, *, version: int, dimensions: int, pixels: Pixels = PIXELS) -> None:
        self._network = network
        self._version = version
        self._dimensions = dimensions
        self._pixels = pixels
        if not network.inputs[0].fits((network.inputs[0].shape[0] or 1, 3, BODY_HEIGHT, BODY_WIDTH)):
            message = f"a network that takes [n, 3, {BODY_HEIGHT}, {BODY_WIDTH}] is needed"
            raise RuntimeFailure(message)

    @property
    def version(self) -> int:
        """Version of the descriptors."""
        return self._version

    def describe(self, warps: Sequence[Image]) -> npt.NDArray[np.float32]:
        """Descriptors of unit length, float32 [n, dimensions]."""
        return unit(only(self._network, planes(warps, self._pixels)).reshape(len(warps), self._dimensions))
