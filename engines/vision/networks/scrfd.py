"""SCRFD: faces and their five points.

Guo, Deng, Lattas and Zafeiriou, Sample and Computation Redistribution for Efficient Face Detection, ICLR 2022. Reads
the networks with points of InsightFace's packs (source: its python package, model_zoo/retinaface.py): RGB, strides of
8, 16 and 32, two anchors a cell, distances from the anchor to the box's sides in strides. Outputs have no telling
names: they come as scores, boxes, points, each by ascending stride.
"""

from __future__ import annotations

import numpy as np

from engines.packs.manifest import Pixels
from engines.runtime.runtime import RuntimeFailure, Session, Tensor
from engines.vision.networks.pixels import Images, planes, side
from engines.vision.networks.single_shot import Seen

PIXELS = Pixels(mean=(127.5,), scale=(1 / 128,))
SCORE, OVERLAP = 0.5, 0.4

_SIDE = 640
_STRIDES = (8, 16, 32)
_ANCHORS = 2


class Scrfd:
    """The network and how it is read (protocol: `engines.vision.networks.single_shot.Head`).

    Args:
        network: takes [1, 3, side, side]; gives [anchors, 1], [anchors, 4] and [anchors, 10] for each stride,
            with or without a batch of one in front.
        pixels: how it takes colours.

    Raises:
        RuntimeFailure: it has not nine outputs.
    """

    def __init__(self, network: Session, pixels: Pixels = PIXELS) -> None:
        self._network = network
        self._pixels = pixels
        self._side = side(network, _SIDE)
        if len(network.outputs) != 3 * len(_STRIDES):
            raise RuntimeFailure("the network has not the nine outputs of SCRFD with points")
        self._anchors = [_anchors(self._side // stride) * stride for stride in _STRIDES]

    @property
    def side(self) -> int:
        """Side of the squares in pixels."""
        return self._side

    def see(self, squares: Images) -> Seen:
        """What is seen in squares, uint8 [n, side, side, 3]: one call for each, as the outputs have no batch."""
        parts = [self._one(values) for values in planes(squares, self._pixels)]
        return Seen(*(np.stack(values).astype(np.float32) for values in zip(*parts, strict=True)))

    def _one(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        answer = self._network.run({self._network.inputs[0].name: values[None]})
        outputs = [answer[spec.name] for spec in self._network.outputs]
        count = len(_STRIDES)
        boxes, scores, points = [], [], []
        for place, (stride, anchors) in enumerate(zip(_STRIDES, self._anchors, strict=True)):
            score, box, five = outputs[place], outputs[count + place], outputs[2 * count + place]
            distance = box.reshape(-1, 4) * stride
            boxes.append(np.concatenate([anchors - distance[:, :2], anchors + distance[:, 2:]], axis=1))
            scores.append(np.clip(score.reshape(-1), 0, 1))
            points.append(anchors[:, None] + five.reshape(-1, 5, 2) * stride)
        return np.concatenate(boxes), np.concatenate(scores), np.concatenate(points)


def _anchors(count: int) -> Tensor:
    """(column, row) of every anchor, float32 [2 * count * count, 2]."""
    cells = np.stack(np.meshgrid(np.arange(count), np.arange(count)), axis=-1).reshape(-1, 2)
    return np.repeat(cells, _ANCHORS, axis=0).astype(np.float32)
