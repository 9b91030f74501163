"""A GPU that is not there: the calls of CUDA and TensorRT that are used, kept to their rules, computed by ONNX Runtime.

It says nothing about speed, numerics or drivers. It finds what our own code does wrong: a copy out of bounds, a result
read before the stream was waited for, a graph whose context has another batch's shapes, a shape outside the profile, a
thread without a device. It passes the conformance suite that real runtimes pass; the signatures that it stands for are
held to the real packages in test_tensorrt_api.py and test_cuda_calls.py.
"""

from __future__ import annotations

import ctypes
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

CAPABILITY = (9, 0)


class Status(IntEnum):
    cudaSuccess = 0  # noqa: N815
    cudaErrorInvalidValue = 1  # noqa: N815
    cudaErrorMemoryAllocation = 2  # noqa: N815
    cudaErrorInvalidDevice = 101  # noqa: N815
    cudaErrorStreamCaptureInvalidated = 901  # noqa: N815


class Kind(Enum):
    cudaMemcpyHostToDevice = 1  # noqa: N815
    cudaMemcpyDeviceToHost = 2  # noqa: N815


class Mode(Enum):
    cudaStreamCaptureModeThreadLocal = 1  # noqa: N815


Work = Callable[[], None]


@dataclass(eq=False)
class Stream:
    number: int
    pending: list[Work] = field(default_factory=list)
    capture: list[Work] | None = None

    def __int__(self) -> int:
        return self.number

    def add(self, work: Work) -> None:
        (self.pending if self.capture is None else self.capture).append(work)


@dataclass(eq=False)
class Event:
    stream: Stream | None = None


