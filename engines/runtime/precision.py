"""Half precision as a property of the graph: TensorRT 11 types networks strongly, so it runs what the graph says.

Weights and activations become float16; inputs and outputs stay float32. float16 has 11 significant bits and ends at
65504, so what sums or normalises over many values stays float32: softmax, norms, means over whole planes. Resize stays
too, because its scales are float32 by definition.
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


def in_half(model: bytes) -> bytes:
    """A serialised ONNX model with its inside cast to float16.

    Raises:
        RuntimeFailure: the model cannot be read or converted.
    """
    try:
        converted = convert_float_to_float16(
            onnx.load_model_from_string(model), keep_io_types=True, op_block_list=list(FULL)
        )
        # the converter appends its casts; parsers other than ONNX Runtime's want them where they belong
        ordered = OnnxModel(converted)
        ordered.topological_sort()
        onnx.checker.check_model(ordered.model, full_check=True)
    except Exception as error:  # protobuf, the checker and the converter raise types without a common base
        message = f"the model cannot be cast to float16: {error}"
        raise RuntimeFailure(message) from error
    data: bytes = ordered.model.SerializeToString()
    return data
