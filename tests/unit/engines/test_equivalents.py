"""Graphs that ONNX Runtime runs faster, beside the same graphs in the reference evaluator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from engines.packs import pack as packs
from engines.packs.graph import Graph, Shape
from engines.packs.pack import Pack
from engines.runtime.equivalents import faster
from engines.runtime.onnx_runtime import OnnxRuntime
from engines.runtime.runtime import Tensor
from tests.unit.engines.graphs import saved

SLOPES = np.array([-1.3, -0.2, 0, 0.25, 1, 1.7], np.float32)


def convolved(graph: Graph, channels: int, seed: int = 0) -> str:
    rng = np.random.default_rng(seed)
    weight = rng.normal(0, 0.3, (channels, 3, 3, 3)).astype(np.float32)
    return graph.convolution("image", weight, rng.normal(0, 0.3, channels).astype(np.float32))


def operators(model: bytes) -> set[str]:
    return {node.op_type for node in onnx.load_model_from_string(model).graph.node}


def both(path: Path, image: Tensor) -> tuple[Tensor, Tensor]:
    """What the file says by the reference evaluator, and what the runtime gives."""
    session = OnnxRuntime().load(path)
    (spec,) = session.inputs
    expected = ReferenceEvaluator(onnx.load(str(path))).run(None, {spec.name: image})
    found = session.run({spec.name: image})
    return np.concatenate([np.ravel(one) for one in expected]), np.concatenate([one.ravel() for one in found.values()])


def noise(*shape: int) -> Tensor:
    return np.random.default_rng(5).uniform(-1, 1, shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(6, 1, 1), (1, 6, 1, 1)])
def test_slopes_of_channels_give_the_same_whatever_their_sign_and_size(tmp_path: Path, shape: tuple[int, ...]) -> None:
    graph = Graph("slopes")
    graph.add("PRelu", convolved(graph, 6), graph.constant(SLOPES.reshape(shape)), output="result")
    path = saved(graph, {"image": ["n", 3, "h", "w"]}, {"result": ["n", 6, "y", "x"]}, tmp_path / "slopes.onnx")
    rewritten = faster(onnx.load(path, load_external_data=False))
    assert rewritten is not None
    assert operators(rewritten) == {"Conv", "Relu", "Add"}
    expected, found = both(path, noise(2, 3, 9, 7))
    assert np.abs(found - expected).max() < 1e-6


def test_slopes_up_to_one_give_the_same_with_one_step_less(tmp_path: Path) -> None:
    graph = Graph("slopes")
    slopes = np.minimum(SLOPES, 1).reshape(6, 1, 1)
    graph.add("PRelu", convolved(graph, 6), graph.constant(slopes), output="result")
    path = saved(graph, {"image": ["n", 3, "h", "w"]}, {"result": ["n", 6, "y", "x"]}, tmp_path / "slopes.onnx")
    expected, found = both(path, noise(2, 3, 9, 7))
    assert np.abs(found - expected).max() < 1e-6


def weights(*shape: int) -> Tensor:
    return np.random.default_rng(7).normal(0, 0.3, shape).astype(np.float32)


def shapes(model: bytes) -> dict[str, tuple[int, ...]]:
    return {one.name: tuple(one.dims) for one in onnx.load_model_from_string(model).graph.initializer}


@pytest.mark.parametrize("pool", ["MaxPool", "AveragePool", ""])
def test_channels_of_zeros_fill_blocks_and_give_the_same(tmp_path: Path, pool: str) -> None:
    graph = Graph("blocks")
    value = graph.add("PRelu", convolved(graph, 6), graph.constant(SLOPES.reshape(6, 1, 1)))
    if pool:
        value = graph.add(pool, value, kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 1, 1])
    graph.convolution(value, weights(4, 6, 2, 2), weights(4), output="result")
    graph.convolution(value, weights(5, 6, 1, 1), weights(5), output="other")
    outputs: dict[str, Shape] = {"result": ["n", 4, "y", "x"], "other": ["n", 5, "v", "u"]}
    path = saved(graph, {"image": ["n", 3, "h", "w"]}, outputs, tmp_path / "blocks.onnx")
    rewritten = faster(onnx.load(path, load_external_data=False))
    assert rewritten is not None
    assert {(16, 3, 3, 3), (16, 1, 1, 1), (4, 16, 2, 2), (5, 16, 1, 1)} <= set(shapes(rewritten).values())
    expected, found = both(path, noise(2, 3, 9, 7))
    assert np.abs(found - expected).max() < 1e-6


def test_blocks_are_not_filled_where_somebody_else_sees_the_channels(tmp_path: Path) -> None:
    graph = Graph("seen")
    value = graph.add("PRelu", convolved(graph, 6), graph.constant(SLOPES.reshape(6, 1, 1)), output="seen")
    graph.convolution(value, weights(4, 6, 1, 1), weights(4), output="result")
    outputs: dict[str, Shape] = {"seen": ["n", 6, "y", "x"], "result": ["n", 4, "y", "x"]}
    path = saved(graph, {"image": ["n", 3, "h", "w"]}, outputs, tmp_path / "seen.onnx")
    rewritten = faster(onnx.load(path, load_external_data=False))
    assert rewritten is not None
    assert (4, 6, 1, 1) in shapes(rewritten).values()
    expected, found = both(path, noise(2, 3, 9, 7))
    assert np.abs(found - expected).max() < 1e-6


def test_the_probability_of_two_classes_and_what_else_is_made_of_the_same_are_one_convolution(tmp_path: Path) -> None:
    graph = Graph("heads")
    value = convolved(graph, 16)
    scores = graph.convolution(value, 5 * weights(2, 16, 1, 1), weights(2))
    graph.add("Softmax", scores, output="probability", axis=1)
    graph.convolution(value, weights(4, 16, 1, 1), weights(4), output="regression")
    outputs: dict[str, Shape] = {"probability": ["n", 2, "y", "x"], "regression": ["n", 4, "y", "x"]}
    path = saved(graph, {"image": ["n", 3, "h", "w"]}, outputs, tmp_path / "heads.onnx")
    rewritten = faster(onnx.load(path, load_external_data=False))
    assert rewritten is not None
    assert operators(rewritten) == {"Conv", "Split", "Sigmoid"}
    expected, found = both(path, noise(2, 3, 9, 7))
    assert np.abs(found - expected).max() < 1e-6


@pytest.mark.parametrize(("channels", "axis"), [(3, 1), (2, 2), (2, -1)])
def test_other_probabilities_stay(tmp_path: Path, channels: int, axis: int) -> None:
    graph = Graph("others")
    graph.add("Softmax", convolved(graph, channels), output="result", axis=axis)
    path = saved(graph, {"image": ["n", 3, 9, 7]}, {"result": ["n", channels, 7, 5]}, tmp_path / "others.onnx")
    assert faster(onnx.load(path, load_external_data=False)) is None


def test_probabilities_of_older_operators_which_are_of_all_that_follows_stay(tmp_path: Path) -> None:
    graph = Graph("older")
    graph.add("Softmax", convolved(graph, 2), output="result", axis=1)
    path = saved(graph, {"image": ["n", 3, 9, 7]}, {"result": ["n", 2, 7, 5]}, tmp_path / "older.onnx")
    model = onnx.load(path, load_external_data=False)
    model.opset_import[0].version = 11
    assert faster(model) is None


@pytest.mark.parametrize("slope", [np.full((1,), 0.2), np.full((1, 5), 0.2), np.full((6, 7, 5), 0.2)])
def test_slopes_that_are_not_those_of_channels_stay(tmp_path: Path, slope: Tensor) -> None:
    graph = Graph("others")
    graph.add("PRelu", convolved(graph, 6), graph.constant(slope.astype(np.float32)), output="result")
    path = saved(graph, {"image": ["n", 3, 9, 7]}, {"result": ["n", 6, 7, 5]}, tmp_path / "others.onnx")
    assert faster(onnx.load(path, load_external_data=False)) is None
    expected, found = both(path, noise(2, 3, 9, 7))
    assert np.abs(found - expected).max() < 1e-6


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (packs.PROPOSAL, (1, 3, 40, 53)),
        (packs.PROPOSAL, (2, 3, 12, 12)),
        (packs.REFINEMENT, (3, 3, 24, 24)),
        (packs.OUTPUT, (3, 3, 48, 48)),
    ],
)
def test_the_networks_of_mtcnn_give_the_same(pack: Pack, network: str, shape: tuple[int, ...]) -> None:
    path = pack.path(network)
    assert faster(onnx.load(path, load_external_data=False)) is not None
    expected, found = both(path, noise(*shape))
    assert np.abs(found - expected).max() < 5e-6


def test_the_network_of_descriptors_gives_the_same_and_has_no_operator_without_a_kernel(pack: Pack) -> None:
    path = pack.path(packs.DESCRIPTOR)
    rewritten = faster(onnx.load(path, load_external_data=False))
    assert rewritten is not None
    assert operators(rewritten).isdisjoint({"Pad", "Sub", "Mul"})
    expected, found = both(path, 127 + 127 * noise(2, 3, 150, 150))
    assert np.abs(found - expected).max() < 1e-6


def test_a_network_without_such_operators_is_loaded_as_it_is(tmp_path: Path) -> None:
    graph = Graph("plain")
    graph.add("Relu", convolved(graph, 6), output="result")
    path = saved(graph, {"image": ["n", 3, "h", "w"]}, {"result": ["n", 6, "y", "x"]}, tmp_path / "plain.onnx")
    assert faster(onnx.load(path, load_external_data=False)) is None


@pytest.mark.parametrize(("version", "operators_of"), [(3, 8), (8, 17)])
def test_constants_that_are_inputs_as_well_are_constants(tmp_path: Path, version: int, operators_of: int) -> None:
    graph = Graph("older")
    graph.add("PRelu", convolved(graph, 6), graph.constant(SLOPES.reshape(6, 1, 1)), output="result")
    path = saved(graph, {"image": ["n", 3, "h", "w"]}, {"result": ["n", 6, "y", "x"]}, tmp_path / "older.onnx")
    expected, _ = both(path, noise(2, 3, 9, 7))
    model = onnx.load(path)
    model.ir_version, model.opset_import[0].version = version, operators_of
    named = [(one.name, one.data_type, list(one.dims)) for one in model.graph.initializer]
    model.graph.input.extend(onnx.helper.make_tensor_value_info(*one) for one in named)
    onnx.save_model(model, path)
    assert faster(onnx.load(path)) is not None
    session = OnnxRuntime().load(path)
    assert [one.name for one in session.inputs] == ["image"]
    assert np.abs(session.run({"image": noise(2, 3, 9, 7)})["result"].ravel() - expected).max() < 1e-6


CHANNELS = np.array([0.5, -2, 3], np.float32).reshape(3, 1, 1)


@pytest.mark.parametrize("padded", [False, True], ids=["valid", "padded"])
@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("constant", [CHANNELS, CHANNELS[None], np.full((), 0.4, np.float32)], ids=["c", "1c", "one"])
def test_scales_are_folded_into_the_convolution_and_offsets_where_it_sees_no_zeros(
    tmp_path: Path, operator: str, constant: Tensor, padded: bool
) -> None:
    graph = Graph("scales")
    scaled = graph.add(operator, graph.add("Mul", graph.constant(CHANNELS), "image"), graph.constant(constant))
    graph.convolution(scaled, weights(4, 3, 3, 3), weights(4), pad=(1, 1) if padded else (0, 0), output="result")
    path = saved(graph, {"image": ["n", 3, "h", "w"]}, {"result": ["n", 4, "y", "x"]}, tmp_path / "scales.onnx")
    rewritten = faster(onnx.load(path, load_external_data=False))
    offset = operator in {"Add", "Sub"}
    assert (rewritten is None) == (offset and padded)
    assert rewritten is None or operators(rewritten) == {"Conv"}
    expected, found = both(path, noise(2, 3, 9, 7))
    assert np.abs(found - expected).max() < 1e-5


def test_a_constant_that_is_divided_or_subtracted_from_stays(tmp_path: Path) -> None:
    graph = Graph("scales")
    moved = graph.add("Sub", graph.constant(CHANNELS), "image")
    graph.convolution(moved, weights(4, 3, 3, 3), weights(4), output="result")
    path = saved(graph, {"image": ["n", 3, "h", "w"]}, {"result": ["n", 4, "y", "x"]}, tmp_path / "scales.onnx")
    assert faster(onnx.load(path, load_external_data=False)) is None


def test_a_constant_that_makes_one_channel_three_stays(tmp_path: Path) -> None:
    graph = Graph("grey")
    moved = graph.add("Sub", "image", graph.constant(CHANNELS))
    graph.convolution(moved, weights(4, 3, 3, 3), weights(4), output="result")
    path = saved(graph, {"image": ["n", 1, "h", "w"]}, {"result": ["n", 4, "y", "x"]}, tmp_path / "grey.onnx")
    assert faster(onnx.load(path, load_external_data=False)) is None


def test_a_scaled_picture_that_somebody_else_sees_stays(tmp_path: Path) -> None:
    graph = Graph("seen")
    scaled = graph.add("Mul", "image", graph.constant(CHANNELS), output="seen")
    graph.convolution(scaled, weights(4, 3, 3, 3), weights(4), output="result")
    outputs: dict[str, Shape] = {"seen": ["n", 3, "h", "w"], "result": ["n", 4, "y", "x"]}
    path = saved(graph, {"image": ["n", 3, "h", "w"]}, outputs, tmp_path / "seen.onnx")
    assert faster(onnx.load(path, load_external_data=False)) is None


def halved(graph: Graph, *, relu: bool, planes: bool, turned: bool, seen: bool = False) -> None:
    """The block of a residual network that halves the planes of 16 channels and makes them 48."""
    begin = graph.add("Relu", graph.convolution("image", weights(16, 3, 3, 3), weights(16)))
    short = graph.add("AveragePool", begin, kernel_shape=[2, 2], strides=[2, 2], pads=[0] * 4)
    short = graph.add("Pad", short, graph.constant(np.array([0, 0, 0, 0, 0, 32, 0, 0])))
    convolved = graph.convolution(
        begin, weights(48, 16, 3, 3), weights(48), stride=(2, 2), pad=(0, 0) if planes else (1, 1)
    )
    if planes:
        convolved = graph.add("Pad", convolved, graph.constant(np.array([0, 0, 0, 0, 0, 0, 1, 1])))
    operands = (short, convolved) if turned else (convolved, short)
    total = graph.add("Add", *operands, output="" if relu else "result")
    if relu:
        graph.add("Relu", total, output="result")
    if seen:
        graph.add("Relu", convolved, output="seen")


@pytest.mark.parametrize("relu", [False, True], ids=["sum", "relu"])
@pytest.mark.parametrize("planes", [False, True], ids=["", "planes"])
@pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])
def test_a_sum_with_fewer_channels_is_a_sum_of_those_and_the_rest(
    tmp_path: Path, relu: bool, planes: bool, turned: bool
) -> None:
    graph = Graph("residual")
    halved(graph, relu=relu, planes=planes, turned=turned)
    path = saved(graph, {"image": ["n", 3, 14, 14]}, {"result": ["n", 48, 6, 6]}, tmp_path / "residual.onnx")
    rewritten = faster(onnx.load(path, load_external_data=False))
    assert rewritten is not None
    assert operators(rewritten) == {"Conv", "Relu", "AveragePool", "Add", "Concat"}
    expected, found = both(path, noise(2, 3, 14, 14))
    assert np.abs(found - expected).max() < 1e-5


def test_a_sum_whose_parts_somebody_else_sees_stays(tmp_path: Path) -> None:
    graph = Graph("seen")
    halved(graph, relu=True, planes=False, turned=False, seen=True)
    outputs: dict[str, Shape] = {"result": ["n", 48, 6, 6], "seen": ["n", 48, 6, 6]}
    path = saved(graph, {"image": ["n", 3, 14, 14]}, outputs, tmp_path / "seen.onnx")
    assert faster(onnx.load(path, load_external_data=False)) is None


@pytest.mark.parametrize("pads", [[0, 0, 1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0, 0, 0]])
def test_zeros_around_planes_are_a_convolution_and_other_paddings_stay(tmp_path: Path, pads: list[int]) -> None:
    graph = Graph("pads")
    graph.add("Pad", convolved(graph, 6), graph.constant(np.array(pads)), output="result")
    shape = [n + before + after for n, before, after in zip((2, 6, 7, 5), pads[:4], pads[4:], strict=True)]
    path = saved(graph, {"image": [2, 3, 9, 7]}, {"result": shape}, tmp_path / "pads.onnx")
    rewritten = faster(onnx.load(path, load_external_data=False))
    around = not any(pads[:2])
    assert (rewritten is not None) == around
    expected, found = both(path, noise(2, 3, 9, 7))
    assert np.abs(found - expected).max() < 1e-6


def test_a_network_whose_weights_lie_beside_it_is_loaded_as_it_is(tmp_path: Path) -> None:
    graph = Graph("slopes")
    graph.add("PRelu", convolved(graph, 6), graph.constant(SLOPES.reshape(6, 1, 1)), output="result")
    path = saved(graph, {"image": ["n", 3, "h", "w"]}, {"result": ["n", 6, "y", "x"]}, tmp_path / "slopes.onnx")
    onnx.save_model(onnx.load(str(path)), str(path), save_as_external_data=True, location="weights", size_threshold=0)
    assert faster(onnx.load(path, load_external_data=False)) is None
    assert OnnxRuntime().load(path).run({"image": noise(1, 3, 9, 7)})["result"].shape == (1, 6, 7, 5)
