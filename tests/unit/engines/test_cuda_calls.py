"""Our calls of the CUDA runtime are held to the real binding, which can be imported without a GPU."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from engines.runtime import cuda
from engines.runtime.runtime import RuntimeFailure
from tests.unit.engines.simulated_gpu import SimulatedCuda

SOURCE = Path(cuda.__file__).read_text()
MADE = [
    (node.args[0].value, len(node.args) - 1)
    for node in ast.walk(ast.parse(SOURCE))
    if isinstance(node, ast.Call)
    and isinstance(node.func, ast.Name)
    and node.func.id == "call"
    and isinstance(node.args[0], ast.Constant)
]
"""Every call in the module: the function's name, and how many arguments it is given."""

CALLS = sorted(set(MADE))
NAMES = sorted(set(re.findall(r"(?:bindings\(\)|module)\.(cuda\w+)(?:\.(\w+))?", SOURCE)))


@pytest.fixture(scope="module")
def binding() -> ModuleType:
    return pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")


def test_the_calls_were_found() -> None:
    assert len(MADE) == SOURCE.count('call("cuda') >= 20
    assert ("cudaMemcpyAsync", 5) in CALLS
    assert ("cudaMemcpyKind", "cudaMemcpyDeviceToHost") in NAMES


@pytest.mark.parametrize(("name", "arguments"), CALLS)
def test_a_call_has_the_arguments_that_the_binding_takes(binding: ModuleType, name: str, arguments: int) -> None:
    assert len(inspect.signature(getattr(binding, name)).parameters) == arguments


@pytest.mark.parametrize(("name", "arguments"), CALLS)
def test_the_simulated_gpu_takes_the_same_arguments(name: str, arguments: int) -> None:
    assert len(inspect.signature(getattr(SimulatedCuda(), name)).parameters) == arguments


@pytest.mark.parametrize(("name", "member"), NAMES)
def test_a_constant_is_one_of_the_binding(binding: ModuleType, name: str, member: str) -> None:
    value = getattr(binding, name)
    assert not member or hasattr(value, member)


def test_handles_are_numbers(binding: ModuleType) -> None:
    assert int(binding.cudaStream_t()) == 0


def test_the_fields_of_a_device_are_those_that_we_read(binding: ModuleType) -> None:
    properties = binding.cudaDeviceProp()
    assert isinstance(properties.name, bytes)
    assert (properties.major, properties.minor) == (0, 0)


def test_without_a_driver_the_failure_says_so(binding: ModuleType) -> None:
    status, version = binding.cudaDriverGetVersion()
    if version:
        pytest.skip(f"this machine has a driver: {status}")
    with pytest.raises(RuntimeFailure, match="no driver for NVIDIA GPUs"):
        cuda.facts(0)
    with pytest.raises(RuntimeFailure, match=r"cudaMalloc: .*driver.* \(35\)"):
        cuda.allocate(1)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda.bindings.cache_clear()
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(RuntimeFailure, match=r"the Python package cuda-bindings"):
        cuda.bindings()


def test_facts_are_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    simulated = SimulatedCuda(devices=2)
    monkeypatch.setattr(cuda, "bindings", lambda: simulated)
    facts = cuda.facts(1)
    assert str(facts) == "GPU 1 Simulated (compute capability 9.0)"
    assert "driver for CUDA 13.5, runtime 13.5, 4096 of 4096 MiB free" in facts.described()
