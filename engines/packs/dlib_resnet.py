"""dlib's face recognition ResNet as ONNX.

The network is 29 convolutions with residual blocks (source: dlib's examples/dnn_face_recognition_ex.cpp, `anet_type`).
dlib writes a network from its output down to its input; the layers here are kept in that order until they are emitted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from engines.packs.dlib_stream import Reader
from engines.packs.errors import SourceUnreadable
from engines.packs.graph import Graph

Weights = npt.NDArray[np.float64]

CHIP = 150
"""Side of the network's input in pixels."""

DIMENSIONS = 128
"""Length of its output."""


@dataclass(frozen=True, slots=True)
class _Convolution:
    weight: Weights
    bias: Weights
    stride: tuple[int, int]
    pad: tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Affine:
    """Batch normalization with fixed statistics: gamma * x + beta, per channel."""

    gamma: Weights
    beta: Weights


@dataclass(frozen=True, slots=True)
class _Relu:
    pass


@dataclass(frozen=True, slots=True)
class _Pool:
    """Maximum or mean over windows; a window of (0, 0) is the whole plane."""

    operator: str
    window: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Dense:
    """Product with a matrix [in, out]."""

    weight: Weights


@dataclass(frozen=True, slots=True)
class _Tag:
    """Names the tensor at this place."""

    name: int


@dataclass(frozen=True, slots=True)
class _Skip:
    """Goes back to a named tensor."""

    name: int


@dataclass(frozen=True, slots=True)
class _AddTagged:
    """Adds a named tensor; the smaller of the two is extended by zeros at the high end of each dimension."""

    name: int


_Layer: TypeAlias = _Convolution | _Affine | _Relu | _Pool | _Dense | _Tag | _Skip | _AddTagged


def convert(data: bytes) -> bytes:
    """The ONNX model of `dlib_face_recognition_resnet_model_v1.dat`.

    Input `chips`: float32 [batch, 3, 150, 150], RGB, [0, 255].
    Output `descriptor`: float32 [batch, 128], not normalized.

    Raises:
        SourceUnreadable: the data has another structure.
    """
    reader = Reader(data)
    reader.version(1)
    if reader.one_of("loss_metric_", "loss_metric_2") == "loss_metric_2":
        reader.real(), reader.real()
    mean, layers = _network(reader, list(_architecture()))
    if reader.remaining:
        raise SourceUnreadable(f"{reader.remaining} bytes follow the network")
    return _emit(mean, layers[::-1])


def _architecture() -> Iterator[str | _Tag | _Skip | _AddTagged]:
    """Layers from the output down. A string names a layer whose parameters are in the stream."""
    block = ("affine", "convolution", "relu", "affine", "convolution")
    yield from ("dense", "mean pool")
    for level in (0, 2, 2, 3):
        for _ in range(level):
            yield from ("relu", _AddTagged(1), *block, _Tag(1))
        yield from ("relu", _AddTagged(2), "mean pool", _Skip(1), _Tag(2), *block, _Tag(1))
    for _ in range(3):
        yield from ("relu", _AddTagged(1), *block, _Tag(1))
    yield from ("maximum pool", "relu", "affine", "convolution")


def _network(
    reader: Reader, architecture: list[str | _Tag | _Skip | _AddTagged]
) -> tuple[npt.NDArray[np.float32], list[_Layer]]:
    """The input's mean colour, and the layers from the output down."""
    lowest = len(architecture) - 1
    versions = [
        reader.version(1)
        if isinstance(entry, _Tag | _Skip)
        else reader.version(2, 3)
        if depth == lowest
        else reader.version(1, 2)
        for depth, entry in enumerate(architecture)
    ]
    reader.one_of("input_rgb_image_sized")
    mean = np.array([reader.real() for _ in range(3)], np.float32)
    if (reader.integer(), reader.integer()) != (CHIP, CHIP):
        raise SourceUnreadable(f"the network's input is not {CHIP}x{CHIP}")
    layers: list[_Layer] = []
    for depth in range(lowest, -1, -1):
        entry = architecture[depth]
        if isinstance(entry, _Tag | _Skip):
            layers.append(entry)
            continue
        layers.append(_added(reader, entry) if isinstance(entry, _AddTagged) else _DETAILS[entry](reader))
        _training_state(reader, versions[depth], lowest=depth == lowest)
    return mean, layers[::-1]


