"""What the settings choose, and that what is missing is named and nothing else is taken in its place."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import pytest
from pydantic import ValidationError

from engines.engine import DefaultEngine
from engines.packs import pack as packs
from engines.packs.pack import Pack
from engines.runtime import cuda, tensorrt_api, tensorrt_runtime
from engines.runtime.choose import choose
from engines.runtime.runtime import RuntimeFailure
from engines.vision.decoding import Image
from server.errors import EngineFailure
from server.settings import Engine
from tests.unit.engines.simulated_gpu import SimulatedCuda, SimulatedTensorRt

LUNA = str(Path(sys.executable).with_name("luna"))


def absent() -> tensorrt_api.Api:
    raise RuntimeFailure("TensorRT needs the Python package tensorrt>=11")


@pytest.mark.parametrize("device", ["gpu", "cuda", "cuda:x", "tensorrt", "CPU", "cuda:-1"])
def test_a_setting_that_names_no_device_is_refused(device: str) -> None:
    with pytest.raises(ValidationError):
        Engine(device=device)


def test_the_cpu_is_the_default_and_takes_no_half_precision(tmp_path: Path) -> None:
    assert choose(Engine(), tmp_path).device == "cpu"
    with pytest.raises(RuntimeFailure, match="fp16 is for GPUs"):
        choose(Engine(precision="fp16"), tmp_path)


async def test_an_engine_whose_device_is_missing_does_not_start(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_runtime, "installed", absent)
    engine = DefaultEngine([pack], Engine(device="tensorrt:0"))
    with pytest.raises(EngineFailure, match="TensorRT needs the Python package"):
        await engine.start()
    await engine.close()


async def test_an_engine_on_a_gpu_proves_its_networks_batches_and_gives_everything_back(
    tmp_path: Path,
    pack: Pack,
    astronaut: Image,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    simulated = SimulatedCuda()
    monkeypatch.setattr(cuda, "bindings", lambda: simulated)
    monkeypatch.setattr(tensorrt_runtime, "installed", lambda: SimulatedTensorRt(simulated))
    caplog.set_level("INFO")
    home = tmp_path / "default"
    home.symlink_to(pack.folder)
    engine = DefaultEngine([Pack(home, pack.manifest)], Engine(device="tensorrt:0", max_batch=2))
    await engine.start()
    assert engine.runtime.startswith("TensorRT 11.4.0.106, GPU 0 Simulated")
    assert len(list((tmp_path / "plans").glob("*.plan"))) == 4
    assert "driver for CUDA 13.5" in caplog.text
    assert caplog.text.count("agrees with the CPU") == 4
    picture = cv2.imencode(".png", astronaut[:, :, ::-1])[1].tobytes()
    reference = DefaultEngine([pack], Engine())
    await reference.start()
    (found,), (expected,) = [(await one.detect(picture)).faces for one in (engine, reference)]
    assert (found.rect, found.landmarks5) == (expected.rect, expected.landmarks5)
    await reference.close()
    await engine.close()
    assert simulated.blocks == {}


async def test_an_observer_hears_of_the_networks(pack: Pack) -> None:
    class Heard:
        def __init__(self) -> None:
            self.networks: set[str] = set()

        def ran(self, network: str, rows: int, queued: Sequence[float], seconds: float) -> None:
            assert rows == 1 or len(queued) >= 1
            assert seconds > 0
            self.networks.add(network)

        def worked(self, kind: str, queued: float, host: float, compute: float) -> None:
            """No turn is run here."""

        def ended(self, kind: str, result: str) -> None:
            """No turn is run here."""

    heard = Heard()
    engine = DefaultEngine([pack], Engine(), observer=heard)
    await engine.start()
    await engine.close()
    assert heard.networks >= {f"default/{Path(name).stem}" for name in (packs.PROPOSAL, packs.OUTPUT, packs.DESCRIPTOR)}


def test_building_plans_without_tensorrt_says_what_to_install(pack: Pack) -> None:
    environment = {**os.environ, "COLUMNS": "200", "LUNA_MODELS": str(pack.folder.parent)}
    ended = subprocess.run([LUNA, "models", "build"], env=environment, capture_output=True, text=True, timeout=60)
    try:
        tensorrt_api.installed()
    except RuntimeFailure:
        assert ended.returncode == 1
        assert "tensorrt>=11" in ended.stdout
        assert "Traceback" not in ended.stdout + ended.stderr
    else:
        pytest.skip("TensorRT is installed")


def test_building_plans_of_a_pack_that_is_not_there_says_so(tmp_path: Path) -> None:
    environment = {**os.environ, "COLUMNS": "200", "LUNA_MODELS": str(tmp_path)}
    ended = subprocess.run([LUNA, "models", "build"], env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "there is no model pack" in ended.stdout


def test_plans_are_built_with_progress(
    tmp_path: Path, pack: Pack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from server.commands import plans
    from server.settings import Settings

    simulated = SimulatedCuda()
    monkeypatch.setattr(cuda, "bindings", lambda: simulated)
    monkeypatch.setattr(tensorrt_runtime, "installed", lambda: SimulatedTensorRt(simulated))
    (tmp_path / "default").symlink_to(pack.folder)
    assert plans.run(Settings(models=tmp_path, engine=Engine(device="tensorrt:0", max_batch=1))) == 0
    told = capsys.readouterr().out
    for name in (packs.PROPOSAL, packs.REFINEMENT, packs.OUTPUT, packs.DESCRIPTOR):
        assert f"{name}: ready after" in told
    assert len(list((tmp_path / "plans").glob("*.plan"))) == 4
    assert simulated.blocks == {}
