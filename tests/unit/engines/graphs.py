"""Small networks with random weights, of the same inputs and outputs as published ones that are not at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engines.packs.graph import Graph, Shape
from engines.runtime.onnx_runtime import OnnxRuntime, OnnxSession


def saved(graph: Graph, inputs: dict[str, Shape], outputs: dict[str, Shape], path: Path) -> Path:
    """The graph as a file."""
    path.write_bytes(graph.serialize(inputs, outputs))
    return path


def dense(
    path: Path, size: tuple[int, int], outputs: int, *, batch: int | str = "n", seed: int = 0, scale: float = 1e-2
) -> Path:
    """A network from [n, 3, height, width] to [n, outputs]: outputs are weighted sums of the means of 4x4 pixels."""
    height, width = size
    rng = np.random.default_rng(seed)
    graph = Graph("dense")
    cells = graph.add("AveragePool", "image", kernel_shape=[4, 4], strides=[4, 4])
    flat = graph.add("Flatten", cells, axis=1)
    count = 3 * (height // 4) * (width // 4)
    weight = rng.normal(0, scale, (count, outputs)).astype(np.float32)
    bias = rng.normal(0, scale, outputs).astype(np.float32)
    graph.add("Gemm", flat, graph.constant(weight), graph.constant(bias), output="result")
    return saved(graph, {"image": [batch, 3, height, width]}, {"result": [batch, outputs]}, path)


def mean_colour(path: Path, size: tuple[int, int]) -> Path:
    """A network from [n, 3, height, width] to [n, 3]: the means of what it is given."""
    graph = Graph("mean")
    mean = graph.add("GlobalAveragePool", "image")
    graph.add("Flatten", mean, output="result", axis=1)
    return saved(graph, {"image": ["n", 3, *size]}, {"result": ["n", 3]}, path)


def constant(path: Path, size: tuple[int, int], values: list[float]) -> Path:
    """A network from [n, 3, height, width] to [n, outputs] that always gives the same."""
    graph = Graph("constant")
    mean = graph.add("GlobalAveragePool", "image")
    flat = graph.add("Flatten", mean, axis=1)
    weight = np.zeros((3, len(values)), np.float32)
    graph.add("Gemm", flat, graph.constant(weight), graph.constant(np.array(values, np.float32)), output="result")
    return saved(graph, {"image": ["n", 3, *size]}, {"result": ["n", len(values)]}, path)


def cells(path: Path, side: int, outputs: dict[str, tuple[int, int]], *, shaped: bool, seed: int = 0) -> Path:
    """A network from [1, 3, side, side] to one output for each name: (stride, numbers of a cell).

    Args:
        path: where it is written.
        side: of the input.
        outputs: stride and numbers of a cell by name.
        shaped: outputs are [1, cells, numbers]; otherwise [cells, numbers].
        seed: of the weights.
    """
    rng = np.random.default_rng(seed)
    graph = Graph("cells")
    shapes: dict[str, Shape] = {}
    for name, (stride, numbers) in outputs.items():
        pooled = graph.add("AveragePool", "image", kernel_shape=[stride, stride], strides=[stride, stride])
        weight = rng.normal(0, 0.02, (numbers, 3, 1, 1)).astype(np.float32)
        seen = graph.convolution(pooled, weight, rng.normal(0, 0.5, numbers).astype(np.float32))
        last = graph.add("Transpose", seen, perm=[0, 2, 3, 1])
        shape = [1, -1, numbers] if shaped else [-1, numbers]
        graph.add("Reshape", last, graph.constant(np.array(shape, np.int64)), output=name)
        count = (side // stride) ** 2
        shapes[name] = [1, count, numbers] if shaped else [count, numbers]
    return saved(graph, {"image": [1, 3, side, side]}, shapes, path)


def loaded(path: Path) -> OnnxSession:
    """The network, ready to run."""
    return OnnxRuntime(threads=1).load(path)
