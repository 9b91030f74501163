"""What every runtime must do, for whichever are present; those that are not are skipped by name.

The simulated GPU runs our TensorRT code without TensorRT (`simulated_gpu`). Real GPUs are used where they are.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from engines.packs import pack as packs
from engines.packs.pack import Pack
from engines.runtime import cuda, tensorrt_runtime
from engines.runtime.batching import BatchingRuntime, Policy
from engines.runtime.choose import on_gpu
from engines.runtime.devices import Device, Precision
from engines.runtime.onnx_runtime import OnnxRuntime
from engines.runtime.proof import TOLERANCES, prove, scale
from engines.runtime.runtime import Runtime, RuntimeFailure, Session, Tensor
from engines.runtime.tensorrt_runtime import TensorRtRuntime
from server.settings import Engine
from tests.unit.engines.simulated_gpu import SimulatedCuda, SimulatedTensorRt

NETWORKS = {
    packs.DESCRIPTOR: ("chips", (3, 150, 150)),
    packs.REFINEMENT: ("crops", (3, 24, 24)),
    packs.OUTPUT: ("crops", (3, 48, 48)),
    packs.PROPOSAL: ("image", (3, 37, 50)),
}
"""Networks of the default pack, and the shape of a row of their input."""

MAX_BATCH = 4


@pytest.fixture(
    scope="module",
    params=["cpu", "cpu, batched", "simulated TensorRT", "simulated TensorRT, batched", "cuda:0", "tensorrt:0"],
)
def any_runtime(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    kind, _, batched = request.param.partition(", ")
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        if kind.startswith("simulated"):
            simulated = SimulatedCuda()
            patch.setattr(cuda, "bindings", lambda: simulated)
            patch.setattr(tensorrt_runtime, "installed", lambda: SimulatedTensorRt(simulated))
            runtime: Runtime = TensorRtRuntime(0, folder / "plans", max_batch=MAX_BATCH, streams=2)
        elif kind == "cpu":
            runtime = OnnxRuntime(threads=1)
        else:
            try:
                settings = Engine(device=kind, max_batch=MAX_BATCH)
                runtime = on_gpu(settings, Device.parse(kind), Precision.FP32, folder)
            except RuntimeFailure as failure:
                pytest.skip(f"{kind}: {failure}")
        if batched:
            runtime = BatchingRuntime(runtime, Policy(MAX_BATCH, 0.002, 2))
        yield runtime
        runtime.close()


@pytest.fixture(scope="module")
def sessions(any_runtime: Runtime, pack: Pack) -> dict[str, Session]:
    return {name: any_runtime.load(pack.path(name)) for name in NETWORKS}


@pytest.fixture(scope="module")
def reference(pack: Pack) -> dict[str, Session]:
    runtime = OnnxRuntime(threads=1)
    return {name: runtime.load(pack.path(name)) for name in NETWORKS}


def random(network: str, rows: int, seed: int = 0) -> dict[str, Tensor]:
    name, shape = NETWORKS[network]
    span = 255 if network == packs.DESCRIPTOR else 1
    return {name: np.random.default_rng(seed).uniform(0, span, (rows, *shape)).astype(np.float32)}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-4) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].shape == value.shape
        assert found[name].dtype == np.float32
        assert found[name].flags.c_contiguous
        assert np.abs(found[name] - value).max(initial=0) < tolerance, name


def test_a_runtime_names_its_device(any_runtime: Runtime) -> None:
    assert any_runtime.device in ("cpu", "cuda:0", "tensorrt:0")
    assert any_runtime.name


@pytest.mark.parametrize("network", NETWORKS)
def test_names_and_shapes_are_those_of_the_model(
    sessions: dict[str, Session], reference: dict[str, Session], network: str
) -> None:
    session, expected = sessions[network], reference[network]
    assert session.name == network
    assert session.inputs == expected.inputs
    assert session.outputs == expected.outputs
    assert session.max_batch is None or session.max_batch >= 1


@pytest.mark.parametrize("rows", [0, 1, 2, 3, MAX_BATCH, MAX_BATCH + 1, 3 * MAX_BATCH + 2, 70])
@pytest.mark.parametrize("network", [packs.REFINEMENT, packs.OUTPUT])
def test_any_number_of_rows_gives_what_the_cpu_gives(
    sessions: dict[str, Session], reference: dict[str, Session], network: str, rows: int
) -> None:
    inputs = random(network, rows)
    assert_same(sessions[network].run(inputs), reference[network].run(inputs))


@pytest.mark.parametrize("rows", [0, 1, MAX_BATCH, MAX_BATCH + 1])
def test_descriptors_are_those_of_the_cpu(
    sessions: dict[str, Session], reference: dict[str, Session], rows: int
) -> None:
    inputs = random(packs.DESCRIPTOR, rows)
    assert_same(sessions[packs.DESCRIPTOR].run(inputs), reference[packs.DESCRIPTOR].run(inputs), 1e-3)


@pytest.mark.parametrize("size", [(11, 11), (12, 300), (64, 31), (200, 90), (64, 31)])
def test_pictures_of_any_size_are_scanned(
    sessions: dict[str, Session], reference: dict[str, Session], size: tuple[int, int]
) -> None:
    inputs = {"image": np.random.default_rng(1).uniform(-1, 1, (1, 3, *size)).astype(np.float32)}
    assert_same(sessions[packs.PROPOSAL].run(inputs), reference[packs.PROPOSAL].run(inputs))


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_agrees_with_the_cpu_by_the_proof_of_the_start(
    sessions: dict[str, Session], reference: dict[str, Session], network: str, pack: Pack
) -> None:
    prove(sessions[network], reference[network], TOLERANCES[Precision.FP32], scale=scale(pack.path(network)))


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({}, "not nothing"),
        ({"crops": np.zeros((1, 3, 24, 25), np.float32)}, "24, 25"),
        ({"crops": np.zeros((3, 24, 24), np.float32)}, "3, 24, 24"),
        ({"crops": np.zeros((1, 3, 24, 24), np.float64)}, "float64"),
    ],
    ids=["missing", "size", "rank", "type"],
)
def test_inputs_that_do_not_fit_are_refused_by_name_and_harm_nobody(
    sessions: dict[str, Session], reference: dict[str, Session], inputs: dict[str, Tensor], told: str
) -> None:
    with pytest.raises(RuntimeFailure, match=r"detector_refinement\.onnx takes float32") as refused:
        sessions[packs.REFINEMENT].run(inputs)
    assert told in str(refused.value)
    good = random(packs.REFINEMENT, 2)
    assert_same(sessions[packs.REFINEMENT].run(good), reference[packs.REFINEMENT].run(good))


def test_a_file_that_is_no_model_is_refused(any_runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(RuntimeFailure):
        any_runtime.load(tmp_path / "bad.onnx")
    with pytest.raises(RuntimeFailure):
        any_runtime.load(tmp_path / "absent.onnx")


def test_the_same_input_gives_the_same_bits(sessions: dict[str, Session]) -> None:
    inputs = random(packs.REFINEMENT, MAX_BATCH)
    first = sessions[packs.REFINEMENT].run(inputs)
    for _ in range(5):
        again = sessions[packs.REFINEMENT].run(inputs)
        assert all(np.array_equal(again[name], first[name]) for name in first)


def test_an_answer_stays_what_it_is_when_the_session_runs_again(sessions: dict[str, Session]) -> None:
    answer = sessions[packs.REFINEMENT].run(random(packs.REFINEMENT, 3, 1))
    kept = {name: value.copy() for name, value in answer.items()}
    sessions[packs.REFINEMENT].run(random(packs.REFINEMENT, 3, 2))
    assert all(np.array_equal(answer[name], kept[name]) for name in kept)


def test_an_input_is_not_changed_and_need_not_be_contiguous(
    sessions: dict[str, Session], reference: dict[str, Session]
) -> None:
    wide = np.random.default_rng(3).uniform(-1, 1, (3, 3, 24, 48)).astype(np.float32)
    view = wide[:, :, :, ::2]
    before = wide.copy()
    found = sessions[packs.REFINEMENT].run({"crops": view})
    assert_same(found, reference[packs.REFINEMENT].run({"crops": np.ascontiguousarray(view)}))
    assert np.array_equal(wide, before)


def test_threads_that_run_side_by_side_get_their_own_answers(
    sessions: dict[str, Session], reference: dict[str, Session]
) -> None:
    cases = [(network, seed % 7 + 1, seed) for seed in range(40) for network in (packs.REFINEMENT, packs.OUTPUT)]
    expected = [reference[network].run(random(network, rows, seed)) for network, rows, seed in cases]
    with ThreadPoolExecutor(6) as pool:
        found = pool.map(lambda case: sessions[case[0]].run(random(*case)), cases)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)


def test_memory_does_not_grow_over_200_runs(sessions: dict[str, Session]) -> None:
    session, process = sessions[packs.OUTPUT], psutil.Process()
    inputs = [random(packs.OUTPUT, rows) for rows in range(1, 9)]
    for number in range(40):
        session.run(inputs[number % 8])
    before = process.memory_info().rss
    for number in range(200):
        session.run(inputs[number % 8])
    assert process.memory_info().rss - before < 16 << 20


def test_a_closed_session_says_so(any_runtime: Runtime, pack: Pack) -> None:
    session = any_runtime.load(pack.path(packs.REFINEMENT))
    session.close()
    with pytest.raises(RuntimeFailure, match="closed"):
        session.run(random(packs.REFINEMENT, 1))


def test_a_network_made_for_one_picture_takes_one(any_runtime: Runtime, request: pytest.FixtureRequest) -> None:
    model = request.config.rootpath.parent / "shared" / "models" / "face_detection_yunet_2023mar.onnx"
    if not model.is_file():
        pytest.skip(f"{model} is not there")
    session = any_runtime.load(model)
    image = np.random.default_rng(5).uniform(0, 255, (1, 3, 640, 640)).astype(np.float32)
    assert session.max_batch == 1
    answers: list[dict[str, Tensor]] = []
    threads = [threading.Thread(target=lambda: answers.append(session.run({"input": image}))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = OnnxRuntime(threads=1).load(model).run({"input": image})
    assert len(answers) == 2
    for answer in answers:
        assert_same(answer, expected, 1e-2)
    with pytest.raises(RuntimeFailure, match="takes float32"):
        session.run({"input": np.concatenate([image, image])})
    session.close()
