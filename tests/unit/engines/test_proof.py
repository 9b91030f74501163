"""The proof at the start: what agrees passes, and what differs is refused with a sentence that says how."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engines.engine import DefaultEngine
from engines.packs import pack as packs
from engines.packs.pack import Pack
from engines.runtime.devices import Precision
from engines.runtime.onnx_runtime import OnnxRuntime
from engines.runtime.proof import TOLERANCES, ProvingRuntime, Tolerance, scale
from engines.runtime.runtime import RuntimeFailure, Session, Tensor, Tensors, TensorSpec
from server.errors import EngineFailure
from server.settings import Engine

STRICT, HALF = TOLERANCES[Precision.FP32], TOLERANCES[Precision.FP16]

Change = Callable[[str, Tensor], Tensor]


class Broken:
    """A session whose outputs are changed."""

    def __init__(self, session: Session, change: Change) -> None:
        self._session, self._change = session, change
        self.name, self.max_batch = session.name, session.max_batch
        self.inputs: tuple[TensorSpec, ...] = session.inputs
        self.outputs: tuple[TensorSpec, ...] = session.outputs
        self.closed = False

    def run(self, inputs: Tensors) -> dict[str, Tensor]:
        return {name: self._change(name, value) for name, value in self._session.run(inputs).items()}

    def close(self) -> None:
        self.closed = True


class BrokenRuntime(OnnxRuntime):
    """A device that does not compute what it should."""

    def __init__(self, change: Change) -> None:
        super().__init__()
        self._change = change
        self.loaded: list[Broken] = []

    def load(self, model: Path) -> Broken:  # type: ignore[override]
        self.loaded.append(Broken(super().load(model), self._change))
        return self.loaded[-1]


def proving(runtime: OnnxRuntime, tolerance: Tolerance = STRICT) -> ProvingRuntime:
    return ProvingRuntime(runtime, OnnxRuntime(), tolerance)


def onnx_files(pack: Pack) -> list[Path]:
    return [pack.path(file.name) for file in pack.manifest.files if file.name.endswith(".onnx")]


def test_the_cpu_agrees_with_itself(pack: Pack) -> None:
    runtime = proving(OnnxRuntime(threads=2))
    for model in onnx_files(pack):
        assert runtime.load(model).name == model.name
    assert runtime.device == "cpu"
    runtime.close()


def test_half_precision_passes_its_own_tolerance_and_not_that_of_float32(pack: Pack) -> None:
    half = OnnxRuntime(precision=Precision.FP16)
    for model in onnx_files(pack):
        proving(half, HALF).load(model)
    with pytest.raises(RuntimeFailure, match="differs by"):
        proving(half, Tolerance(STRICT.cosine, 1e-5)).load(pack.path(packs.OUTPUT))
    with pytest.raises(RuntimeFailure, match="cosine"):
        proving(half, Tolerance(0.99999999, 1)).load(pack.path(packs.DESCRIPTOR))


def noise(_name: str, value: Tensor) -> Tensor:
    shift = np.random.default_rng(1).normal(0, 0.02, value.shape).astype(np.float32)
    return value + shift


def one_row_only(_name: str, value: Tensor) -> Tensor:
    return np.concatenate([value[:1], np.zeros_like(value[1:])])


def always_the_same(_name: str, value: Tensor) -> Tensor:
    return np.full_like(value, 0.1)


def wrong_alone(_name: str, value: Tensor) -> Tensor:
    return noise(_name, value) if len(value) == 1 else value


def turned(_name: str, value: Tensor) -> Tensor:
    return np.ascontiguousarray(value[::-1])


def infinite(_name: str, value: Tensor) -> Tensor:
    return value * np.float32(np.inf)


def cut(_name: str, value: Tensor) -> Tensor:
    return value[:, :-1]


def doubled(_name: str, value: Tensor) -> Tensor:
    return value.astype(np.float64)  # type: ignore[return-value]


@pytest.mark.parametrize("network", [packs.DESCRIPTOR, packs.OUTPUT])
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (noise, r"cosine|differs by"),
        (one_row_only, r"cosine|differs by"),
        (wrong_alone, r"cosine|differs by"),
        (always_the_same, r"cosine|differs by"),
        (turned, r"cosine|differs by"),
        (infinite, "not finite"),
        (cut, "should be float32"),
        (doubled, "is float64"),
    ],
)
def test_a_device_that_computes_something_else_is_refused(pack: Pack, network: str, change: Change, told: str) -> None:
    runtime = BrokenRuntime(change)
    with np.errstate(all="ignore"), pytest.raises(RuntimeFailure, match=told) as refused:
        proving(runtime).load(pack.path(network))
    assert network in str(refused.value)
    assert runtime.name in str(refused.value)
    assert runtime.loaded[0].closed


def test_a_network_that_gives_other_outputs_is_refused(pack: Pack) -> None:
    class Renamed(BrokenRuntime):
        def load(self, model: Path) -> Broken:
            session = super().load(model)
            session.outputs = session.outputs[::-1]
            return session

    with pytest.raises(RuntimeFailure, match="its outputs are"):
        proving(Renamed(lambda _name, value: value)).load(pack.path(packs.OUTPUT))


async def test_an_engine_whose_device_is_broken_does_not_start(pack: Pack) -> None:
    engine = DefaultEngine([pack], Engine(), proving(BrokenRuntime(noise)))
    with pytest.raises(EngineFailure, match=r"does not serve .*\.onnx as the CPU does"):
        await engine.start()
    await engine.close()


async def test_an_engine_whose_device_is_proved_serves(pack: Pack, astronaut: Tensor) -> None:
    engine = DefaultEngine([pack], Engine(), proving(OnnxRuntime()))
    await engine.start()
    assert "CPU" in engine.runtime
    await engine.close()


def test_networks_that_centre_pixels_themselves_are_tried_with_pixels(
    pack: Pack, request: pytest.FixtureRequest
) -> None:
    assert scale(pack.path(packs.DESCRIPTOR)) == (0.0, 255.0)
    assert scale(pack.path(packs.PROPOSAL)) == (-1.0, 1.0)