class SimulatedCuda:
    """Stands for the module `cuda.bindings.runtime`. Work is done when somebody waits for it, and not before."""

    cudaError_t = Status  # noqa: N815
    cudaMemcpyKind = Kind  # noqa: N815
    cudaStreamCaptureMode = Mode  # noqa: N815
    cudaStreamNonBlocking = 1  # noqa: N815
    cudaEventBlockingSync = 1  # noqa: N815
    cudaEventDisableTiming = 2  # noqa: N815
    cudaHostAllocDefault = 0  # noqa: N815

    def __init__(self, *, devices: int = 1, driver: int = 13050, memory: int = 4 << 30) -> None:
        self.devices, self.driver, self.memory = devices, driver, memory
        self.blocks: dict[int, tuple[str, Any, int]] = {}
        self.streams: dict[int, Stream] = {}
        self.graphs = 0
        self.launches = 0
        self.lock = threading.RLock()
        self.thread = threading.local()

    def cudaGetErrorString(self, status: Status) -> tuple[Status, bytes]:  # noqa: N802
        return Status.cudaSuccess, status.name.encode()

    def cudaDriverGetVersion(self) -> tuple[Status, int]:  # noqa: N802
        return Status.cudaSuccess, self.driver

    def cudaRuntimeGetVersion(self) -> tuple[Status, int]:  # noqa: N802
        return Status.cudaSuccess, 13050

    def cudaGetDeviceCount(self) -> tuple[Status, int]:  # noqa: N802
        return Status.cudaSuccess, self.devices

    def cudaSetDevice(self, device: int) -> tuple[Status]:  # noqa: N802
        if device >= self.devices:
            return (Status.cudaErrorInvalidDevice,)
        self.thread.device = device
        return (Status.cudaSuccess,)

    def cudaGetDeviceProperties(self, _device: int) -> tuple[Status, SimpleNamespace]:  # noqa: N802
        return Status.cudaSuccess, SimpleNamespace(name=b"Simulated", major=CAPABILITY[0], minor=CAPABILITY[1])

    def cudaMemGetInfo(self) -> tuple[Status, int, int]:  # noqa: N802
        return Status.cudaSuccess, self.memory - self.used, self.memory

    @property
    def used(self) -> int:
        return sum(size for kind, _, size in self.blocks.values() if kind == "device")

    def cudaMalloc(self, size: int) -> tuple[Status, int | None]:  # noqa: N802
        return self._allocate("device", size)

    def cudaHostAlloc(self, size: int, _flags: int) -> tuple[Status, int | None]:  # noqa: N802
        return self._allocate("host", size)

    def cudaFree(self, address: int) -> tuple[Status]:  # noqa: N802
        return self._free("device", address)

    def cudaFreeHost(self, address: int) -> tuple[Status]:  # noqa: N802
        return self._free("host", address)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Status, Stream]:  # noqa: N802
        assert flags == self.cudaStreamNonBlocking
        with self.lock:
            stream = Stream(len(self.streams) + 1000)
            self.streams[stream.number] = stream
        return Status.cudaSuccess, stream

    def cudaStreamDestroy(self, stream: Stream) -> tuple[Status]:  # noqa: N802
        del self.streams[stream.number]
        return (Status.cudaSuccess,)

    def cudaEventCreateWithFlags(self, _flags: int) -> tuple[Status, Event]:  # noqa: N802
        return Status.cudaSuccess, Event()

    def cudaEventDestroy(self, _event: Event) -> tuple[Status]:  # noqa: N802
        return (Status.cudaSuccess,)

    def cudaEventRecord(self, event: Event, stream: Stream) -> tuple[Status]:  # noqa: N802
        event.stream = stream
        return (Status.cudaSuccess,)

    def cudaEventSynchronize(self, event: Event) -> tuple[Status]:  # noqa: N802
        self._current()
        assert event.stream is not None
        if event.stream.capture is not None:
            return (Status.cudaErrorStreamCaptureInvalidated,)
        work, event.stream.pending = event.stream.pending, []
        for one in work:
            one()
        return (Status.cudaSuccess,)

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: Kind, stream: Stream) -> tuple[Status]:  # noqa: N802
        self._current()
        kinds = ("device", "host") if kind is Kind.cudaMemcpyHostToDevice else ("host", "device")
        for address, expected in zip((to, source), kinds, strict=True):
            if self._block(address, size)[0] != expected:
                return (Status.cudaErrorInvalidValue,)
        stream.add(lambda: void(ctypes.memmove(to, source, size)))
        return (Status.cudaSuccess,)

    def cudaStreamBeginCapture(self, stream: Stream, mode: Mode) -> tuple[Status]:  # noqa: N802
        assert mode is Mode.cudaStreamCaptureModeThreadLocal
        assert not stream.pending
        stream.capture = []
        return (Status.cudaSuccess,)

    def cudaStreamEndCapture(self, stream: Stream) -> tuple[Status, list[Work] | None]:  # noqa: N802
        graph, stream.capture = stream.capture, None
        return Status.cudaSuccess, graph

    def cudaGraphInstantiate(self, graph: list[Work], flags: int) -> tuple[Status, list[Work]]:  # noqa: N802
        assert flags == 0
        self.graphs += 1
        return Status.cudaSuccess, list(graph)

    def cudaGraphDestroy(self, _graph: list[Work]) -> tuple[Status]:  # noqa: N802
        return (Status.cudaSuccess,)

    def cudaGraphExecDestroy(self, _graph: list[Work]) -> tuple[Status]:  # noqa: N802
        self.graphs -= 1
        return (Status.cudaSuccess,)

    def cudaGraphLaunch(self, graph: list[Work], stream: Stream) -> tuple[Status]:  # noqa: N802
        self._current()
        self.launches += 1
        for work in graph:
            stream.add(work)
        return (Status.cudaSuccess,)

    def values(self, address: int, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Device memory as an array, for kernels."""
        assert self._block(address, 4 * prod(shape))[0] == "device"
        raw = (ctypes.c_float * prod(shape)).from_address(address)
        return np.ctypeslib.as_array(raw).reshape(shape)

    def _current(self) -> None:
        assert getattr(self.thread, "device", None) is not None, "this thread has chosen no device"

    def _allocate(self, kind: str, size: int) -> tuple[Status, int | None]:
        self._current()
        with self.lock:
            if kind == "device" and self.used + size > self.memory:
                return Status.cudaErrorMemoryAllocation, None
            raw = (ctypes.c_byte * size)()
            ctypes.memset(raw, 0xFF, size)
            address = ctypes.addressof(raw)
            self.blocks[address] = (kind, raw, size)
        return Status.cudaSuccess, address

    def _free(self, kind: str, address: int) -> tuple[Status]:
        with self.lock:
            if self.blocks.get(address, ("",))[0] != kind:
                return (Status.cudaErrorInvalidValue,)
            del self.blocks[address]
        return (Status.cudaSuccess,)

    def _block(self, address: int, size: int) -> tuple[str, Any, int]:
        with self.lock:
            for begin, block in self.blocks.items():
                if begin <= address and address + size <= begin + block[2]:
                    return block
        raise AssertionError(f"{size} bytes at {address} lie in no block")


def void(_result: object) -> None:
    """Drops a result."""


class Severity(Enum):
    WARNING = 2


class SimulatedTensorRt:
    """Stands for the module `tensorrt`: a plan is its profile and the model's own bytes."""

    __version__ = "11.4.0.106"
    BuilderFlag = SimpleNamespace(TF32="TF32")
    DataType = SimpleNamespace(FLOAT="FLOAT")
    TensorIOMode = SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT")
    ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="USER_MANAGED")

    class ILogger:
        """To derive from."""

        def log(self, severity: Severity, msg: str) -> None:
            raise NotImplementedError

    class IProgressMonitor:
        """To derive from."""

        def __init__(self) -> None:
            self.constructed = True

    def __init__(self, cuda: SimulatedCuda) -> None:
        self.cuda = cuda
        self.built = 0

    def Builder(self, logger: object) -> Builder:  # noqa: N802
        return Builder(self, logger)

    def OnnxParser(self, network: SimpleNamespace, logger: object) -> Parser:  # noqa: N802
        return Parser(network, logger)

    def Runtime(self, logger: object) -> Deserializer:  # noqa: N802
        return Deserializer(self)


