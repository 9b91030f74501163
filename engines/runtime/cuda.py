"""The few calls of the CUDA runtime that are needed, through `cuda.bindings`; each is checked and named in its failure.

Source of every call: CUDA Runtime API reference. The binding returns a tuple of the status and the results. Importing
this module needs neither the package nor a GPU.
"""

from __future__ import annotations

import ctypes
import importlib
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from engines.runtime.runtime import RuntimeFailure, Tensor

PACKAGE = "cuda-bindings"

_PAGES = 256
"""Device memory is asked for in multiples of this, as the allocator gives it out (CUDA Programming Guide)."""


@cache
def bindings() -> Any:
    """The module `cuda.bindings.runtime`.

    Raises:
        RuntimeFailure: the package is not installed.
    """
    try:
        return importlib.import_module("cuda.bindings.runtime")
    except ImportError as error:
        message = f"a GPU needs the Python package {PACKAGE} (it is in the extra `gpu`): {error}"
        raise RuntimeFailure(message) from error


def call(function: str, *arguments: object) -> Any:
    """Call a function of the CUDA runtime: its only result, or None.

    Raises:
        RuntimeFailure: it gives a status that is not success.
    """
    module = bindings()
    status, *results = getattr(module, function)(*arguments)
    if status != module.cudaError_t.cudaSuccess:
        _, text = module.cudaGetErrorString(status)
        message = f"{function}: {text.decode()} ({int(status)})"
        raise RuntimeFailure(message)
    return results[0] if len(results) == 1 else tuple(results) or None


@dataclass(frozen=True, slots=True)
class Facts:
    """A GPU: number, name, compute capability, versions (13050 is 13.5) of driver and runtime, memory in bytes."""

    number: int
    name: str
    capability: tuple[int, int]
    driver: int
    runtime: int
    free: int
    total: int

    def __str__(self) -> str:
        return f"GPU {self.number} {self.name} (compute capability {self.capability[0]}.{self.capability[1]})"

    def described(self) -> str:
        """Everything, for the log."""
        return (
            f"{self}, driver for CUDA {_version(self.driver)}, runtime {_version(self.runtime)}, "
            f"{self.free >> 20} of {self.total >> 20} MiB free"
        )


def facts(number: int) -> Facts:
    """What a GPU is. Makes it the current device of this thread.

    Raises:
        RuntimeFailure: no driver, a driver that is too old, or no such GPU; the message says which.
    """
    driver, runtime = call("cudaDriverGetVersion"), call("cudaRuntimeGetVersion")
    if driver == 0:
        raise RuntimeFailure("no driver for NVIDIA GPUs is installed on this machine, or none is visible here")
    try:
        count = call("cudaGetDeviceCount")
    except RuntimeFailure as failure:
        message = (
            f"no GPU can be used: {failure}; the driver is for CUDA {_version(driver)}, "
            f"{PACKAGE} for CUDA {_version(runtime)}"
        )
        raise RuntimeFailure(message) from failure
    if number >= count:
        message = f"GPU {number} is not there: this machine shows {count} of them, numbered from 0"
        raise RuntimeFailure(message)
    call("cudaSetDevice", number)
    properties = call("cudaGetDeviceProperties", number)
    free, total = call("cudaMemGetInfo")
    capability = properties.major, properties.minor
    return Facts(number, properties.name.decode(), capability, driver, runtime, free, total)


def use(number: int) -> None:
    """Make a GPU the current one of this thread: CUDA keeps that for each thread."""
    call("cudaSetDevice", number)


class Stream:
    """A stream beside the default one, and an event that a thread can sleep on until the stream has come to it."""

    def __init__(self) -> None:
        module = bindings()
        self._stream = call("cudaStreamCreateWithFlags", module.cudaStreamNonBlocking)
        # a thread that waits for a stream itself spins; one that waits for such an event sleeps
        self._event = call("cudaEventCreateWithFlags", module.cudaEventBlockingSync | module.cudaEventDisableTiming)

    @property
    def handle(self) -> int:
        """The stream as the number that TensorRT takes."""
        return int(self._stream)

    def to_device(self, device: int, host: int, size: int) -> None:
        """Begin to copy `size` bytes from pinned host memory."""
        self._copy(device, host, size, bindings().cudaMemcpyKind.cudaMemcpyHostToDevice)

    def to_host(self, host: int, device: int, size: int) -> None:
        """Begin to copy `size` bytes to pinned host memory."""
        self._copy(host, device, size, bindings().cudaMemcpyKind.cudaMemcpyDeviceToHost)

    def wait(self) -> None:
        """Sleep until everything on the stream is done.

        Raises:
            RuntimeFailure: something on the stream failed.
        """
        call("cudaEventRecord", self._event, self._stream)
        call("cudaEventSynchronize", self._event)

    def begin_capture(self) -> None:
        """From here on work is noted for a graph and not done. Other threads are not disturbed."""
        call("cudaStreamBeginCapture", self._stream, bindings().cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)

    def end_capture(self) -> Any:
        """The noted work as a graph that can be launched."""
        graph = call("cudaStreamEndCapture", self._stream)
        try:
            return call("cudaGraphInstantiate", graph, 0)
        finally:
            call("cudaGraphDestroy", graph)

    def launch(self, graph: Any) -> None:
        """Begin the work of a graph."""
        call("cudaGraphLaunch", graph, self._stream)

    def close(self) -> None:
        """Free both."""
        call("cudaEventDestroy", self._event)
        call("cudaStreamDestroy", self._stream)

    def _copy(self, to: int, source: int, size: int, kind: Any) -> None:
        call("cudaMemcpyAsync", to, source, size, kind, self._stream)


class Buffer:
    """One tensor's memory, on the device and pinned on the host, for up to `elements` float32 values."""

    def __init__(self, elements: int) -> None:
        size = -(-4 * max(1, elements) // _PAGES) * _PAGES
        self.device = int(call("cudaMalloc", size))
        try:
            self.host = int(call("cudaHostAlloc", size, bindings().cudaHostAllocDefault))
        except RuntimeFailure:
            call("cudaFree", self.device)
            raise
        self._values = np.ctypeslib.as_array((ctypes.c_float * (size // 4)).from_address(self.host))

    def view(self, shape: tuple[int, ...]) -> Tensor:
        """The host's side as an array of this shape; valid until `close`."""
        return self._values[: int(np.prod(shape))].reshape(shape)

    def close(self) -> None:
        """Free both sides."""
        call("cudaFree", self.device)
        call("cudaFreeHost", self.host)


def allocate(size: int) -> int:
    """Memory of the current device, aligned to 256 bytes; at least one byte."""
    return int(call("cudaMalloc", max(1, size)))


def free(address: int) -> None:
    """Give memory of a device back."""
    call("cudaFree", address)


def free_graph(graph: Any) -> None:
    """Free a graph that `Stream.end_capture` gave."""
    call("cudaGraphExecDestroy", graph)


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
