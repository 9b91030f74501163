"""ONNX Runtime on a GPU: strict about its provider, and with inputs and outputs on the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from engines.packs import pack as packs
from engines.packs.pack import Pack
from engines.runtime import cuda, onnx_runtime
from engines.runtime.devices import Device, Kind, Precision
from engines.runtime.onnx_runtime import CPU, CUDA, OnnxRuntime, bound, plainly, rows_in_cache
from engines.runtime.runtime import RuntimeFailure
from tests.unit.engines.simulated_gpu import SimulatedCuda

GPU = Device(Kind.CUDA, 0)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """ONNX Runtime as if its build had CUDA: sessions are of the CPU, and what they were asked for is noted."""
    noted: list[dict[str, Any]] = []
    real = onnxruntime.InferenceSession

    def session(content: bytes | str, options: Any, providers: list[Any]) -> Any:
        entry = options.get_session_config_entry("session.disable_cpu_ep_fallback")
        arena = options.enable_cpu_mem_arena
        noted.append({"providers": providers, "strict": entry, "arena": arena, "given": [CUDA, CPU]})
        made = real(content, providers=[CPU])
        monkeypatch.setattr(made, "get_providers", lambda: noted[-1]["given"], raising=False)
        return made

    simulated = SimulatedCuda()
    monkeypatch.setattr(cuda, "bindings", lambda: simulated)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(onnx_runtime, "bound", lambda one, _device, _number: plainly(one))
    return noted


def test_a_build_without_cuda_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    with pytest.raises(RuntimeFailure, match=r"cuda:0 needs a build .*CUDAExecutionProvider: install onnxruntime-gpu"):
        OnnxRuntime(device=GPU)


def test_only_the_cuda_provider_is_asked_for_and_nothing_may_fall_back(
    opened: list[dict[str, Any]], pack: Pack
) -> None:
    runtime = OnnxRuntime(device=GPU)
    runtime.load(pack.path(packs.OUTPUT))
    assert [name for name, _ in opened[0]["providers"]] == [CUDA]
    assert opened[0]["providers"][0][1] == {"device_id": "0", "use_tf32": "0"}
    assert opened[0]["strict"] == "1"
    assert "Simulated" in runtime.name
    assert runtime.device == "cuda:0"


def test_networks_that_compute_with_shapes_keep_that_on_the_host(
    opened: list[dict[str, Any]], request: pytest.FixtureRequest
) -> None:
    model = request.config.rootpath.parent / "shared" / "models" / "antispoof_minifasnetv2se.onnx"
    if not model.is_file():
        pytest.skip(f"{model} is not there")
    OnnxRuntime(device=GPU).load(model)
    assert opened[0]["strict"] == "0"


def test_a_session_that_came_up_on_another_provider_is_refused(
    opened: list[dict[str, Any]], pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = OnnxRuntime(device=GPU)
    faked = onnxruntime.InferenceSession

    def session(*arguments: Any, **named: Any) -> Any:
        made = faked(*arguments, **named)
        opened[-1]["given"] = [CPU]
        return made

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    with pytest.raises(RuntimeFailure, match=r"runs on \['CPUExecutionProvider'\] and not on CUDAExecutionProvider"):
        runtime.load(pack.path(packs.OUTPUT))


@pytest.mark.parametrize("network", [(packs.DESCRIPTOR, "chips", 150), (packs.OUTPUT, "crops", 48)])
def test_running_with_bound_inputs_and_outputs_gives_the_same(pack: Pack, network: tuple[str, str, int]) -> None:
    """The device is the CPU's own memory here; on a GPU it is the GPU's."""
    name, taken, side = network
    session = onnxruntime.InferenceSession(str(pack.path(name)), providers=[CPU])
    names = [one.name for one in session.get_outputs()]
    wide = np.random.default_rng(1).uniform(-1, 1, (2, 3, side, 2 * side)).astype(np.float32)
    inputs = {taken: wide[:, :, :, ::2]}
    for one, other in zip(bound(session, "cpu", 0)(names, inputs), plainly(session)(names, inputs), strict=True):
        assert one.dtype == np.float32
        assert np.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize(
    ("network", "rows"),
    [(packs.REFINEMENT, 32), (packs.OUTPUT, 8), (packs.PROPOSAL, None), (packs.DESCRIPTOR, None)],
)
def test_small_rows_of_one_size_are_run_in_parts_that_a_cache_holds(pack: Pack, network: str, rows: int | None) -> None:
    assert rows_in_cache(onnx.load(str(pack.path(network))).graph) == rows
    assert OnnxRuntime().load(pack.path(network)).max_batch == rows


def test_rows_that_are_run_in_parts_come_back_in_their_order(pack: Pack) -> None:
    session = OnnxRuntime().load(pack.path(packs.OUTPUT))
    crops = np.random.default_rng(1).uniform(-1, 1, (21, 3, 48, 48)).astype(np.float32)
    plain = onnxruntime.InferenceSession(str(pack.path(packs.OUTPUT)), providers=[CPU])
    expected = plainly(plain)([one.name for one in plain.get_outputs()], {"crops": crops})
    for one, other in zip(session.run({"crops": crops}).values(), expected, strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() < 1e-5


def test_on_a_gpu_rows_are_not_parted(opened: list[dict[str, Any]], pack: Pack) -> None:
    assert OnnxRuntime(device=GPU).load(pack.path(packs.OUTPUT)).max_batch is None
    assert not opened[0]["arena"]


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("cpu", Device(Kind.CPU)),
        ("cuda:0", GPU),
        ("cuda:12", Device(Kind.CUDA, 12)),
        ("tensorrt:3", Device(Kind.TENSORRT, 3)),
    ],
)
def test_names_of_devices_are_read_and_written_alike(name: str, device: Device) -> None:
    assert Device.parse(name) == device
    assert str(device) == name


@pytest.mark.parametrize(
    "name", ["", "gpu", "cuda", "cuda:", "cuda:x", "cuda:-1", "CPU", "cpu:0", "cuda:0\n", "cuda:100"]
)
def test_what_names_no_device_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no device"):
        Device.parse(name)


@pytest.mark.parametrize("precision", Precision)
def test_the_name_says_runtime_device_and_precision(precision: Precision) -> None:
    assert OnnxRuntime(precision=precision).name.endswith(f"CPU, {precision.value}")
