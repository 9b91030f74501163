"""One lane of a TensorRT session: a stream, its memory, its execution contexts and CUDA graphs. One run at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from engines.runtime import cuda
from engines.runtime.runtime import RuntimeFailure, Tensor, Tensors
from engines.runtime.tensorrt_api import Api, CudaEngine, ExecutionContext
from engines.runtime.tensorrt_plans import Range

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(slots=True)
class _Prepared:
    """A context whose input shapes are set: those shapes, the outputs' shapes, and the graph where one was captured."""

    context: ExecutionContext
    inputs: Shapes
    outputs: Shapes
    graph: Any = None


class Lane:
    """Runs a network on one stream.

    Where only the batch varies, batches are padded to powers of two, and each size has a context of its own and a CUDA
    graph that copies in, computes and copies out with one launch. A context of its own, because TensorRT keeps what
    depends on shapes in the context, where a graph would find another batch's; and a first run before the capture,
    because TensorRT may still allocate and synchronise in it (TensorRT documentation, CUDA graphs). The contexts of a
    lane never run at once, so they share one block of memory for activations.

    Everything is made here, before the first request: what memory does not allow shows at the start.

    Args:
        api: the module `tensorrt`.
        engine: the deserialised plan.
        name: name of the model, for errors.
        ranges: the shapes of the inputs that the plan serves.
        outputs: names of the outputs.
        graphs: capture CUDA graphs where the shapes allow it.

    Raises:
        RuntimeFailure: TensorRT or CUDA refuses; usually memory is short.
    """

    def __init__(
        self,
        api: Api,
        engine: CudaEngine,
        name: str,
        ranges: Sequence[Range],
        outputs: Sequence[str],
        *,
        graphs: bool = True,
    ) -> None:
        self._api = api
        self._engine = engine
        self._name = name
        self._ranges = ranges
        self._outputs = outputs
        self._buffers: dict[str, cuda.Buffer] = {}
        self._by_rows: dict[int, _Prepared] = {}
        self._last: _Prepared | None = None
        self._memory = 0
        self._stream = cuda.Stream()
        try:
            self._memory = cuda.allocate(engine.device_memory_size_v2)
            largest = self._prepared({one.name: one.most for one in ranges})
            self._allocate(largest)
            if graphs and all(one.only_batch for one in ranges):
                self._capture_all()
            else:
                self._last = largest
        except BaseException:
            self.close()
            raise

    def run(self, inputs: Tensors) -> dict[str, Tensor]:
        """Run on inputs whose shapes the plan serves; there is at least one row.

        Raises:
            RuntimeFailure: TensorRT or CUDA failed.
        """
        rows = next(iter(inputs.values())).shape[0]
        prepared = self._by_rows[padded(rows, self._ranges[0].most[0])] if self._by_rows else self._shaped(inputs)
        for name, value in inputs.items():
            view = self._buffers[name].view(prepared.inputs[name])
            view[:rows] = value
            view[rows:] = 0
        if prepared.graph is None:
            self._enqueue(prepared)
        else:
            self._stream.launch(prepared.graph)
        self._stream.wait()
        return {name: self._buffers[name].view(shape)[:rows].copy() for name, shape in prepared.outputs.items()}

    def close(self) -> None:
        """Free everything. The contexts go first: they use the rest."""
        for prepared in self._by_rows.values():
            if prepared.graph is not None:
                cuda.free_graph(prepared.graph)
        self._by_rows.clear()
        self._last = None
        for buffer in self._buffers.values():
            buffer.close()
        self._buffers.clear()
        if self._memory:
            cuda.free(self._memory)
            self._memory = 0
        self._stream.close()

    def _prepared(self, inputs: Shapes) -> _Prepared:
        strategy = self._api.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self._engine.create_execution_context(strategy)
        if context is None:
            message = f"{self._name} has no execution context: the memory of the device is probably short"
            raise RuntimeFailure(message)
        context.set_device_memory(self._memory, self._engine.device_memory_size_v2)
        prepared = _Prepared(context, {}, {})
        self._set(prepared, inputs)
        return prepared

    def _set(self, prepared: _Prepared, inputs: Shapes) -> None:
        for name, shape in inputs.items():
            self._check(prepared.context.set_input_shape(name, shape), f"the shape {shape} of {name}")
        prepared.inputs = dict(inputs)
        prepared.outputs = {name: tuple(prepared.context.get_tensor_shape(name)) for name in self._outputs}

    def _allocate(self, largest: _Prepared) -> None:
        """Buffers for the largest shapes: outputs are largest where inputs are."""
        for name, shape in {**largest.inputs, **largest.outputs}.items():
            self._buffers[name] = cuda.Buffer(prod(shape))
        self._address(largest)

    def _address(self, prepared: _Prepared) -> None:
        for name, buffer in self._buffers.items():
            self._check(prepared.context.set_tensor_address(name, buffer.device), f"the address of {name}")

    def _capture_all(self) -> None:
        most = self._ranges[0].most[0]
        for rows in sizes(most):
            prepared = self._prepared({one.name: (rows, *one.most[1:]) for one in self._ranges})
            self._address(prepared)
            self._enqueue(prepared)
            self._stream.wait()
            self._stream.begin_capture()
            try:
                self._enqueue(prepared)
            finally:
                # ends the capture also where something failed: a stream that is left capturing serves nobody
                prepared.graph = self._stream.end_capture()
            self._by_rows[rows] = prepared

    def _shaped(self, inputs: Tensors) -> _Prepared:
        """The one context, set to the shapes of these inputs."""
        if self._last is None:
            message = f"{self._name} is closed"
            raise RuntimeFailure(message)
        shapes = {name: value.shape for name, value in inputs.items()}
        if shapes != self._last.inputs:
            self._set(self._last, shapes)
        return self._last

    def _enqueue(self, prepared: _Prepared) -> None:
        for name, shape in prepared.inputs.items():
            buffer = self._buffers[name]
            self._stream.to_device(buffer.device, buffer.host, 4 * prod(shape))
        self._check(prepared.context.execute_async_v3(self._stream.handle), "the run")
        for name, shape in prepared.outputs.items():
            buffer = self._buffers[name]
            self._stream.to_host(buffer.host, buffer.device, 4 * prod(shape))

    def _check(self, done: bool, what: str) -> None:
        if not done:
            message = f"TensorRT refuses {what} of {self._name}; its messages are in the log"
            raise RuntimeFailure(message)


def sizes(most: int) -> list[int]:
    """The batches that graphs are captured for: powers of two, and the largest batch."""
    return [*(1 << power for power in range((most - 1).bit_length())), most]


def padded(rows: int, most: int) -> int:
    """The smallest of `sizes(most)` that holds so many rows."""
    return min(1 << (rows - 1).bit_length(), most)
