"""Every network that we make or are given stays inside what TensorRT's ONNX parser supports, in both precisions.

Source of the table: onnx-tensorrt, docs/operators.md, edition for TensorRT 10.15 (opset 9 to 24), the newest that was
at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
import pytest

from engines.packs.pack import Pack
from engines.runtime.precision import FULL, in_half

FLOATS = frozenset({"FLOAT", "FLOAT16"})
NUMBERS = FLOATS | {"INT32", "INT64"}
ALL = NUMBERS | {"BOOL"}

SUPPORTED: Mapping[str, frozenset[str]] = {
    "Add": NUMBERS,
    "AveragePool": FLOATS,
    "BatchNormalization": FLOATS,
    "Cast": ALL,
    "Concat": ALL,
    "Conv": FLOATS,
    "Flatten": ALL,
    "Gather": ALL,
    "Gemm": FLOATS,
    "GlobalAveragePool": FLOATS,
    "MatMul": FLOATS,
    "MaxPool": FLOATS,
    "Mul": NUMBERS,
    "PRelu": FLOATS,
    "Pad": NUMBERS,
    "Relu": NUMBERS,
    "Reshape": ALL,
    "Resize": FLOATS,
    "Shape": ALL,
    "Sigmoid": FLOATS,
    "Softmax": FLOATS,
    "Sub": NUMBERS,
    "Transpose": ALL,
    "Unsqueeze": ALL,
}
"""Operators that our networks use, and the types that the parser takes for them."""

OPSETS = range(9, 25)
SHARED = ["face_detection_yunet_2023mar", "antispoof_minifasnetv2se", "gender_dlib", "fastestdet"]


def restricted(node: onnx.NodeProto, constants: set[str]) -> str | None:
    """What the table's last column forbids of a node; None where nothing."""
    given = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    if node.op_type in ("AveragePool", "MaxPool"):
        if len(given["kernel_shape"]) not in (2, 3):
            return "pools in 2 or 3 dimensions only"
        if set(given.get("dilations", [1])) != {1}:
            return "has no dilations"
        if len(node.output) > 1:
            return "gives no indices"
    if node.op_type == "Resize":
        modes = {b"half_pixel", b"pytorch_half_pixel", b"tf_half_pixel_for_nn", b"asymmetric", b"align_corners"}
        nearest = {b"floor", b"ceil", b"round_prefer_floor", b"round_prefer_ceil"}
        if given.get("mode", b"nearest") not in (b"nearest", b"linear"):
            return "is nearest or linear"
        if given.get("coordinate_transformation_mode", b"half_pixel") not in modes:
            return "has another coordinate transformation"
        if given.get("nearest_mode", b"round_prefer_floor") not in nearest:
            return "rounds otherwise"
        if given.get("antialias", 0) or given.get("keep_aspect_ratio_policy", b"stretch") != b"stretch":
            return "does not smooth and stretches"
    if node.op_type == "Unsqueeze" and len(node.input) > 1 and node.input[1] not in constants:
        return "needs constant axes"
    return None


def complaints(model: onnx.ModelProto) -> list[str]:
    """What the parser would not take."""
    found = [f"opset {one.version}" for one in model.opset_import if one.domain == "" and one.version not in OPSETS]
    found += [f"domain {one.domain}" for one in model.opset_import if one.domain not in ("", "ai.onnx")]
    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {one.name: one.type.tensor_type.elem_type for one in (*graph.value_info, *graph.input, *graph.output)}
    types |= {one.name: one.data_type for one in graph.initializer}
    constants = {one.name for one in graph.initializer}
    constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    for node in graph.node:
        kind = onnx.TensorProto.DataType.Name(types[node.input[0]])
        if node.op_type not in SUPPORTED:
            found.append(f"operator {node.op_type}")
        elif kind not in SUPPORTED[node.op_type]:
            found.append(f"{node.op_type} of {kind}")
        elif (reason := restricted(node, constants)) is not None:
            found.append(f"{node.op_type} {reason}")
        if node.op_type not in (*FULL, "Cast"):
            # strong typing converts nothing by itself: what a kernel computes with must be of one type
            mixed = {types[name] for name in node.input if name in types}
            if {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16} <= mixed:
                found.append(f"{node.op_type} of float32 and float16")
    return found


def test_the_default_packs_networks_are_supported_in_both_precisions(pack: Pack) -> None:
    networks = [pack.path(file.name) for file in pack.manifest.files if file.name.endswith(".onnx")]
    assert len(networks) == 4
    for path in networks:
        content = path.read_bytes()
        assert complaints(onnx.load_model_from_string(content)) == [], path.name
        assert complaints(onnx.load_model_from_string(in_half(content))) == [], path.name


@pytest.mark.parametrize("name", SHARED)
def test_networks_of_other_packs_are_supported_in_both_precisions(request: pytest.FixtureRequest, name: str) -> None:
    path = Path(request.config.rootpath.parent / "shared" / "models" / f"{name}.onnx")
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    content = path.read_bytes()
    assert complaints(onnx.load_model_from_string(content)) == []
    assert complaints(onnx.load_model_from_string(in_half(content))) == []


def test_every_shared_network_is_listed(request: pytest.FixtureRequest) -> None:
    folder = request.config.rootpath.parent / "shared" / "models"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    assert {path.stem for path in folder.glob("*.onnx")} == set(SHARED)


def made(operator: str, kind: int = onnx.TensorProto.FLOAT, **attributes: object) -> onnx.ModelProto:
    tensors = [onnx.helper.make_tensor_value_info(name, kind, [1, 3, 8, 8]) for name in ("x", "y")]
    node = onnx.helper.make_node(operator, ["x"], ["y"], **attributes)
    graph = onnx.helper.make_graph([node], "made", [tensors[0]], [tensors[1]])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (made("Det"), "operator Det"),
        (made("Relu", onnx.TensorProto.DOUBLE), "Relu of DOUBLE"),
        (made("MaxPool", kernel_shape=[3, 3], dilations=[2, 2]), "MaxPool has no dilations"),
        (made("Resize", mode="cubic"), "Resize is nearest or linear"),
    ],
)
def test_what_the_parser_does_not_take_is_noticed(model: onnx.ModelProto, told: str) -> None:
    assert told in complaints(model)
