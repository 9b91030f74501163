"""A graph that is said in other words: its nodes, its constants, who makes and who uses what."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

Weights = npt.NDArray[np.float32]

BLOCK = 16
"""Channels of a block of ONNX Runtime's layout for convolutions; where the processor's are of 8, two of them."""

SCALING = frozenset({"Add", "Sub", "Mul", "Div"})
"""Operators that scale or move the channels of a value where the other operand is a constant."""

_CONSTANTS_ALONE = 4
"""Version of ONNX since which constants need not be inputs."""

_NO_PADS = (b"NOTSET", b"VALID")


class Rewriting:
    """A graph that is being rewritten.

    Attributes:
        nodes: in their order.
        makers: of each value the node that makes it; inputs and constants have none.
        users: of each value the nodes that use it.

    Args:
        model: what is rewritten.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model, graph = model, model.graph
        shapes = {one.name: one.type.tensor_type.shape.dim for one in graph.input}
        self._declared = {name: shape[1].dim_value for name, shape in shapes.items() if len(shape) == 4}
        self._constants = {one.name: one for one in graph.initializer}
        self._outputs = frozenset(one.name for one in graph.output)
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

    def integers(self, name: str) -> list[int] | None:
        """A constant list of integers; None where it is none."""
        tensor = self._constants.get(name)
        if tensor is None or tensor.data_type != onnx.TensorProto.INT64:
            return None
        return [int(one) for one in numpy_helper.to_array(tensor).ravel()]

    def channels(self, name: str) -> int | None:
        """Channels of a value that an input or a convolution makes, scaled or moved or not; None of any other."""
        maker = self.makers.get(name)
        if maker is None:
            return self._declared.get(name)
        if maker.op_type == "Conv":
            weights = self.constant(maker.input[1])
            return len(weights) if weights is not None and weights.ndim == 4 else None
        sources = [one for one in maker.input if self.constant(one) is None]
        return self.channels(sources[0]) if maker.op_type in SCALING and len(sources) == 1 else None

    def add(self, name: str, value: npt.NDArray[np.generic]) -> str:
        """A new constant; its name."""
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def inside(self, name: str) -> bool:
        """True where nobody outside of the graph sees a value."""
        return name not in self._outputs

    def user(self, name: str) -> onnx.NodeProto | None:
        """The only node that uses a value; None where there are others, or somebody outside of the graph sees it."""
        users = self.users[name]
        return users[0] if len(users) == 1 and self.inside(name) else None

    def replace(self, replaced: dict[str, list[onnx.NodeProto]]) -> bool:
        """Put nodes into the places of those whose first output is named; False where there are none."""
        if replaced:
            self._ordered([new for node in self.nodes for new in replaced.get(node.output[0], [node])])
        return bool(replaced)

    def finish(self) -> None:
        """Write the graph, without what is of no use any more."""
        used, kept = set(self._outputs), []
        for node in reversed(self.nodes):
            if used.intersection(node.output):
                kept.append(node)
                used.update(node.input)
        tensors = [one for one in self._constants.values() if one.name in used]
        graph = self._model.graph
        # what older exporters name among the inputs as well, for callers to replace: nobody does
        inputs = [one for one in graph.input if one.name not in self._constants]
        del graph.node[:], graph.initializer[:], graph.input[:]
        graph.node.extend(reversed(kept))
        graph.initializer.extend(tensors)
        graph.input.extend(inputs)
        self._model.ir_version = max(self._model.ir_version, _CONSTANTS_ALONE)

    def _ordered(self, nodes: Iterable[onnx.NodeProto]) -> None:
        self.nodes = list(nodes)
        self.makers = {name: node for node in self.nodes for name in node.output}
        users: defaultdict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                users[name].append(node)
        self.users = users


class Convolution:
    """A convolution of planes.

    Attributes:
        node: its node.
        weights: constants, [channels, channels of the input, height, width].
        bias: constants, [channels]; zeros where it has none.
    """

    def __init__(self, node: onnx.NodeProto, weights: Weights, bias: Weights) -> None:
        self.node = node
        self.weights = weights
        self.bias = bias

    @classmethod
    def read(cls, graph: Rewriting, node: onnx.NodeProto | None) -> Convolution | None:
        """A node as a convolution; None where it is none of this kind."""
        if node is None or node.op_type != "Conv" or any(one.name == "group" and one.i != 1 for one in node.attribute):
            return None
        weights = graph.constant(node.input[1])
        bias = graph.constant(node.input[2]) if len(node.input) > 2 else np.zeros(0, np.float32)
        if weights is None or bias is None or weights.ndim != 4:
            return None
        return cls(node, weights, bias if bias.size else np.zeros(len(weights), np.float32))

    @property
    def padded(self) -> bool:
        """True where it may see zeros around its input."""
        pads = any(one.name == "pads" and any(one.ints) for one in self.node.attribute)
        return pads or any(one.name == "auto_pad" and one.s not in _NO_PADS for one in self.node.attribute)

    def only(self, graph: Rewriting, begin: int, end: int, name: str) -> onnx.NodeProto:
        """A node that makes some of the channels, as another value."""
        node = onnx.NodeProto(op_type="Conv", input=self.node.input[:1], output=[name], attribute=self.node.attribute)
        Convolution(node, self.weights, self.bias).write(graph, self.weights[begin:end], self.bias[begin:end])
        return node

    def write(self, graph: Rewriting, weights: Weights, bias: Weights) -> None:
        """Give the node other weights. Constants may have other users, so new ones are made."""
        name = self.node.output[0]
        del self.node.input[1:]
        self.node.input.extend([graph.add(f"{name}/weights", weights), graph.add(f"{name}/bias", bias)])
