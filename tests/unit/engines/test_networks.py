"""The converted networks against dlib itself, and against a slow forward pass in the layout of the Keras weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dlib
import numpy as np
import numpy.typing as npt
import onnx
import pytest

from engines.packs import mtcnn_networks, sources
from engines.packs import pack as packs
from engines.packs.pack import Pack
from engines.runtime.onnx_runtime import OnnxRuntime
from engines.runtime.runtime import RuntimeFailure
from engines.vision.decoding import Image

Array = npt.NDArray[np.float32]


def chips_of(image: Image, predictor: Any) -> Array:
    """Chips as dlib cuts them, of the face and of shifted views that hold half of it, [n, 150, 150, 3] uint8."""
    faces = dlib.full_object_detections()
    for rectangle in dlib.get_frontal_face_detector()(image, 1):
        faces.append(predictor(image, rectangle))
    chips = [np.array(chip) for chip in dlib.get_face_chips(image, faces, size=150)]
    return np.stack([*chips, *(np.roll(chip, 40, axis=1) for chip in chips)])


@pytest.mark.parametrize("photo", ["astronaut", "hopper"])
def test_the_descriptor_network_gives_dlibs_descriptors(
    photo: str,
    request: pytest.FixtureRequest,
    pack: Pack,
    runtime: OnnxRuntime,
    dlib_network: Any,
    dlib_predictor5: Any,
) -> None:
    chips = chips_of(request.getfixturevalue(photo), dlib_predictor5)
    expected = np.array([dlib_network.compute_face_descriptor(chip) for chip in chips])
    planes = np.ascontiguousarray(chips.transpose(0, 3, 1, 2), np.float32)
    found = runtime.load(pack.path(packs.DESCRIPTOR)).run({"chips": planes})["descriptor"]
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-5


def convolution(x: Array, weight: Array, bias: Array) -> Array:
    rows, columns = (x.shape[i] - weight.shape[i] + 1 for i in (0, 1))
    result = np.empty((rows, columns, weight.shape[3]), np.float32)
    for y in range(rows):
        for z in range(columns):
            window = x[y : y + weight.shape[0], z : z + weight.shape[1]]
            result[y, z] = np.tensordot(window, weight, axes=3) + bias
    return result


def prelu(x: Array, slope: Array) -> Array:
    return np.where(x > 0, x, x * slope.reshape(-1))


def pooled(x: Array, size: int, *, same: bool) -> Array:
    count = [-(-n // 2) if same else (n - size) // 2 + 1 for n in x.shape[:2]]
    result = np.empty((*count, x.shape[2]), np.float32)
    for y in range(count[0]):
        for z in range(count[1]):
            result[y, z] = x[2 * y : 2 * y + size, 2 * z : 2 * z + size].max(axis=(0, 1))
    return result


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def keras(crop: Array, weights: list[Array], pools: list[tuple[int, bool]]) -> list[Array]:
    """R-Net and O-Net as Keras evaluates them: height, width, channels; Permute(2, 1, 3) before flattening."""
    queue = iter(weights)
    x = crop
    for size, same in pools:
        x = pooled(prelu(convolution(x, next(queue), next(queue)), next(queue)), size, same=same)
    x = prelu(convolution(x, next(queue), next(queue)), next(queue))
    flat = x.transpose(1, 0, 2).reshape(-1)
    flat = prelu(flat @ next(queue) + next(queue), next(queue))
    heads = list(queue)
    outputs = [flat @ weight + bias for weight, bias in zip(heads[::2], heads[1::2], strict=True)]
    return [*outputs[:-1], softmax(outputs[-1])]


@pytest.mark.parametrize(
    ("source", "name", "size", "pools"),
    [
        (sources.RNET, packs.REFINEMENT, 24, [(3, True), (3, False)]),
        (sources.ONET, packs.OUTPUT, 48, [(3, True), (3, False), (2, True)]),
    ],
    ids=["refinement", "output"],
)
def test_the_judging_networks_follow_the_keras_layers(
    pack: Pack, runtime: OnnxRuntime, source: sources.Source, name: str, size: int, pools: list[tuple[int, bool]]
) -> None:
    crop = np.random.default_rng(1).normal(0, 0.5, (size, size, 3)).astype(np.float32)
    expected = keras(crop, mtcnn_networks.weights(sources.read(source)), pools)
    found = runtime.load(pack.path(name)).run({"crops": np.ascontiguousarray(crop.transpose(2, 0, 1)[None])})
    assert list(found)[-1] == "probability"
    for value, reference in zip(found.values(), expected, strict=True):
        assert np.abs(value[0] - reference).max() < 1e-4


@pytest.mark.parametrize("shape", [(12, 12), (37, 50), (64, 31)])
def test_the_proposal_network_follows_the_keras_layers(
    pack: Pack, runtime: OnnxRuntime, shape: tuple[int, int]
) -> None:
    image = np.random.default_rng(2).normal(0, 0.5, (*shape, 3)).astype(np.float32)
    queue = iter(mtcnn_networks.weights(sources.read(sources.PNET)))
    x = pooled(prelu(convolution(image, next(queue), next(queue)), next(queue)), 2, same=True)
    for _ in range(2):
        x = prelu(convolution(x, next(queue), next(queue)), next(queue))
    regression = convolution(x, next(queue), next(queue))
    probability = softmax(convolution(x, next(queue), next(queue)))
    planes = np.ascontiguousarray(image.transpose(2, 0, 1)[None])
    found = runtime.load(pack.path(packs.PROPOSAL)).run({"image": planes})
    assert np.abs(found["regression"][0].transpose(1, 2, 0) - regression).max() < 1e-4
    assert np.abs(found["probability"][0].transpose(1, 2, 0) - probability).max() < 1e-4


def test_a_session_says_what_it_takes_and_gives(pack: Pack, runtime: OnnxRuntime) -> None:
    session = runtime.load(pack.path(packs.DESCRIPTOR))
    assert [(spec.name, spec.shape) for spec in session.inputs] == [("chips", (None, 3, 150, 150))]
    assert [(spec.name, spec.shape) for spec in session.outputs] == [("descriptor", (None, 128))]
    assert "CPU" in runtime.name


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"chips": np.zeros((1, 3, 150, 151), np.float32)},
        {"chips": np.zeros((3, 150, 150), np.float32)},
        {"chips": np.zeros((1, 3, 150, 150), np.float64)},
    ],
    ids=["missing", "size", "rank", "type"],
)
def test_a_session_refuses_inputs_that_do_not_fit(pack: Pack, runtime: OnnxRuntime, inputs: dict[str, Any]) -> None:
    with pytest.raises(RuntimeFailure, match=r"descriptor\.onnx takes float32"):
        runtime.load(pack.path(packs.DESCRIPTOR)).run(inputs)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path, runtime: OnnxRuntime) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(RuntimeFailure, match="cannot be loaded"):
        runtime.load(tmp_path / "bad.onnx")


def test_the_networks_use_only_operators_that_every_runtime_has(pack: Pack) -> None:
    allowed = {"Conv", "PRelu", "Relu", "Pad", "MaxPool", "AveragePool", "GlobalAveragePool", "Add", "Sub", "Mul"}
    allowed |= {"Gemm", "MatMul", "Softmax", "Flatten"}
    for file in pack.manifest.files:
        if file.name.endswith(".onnx"):
            model = onnx.load(str(pack.path(file.name)))
            assert {node.op_type for node in model.graph.node} <= allowed, file.name
