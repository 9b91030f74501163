"""Sums of residual networks, said so that chains of convolutions stay in ONNX Runtime's blocked layout.

Where a residual network halves its planes it has more channels afterwards. The shorter operand of the sum is then given
channels of zeros, and in dlib's networks planes are also given rows and columns of zeros. Neither has a kernel for the
layout, nor has the sum after it. It is said in other words:

- A convolution whose sum with fewer channels follows is two: one whose channels the other operand has, with the sum,
  and one without. What both give is put together, which has a kernel.
- Rows and columns of zeros after a convolution are a depthwise convolution of one pixel, which sees zeros around.

Each value is computed as before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from engines.runtime.rewriting import BLOCK, Convolution, Rewriting


@dataclass(frozen=True, slots=True)
class _Zeros:
    """Zeros that a node puts after the channels of its input, and around the planes: top, left, bottom, right."""

    value: str
    channels: int
    around: Sequence[int]

    @classmethod
    def read(cls, graph: Rewriting, node: onnx.NodeProto | None) -> _Zeros | None:
        """What a node puts; None where it puts something else, or somewhere else."""
        if node is None or node.op_type != "Pad" or len(node.input) < 2 or any(node.input[3:]):
            return None
        if any(one.name == "mode" and one.s != b"constant" for one in node.attribute):
            return None
        pads = graph.integers(node.input[1])
        filling = graph.constant(node.input[2]) if any(node.input[2:]) else np.zeros(1)
        if pads is None or len(pads) != 8 or min(pads) < 0 or filling is None or filling.any():
            return None
        before, top, left, after, bottom, right = (pads[i] for i in (1, 2, 3, 5, 6, 7))
        return None if pads[0] or pads[4] or before else cls(node.input[0], after, (top, left, bottom, right))


def part_sums(graph: Rewriting) -> bool:
    """Parts convolutions whose sum with fewer channels follows."""
    replaced: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.of("Add"):
        replaced |= _parted(graph, node, *node.input) or _parted(graph, node, *reversed(node.input)) or {}
    return graph.replace(replaced)


def say_planes(graph: Rewriting) -> bool:
    """Says zeros around the planes of a convolution as another one."""
    replaced: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.of("Pad"):
        zeros = _Zeros.read(graph, node)
        before = Convolution.read(graph, graph.makers.get(node.input[0]))
        if zeros is None or zeros.channels or before is None:
            continue
        (name,) = node.output
        channels = len(before.weights)
        ones = graph.add(f"{name}/ones", np.ones((channels, 1, 1, 1), np.float32))
        replaced[name] = [
            onnx.helper.make_node(
                "Conv", [zeros.value, ones], [name], group=channels, kernel_shape=[1, 1], pads=zeros.around
            )
        ]
    return graph.replace(replaced)


def _parted(graph: Rewriting, node: onnx.NodeProto, whole: str, filled: str) -> dict[str, list[onnx.NodeProto]] | None:
    """What stands for a sum and what is alone before and after it; None where it is no sum of this kind."""
    zeros = _Zeros.read(graph, graph.makers.get(filled))
    planes = _Zeros.read(graph, graph.makers.get(whole))
    convolved = whole if planes is None else planes.value
    convolution = Convolution.read(graph, graph.makers.get(convolved))
    if zeros is None or any(zeros.around) or convolution is None or (planes is not None and planes.channels):
        return None
    common = len(convolution.weights) - zeros.channels
    if common <= 0 or common % BLOCK or zeros.channels % BLOCK:
        return None
    if any(graph.user(value) is None for value in {whole, convolved}):
        return None
    after = graph.user(node.output[0])
    ends = after if after is not None and after.op_type == "Relu" else node
    (result,) = ends.output
    nodes: list[onnx.NodeProto] = []

    def said(operator: str, inputs: Sequence[str], part: str, **options: Any) -> str:
        nodes.append(onnx.helper.make_node(operator, inputs, [f"{result}/{part}/{operator}"], **options))
        return str(nodes[-1].output[0])

    parts = []
    for part, begin, end in (("common", 0, common), ("further", common, len(convolution.weights))):
        name = f"{result}/{part}/convolved"
        nodes.append(convolution.only(graph, begin, end, name))
        if planes is not None:
            name = said("Pad", [name, *graph.makers[whole].input[1:]], part)
        if part == "common":
            name = said("Add", [name, zeros.value], part)
        parts.append(said("Relu", [name], part) if ends is after else name)
    nodes.append(onnx.helper.make_node("Concat", parts, [result], axis=1))
    return {node.output[0]: [], convolved: [], whole: [], result: nodes}
