"""Networks cast to float16: what they look like, and how little their results change on real photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from engines.packs import pack as packs
from engines.packs.pack import Pack
from engines.runtime.devices import Precision
from engines.runtime.onnx_runtime import OnnxRuntime
from engines.runtime.precision import FULL, in_half
from engines.runtime.runtime import Runtime, RuntimeFailure
from engines.vision import alignment
from engines.vision.boxes import overlap, squared
from engines.vision.decoding import Image
from engines.vision.descriptor import DescriptorNetwork
from engines.vision.detector import Detector
from engines.vision.landmarks import LandmarkPredictor

FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
LARGEST = 65504.0


def detector(runtime: Runtime, pack: Pack) -> Detector:
    proposal, refinement, output = (
        runtime.load(pack.path(name)) for name in (packs.PROPOSAL, packs.REFINEMENT, packs.OUTPUT)
    )
    return Detector(proposal, refinement, output)


def networks(pack: Pack) -> list[str]:
    return [file.name for file in pack.manifest.files if file.name.endswith(".onnx")]


@pytest.fixture(scope="module")
def warps(
    pack: Pack, detector: Detector, landmarks5: LandmarkPredictor, astronaut: Image, hopper: Image
) -> list[Image]:
    made = []
    for photo in (astronaut, hopper):
        found = detector.detect(photo, 40)
        points = landmarks5.predict(photo, alignment.rectangles(found.points))
        made += [alignment.warp(photo, alignment.warp_transform(one)) for one in points]
    return made


def test_weights_are_half_and_inputs_outputs_sums_and_last_layers_are_not(pack: Pack) -> None:
    for name in networks(pack):
        model = onnx.load_model_from_string(in_half(pack.path(name).read_bytes()))
        graph = onnx.shape_inference.infer_shapes(model).graph
        types = {one.name: one.type.tensor_type.elem_type for one in (*graph.value_info, *graph.input, *graph.output)}
        types |= {one.name: one.data_type for one in graph.initializer}
        assert {types[one.name] for one in (*graph.input, *graph.output)} == {FLOAT}
        outputs = {one.name for one in graph.output}
        scores = {node.input[0] for node in graph.node if node.op_type == "Softmax"}
        last = 0
        for node in graph.node:
            full = node.op_type in FULL or bool(outputs.union(scores).intersection(node.output))
            last += full and node.op_type in ("Conv", "Gemm", "MatMul")
            if node.op_type != "Cast":
                wanted = FLOAT if full else HALF
                assert types[node.input[0]] == wanted, (name, node.name)
                assert types[node.output[0]] == wanted, (name, node.name)
        assert last == len(outputs), name
        halves = sum(int(np.prod(one.dims)) for one in graph.initializer if one.data_type == HALF)
        assert halves > 0.8 * sum(int(np.prod(one.dims)) for one in graph.initializer), name


def test_nodes_come_in_the_order_in_which_they_are_needed(pack: Pack) -> None:
    for name in networks(pack):
        graph = onnx.load_model_from_string(in_half(pack.path(name).read_bytes())).graph
        known = {one.name for one in (*graph.input, *graph.initializer)}
        for node in graph.node:
            assert set(node.input) <= known, (name, node.name)
            known |= set(node.output)


def test_descriptors_keep_their_direction(pack: Pack, warps: list[Image]) -> None:
    full, half = (
        DescriptorNetwork(
            OnnxRuntime(precision=one).load(pack.path(packs.DESCRIPTOR)), version=1001, flip_averaging=False
        )
        for one in (Precision.FP32, Precision.FP16)
    )
    cosines = (full.describe(warps) * half.describe(warps)).sum(axis=1)
    assert len(cosines) >= 2
    assert cosines.min() >= 0.999


def test_boxes_and_points_stay_within_a_pixel(pack: Pack, astronaut: Image, hopper: Image) -> None:
    full, half = (detector(OnnxRuntime(precision=one), pack) for one in (Precision.FP32, Precision.FP16))
    for photo in (astronaut, hopper):
        given = squared(full.detect(photo, 40).boxes)
        expected, found = full.examine(photo, given), half.examine(photo, given)
        assert np.abs(found.boxes - expected.boxes).max() < 1
        assert np.abs(found.points - expected.points).max() < 1
        assert np.abs(found.scores - expected.scores).max() < 0.01


def test_the_same_faces_are_found(pack: Pack, astronaut: Image, hopper: Image) -> None:
    """Of two proposals for one face either may win by a hair, so the boxes are the same to a few pixels only."""
    full, half = (detector(OnnxRuntime(precision=one), pack) for one in (Precision.FP32, Precision.FP16))
    for photo in (astronaut, hopper):
        expected, found = full.detect(photo, 40), half.detect(photo, 40)
        assert len(found) == len(expected) >= 1
        for box in expected.boxes:
            assert overlap(found.boxes, box).max() > 0.95


@pytest.mark.parametrize("network", [packs.DESCRIPTOR, packs.PROPOSAL, packs.REFINEMENT, packs.OUTPUT])
def test_no_value_inside_a_network_comes_near_the_largest_that_half_precision_has(
    pack: Pack, warps: list[Image], network: str
) -> None:
    """ONNX Runtime computes float16 in float32 on the CPU, so an overflow would not show in the results above."""
    model = onnx.load(str(pack.path(network)))
    names = [output for node in model.graph.node for output in node.output]
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, FLOAT, None) for name in names)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    if network == packs.DESCRIPTOR:
        pictures = np.stack([alignment.chip(warp) for warp in warps]).transpose(0, 3, 1, 2).astype(np.float32)
        extremes = np.random.default_rng(1).choice(np.float32([0, 255]), pictures.shape)
    else:
        side = {packs.REFINEMENT: 24, packs.OUTPUT: 48}.get(network, 250)
        pictures = np.stack(warps).transpose(0, 3, 1, 2).astype(np.float32)[:, :, :side, :side] / 128 - 1
        extremes = np.random.default_rng(1).choice(np.float32([-1, 1]), pictures.shape)
    for batch in (pictures, extremes):
        values = session.run(names, {taken.name: np.ascontiguousarray(batch)})
        assert max(float(np.abs(value).max()) for value in values) < LARGEST / 8


def test_what_is_no_model_cannot_be_cast() -> None:
    with pytest.raises(RuntimeFailure, match="cannot be cast"):
        in_half(b"no model")


@pytest.mark.parametrize(
    "name", ["face_detection_yunet_2023mar", "fastestdet", "antispoof_minifasnetv2se", "gender_dlib"]
)
def test_other_networks_can_be_cast_too(request: pytest.FixtureRequest, name: str) -> None:
    path = request.config.rootpath.parent / "shared" / "models" / f"{name}.onnx"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    full, half = (OnnxRuntime(precision=one).load(Path(path)) for one in (Precision.FP32, Precision.FP16))
    (spec,) = full.inputs
    shape = tuple(2 if size is None else size for size in spec.shape)
    inputs = {spec.name: np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)}
    for output, expected in full.run(inputs).items():
        found = half.run(inputs)[output]
        assert np.abs(found - expected).max() <= 0.1 * max(1.0, np.abs(expected).max())


def test_a_descriptor_computed_in_half_at_every_step_keeps_its_direction(pack: Pack, warps: list[Image]) -> None:
    """The ONNX reference evaluator really computes float16, with numpy; the CPU's kernels do not."""
    path = pack.path(packs.DESCRIPTOR)
    chips = {"chips": alignment.chip(warps[0])[None].transpose(0, 3, 1, 2).astype(np.float32)}
    expected = OnnxRuntime().load(path).run(chips)["descriptor"][0]
    (found,) = ReferenceEvaluator(onnx.load_model_from_string(in_half(path.read_bytes()))).run(None, chips)
    cosine = float(found[0] @ expected / np.linalg.norm(found[0]) / np.linalg.norm(expected))
    assert found.dtype == np.float32
    assert cosine >= 0.999