class Parser:
    def __init__(self, network: SimpleNamespace, logger: Any) -> None:
        self.network, self.logger, self.errors = network, logger, []

    @property
    def num_errors(self) -> int:
        return len(self.errors)

    def get_error(self, index: int) -> str:
        return self.errors[index]

    def parse(self, model: bytes) -> bool:
        try:
            opened(model)
        except Exception as error:  # noqa: BLE001 - the parser tells, and does not raise
            self.errors.append(str(error))
            return False
        self.network.model = model
        return True


class Config:
    def __init__(self) -> None:
        self.flags = {"TF32"}
        self.progress_monitor: Any = None
        self.profiles: list[Profile] = []
        self.cache: Any = None

    def clear_flag(self, flag: str) -> None:
        self.flags.remove(flag)

    def add_optimization_profile(self, profile: Profile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> SimpleNamespace:
        return SimpleNamespace(content=serialized_timing_cache, serialize=lambda: b"times")

    def set_timing_cache(self, cache: SimpleNamespace, ignore_mismatch: bool) -> bool:
        self.cache = cache
        return cache.content in (b"", b"times") and not ignore_mismatch


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002
        self.shapes[input] = [list(min), list(opt), list(max)]


class Builder:
    def __init__(self, api: SimulatedTensorRt, logger: Any) -> None:
        self.api, self.logger = api, logger

    def create_network(self) -> SimpleNamespace:
        return SimpleNamespace(model=None)

    def create_builder_config(self) -> Config:
        return Config()

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: SimpleNamespace, config: Config) -> bytes | None:
        assert "TF32" not in config.flags
        assert config.cache is not None
        for one in opened(network.model).get_inputs():
            least, usual, most = config.profiles[0].shapes[one.name]
            for size, a, b, c in zip(one.shape, least, usual, most, strict=True):
                assert (a == b == c == size) if isinstance(size, int) else 0 <= a <= b <= c
        self.api.built += 1
        assert config.progress_monitor.constructed
        config.progress_monitor.phase_start("Building", None, 2)
        config.progress_monitor.phase_start("Timing", "Building", 5)
        assert config.progress_monitor.step_complete("Timing", 0)
        assert config.progress_monitor.step_complete("Building", 0)
        config.progress_monitor.phase_finish("Timing")
        config.progress_monitor.phase_finish("Building")
        self.logger.log(Severity.WARNING, "a plan was built")
        return json.dumps(config.profiles[0].shapes).encode() + b"\n" + network.model


