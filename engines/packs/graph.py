"""A small builder of ONNX graphs, so that the converters read like the networks they write."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8

Shape = Sequence[int | str]
"""Dimensions of a tensor; a string names a dimension that is known at run time only."""


class Graph:
    """Collects nodes and constants in order. Methods return the name of the tensor that they make."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, value: npt.NDArray[np.float32] | npt.NDArray[np.int64]) -> str:
        """A constant tensor."""
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: int | str | list[int]) -> str:
        """A node with one output."""
        name = output or f"{operator.lower()}_{len(self._nodes)}"
        node = helper.make_node(operator, list(inputs), [name], name)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self._nodes.append(node)
        return name

    def convolution(
        self,
        x: str,
        weight: npt.NDArray[np.float32],
        bias: npt.NDArray[np.float32],
        *,
        stride: tuple[int, int] = (1, 1),
        pad: tuple[int, int] = (0, 0),
        output: str | None = None,
    ) -> str:
        """A 2-D convolution; `weight` is [out, in, height, width], stride and pad are (y, x)."""
        return self.add(
            "Conv",
            x,
            self.constant(weight),
            self.constant(bias),
            output=output,
            kernel_shape=list(weight.shape[2:]),
            strides=list(stride),
            pads=[*pad, *pad],
        )

    def serialize(self, inputs: dict[str, Shape], outputs: dict[str, Shape]) -> bytes:
        """The checked model; inputs and outputs are float32."""

        def described(shapes: dict[str, Shape]) -> list[onnx.ValueInfoProto]:
            return [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(s)) for n, s in shapes.items()]

        graph = helper.make_graph(self._nodes, self._name, described(inputs), described(outputs), self._constants)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="luna",
        )
        onnx.checker.check_model(model, full_check=True)
        data: bytes = model.SerializeToString()
        return data