def _training_state(reader: Reader, version: int, *, lowest: bool) -> None:
    """Skips what a layer keeps for training: three flags, gradients and the cached output."""
    for _ in range(3):
        reader.boolean()
    reader.tensor(), reader.tensor()
    if lowest:
        reader.tensor()
        if version == 3:
            reader.integer()
    elif version == 2:
        reader.tensor()


def _convolution(reader: Reader) -> _Convolution:
    kind = reader.one_of("con_4", "con_5", "con_6")
    parameters = reader.tensor().reshape(-1).astype(np.float64)
    filters, rows, columns, stride_y, stride_x, pad_y, pad_x = (reader.integer() for _ in range(7))
    shape = reader.alias()
    reader.alias()
    _learning_rates(reader)
    biased = reader.boolean() if kind != "con_4" else True
    if kind == "con_6" and reader.boolean():
        raise SourceUnreadable("a convolution with a built-in relu is not expected")
    count = int(np.prod(shape))
    if shape[0] != filters or shape[2:] != (rows, columns) or len(parameters) != count + (filters if biased else 0):
        raise SourceUnreadable(f"a convolution of {filters} filters has weights of the shape {shape}")
    bias = parameters[count:] if biased else np.zeros(filters)
    return _Convolution(parameters[:count].reshape(shape), bias, (stride_y, stride_x), (pad_y, pad_x))


def _affine(reader: Reader) -> _Affine:
    kind = reader.one_of("affine_", "affine_2")
    parameters = reader.tensor().reshape(-1).astype(np.float64)
    count = int(np.prod(reader.alias()))
    reader.alias()
    if reader.integer() != 0:
        raise SourceUnreadable("an affine layer does not work per channel")
    if kind == "affine_2" and reader.boolean():
        return _Affine(np.ones(count), np.zeros(count))
    return _Affine(parameters[:count], parameters[count:])


def _relu(reader: Reader) -> _Relu:
    if reader.one_of("relu_", "relu_2") == "relu_2":
        reader.boolean()
    return _Relu()


def _pool(operator: str, signature: str) -> Callable[[Reader], _Pool]:
    def read(reader: Reader) -> _Pool:
        reader.one_of(signature)
        rows, columns, stride_y, stride_x, pad_y, pad_x = (reader.integer() for _ in range(6))
        return _Pool(operator, (rows, columns), (stride_y, stride_x), (pad_y, pad_x))

    return read


def _dense(reader: Reader) -> _Dense:
    kind = reader.one_of("fc_2", "fc_3")
    outputs, inputs = reader.integer(), reader.integer()
    parameters = reader.tensor().reshape(-1).astype(np.float64)
    reader.alias(), reader.alias()
    reader.integer()
    _learning_rates(reader)
    if kind == "fc_3":
        reader.boolean()
    if len(parameters) != inputs * outputs:
        raise SourceUnreadable("a dense layer without bias is expected")
    return _Dense(parameters.reshape(inputs, outputs))


def _added(reader: Reader, entry: _AddTagged) -> _AddTagged:
    reader.one_of("add_prev_")
    return entry


def _learning_rates(reader: Reader) -> None:
    for _ in range(4):
        reader.real()


_DETAILS: dict[str, Callable[[Reader], _Layer]] = {
    "convolution": _convolution,
    "affine": _affine,
    "relu": _relu,
    "maximum pool": _pool("MaxPool", "max_pool_2"),
    "mean pool": _pool("AveragePool", "avg_pool_2"),
    "dense": _dense,
}


