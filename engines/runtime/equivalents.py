"""Graphs that give the same and that ONNX Runtime's CPU kernels run faster. Results differ by rounding alone.

ONNX Runtime keeps chains of convolutions in a blocked layout (NCHWc) of 8 or 16 channels. What has no kernel for it
costs changes of layout, and those can take longer than the convolutions, as in MTCNN. It is said in other words:

- `PRelu` as a x + (1 - a) max(x, 0), whose products are depthwise convolutions of one pixel. Their sum is fused, and so
  is the maximum where no slope is above 1, as a x + max((1 - a) x, 0).
- Those need whole blocks. What a convolution before `PRelu` lacks is filled with channels of zeros, which it computes
  anyway, and which what follows multiplies by zero.
- `Softmax` of two channels as the logistic function of their difference, which is made by the convolution before it.
- Convolutions of one input that fill less than a block each, as one.

What follows dense layers is small and stays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

Weights = npt.NDArray[np.float32]

_BLOCK = 16
"""Channels of a block; where the processor's are of 8, two of them."""

_SOFTMAX_OF_AN_AXIS = 13
"""Operators since which `Softmax` is that of one axis, and `Split` takes its sizes as an input."""

_SUMS = frozenset({"Conv", "BatchNormalization"})
"""Operators whose sums `PRelu` may follow; a normalisation is folded into the convolution before it."""

_BY_CHANNEL = frozenset({"MaxPool", "AveragePool"})
"""Operators that channels of zeros pass as zeros."""


def faster(model: onnx.ModelProto) -> bytes | None:
    """The serialised model with what can be said faster, and `model` becomes that; None where there is nothing.

    Nothing is rewritten of a model whose weights lie beside its file, for they would be missing from the bytes.
    """
    if any(one.data_location == onnx.TensorProto.EXTERNAL for one in model.graph.initializer):
        return None
    graph = _Graph(model.graph)
    rewrites = [_fill_blocks, _say_slopes]
    if any(one.domain == "" and one.version >= _SOFTMAX_OF_AN_AXIS for one in model.opset_import):
        rewrites += [_say_softmax, _join_small]
    changed = [rewrite(graph) for rewrite in rewrites]
    if not any(changed):
        return None
    graph.finish()
    return model.SerializeToString()


