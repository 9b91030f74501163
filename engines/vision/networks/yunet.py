"""YuNet: faces and their five points.

Wu, Peng and Yu, YuNet: A Tiny Millisecond-level Face Detector, Machine Intelligence Research 2023. Reads the network
of March 2023 (source: opencv_zoo, models/face_detection_yunet; OpenCV's FaceDetectorYN): BGR in [0, 255], strides of
8, 16 and 32, a score that is the geometric mean of class and object.
"""

from __future__ import annotations

import numpy as np

from engines.packs.manifest import Pixels
from engines.runtime.runtime import RuntimeFailure, Session, Tensor
from engines.vision.networks.pixels import Images, forward, planes, side
from engines.vision.networks.single_shot import Seen

PIXELS = Pixels(colours="bgr")
SCORE, OVERLAP = 0.7, 0.3

_SIDE = 640
_STRIDES = (8, 16, 32)


class YuNet:
    """The network and how it is read (protocol: `engines.vision.networks.single_shot.Head`).

    Args:
        network: takes [n, 3, side, side]; gives cls, obj, bbox and kps for each stride, [n, (side/stride)^2, 1/1/4/10].
        pixels: how it takes colours.

    Raises:
        RuntimeFailure: it has other outputs.
    """

    def __init__(self, network: Session, pixels: Pixels = PIXELS) -> None:
        self._network = network
        self._pixels = pixels
        self._side = side(network, _SIDE)
        wanted = {f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in _STRIDES}
        if {spec.name for spec in network.outputs} != wanted:
            raise RuntimeFailure("the network has not the outputs of YuNet of March 2023")
        self._anchors = {stride: _anchors(self._side // stride) for stride in _STRIDES}

    @property
    def side(self) -> int:
        """Side of the squares in pixels."""
        return self._side

    def see(self, squares: Images) -> Seen:
        """What is seen in squares, uint8 [n, side, side, 3]."""
        answer = forward(self._network, planes(squares, self._pixels))
        boxes, scores, points = [], [], []
        for stride, anchors in self._anchors.items():
            box, face, object_ = (answer[f"{kind}_{stride}"] for kind in ("bbox", "cls", "obj"))
            centre, half = (anchors + box[..., :2]) * stride, np.exp(box[..., 2:]) * (stride / 2)
            boxes.append(np.concatenate([centre - half, centre + half], axis=2))
            scores.append(np.sqrt(np.clip(face[..., 0], 0, 1) * np.clip(object_[..., 0], 0, 1)))
            five = answer[f"kps_{stride}"].reshape(len(squares), -1, 5, 2)
            points.append((anchors[:, None] + five) * stride)
        return Seen(*(np.concatenate(parts, axis=1).astype(np.float32) for parts in (boxes, scores, points)))


def _anchors(count: int) -> Tensor:
    """(column, row) of every cell, float32 [count * count, 2]."""
    return np.stack(np.meshgrid(np.arange(count), np.arange(count)), axis=-1).reshape(-1, 2).astype(np.float32)
