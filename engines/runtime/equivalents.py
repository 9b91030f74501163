"""Graphs that give the same and that ONNX Runtime's CPU kernels run faster. Results differ by rounding alone.

ONNX Runtime keeps chains of convolutions in a blocked layout (NCHWc) of 8 or 16 channels. What has no kernel for it
costs changes of layout, and those can take longer than the convolutions, as in MTCNN. It is said in other words:

- `PRelu` as a x + (1 - a) max(x, 0), whose products are depthwise convolutions of one pixel. Their sum is fused, and so
  is the maximum where no slope is above 1, as a x + max((1 - a) x, 0).
- Those need whole blocks. What a convolution before `PRelu` lacks is filled with channels of zeros, which it computes
  anyway, and which what follows multiplies by zero.
- `Softmax` of two channels as the logistic function of their difference, which is made by the convolution before it.
- Convolutions of one input that fill less than a block each, as one.
- Scales and offsets before a convolution as part of it: of its weights, and of its bias where it sees no zeros around.
- Sums of different numbers of channels, and zeros around planes (`engines.runtime.residual`).

What follows dense layers is small and stays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnx

from engines.runtime import residual
from engines.runtime.rewriting import BLOCK, Convolution, Rewriting, Weights

_SOFTMAX_OF_AN_AXIS = 13
"""Operators since which `Softmax` is that of one axis, and `Split` takes its sizes as an input."""

_SUMS = frozenset({"Conv", "BatchNormalization"})
"""Operators whose sums `PRelu` may follow; a normalisation is folded into the convolution before it."""

_Doubles = npt.NDArray[np.float64]

_STEPS: dict[str, Callable[[_Doubles], tuple[_Doubles, _Doubles]]] = {
    "Add": lambda constant: (np.ones_like(constant), constant),
    "Sub": lambda constant: (np.ones_like(constant), -constant),
    "Mul": lambda constant: (constant, np.zeros_like(constant)),
    "Div": lambda constant: (1 / constant, np.zeros_like(constant)),
}
"""The factors and offsets that operators with a constant stand for."""

_EITHER_WAY = frozenset({"Add", "Mul"})

_BY_CHANNEL = frozenset({"MaxPool", "AveragePool"})
"""Operators that channels of zeros pass as zeros."""


def faster(model: onnx.ModelProto) -> bytes | None:
    """The serialised model with what can be said faster, and `model` becomes that; None where there is nothing.

    Nothing is rewritten of a model whose weights lie beside its file, for they would be missing from the bytes.
    """
    if any(one.data_location == onnx.TensorProto.EXTERNAL for one in model.graph.initializer):
        return None
    graph = Rewriting(model)
    rewrites = [_fold_scales, residual.part_sums, residual.say_planes, _fill_blocks, _say_slopes]
    if any(one.domain == "" and one.version >= _SOFTMAX_OF_AN_AXIS for one in model.opset_import):
        rewrites += [_say_softmax, _join_small]
    changed = [rewrite(graph) for rewrite in rewrites]
    if not any(changed):
        return None
    graph.finish()
    return model.SerializeToString()


def _fold_scales(graph: Rewriting) -> bool:
    """Folds scales and offsets of channels into the convolution that follows."""
    convolutions = [Convolution.read(graph, node) for node in graph.of("Conv")]
    gone = [name for one in convolutions if one is not None for name in _fold(graph, one)]
    return graph.replace({name: [] for name in gone})


def _fold(graph: Rewriting, convolution: Convolution) -> list[str]:
    """Folds what comes before a convolution; the values that are of no use any more."""
    node, gone = convolution.node, []
    weights, bias = convolution.weights.astype(np.float64), convolution.bias.astype(np.float64)
    while step := _step(graph, node.input[0], weights.shape[1]):
        source, factor, offset = step
        if offset.any() and convolution.padded:
            break
        bias += (weights * offset).sum(axis=(1, 2, 3))
        weights *= factor
        gone.append(node.input[0])
        node.input[0] = source
    if gone:
        convolution.write(graph, weights.astype(np.float32), bias.astype(np.float32))
    return gone


def _step(graph: Rewriting, value: str, channels: int) -> tuple[str, _Doubles, _Doubles] | None:
    """The value that another one is made of by scaling and moving its channels, the factors and the offsets."""
    maker = graph.makers.get(value)
    if maker is None or maker.op_type not in _STEPS or graph.user(value) is None:
        return None
    sources = list(maker.input)
    if maker.op_type in _EITHER_WAY and graph.constant(sources[0]) is not None:
        sources.reverse()
    constant = graph.constant(sources[1])
    # of as many channels as the other has, or of all
    if constant is None or graph.channels(sources[0]) != channels or constant.ndim > 4:
        return None
    if constant.size != 1 and (constant.size != channels or constant.shape[-3:] != (channels, 1, 1)):
        return None
    each = constant.astype(np.float64).reshape(-1, 1, 1)
    return sources[0], *_STEPS[maker.op_type](each)


def _fill_blocks(graph: Rewriting) -> bool:
    """Fills the blocks of what comes before `PRelu`, where all that follows are convolutions, pooled or not."""
    filled = [_fill(graph, node) for node in graph.of("PRelu")]
    return any(filled)


def _fill(graph: Rewriting, node: onnx.NodeProto) -> bool:
    value, result = node.input[0], node.output[0]
    before = Convolution.read(graph, graph.makers.get(value))
    slopes = _slopes(graph, node)
    following = _convolutions_after(graph, result)
    if before is None or slopes is None or following is None or len(graph.users[value]) > 1 or not graph.inside(value):
        return False
    lacking = -len(before.weights) % BLOCK
    if not lacking:
        return False
    before.write(graph, _padded(before.weights, lacking, axis=0), _padded(before.bias, lacking, axis=0))
    node.input[1] = graph.add(f"{result}/slopes", _padded(slopes[..., 0], lacking, axis=0))
    for one in following:
        one.write(graph, _padded(one.weights, lacking, axis=1), one.bias)
    return True


def _convolutions_after(graph: Rewriting, value: str) -> list[Convolution] | None:
    """The convolutions that use a value; None where something else does."""
    found: list[Convolution] = []
    if not graph.inside(value) or not graph.users[value]:
        return None
    for node in graph.users[value]:
        convolution = Convolution.read(graph, node)
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


def _say_slopes(graph: Rewriting) -> bool:
    """Says `PRelu` as depthwise convolutions."""
    replaced = {node.output[0]: _slope_nodes(graph, node) for node in graph.of("PRelu") if _of_planes(graph, node)}
    return graph.replace({name: nodes for name, nodes in replaced.items() if nodes})


def _slope_nodes(graph: Rewriting, node: onnx.NodeProto) -> list[onnx.NodeProto]:
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


def _slopes(graph: Rewriting, node: onnx.NodeProto) -> Weights | None:
    """The slopes of channels, [c, 1, 1, 1]; None where they are no constants, or others than those of channels."""
    slopes = graph.constant(node.input[1])
    # [c, 1, 1] and the same with a batch are slopes of channels; anything else is left to PRelu
    if slopes is None or slopes.ndim not in (3, 4) or slopes.shape[-3:] != (slopes.size, 1, 1):
        return None
    return slopes.reshape(-1, 1, 1, 1)


def _of_planes(graph: Rewriting, node: onnx.NodeProto) -> bool:
    """True where a node is given sums [n, channels, height, width]."""
    maker = graph.makers.get(node.input[0])
    while maker is not None and maker.op_type in _SUMS:
        if maker.op_type == "Conv":
            weights = graph.constant(maker.input[1])
            return weights is not None and weights.ndim == 4
        maker = graph.makers.get(maker.input[0])
    return False


def _say_softmax(graph: Rewriting) -> bool:
    """Says `Softmax` of two channels as the logistic function of their difference."""
    replaced: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.of("Softmax"):
        value = node.input[0]
        before = Convolution.read(graph, graph.makers.get(value))
        by_channel = any(one.name == "axis" and one.i in (1, -3) for one in node.attribute)
        if before is None or not by_channel or len(before.weights) != 2:
            continue
        if len(graph.users[value]) > 1 or not graph.inside(value):
            continue
        before.write(graph, before.weights - before.weights[::-1], before.bias - before.bias[::-1])
        replaced[node.output[0]] = [onnx.helper.make_node("Sigmoid", [value], [node.output[0]])]
    return graph.replace(replaced)


def _join_small(graph: Rewriting) -> bool:
    """Joins convolutions of one input that fill less than a block each."""
    alike: defaultdict[tuple[object, ...], list[Convolution]] = defaultdict(list)
    for node in graph.of("Conv"):
        small = Convolution.read(graph, node)
        if small is not None and len(small.weights) < BLOCK:
            attributes = sorted(one.SerializeToString() for one in node.attribute)
            alike[node.input[0], small.weights.shape[1:], *attributes].append(small)
    replaced: dict[str, list[onnx.NodeProto]] = {}
    for group in alike.values():
        if len(group) > 1:
            replaced[group[0].node.output[0]] = _joined(graph, group)
            replaced |= {one.node.output[0]: [] for one in group[1:]}
    return graph.replace(replaced)


def _joined(graph: Rewriting, group: list[Convolution]) -> list[onnx.NodeProto]:
    """One convolution in the place of several, and what parts its channels again."""
    names = [one.node.output[0] for one in group]
    joined = onnx.NodeProto()
    joined.CopyFrom(group[0].node)
    joined.output[0] = f"{names[0]}/joined"
    sizes = graph.add(f"{names[0]}/sizes", np.array([len(one.weights) for one in group], np.int64))
    weights, bias = (np.concatenate(parts) for parts in zip(*((one.weights, one.bias) for one in group), strict=True))
    Convolution(joined, weights, bias).write(graph, weights, bias)
    return [joined, onnx.helper.make_node("Split", [joined.output[0], sizes], names, axis=1)]
