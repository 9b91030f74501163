"""ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from engines.runtime.runtime import RuntimeFailure, Tensor, Tensors, TensorSpec

PROVIDER = "CPUExecutionProvider"
_ERRORS_ONLY = 3


class OnnxRuntime:
    """Owns the policies for all sessions: provider, threads, spinning, arena.

    Parallelism comes from images that are worked on side by side, so a session has few threads and they sleep while
    they wait: spinning ones take the cores from the other images. The arena is off because image sizes vary and an
    arena keeps the largest one for ever.

    Args:
        threads: threads of one session; at least 1.
    """

    def __init__(self, *, threads: int = 1) -> None:
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.inter_op_num_threads = 1
        self._options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        self._options.enable_cpu_mem_arena = False
        self._options.log_severity_level = _ERRORS_ONLY
        self._options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._options.add_session_config_entry("session.inter_op.allow_spinning", "0")

    @property
    def name(self) -> str:
        """Runtime and device."""
        return f"ONNX Runtime {onnxruntime.__version__}, CPU"

    def load(self, model: Path) -> OnnxSession:
        """Load a model.

        Raises:
            RuntimeFailure: the file cannot be loaded, or the session does not run on the CPU provider.
        """
        try:
            session = onnxruntime.InferenceSession(str(model), self._options, providers=[PROVIDER])
        except Exception as error:  # the C++ layer raises many types without a common base
            message = f"{model} cannot be loaded: {error}"
            raise RuntimeFailure(message) from error
        if session.get_providers() != [PROVIDER]:
            message = f"{model} runs on {session.get_providers()} and not on {PROVIDER}"
            raise RuntimeFailure(message)
        return OnnxSession(model, session)


class OnnxSession:
    """A model that ONNX Runtime has loaded."""

    def __init__(self, model: Path, session: Any) -> None:
        self._model = model
        self._session = session
        self._inputs = tuple(_spec(value) for value in session.get_inputs())
        self._outputs = tuple(_spec(value) for value in session.get_outputs())
        self._names = [spec.name for spec in self._outputs]

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What `run` takes."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What `run` gives."""
        return self._outputs

    def run(self, inputs: Tensors) -> dict[str, Tensor]:
        """Every output by its name.

        Raises:
            RuntimeFailure: an input is missing or has another shape or type, or the runtime failed.
        """
        for spec in self._inputs:
            value = inputs.get(spec.name)
            if value is None or value.dtype != np.float32 or not spec.fits(value.shape):
                found = "nothing" if value is None else f"{value.dtype} {value.shape}"
                message = f"{self._model.name} takes float32 {spec.shape} as {spec.name!r}, not {found}"
                raise RuntimeFailure(message)
        try:
            values = self._session.run(self._names, dict(inputs))
        except Exception as error:  # the C++ layer raises many types without a common base
            message = f"{self._model.name} failed: {error}"
            raise RuntimeFailure(message) from error
        return dict(zip(self._names, values, strict=True))


def _spec(value: Any) -> TensorSpec:
    if value.type != "tensor(float)":
        message = f"{value.name!r} is a {value.type}, and only float32 tensors are used"
        raise RuntimeFailure(message)
    return TensorSpec(value.name, tuple(size if isinstance(size, int) else None for size in value.shape))