class _Graph:
    """A graph that is being rewritten: its nodes in their order, its constants, and who makes and uses what."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._constants = {one.name: one for one in graph.initializer}
        self.outputs = frozenset(one.name for one in graph.output)
        self.nodes: list[onnx.NodeProto] = []
        self.makers: dict[str, onnx.NodeProto] = {}
        self.users: dict[str, list[onnx.NodeProto]] = {}
        self._ordered(graph.node)

    def of(self, operator: str) -> list[onnx.NodeProto]:
        """The nodes of one operator."""
        return [node for node in self.nodes if node.op_type == operator]

    def constant(self, name: str) -> Weights | None:
        """A constant as float32; None where it is none, or has another type."""
        tensor = self._constants.get(name)
        if tensor is None or tensor.data_type != onnx.TensorProto.FLOAT:
            return None
        return np.asarray(numpy_helper.to_array(tensor), np.float32)

    def add(self, name: str, value: npt.NDArray[np.generic]) -> str:
        """A new constant; its name."""
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def inside(self, name: str) -> bool:
        """True where nobody outside of the graph sees a value."""
        return name not in self.outputs

    def replace(self, replaced: dict[str, list[onnx.NodeProto]]) -> bool:
        """Put nodes into the places of those whose first output is named; False where there are none."""
        if replaced:
            self._ordered([new for node in self.nodes for new in replaced.get(node.output[0], [node])])
        return bool(replaced)

    def finish(self) -> None:
        """Write the graph, without what is of no use any more."""
        used = {name for node in self.nodes for name in node.input} | self.outputs
        kept = [node for node in self.nodes if used.intersection(node.output)]
        tensors = [one for one in self._constants.values() if one.name in used]
        del self._graph.node[:], self._graph.initializer[:]
        self._graph.node.extend(kept)
        self._graph.initializer.extend(tensors)

    def _ordered(self, nodes: Iterable[onnx.NodeProto]) -> None:
        self.nodes = list(nodes)
        self.makers = {name: node for node in self.nodes for name in node.output}
        users: defaultdict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                users[name].append(node)
        self.users = users


class _Convolution:
    """A convolution of planes with constant weights and a bias of zeros where it has none."""

    def __init__(self, node: onnx.NodeProto, weights: Weights, bias: Weights) -> None:
        self.node = node
        self.weights = weights
        self.bias = bias

    @classmethod
    def read(cls, graph: _Graph, node: onnx.NodeProto | None) -> _Convolution | None:
        """A node as a convolution; None where it is none of this kind."""
        if node is None or node.op_type != "Conv" or any(one.name == "group" and one.i != 1 for one in node.attribute):
            return None
        weights = graph.constant(node.input[1])
        bias = graph.constant(node.input[2]) if len(node.input) > 2 else np.zeros(0, np.float32)
        if weights is None or bias is None or weights.ndim != 4:
            return None
        return cls(node, weights, bias if bias.size else np.zeros(len(weights), np.float32))

    def write(self, graph: _Graph, weights: Weights, bias: Weights) -> None:
        """Give the node other weights. Constants may have other users, so new ones are made."""
        name = self.node.output[0]
        del self.node.input[1:]
        self.node.input.extend([graph.add(f"{name}/weights", weights), graph.add(f"{name}/bias", bias)])


def _fill_blocks(graph: _Graph) -> bool:
    """Fills the blocks of what comes before `PRelu`, where all that follows are convolutions, pooled or not."""
    filled = [_fill(graph, node) for node in graph.of("PRelu")]
    return any(filled)


def _fill(graph: _Graph, node: onnx.NodeProto) -> bool:
    value, result = node.input[0], node.output[0]
    before = _Convolution.read(graph, graph.makers.get(value))
    slopes = _slopes(graph, node)
    following = _convolutions_after(graph, result)
    if before is None or slopes is None or following is None or len(graph.users[value]) > 1 or not graph.inside(value):
        return False
    lacking = -len(before.weights) % _BLOCK
    if not lacking:
        return False
    before.write(graph, _padded(before.weights, lacking, axis=0), _padded(before.bias, lacking, axis=0))
    node.input[1] = graph.add(f"{result}/slopes", _padded(slopes[..., 0], lacking, axis=0))
    for one in following:
        one.write(graph, _padded(one.weights, lacking, axis=1), one.bias)
    return True


def _convolutions_after(graph: _Graph, value: str) -> list[_Convolution] | None:
    """The convolutions that use a value; None where something else does."""
    found: list[_Convolution] = []
    if not graph.inside(value) or not graph.users[value]:
        return None
    for node in graph.users[value]:
        convolution = _Convolution.read(graph, node)
        if convolution is not None and value not in node.input[1:]:
            found.append(convolution)
            continue
        further = _convolutions_after(graph, node.output[0]) if node.op_type in _BY_CHANNEL else None
        if further is None or len(node.output) > 1:
            return None
        found += further
    return found


def _padded(values: Weights, lacking: int, *, axis: int) -> Weights:
    widths = [(0, lacking if one == axis else 0) for one in range(values.ndim)]
    return np.pad(values, widths)


def _say_slopes(graph: _Graph) -> bool:
    """Says `PRelu` as depthwise convolutions."""
    replaced = {node.output[0]: _slope_nodes(graph, node) for node in graph.of("PRelu") if _of_planes(graph, node)}
    return graph.replace({name: nodes for name, nodes in replaced.items() if nodes})


def _slope_nodes(graph: _Graph, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    value, result = node.input[0], node.output[0]
    slopes = _slopes(graph, node)
    if slopes is None:
        return []
    first, above, below = (f"{result}/{part}" for part in ("first", "above", "below"))

    def scaled(source: str, factor: Weights, product: str) -> onnx.NodeProto:
        weights = graph.add(f"{product}/weights", factor)
        return onnx.helper.make_node("Conv", [source, weights], [product], group=len(factor), kernel_shape=[1, 1])

    def positive(source: str, part: str) -> onnx.NodeProto:
        return onnx.helper.make_node("Relu", [source], [part])

    if slopes.max() <= 1:
        # a maximum right after a convolution is part of its kernel
        parts = [scaled(value, 1 - slopes, first), positive(first, above)]
    else:
        parts = [positive(value, first), scaled(first, 1 - slopes, above)]
    return [*parts, scaled(value, slopes, below), onnx.helper.make_node("Add", [below, above], [result])]


def _slopes(graph: _Graph, node: onnx.NodeProto) -> Weights | None:
    """The slopes of channels, [c, 1, 1, 1]; None where they are no constants, or others than those of channels."""
    slopes = graph.constant(node.input[1])
    # [c, 1, 1] and the same with a batch are slopes of channels; anything else is left to PRelu
    if slopes is None or slopes.ndim not in (3, 4) or slopes.shape[-3:] != (slopes.size, 1, 1):
        return None
    return slopes.reshape(-1, 1, 1, 1)


def _of_planes(graph: _Graph, node: onnx.NodeProto) -> bool:
    """True where a node is given sums [n, channels, height, width]."""
    maker = graph.makers.get(node.input[0])
    while maker is not None and maker.op_type in _SUMS:
        if maker.op_type == "Conv":
            weights = graph.constant(maker.input[1])
            return weights is not None and weights.ndim == 4
        maker = graph.makers.get(maker.input[0])
    return False


def _say_softmax(graph: _Graph) -> bool:
    """Says `Softmax` of two channels as the logistic function of their difference."""
    replaced: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.of("Softmax"):
        value = node.input[0]
        before = _Convolution.read(graph, graph.makers.get(value))
        by_channel = any(one.name == "axis" and one.i in (1, -3) for one in node.attribute)
        if before is None or not by_channel or len(before.weights) != 2:
            continue
        if len(graph.users[value]) > 1 or not graph.inside(value):
            continue
        before.write(graph, before.weights - before.weights[::-1], before.bias - before.bias[::-1])
        replaced[node.output[0]] = [onnx.helper.make_node("Sigmoid", [value], [node.output[0]])]
    return graph.replace(replaced)


def _join_small(graph: _Graph) -> bool:
    """Joins convolutions of one input that fill less than a block each."""
    alike: defaultdict[tuple[object, ...], list[_Convolution]] = defaultdict(list)
    for node in graph.of("Conv"):
        small = _Convolution.read(graph, node)
        if small is not None and len(small.weights) < _BLOCK:
            attributes = sorted(one.SerializeToString() for one in node.attribute)
            alike[node.input[0], small.weights.shape[1:], *attributes].append(small)
    replaced: dict[str, list[onnx.NodeProto]] = {}
    for group in alike.values():
        if len(group) > 1:
            replaced[group[0].node.output[0]] = _joined(graph, group)
            replaced |= {one.node.output[0]: [] for one in group[1:]}
    return graph.replace(replaced)


def _joined(graph: _Graph, group: list[_Convolution]) -> list[onnx.NodeProto]:
    """One convolution in the place of several, and what parts its channels again."""
    names = [one.node.output[0] for one in group]
    joined = onnx.NodeProto()
    joined.CopyFrom(group[0].node)
    joined.output[0] = f"{names[0]}/joined"
    sizes = graph.add(f"{names[0]}/sizes", np.array([len(one.weights) for one in group], np.int64))
    weights, bias = (np.concatenate(parts) for parts in zip(*((one.weights, one.bias) for one in group), strict=True))
    _Convolution(joined, weights, bias).write(graph, weights, bias)
    return [joined, onnx.helper.make_node("Split", [joined.output[0], sizes], names, axis=1)]
