"""ONNX Runtime, on the CPU or on a GPU that its build and this machine have."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from engines.runtime import cuda
from engines.runtime.devices import Device, Kind, Precision
from engines.runtime.equivalents import faster
from engines.runtime.precision import in_half
from engines.runtime.runtime import RuntimeFailure, Tensor, Tensors, TensorSpec, in_parts, rows_of

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_ERRORS_ONLY = 3

_CACHED = 1 << 18
"""Bytes of rows that a CPU runs at once: what a network makes of them is some ten times as much, and should stay in a
core's cache. MTCNN's refinement network takes 25 us a row for 32 rows and 33 to 114 for 128."""

_WORTH_IT = 4
"""Where fewer rows would be left, the rows are large and the weights many: those gain from being used for all rows."""


class OnnxRuntime:
    """Owns the policies for all sessions: provider, threads, spinning, arena, fall-back.

    On the CPU, parallelism comes from images that are worked on side by side, so a session has few threads and they
    sleep while they wait: spinning ones take the cores from the other images. Many small rows are run in parts that
    stay in the cache. The arena is off where image sizes vary, because an arena keeps the largest one for ever. What
    its kernels are slow at is said to them in other words (`engines.runtime.equivalents`).

    On a GPU nothing falls back: the provider must be CUDA's, no node of a network may be given to the CPU, and TF32 is
    off, so that results are those of the CPU up to rounding. Networks that compute with shapes (`Shape`) are the
    exception: ONNX Runtime keeps that integer arithmetic on the host by design.

    Args:
        threads: threads of one session; at least 1.
        device: `cpu` or `cuda:N`.
        precision: FP16 casts the network's inside (`engines.runtime.precision`).

    Raises:
        RuntimeFailure: the device is not there, or the installed build has no provider for it; the message says what
            to install.
    """

    def __init__(
        self, *, threads: int = 1, device: Device | None = None, precision: Precision = Precision.FP32
    ) -> None:
        self._device = device or Device(Kind.CPU)
        self._precision = precision
        self._sessions: list[OnnxSession] = []
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.inter_op_num_threads = 1
        self._options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        self._options.enable_cpu_mem_arena = False
        self._options.log_severity_level = _ERRORS_ONLY
        self._options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        self._hardware = "CPU" if self._device.kind is Kind.CPU else self._gpu()

    @property
    def name(self) -> str:
        """Runtime and device."""
        return f"ONNX Runtime {onnxruntime.__version__}, {self._hardware}, {self._precision.value}"

    @property
    def device(self) -> str:
        """The device as the settings name it."""
        return str(self._device)

    def load(self, model: Path) -> OnnxSession:
        """Load a model.

        Raises:
            RuntimeFailure: the file cannot be loaded, or the session does not run on the device's provider.
        """
        try:
            # by its path, so that weights which lie beside a model are found
            half = self._precision is Precision.FP16
            source = in_half(model.read_bytes()) if half else str(model)
            described = onnx.load(str(model), load_external_data=False)
            rows = rows_in_cache(described.graph) if self._device.kind is Kind.CPU else None
            session = self._open(described, source, arena=rows is not None)
        except RuntimeFailure:
            raise
        except Exception as error:  # the C++ layer raises many types without a common base
            message = f"{model} cannot be loaded: {error}"
            raise RuntimeFailure(message) from error
        wanted = CPU if self._device.kind is Kind.CPU else CUDA
        if session.get_providers()[:1] != [wanted]:
            message = f"{model} runs on {session.get_providers()} and not on {wanted}"
            raise RuntimeFailure(message)
        session.disable_fallback()
        run = plainly(session) if self._device.kind is Kind.CPU else bound(session, "cuda", self._device.number)
        loaded = OnnxSession(model, session, run, rows)
        self._sessions.append(loaded)
        return loaded

    def close(self) -> None:
        """Free every network."""
        for session in self._sessions:
            session.close()
        self._sessions.clear()

    def _gpu(self) -> str:
        if CUDA not in onnxruntime.get_available_providers():
            message = (
                f"{self._device} needs a build of ONNX Runtime with {CUDA}: "
                f"install onnxruntime-gpu in place of onnxruntime {onnxruntime.__version__}"
            )
            raise RuntimeFailure(message)
        return str(cuda.facts(self._device.number))

    def _open(self, model: onnx.ModelProto, source: bytes | str, *, arena: bool) -> Any:
        self._options.enable_cpu_mem_arena = arena
        if self._device.kind is Kind.CPU:
            # halves are left alone: it is for them that the graph is as it is
            rewritten = None if self._precision is Precision.FP16 else faster(model)
            return onnxruntime.InferenceSession(rewritten or source, self._options, providers=[CPU])
        shapes = any(node.op_type == "Shape" for node in model.graph.node)
        self._options.add_session_config_entry("session.disable_cpu_ep_fallback", "0" if shapes else "1")
        settings = {"device_id": str(self._device.number), "use_tf32": "0"}
        return onnxruntime.InferenceSession(source, self._options, providers=[(CUDA, settings)])


def rows_in_cache(graph: onnx.GraphProto) -> int | None:
    """How many rows of a network a CPU should run at once; None where sizes vary, or rows are too large to be parted.

    A power of two, because kernels like those.
    """
    constants = {one.name for one in graph.initializer}
    size = 0
    for one in graph.input:
        if one.name not in constants:
            fixed = [dimension.dim_value for dimension in one.type.tensor_type.shape.dim[1:]]
            size += math.prod(fixed) * np.dtype(np.float32).itemsize
            if not all(fixed):
                return None
    rows = _CACHED // max(size, 1)
    return 1 << rows.bit_length() - 1 if rows >= _WORTH_IT else None


Run = Callable[[list[str], Tensors], list[Tensor]]
"""Runs a session: names of outputs and the inputs in, the outputs in that order out."""


def plainly(session: Any) -> Run:
    """Runs with inputs and outputs in the memory of the host."""

    def run(names: list[str], inputs: Tensors) -> list[Tensor]:
        values: list[Tensor] = session.run(names, dict(inputs))
        return values

    return run


def bound(session: Any, device: str, number: int) -> Run:
    """Runs with inputs and outputs in the memory of a device: each is copied once, and nothing is copied silently."""

    def run(names: list[str], inputs: Tensors) -> list[Tensor]:
        binding = session.io_binding()
        for name, value in inputs.items():
            contiguous = np.ascontiguousarray(value)
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(contiguous, device, number))
        for name in names:
            binding.bind_output(name, device, number)
        session.run_with_iobinding(binding)
        values: list[Tensor] = binding.copy_outputs_to_cpu()
        return values

    return run


class OnnxSession:
    """A model that ONNX Runtime has loaded.

    Args:
        model: its file.
        session: ONNX Runtime's.
        run: runs it.
        rows: so many rows are run at once; None is no limit.
    """

    def __init__(self, model: Path, session: Any, run: Run, rows: int | None = None) -> None:
        self._model = model
        self._run: Run | None = run
        self._rows = rows
        self._inputs = tuple(_spec(value) for value in session.get_inputs())
        self._outputs = tuple(_spec(value) for value in session.get_outputs())
        self._names = [spec.name for spec in self._outputs]

    @property
    def name(self) -> str:
        """Name of the model's file."""
        return self._model.name

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What `run` takes."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What `run` gives."""
        return self._outputs

    @property
    def max_batch(self) -> int | None:
        """The batch that the model was made for, or that the caches hold; None where it takes any."""
        return self._inputs[0].shape[0] or self._rows

    def run(self, inputs: Tensors) -> dict[str, Tensor]:
        """Every output by its name.

        Raises:
            RuntimeFailure: an input is missing or has another shape or type, the session is closed, or the runtime
                failed.
        """
        rows = rows_of(self, inputs)
        given = {spec.name: inputs[spec.name] for spec in self._inputs}
        return in_parts(self._once, given, rows, self._rows if self._inputs[0].batched else None)

    def close(self) -> None:
        """Free the network."""
        self._run = None

    def _once(self, inputs: Tensors) -> dict[str, Tensor]:
        run = self._run
        if run is None:
            message = f"{self.name} is closed"
            raise RuntimeFailure(message)
        try:
            values = run(self._names, inputs)
        except Exception as error:  # the C++ layer raises many types without a common base
            message = f"{self.name} failed: {error}"
            raise RuntimeFailure(message) from error
        return dict(zip(self._names, values, strict=True))


def _spec(value: Any) -> TensorSpec:
    if value.type != "tensor(float)":
        message = f"{value.name!r} is a {value.type}, and only float32 tensors are used"
        raise RuntimeFailure(message)
    return TensorSpec(value.name, tuple(size if isinstance(size, int) else None for size in value.shape))
