"""Graphs that give the same and that ONNX Runtime's CPU kernels run faster.

ONNX Runtime keeps chains of convolutions in a blocked layout (NCHWc). `PRelu` has no kernel for it: it costs two
changes of layout and broadcasts its slopes element by element, which in MTCNN takes longer than all convolutions
together. It is a x + (1 - a) max(x, 0), which stays in the layout where the products are depthwise convolutions of one
pixel; their sum is fused. Results differ by rounding alone. What follows dense layers is small and stays.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

Weights = npt.NDArray[np.float32]

_SUMS = frozenset({"Conv", "BatchNormalization"})
"""Operators whose sums `PRelu` may follow; a normalisation is folded into the convolution before it."""


def faster(model: onnx.ModelProto) -> bytes | None:
    """The serialised model with what can be said faster, and `model` becomes that; None where there is nothing.

    Nothing is rewritten of a model whose weights lie beside its file, for they would be missing from the bytes.
    """
    if any(one.data_location == onnx.TensorProto.EXTERNAL for one in model.graph.initializer):
        return None
    return model.SerializeToString() if _Rewriting(model.graph).done() else None


class _Rewriting:
    """Rewrites a graph in place."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._constants = {one.name: one for one in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output}

    def done(self) -> bool:
        """True where something has been rewritten."""
        replaced: dict[str, list[onnx.NodeProto]] = {}
        for node in self._graph.node:
            if node.op_type == "PRelu" and (nodes := list(self._prelu(node))):
                replaced[node.output[0]] = nodes
        if not replaced:
            return False
        kept = [new for node in self._graph.node for new in replaced.get(node.output[0], [node])]
        used = {name for node in kept for name in node.input} | {one.name for one in self._graph.output}
        kept = [node for node in kept if used.intersection(node.output)]
        tensors = [one for one in self._graph.initializer if one.name in used]
        del self._graph.node[:], self._graph.initializer[:]
        self._graph.node.extend(kept)
        self._graph.initializer.extend(tensors)
        return True

    def _prelu(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        value, result = node.input[0], node.output[0]
        slope, maker = self._constant(node.input[1]), self._makers.get(value)
        if slope is None or maker is None or maker.op_type not in _SUMS:
            return
        channels = slope.size
        # [c, 1, 1] and the same with a batch are slopes of channels; anything else is left to PRelu
        if slope.ndim not in (3, 4) or slope.shape[-3:] != (channels, 1, 1) or not self._planes(maker):
            return
        kernel = slope.reshape(channels, 1, 1, 1)
        positive, above, below = (f"{result}/{part}" for part in ("positive", "above", "below"))
        yield onnx.helper.make_node("Relu", [value], [positive])
        for source, product, factor in ((positive, above, 1 - kernel), (value, below, kernel)):
            weights = self._add(f"{product}/w", factor)
            yield onnx.helper.make_node("Conv", [source, weights], [product], group=channels, kernel_shape=[1, 1])
        yield onnx.helper.make_node("Add", [below, above], [result])

    def _planes(self, maker: onnx.NodeProto) -> bool:
        """True where a node gives [n, channels, height, width]."""
        while maker.op_type != "Conv":
            before = self._makers.get(maker.input[0])
            if before is None or before.op_type not in _SUMS:
                return False
            maker = before
        weight = self._constant(maker.input[1])
        return weight is not None and weight.ndim == 4

    def _constant(self, name: str) -> Weights | None:
        """A constant of the graph as float32; None where it is none, or has another type."""
        tensor = self._constants.get(name)
        if tensor is None or tensor.data_type != onnx.TensorProto.FLOAT:
            return None
        return np.asarray(numpy_helper.to_array(tensor), np.float32)

    def _add(self, name: str, value: Weights) -> str:
        self._graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name
