"""Our description of TensorRT's Python API is held to the installed package, where there is one."""

from __future__ import annotations

import inspect
import re
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from engines.runtime import tensorrt_api
from engines.runtime.runtime import RuntimeFailure
from engines.runtime.tensorrt_plans import monitor
from engines.runtime.tensorrt_runtime import logger
from tests.unit.engines import simulated_gpu

CLASSES = {
    tensorrt_api.OptimizationProfile: "IOptimizationProfile",
    tensorrt_api.TimingCache: "ITimingCache",
    tensorrt_api.BuilderConfig: "IBuilderConfig",
    tensorrt_api.Builder: "Builder",
    tensorrt_api.Parser: "OnnxParser",
    tensorrt_api.ExecutionContext: "IExecutionContext",
    tensorrt_api.CudaEngine: "ICudaEngine",
    tensorrt_api.Deserializer: "Runtime",
    tensorrt_api.HostMemory: "IHostMemory",
}
ENUMS = {
    "BuilderFlag": tensorrt_api.BuilderFlags,
    "DataType": tensorrt_api.DataTypes,
    "TensorIOMode": tensorrt_api.Modes,
    "ExecutionContextAllocationStrategy": tensorrt_api.AllocationStrategies,
}
METHODS = [
    (described, name)
    for described in CLASSES
    for name, value in vars(described).items()
    if inspect.isfunction(value) and not name.startswith("_")
]


@pytest.fixture(scope="module")
def tensorrt() -> ModuleType:
    return pytest.importorskip("tensorrt", reason="TensorRT is not installed")


@pytest.mark.parametrize(("described", "name"), METHODS, ids=lambda one: getattr(one, "__name__", one))
def test_a_method_takes_the_arguments_that_we_give(tensorrt: ModuleType, described: type, name: str) -> None:
    theirs = getattr(getattr(tensorrt, CLASSES[described]), name)
    overloads = re.findall(rf"{name}\((self: [^\n]*)\) -> ", theirs.__doc__)
    ours = list(inspect.signature(getattr(described, name)).parameters.values())[1:]
    assert overloads, theirs.__doc__
    assert any(matches(overload, ours) for overload in overloads), (overloads, ours)


def matches(overload: str, ours: list[inspect.Parameter]) -> bool:
    """True where an overload takes our arguments by position, under our names."""
    theirs = re.findall(r"(?:^|, )(\w+): ([^=]*?)(?= = |, \w+:|$)( = )?", overload)[1:]
    required = [name for name, _, default in theirs if not default]
    names = [name for name, _, _ in theirs]
    return [one.name for one in ours] == names[: len(ours)] and len(required) <= len(ours)


@pytest.mark.parametrize("described", CLASSES, ids=CLASSES.get)
def test_a_class_has_the_fields_that_we_read(tensorrt: ModuleType, described: type) -> None:
    theirs = getattr(tensorrt, CLASSES[described])
    for name in getattr(described, "__annotations__", {}):
        assert hasattr(theirs, name), name


@pytest.mark.parametrize("name", ENUMS)
def test_an_enumeration_has_the_values_that_we_use(tensorrt: ModuleType, name: str) -> None:
    for value in ENUMS[name].__annotations__:
        assert hasattr(getattr(tensorrt, name), value), value


def test_classes_of_ours_can_stand_where_tensorrt_calls_back(tensorrt: ModuleType) -> None:
    told: list[tuple[str, int, int]] = []
    progress: Any = monitor(tensorrt, lambda *one: told.append(one))  # type: ignore[arg-type]
    progress.phase_start("a", None, 2)
    assert progress.step_complete("a", 0)
    progress.phase_finish("a")
    assert told == [("a", 0, 2), ("a", 1, 2), ("a", 2, 2)]
    written: Any = logger(tensorrt)  # type: ignore[arg-type]
    assert isinstance(written, tensorrt.ILogger)
    written.log(tensorrt.ILogger.Severity.WARNING, "a warning")


@pytest.mark.parametrize(("described", "name"), METHODS, ids=lambda one: getattr(one, "__name__", one))
def test_the_simulated_gpu_has_the_methods_that_we_call(described: type, name: str) -> None:
    if described in (tensorrt_api.TimingCache, tensorrt_api.HostMemory):
        pytest.skip("made of plain values")
    names = {tensorrt_api.OptimizationProfile: "Profile", tensorrt_api.BuilderConfig: "Config"}
    theirs = getattr(getattr(simulated_gpu, names.get(described, described.__name__)), name)
    ours = inspect.signature(getattr(described, name))
    assert list(ours.parameters) == list(inspect.signature(theirs).parameters)


def test_a_package_that_is_missing_or_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(RuntimeFailure, match=r"TensorRT needs the Python package tensorrt>=11"):
        tensorrt_api.installed()
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="10.13.0"))
    with pytest.raises(RuntimeFailure, match=r"TensorRT 10\.13\.0 is installed, and 11 or newer is needed"):
        tensorrt_api.installed()