def _folded(layers: list[_Layer]) -> Iterator[_Layer]:
    """Layers from the input up, with each affine layer made a part of the convolution below it."""
    held: _Convolution | None = None
    for layer in layers:
        if held is not None and isinstance(layer, _Affine):
            weight = held.weight * layer.gamma[:, None, None, None]
            yield _Convolution(weight, held.bias * layer.gamma + layer.beta, held.stride, held.pad)
            held = None
            continue
        if held is not None:
            yield held
        held = layer if isinstance(layer, _Convolution) else None
        if held is None:
            yield layer
    if held is not None:
        yield held


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor of the graph and its shape without the batch: (channels, rows, columns)."""

    name: str
    shape: tuple[int, int, int]


def _window(size: int, window: int, stride: int, pad: int) -> int:
    return (size + 2 * pad - window) // stride + 1


def _emit(mean: npt.NDArray[np.float32], layers: list[_Layer]) -> bytes:
    graph = Graph("dlib_face_recognition_resnet_model_v1")
    # The mean stays a layer of its own: folded into the first convolution, a padded border would change its meaning.
    x = graph.add("Sub", "chips", graph.constant(mean.reshape(1, 3, 1, 1)))
    x = graph.add("Mul", x, graph.constant(np.array([1 / 256], np.float32)))
    current = _Tensor(x, (3, CHIP, CHIP))
    tagged: dict[int, _Tensor] = {}
    for layer in _folded(layers):
        match layer:
            case _Tag(name):
                tagged[name] = current
            case _Skip(name):
                current = tagged[name]
            case _AddTagged(name):
                current = _sum(graph, current, tagged[name])
            case _Dense(weight):
                flat = graph.add("Flatten", current.name, axis=1)
                graph.add("MatMul", flat, graph.constant(weight.astype(np.float32)), output="descriptor")
            case _Affine():
                raise SourceUnreadable("an affine layer does not follow a convolution")
            case _:
                current = _spatial(graph, current, layer)
    return graph.serialize({"chips": ["batch", 3, CHIP, CHIP]}, {"descriptor": ["batch", DIMENSIONS]})


def _spatial(graph: Graph, x: _Tensor, layer: _Convolution | _Relu | _Pool) -> _Tensor:
    channels, rows, columns = x.shape
    if isinstance(layer, _Relu):
        return _Tensor(graph.add("Relu", x.name), x.shape)
    if isinstance(layer, _Pool) and layer.window == (0, 0):
        return _Tensor(graph.add("GlobalAveragePool", x.name), (channels, 1, 1))
    if isinstance(layer, _Pool):
        name = graph.add(
            layer.operator,
            x.name,
            kernel_shape=list(layer.window),
            strides=list(layer.stride),
            pads=[*layer.pad, *layer.pad],
        )
        window = layer.window
    else:
        weight, bias = layer.weight.astype(np.float32), layer.bias.astype(np.float32)
        name = graph.convolution(x.name, weight, bias, stride=layer.stride, pad=layer.pad)
        channels, window = len(weight), weight.shape[2:]
    size = (
        channels,
        _window(rows, window[0], layer.stride[0], layer.pad[0]),
        _window(columns, window[1], layer.stride[1], layer.pad[1]),
    )
    return _Tensor(name, size)


def _sum(graph: Graph, a: _Tensor, b: _Tensor) -> _Tensor:
    channels, rows, columns = (max(pair) for pair in zip(a.shape, b.shape, strict=True))
    shape = (channels, rows, columns)

    def extended(x: _Tensor) -> str:
        missing = [whole - part for whole, part in zip(shape, x.shape, strict=True)]
        if not any(missing):
            return x.name
        pads = graph.constant(np.array([0, 0, 0, 0, 0, *missing], np.int64))
        return graph.add("Pad", x.name, pads, mode="constant")

    return _Tensor(graph.add("Add", extended(a), extended(b)), shape)
