"""Plans: what they are keyed by, when they are built, and that nothing half written is ever used."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines.packs import pack as packs
from engines.packs.pack import Pack
from engines.runtime import cuda, tensorrt_runtime
from engines.runtime.devices import Precision
from engines.runtime.runtime import RuntimeFailure
from engines.runtime.tensorrt_lanes import padded, sizes
from engines.runtime.tensorrt_plans import MAX_SIDE, MIN_SIDE, Key, Plans, Range, profile, read, write
from engines.runtime.tensorrt_runtime import TensorRtRuntime
from engines.vision import detector as detection
from tests.unit.engines.simulated_gpu import CAPABILITY, SimulatedCuda, SimulatedTensorRt

KEY = Key("a" * 64, "11.4.0", (9, 0), Precision.FP32, (Range("x", (1, 3), (4, 3), (16, 3)),))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedCuda]:
    simulated = SimulatedCuda()
    api = SimulatedTensorRt(simulated)
    monkeypatch.setattr(cuda, "bindings", lambda: simulated)
    monkeypatch.setattr(tensorrt_runtime, "installed", lambda: api)
    simulated.api = api  # type: ignore[attr-defined]
    yield simulated


def built(gpu: SimulatedCuda) -> int:
    count: int = gpu.api.built  # type: ignore[attr-defined]
    return count


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((None, 3, 150, 150), Range("x", (1, 3, 150, 150), (16, 3, 150, 150), (16, 3, 150, 150))),
        ((None, 3, 112, 112), Range("x", (1, 3, 112, 112), (16, 3, 112, 112), (32, 3, 112, 112))),
        ((None, 3, 24, 24), Range("x", (1, 3, 24, 24), (16, 3, 24, 24), (128, 3, 24, 24))),
        ((1, 3, 640, 640), Range("x", (1, 3, 640, 640), (1, 3, 640, 640), (1, 3, 640, 640))),
        (
            (None, 3, None, None),
            Range("x", (1, 3, MIN_SIDE, MIN_SIDE), (1, 3, 256, 256), (1, 3, MAX_SIDE, MAX_SIDE)),
        ),
    ],
)
def test_a_profile_serves_batches_of_a_size_that_fits_the_rows(shape: tuple[int | None, ...], expected: Range) -> None:
    assert profile("x", shape, 16) == expected


def test_every_tile_of_the_proposal_network_lies_within_the_profile() -> None:
    reach = detection._WINDOW - detection._STRIDE
    assert detection._TILE % detection._STRIDE == 0
    assert detection._TILE + reach <= MAX_SIDE
    assert reach + 1 >= MIN_SIDE


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, model="b" * 64),
        replace(KEY, tensorrt="11.5.0"),
        replace(KEY, capability=(8, 6)),
        replace(KEY, precision=Precision.FP16),
        replace(KEY, profile=(Range("x", (1, 3), (4, 3), (32, 3)),)),
        replace(KEY, builder="next"),
    ],
)
def test_everything_that_a_plan_depends_on_is_in_its_key(tmp_path: Path, other: Key) -> None:
    write(tmp_path, KEY, b"plan")
    assert read(tmp_path, KEY) == b"plan"
    assert read(tmp_path, other) is None


def test_a_plan_that_is_damaged_or_half_written_is_no_plan(tmp_path: Path) -> None:
    write(tmp_path, KEY, b"plan")
    plan, note = tmp_path / f"{KEY.digest}.plan", tmp_path / f"{KEY.digest}.json"
    plan.write_bytes(b"pla")
    assert read(tmp_path, KEY) is None
    write(tmp_path, KEY, b"plan")
    for content in ("", "[]", "{}", '{"sha256": 1}'):
        note.write_text(content)
        assert read(tmp_path, KEY) is None
    note.unlink()
    assert read(tmp_path, KEY) is None
    write(tmp_path, KEY, b"plan")
    plan.unlink()
    assert read(tmp_path, KEY) is None


def test_the_note_says_what_the_plan_is_for(tmp_path: Path) -> None:
    write(tmp_path, KEY, b"plan")
    key = json.loads((tmp_path / f"{KEY.digest}.json").read_text())["key"]
    assert (key["model"], key["tensorrt"], key["capability"], key["precision"]) == ("a" * 64, "11.4.0", [9, 0], "fp32")


def test_a_plan_is_built_once_and_then_read(tmp_path: Path, gpu: SimulatedCuda, pack: Pack) -> None:
    told: list[tuple[str, int, int]] = []
    for expected in (1, 1):
        runtime = TensorRtRuntime(0, tmp_path / "plans", progress=lambda *one: told.append(one))
        runtime.load(pack.path(packs.REFINEMENT))
        runtime.close()
        assert built(gpu) == expected
    assert told == [("Building", 0, 2), ("Building", 1, 2), ("Building", 2, 2)]
    assert (tmp_path / "plans" / "timings-11.4.0.106-9.0.cache").read_bytes() == b"times"
    for one in (tmp_path / "plans").glob("*.plan"):
        one.write_bytes(b"")
    TensorRtRuntime(0, tmp_path / "plans").load(pack.path(packs.REFINEMENT)).close()
    assert built(gpu) == 2
    assert not [one.name for one in (tmp_path / "plans").iterdir() if one.name.endswith(".new")]


def test_a_timing_cache_of_another_device_is_made_anew(
    tmp_path: Path, gpu: SimulatedCuda, pack: Pack, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "timings-11.4.0.106-9.0.cache").write_bytes(b"other")
    TensorRtRuntime(0, tmp_path).load(pack.path(packs.REFINEMENT)).close()
    assert "does not fit this GPU" in caplog.text
    assert "a plan was built" in caplog.text
    assert (tmp_path / "timings-11.4.0.106-9.0.cache").read_bytes() == b"times"


def test_several_who_need_the_same_plan_build_it_once(tmp_path: Path, gpu: SimulatedCuda, pack: Pack) -> None:
    barrier = threading.Barrier(4)
    api = gpu.api  # type: ignore[attr-defined]

    def build(_number: int) -> bytes:
        plans = Plans(api, tensorrt_runtime.logger(api), tmp_path, CAPABILITY)
        barrier.wait(20)
        return plans.plan(pack.path(packs.OUTPUT), Precision.FP32, 4, lambda *_: None)

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(build, range(4)))) == 1
    assert built(gpu) == 1


def test_half_precision_has_a_plan_of_its_own(tmp_path: Path, gpu: SimulatedCuda, pack: Pack) -> None:
    crops = {"crops": np.random.default_rng(1).uniform(-1, 1, (3, 3, 24, 24)).astype(np.float32)}
    answers = []
    for precision in Precision:
        runtime = TensorRtRuntime(0, tmp_path, precision=precision)
        answers.append(runtime.load(pack.path(packs.REFINEMENT)).run(crops)["regression"])
        runtime.close()
        assert precision.value in runtime.name
    assert built(gpu) == 2
    difference = np.abs(answers[0] - answers[1]).max()
    assert 0 < difference < 0.01


def test_what_the_parser_refuses_is_told(tmp_path: Path, gpu: SimulatedCuda, pack: Pack) -> None:
    model = tmp_path / "odd.onnx"
    content = pack.path(packs.REFINEMENT).read_bytes()
    model.write_bytes(content.replace(b"Softmax", b"Softmux"))
    with pytest.raises(RuntimeFailure, match=r"cannot parse odd\.onnx: .*Softmux"):
        TensorRtRuntime(0, tmp_path).load(model)
    with pytest.raises(RuntimeFailure, match="cannot be read"):
        TensorRtRuntime(0, tmp_path).load(tmp_path / "absent.onnx")


def test_a_graph_is_captured_for_each_size_and_launched_for_every_run(
    tmp_path: Path, gpu: SimulatedCuda, pack: Pack
) -> None:
    runtime = TensorRtRuntime(0, tmp_path, max_batch=1, streams=2)
    session = runtime.load(pack.path(packs.OUTPUT))
    assert session.max_batch == 8
    assert gpu.graphs == 2 * len(sizes(8))
    for launches, rows in enumerate((1, 8, 3, 5, 1), 1):
        session.run({"crops": np.zeros((rows, 3, 48, 48), np.float32)})
        assert gpu.launches == launches
    session.run({"crops": np.zeros((17, 3, 48, 48), np.float32)})
    assert gpu.launches == 5 + 3
    runtime.close()


def test_pictures_of_any_size_run_without_graphs_and_within_the_profile(
    tmp_path: Path, gpu: SimulatedCuda, pack: Pack
) -> None:
    session = TensorRtRuntime(0, tmp_path, streams=1).load(pack.path(packs.PROPOSAL))
    session.run({"image": np.zeros((2, 3, 40, 50), np.float32)})
    assert (gpu.graphs, gpu.launches) == (0, 0)
    for height, width in ((MIN_SIDE - 1, 50), (50, MAX_SIDE + 1)):
        with pytest.raises(RuntimeFailure, match=r"the plan of detector_proposal\.onnx serves"):
            session.run({"image": np.zeros((1, 3, height, width), np.float32)})
    session.close()


def test_everything_on_the_device_is_given_back(tmp_path: Path, gpu: SimulatedCuda, pack: Pack) -> None:
    runtime = TensorRtRuntime(0, tmp_path)
    for name in (packs.PROPOSAL, packs.OUTPUT):
        runtime.load(pack.path(name))
    assert gpu.used > 0
    runtime.close()
    assert (gpu.blocks, gpu.streams, gpu.graphs) == ({}, {}, 0)


@pytest.mark.parametrize("memory", [1 << 15, 1 << 20, 5 << 20])
def test_memory_that_is_short_is_told_at_the_start_and_given_back(
    tmp_path: Path, gpu: SimulatedCuda, pack: Pack, memory: int
) -> None:
    gpu.memory = memory
    runtime = TensorRtRuntime(0, tmp_path)
    with pytest.raises(RuntimeFailure, match="cudaMalloc"):
        runtime.load(pack.path(packs.OUTPUT))
    assert gpu.used == 0
    assert gpu.streams == {}


def test_a_driver_or_a_gpu_that_is_missing_is_named(
    tmp_path: Path, gpu: SimulatedCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RuntimeFailure, match="GPU 3 is not there: this machine shows 1"):
        TensorRtRuntime(3, tmp_path)
    gpu.driver = 0
    with pytest.raises(RuntimeFailure, match="no driver"):
        TensorRtRuntime(0, tmp_path)


@pytest.mark.parametrize("most", [1, 2, 3, 8, 16, 18, 100, 128])
def test_every_batch_is_padded_to_a_size_that_has_a_graph(most: int) -> None:
    assert sizes(most) == sorted(set(sizes(most)))
    for rows in range(1, most + 1):
        assert padded(rows, most) == min(size for size in sizes(most) if size >= rows)


def test_plans_are_synchronised_to_the_disk_before_they_take_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda one: (order.append("fsync"), fsync(one)))
    monkeypatch.setattr(Path, "replace", lambda one, to: (order.append(Path(to).suffix), rename(one, to))[1])
    write(tmp_path, KEY, b"plan")
    assert order == ["fsync", ".plan", "fsync", ".json"]
