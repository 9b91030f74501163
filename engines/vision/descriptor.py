"""Face descriptors by dlib's ResNet.

He et al., Deep Residual Learning for Image Recognition, CVPR 2016, in the form of 29 convolutions that dlib's author
trained on three million faces with a metric loss (source: dlib's examples/dnn_face_recognition_ex.cpp).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engines.runtime.runtime import Session
from engines.vision.alignment import chip
from engines.vision.decoding import Image

DIMENSIONS = 128

_BATCH = 16


class DescriptorNetwork:
    """Describes warps.

    Args:
        network: input `chips` float32 [n, 3, 150, 150], RGB, [0, 255]; output `descriptor` float32 [n, 128].
        version: of the descriptors (`server.domain.descriptors`).
        flip_averaging: average the descriptors of a face and its mirror image, which removes some of the noise and
            doubles the time.
    """

    def __init__(self, network: Session, *, version: int, flip_averaging: bool) -> None:
        self._network = network
        self._version = version
        self._flip = flip_averaging

    @property
    def version(self) -> int:
        """Version of the descriptors."""
        return self._version

    def describe(self, warps: Sequence[Image]) -> npt.NDArray[np.float32]:
        """Descriptors of unit length, float32 [n, 128]."""
        chips = np.stack([chip(warp) for warp in warps])
        described = self._run(chips)
        if self._flip:
            described = described + self._run(chips[:, :, ::-1])
        length = np.linalg.norm(described, axis=1, keepdims=True)
        return np.asarray(described / np.maximum(length, 1e-12), np.float32)

    def _run(self, chips: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        planes = np.ascontiguousarray(chips.transpose(0, 3, 1, 2), np.float32)
        parts = [
            self._network.run({"chips": planes[begin : begin + _BATCH]})["descriptor"]
            for begin in range(0, len(planes), _BATCH)
        ]
        return np.concatenate(parts)
