"""Half precision as a property of the graph: TensorRT 11 types networks strongly, so it runs what the graph says.

Weights and activations become float16; inputs and outputs stay float32. float16 has 11 significant bits and ends at
65504, so what sums or normalises over many values stays float32: softmax, norms, means over whole planes. Resize stays
too, because its scales are float32 by definition.

The last layer before each output stays float32 as well. Scores that are rounded to 11 bits tie, and a tie changes which
of several boxes survives suppression: on eight photographs with 39 faces that moved MTCNN's boxes by up to 6 pixels.
"""

from __future__ import annotations

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from engines.runtime.runtime import RuntimeFailure

FULL = (
    "BatchNormalization",
    "GlobalAveragePool",
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "LogSoftmax",
    "LpNormalization",
    "ReduceL2",
    "ReduceMean",
    "ReduceSum",
    "Resize",
    "Softmax",
)
"""Operators that stay float32."""

_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators with weights that sum: the last of them before an output stays float32, with all that follows it."""


def in_half(model: bytes) -> bytes:
    """A serialised ONNX model with its inside cast to float16.

    Raises:
        RuntimeFailure: the model cannot be read or converted.
    """
    try:
        loaded = onnx.load_model_from_string(model)
        _name(loaded.graph)
        heads = sorted(_heads(loaded.graph))
        converted = convert_float_to_float16(
            loaded, keep_io_types=True, op_block_list=list(FULL), node_block_list=heads
        )
        _without_detours(converted.graph)
        # the converter appends its casts; parsers other than ONNX Runtime's want them where they belong
        ordered = OnnxModel(converted)
        ordered.topological_sort()
        onnx.checker.check_model(ordered.model, full_check=True)
    except Exception as error:  # protobuf, the checker and the converter raise types without a common base
        message = f"the model cannot be cast to float16: {error}"
        raise RuntimeFailure(message) from error
    data: bytes = ordered.model.SerializeToString()
    return data


def _name(graph: onnx.GraphProto) -> None:
    """Gives every node a name of its own: nodes are told from each other by it, and ONNX does not ask for one."""
    for index, node in enumerate(graph.node):
        node.name = f"{node.name or node.op_type}_{index}"


def _heads(graph: onnx.GraphProto) -> set[str]:
    """Names of the nodes from the last layer before each output to the output."""
    makers = {output: node for node in graph.node for output in node.output}
    found: set[str] = set()
    open_ends = [one.name for one in graph.output]
    while open_ends:
        node = makers.get(open_ends.pop())
        if node is None or node.name in found:
            continue
        found.add(node.name)
        if node.op_type not in _LAYERS:
            open_ends += list(node.input)
    return found


def _without_detours(graph: onnx.GraphProto) -> None:
    """Takes out casts to float16 and straight back, which the converter leaves between nodes that stay float32."""
    outputs = {one.name for one in graph.output}
    halved = {node.output[0]: node.input[0] for node in graph.node if _target(node) == onnx.TensorProto.FLOAT16}
    detours = [node for node in graph.node if _target(node) == onnx.TensorProto.FLOAT and node.input[0] in halved]
    straight = {node.output[0]: halved[node.input[0]] for node in detours}
    # an output of the network keeps its name, so what is straight before it takes that name
    renamed = {source: name for name, source in straight.items() if name in outputs}
    gone = {node.name for node in detours}
    kept = [node for node in graph.node if node.name not in gone]
    for node in kept:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                source = straight.get(name, name)
                names[index] = renamed.get(source, source)
    used = {name for node in kept for name in node.input} | outputs
    del graph.node[:]
    graph.node.extend(node for node in kept if used.intersection(node.output))


def _target(node: onnx.NodeProto) -> int | None:
    """The type that a cast casts to; None for other nodes."""
    if node.op_type != "Cast":
        return None
    return next(int(one.i) for one in node.attribute if one.name == "to")
