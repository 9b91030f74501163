"""Graphs that ONNX Runtime runs faster, beside the same graphs in the reference evaluator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from engines.packs import pack as packs
from engines.packs.graph import Graph
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


def test_a_network_without_such_operators_is_loaded_as_it_is(pack: Pack) -> None:
    assert faster(onnx.load(pack.path(packs.DESCRIPTOR), load_external_data=False)) is None


def test_a_network_whose_weights_lie_beside_it_is_loaded_as_it_is(tmp_path: Path) -> None:
    graph = Graph("slopes")
    graph.add("PRelu", convolved(graph, 6), graph.constant(SLOPES.reshape(6, 1, 1)), output="result")
    path = saved(graph, {"image": ["n", 3, "h", "w"]}, {"result": ["n", 6, "y", "x"]}, tmp_path / "slopes.onnx")
    onnx.save_model(onnx.load(str(path)), str(path), save_as_external_data=True, location="weights", size_threshold=0)
    assert faster(onnx.load(path, load_external_data=False)) is None
    assert OnnxRuntime().load(path).run({"image": noise(1, 3, 9, 7)})["result"].shape == (1, 6, 7, 5)
