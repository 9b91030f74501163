"""The part of TensorRT's Python API that is used, as protocols: so our calls are checked where it is not installed.

Sources: the Python API reference of TensorRT 11 (classes by their names, without the `I`), and the signatures of the
bindings 11.4.0.106, to which `tests/unit/engines/test_tensorrt_api.py` holds these wherever the package is installed.
In version 11 every network is strongly typed: `BuilderFlag.FP16` is gone, and the creation flag `STRONGLY_TYPED` is
accepted and ignored, so none is given.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Protocol, cast

from engines.runtime.runtime import RuntimeFailure

PACKAGE = "tensorrt"
OLDEST = 11
"""First major version whose networks are always strongly typed."""

Shape = Sequence[int]
"""`tensorrt.Dims`, which converts from and to sequences of integers."""


class HostMemory(Protocol):
    """`IHostMemory`: has the buffer protocol, so `bytes()` copies it."""

    nbytes: int

    def __buffer__(self, flags: int, /) -> memoryview: ...


class OptimizationProfile(Protocol):
    """`IOptimizationProfile`: the sizes that a plan serves."""

    def set_shape(self, input: str, min: Shape, opt: Shape, max: Shape) -> None: ...  # noqa: A002 - its names


class TimingCache(Protocol):
    """`ITimingCache`: measured times of kernels, valid for one version and device."""

    def serialize(self) -> HostMemory: ...


class BuilderConfig(Protocol):
    """`IBuilderConfig`."""

    progress_monitor: object

    def clear_flag(self, flag: object) -> None: ...
    def add_optimization_profile(self, profile: OptimizationProfile) -> int: ...
    def create_timing_cache(self, serialized_timing_cache: bytes) -> TimingCache: ...
    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool: ...


class Network(Protocol):
    """`INetworkDefinition`: filled by the parser."""


class Builder(Protocol):
    """`Builder`."""

    def create_network(self) -> Network: ...
    def create_builder_config(self) -> BuilderConfig: ...
    def create_optimization_profile(self) -> OptimizationProfile: ...
    def build_serialized_network(self, network: Network, config: BuilderConfig) -> HostMemory | None: ...


class Parser(Protocol):
    """`OnnxParser`."""

    num_errors: int

    def parse(self, model: bytes) -> bool: ...
    def get_error(self, index: int) -> object: ...


class ExecutionContext(Protocol):
    """`IExecutionContext`: one run at a time."""

    def set_device_memory(self, memory: int, size: int) -> None: ...
    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool: ...
    def get_tensor_shape(self, name: str) -> Shape: ...
    def set_tensor_address(self, name: str, memory: int) -> bool: ...
    def execute_async_v3(self, stream_handle: int) -> bool: ...


class CudaEngine(Protocol):
    """`ICudaEngine`: a plan in the memory of a device."""

    num_io_tensors: int
    device_memory_size_v2: int

    def create_execution_context(self, strategy: object) -> ExecutionContext | None: ...
    def get_tensor_name(self, index: int) -> str: ...
    def get_tensor_mode(self, name: str) -> object: ...
    def get_tensor_dtype(self, name: str) -> object: ...
    def get_tensor_shape(self, name: str) -> Shape: ...
    def get_tensor_profile_shape(self, name: str, profile_index: int) -> Sequence[Shape]: ...


class Deserializer(Protocol):
    """`Runtime`."""

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> CudaEngine | None: ...


class BuilderFlags(Protocol):
    """`BuilderFlag`; `TF32` is set unless it is cleared."""

    TF32: object


class DataTypes(Protocol):
    """`DataType`."""

    FLOAT: object


class AllocationStrategies(Protocol):
    """`ExecutionContextAllocationStrategy`: who gives a context its memory."""

    USER_MANAGED: object


class Modes(Protocol):
    """`TensorIOMode`."""

    INPUT: object


class Api(Protocol):
    """The module `tensorrt`. `ILogger` and `IProgressMonitor` are classes to derive from."""

    __version__: str
    BuilderFlag: BuilderFlags
    DataType: DataTypes
    ExecutionContextAllocationStrategy: AllocationStrategies
    TensorIOMode: Modes
    ILogger: type
    IProgressMonitor: type

    def Builder(self, logger: object) -> Builder: ...  # noqa: N802 - its name
    def OnnxParser(self, network: Network, logger: object) -> Parser: ...  # noqa: N802 - its name
    def Runtime(self, logger: object) -> Deserializer: ...  # noqa: N802 - its name


def installed() -> Api:
    """The module `tensorrt`.

    Raises:
        RuntimeFailure: it is not installed, lacks its libraries, or is older than 11; the message says what to install.
    """
    try:
        module = importlib.import_module(PACKAGE)
    except (ImportError, OSError) as error:
        message = f"TensorRT needs the Python package {PACKAGE}>={OLDEST} (it is in the extra `gpu`): {error}"
        raise RuntimeFailure(message) from error
    version = str(getattr(module, "__version__", "0"))
    if int(version.split(".", maxsplit=1)[0]) < OLDEST:
        message = f"TensorRT {version} is installed, and {OLDEST} or newer is needed"
        raise RuntimeFailure(message)
    return cast("Api", module)