class Deserializer:
    def __init__(self, api: SimulatedTensorRt) -> None:
        self.api = api

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> CudaEngine | None:
        head, _, model = serialized_engine.partition(b"\n")
        return CudaEngine(self.api.cuda, json.loads(head), model) if head.startswith(b"{") else None


class CudaEngine:
    device_memory_size_v2 = 1 << 16

    def __init__(self, cuda: SimulatedCuda, profile: dict[str, list[list[int]]], model: bytes) -> None:
        self.cuda, self.profile = cuda, profile
        self.session = opened(model)
        self.ins = {one.name: one.shape for one in self.session.get_inputs()}
        self.outs = {one.name: one.shape for one in self.session.get_outputs()}
        self.names = [*self.ins, *self.outs]
        self.num_io_tensors = len(self.names)
        self.sizes: dict[tuple[Any, ...], dict[str, tuple[int, ...]]] = {}

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> str:
        return "INPUT" if name in self.ins else "OUTPUT"

    def get_tensor_dtype(self, name: str) -> str:
        return "FLOAT"

    def get_tensor_shape(self, name: str) -> list[int]:
        shape = {**self.ins, **self.outs}[name]
        return [size if isinstance(size, int) else -1 for size in shape]

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[list[int]]:
        assert profile_index == 0
        return self.profile[name]

    def create_execution_context(self, strategy: str) -> ExecutionContext:
        assert strategy == "USER_MANAGED"
        return ExecutionContext(self)


class ExecutionContext:
    def __init__(self, engine: CudaEngine) -> None:
        self.engine = engine
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.memory = 0
        self.uploaded: dict[str, tuple[int, ...]] = {}

    def set_device_memory(self, memory: int, size: int) -> None:
        assert size >= self.engine.device_memory_size_v2
        self.memory = memory

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self.engine.profile[name]
        if not all(a <= size <= b for a, size, b in zip(least, shape, most, strict=True)):
            return False
        self.shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self.shapes:
            return self.shapes[name]
        key = tuple(sorted(self.shapes.items()))
        if key not in self.engine.sizes:
            zeros = {one: np.zeros(shape, np.float32) for one, shape in self.shapes.items()}
            values = self.engine.session.run(list(self.engine.outs), zeros)
            self.engine.sizes[key] = {one: value.shape for one, value in zip(self.engine.outs, values, strict=True)}
        return self.engine.sizes[key][name]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self.addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        stream = self.engine.cuda.streams[stream_handle]
        shapes = dict(self.shapes)
        if self.memory == 0 or set(self.addresses) != set(self.engine.names) or set(shapes) != set(self.engine.ins):
            return False
        if stream.capture is not None and self.uploaded != shapes:
            return False

        def kernel() -> None:
            replayed = self.uploaded == shapes
            assert replayed or self.shapes == shapes, "the context has the shapes of another run"
            self.uploaded = shapes
            inputs = {one: self.engine.cuda.values(self.addresses[one], shape).copy() for one, shape in shapes.items()}
            values = self.engine.session.run(list(self.engine.outs), inputs)
            for one, value in zip(self.engine.outs, values, strict=True):
                self.engine.cuda.values(self.addresses[one], value.shape)[:] = value

        stream.add(kernel)
        return True


def opened(model: bytes) -> Any:
    """A session on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
