"""The three networks of MTCNN as ONNX, from the Keras weights in the package `mtcnn`.

Zhang et al., Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks, SPL 2016. Keras keeps
convolutions as [height, width, in, out] and, in this package, flattens feature maps in the order width, height,
channels; ONNX has [out, in, height, width] and flattens channels, height, width.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import joblib
import numpy as np
import numpy.typing as npt

from engines.packs.errors import SourceUnreadable
from engines.packs.graph import Graph

Array = npt.NDArray[np.float32]


def weights(data: bytes) -> list[Array]:
    """The weights in a verified source, in the order of the Keras layers.

    The data is a joblib pickle: only bytes whose checksum is pinned may come here (`engines.packs.sources.read`).

    Raises:
        SourceUnreadable: the data is no list of arrays.
    """
    loaded = joblib.load(io.BytesIO(data))
    if not isinstance(loaded, list) or not all(isinstance(item, np.ndarray) for item in loaded):
        raise SourceUnreadable("the weights of mtcnn are no list of arrays")
    return [np.asarray(item, np.float32) for item in loaded]


class _Builder:
    """Consumes weights in order while the graph grows."""

    def __init__(self, name: str, parameters: list[Array]) -> None:
        self.graph = Graph(name)
        self._parameters: Iterator[Array] = iter(parameters)

    def next(self, dimensions: int) -> Array:
        parameter = next(self._parameters, None)
        if parameter is None or parameter.ndim != dimensions:
            raise SourceUnreadable(f"the weights of mtcnn lack an array of {dimensions} dimensions")
        return parameter

    def finish(self) -> None:
        if next(self._parameters, None) is not None:
            raise SourceUnreadable("the weights of mtcnn have more arrays than the network")

    def convolution(self, x: str, output: str | None = None) -> str:
        weight, bias = self.next(4), self.next(1)
        return self.graph.convolution(x, weight.transpose(3, 2, 0, 1), bias, output=output)

    def prelu(self, x: str) -> str:
        slope = self.next(3).reshape(-1, 1, 1)
        return self.graph.add("PRelu", x, self.graph.constant(slope))

    def stage(self, x: str) -> str:
        return self.prelu(self.convolution(x))

    def pool(self, x: str, window: int, *, pad_end: int = 0) -> str:
        pads = [0, 0, pad_end, pad_end]
        return self.graph.add("MaxPool", x, kernel_shape=[window] * 2, strides=[2, 2], pads=pads)

    def hidden(self, x: str, rows: int, columns: int, channels: int) -> str:
        """Flattens a feature map; then a dense layer with a PReLU."""
        weight, bias = self.next(2), self.next(1)
        ordered = weight.reshape(columns, rows, channels, -1).transpose(2, 1, 0, 3).reshape(weight.shape)
        flat = self.graph.add("Flatten", x, axis=1)
        dense = self.graph.add("Gemm", flat, self.graph.constant(ordered), self.graph.constant(bias))
        return self.graph.add("PRelu", dense, self.graph.constant(self.next(1)))

    def dense(self, x: str, output: str | None = None) -> str:
        weight, bias = self.next(2), self.next(1)
        return self.graph.add("Gemm", x, self.graph.constant(weight), self.graph.constant(bias), output=output)

    def probability(self, x: str) -> None:
        self.graph.add("Softmax", x, output="probability", axis=1)


def proposal(parameters: list[Array]) -> bytes:
    """P-Net, the proposal network; fully convolutional with stride 2 and a window of 12.

    Input `image`: float32 [batch, 3, height, width], RGB, (value - 127.5) / 128. Outputs: `regression` float32
    [batch, 4, rows, columns], shifts of (x1, y1, x2, y2) in units of the window; `probability` [batch, 2, rows,
    columns].
    """
    net = _Builder("mtcnn_proposal", parameters)
    x = net.stage("image")
    x = net.graph.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    x = net.stage(net.stage(x))
    net.convolution(x, output="regression")
    net.probability(net.convolution(x))
    net.finish()
    plane: list[int | str] = ["rows", "columns"]
    return net.graph.serialize(
        {"image": ["batch", 3, "height", "width"]},
        {"regression": ["batch", 4, *plane], "probability": ["batch", 2, *plane]},
    )


def refinement(parameters: list[Array]) -> bytes:
    """R-Net, the refinement network.

    Input `crops`: float32 [batch, 3, 24, 24], scaled as for `proposal`. Outputs: `regression` float32 [batch, 4], in
    units of the box; `probability` [batch, 2].
    """
    net = _Builder("mtcnn_refinement", parameters)
    x = net.pool(net.stage("crops"), 3, pad_end=1)
    x = net.pool(net.stage(x), 3)
    x = net.hidden(net.stage(x), 3, 3, 64)
    net.dense(x, output="regression")
    net.probability(net.dense(x))
    net.finish()
    return net.graph.serialize(
        {"crops": ["batch", 3, 24, 24]}, {"regression": ["batch", 4], "probability": ["batch", 2]}
    )


def output(parameters: list[Array]) -> bytes:
    """O-Net, the output network.

    Input `crops`: float32 [batch, 3, 48, 48], scaled as for `proposal`. Outputs: `regression` float32 [batch, 4];
    `points` [batch, 10], five x and five y in units of the box; `probability` [batch, 2].
    """
    net = _Builder("mtcnn_output", parameters)
    x = net.pool(net.stage("crops"), 3, pad_end=1)
    x = net.pool(net.stage(x), 3)
    x = net.pool(net.stage(x), 2)
    x = net.hidden(net.stage(x), 3, 3, 128)
    net.dense(x, output="regression")
    net.dense(x, output="points")
    net.probability(net.dense(x))
    net.finish()
    return net.graph.serialize(
        {"crops": ["batch", 3, 48, 48]},
        {"regression": ["batch", 4], "points": ["batch", 10], "probability": ["batch", 2]},
    )
