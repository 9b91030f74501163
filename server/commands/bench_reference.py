"""What an engine could do at best: the runs of networks that a call of it makes, again, with nothing around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime

from engines.runtime.runtime import Runtime, Session, Tensor, Tensors, TensorSpec


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a network: its file and its inputs."""

    model: Path
    inputs: Tensors


class RecordingRuntime:
    """A runtime whose sessions note every run.

    Args:
        inner: the runtime that does the work.
    """

    def __init__(self, inner: Runtime) -> None:
        self._inner = inner
        self._runs: list[Run] = []

    @property
    def name(self) -> str:
        """Name of the inner runtime."""
        return self._inner.name

    @property
    def device(self) -> str:
        """Device of the inner runtime."""
        return self._inner.device

    def close(self) -> None:
        """Free the inner runtime's networks."""
        self._inner.close()

    def load(self, model: Path) -> Session:
        """Load a model.

        Raises:
            RuntimeFailure: as the inner runtime.
        """
        return _RecordingSession(model, self._inner.load(model), self._runs)

    def taken(self) -> tuple[Run, ...]:
        """The runs since this was asked last."""
        runs = tuple(self._runs)
        self._runs.clear()
        return runs


class BareNetworks:
    """Networks in ONNX Runtime as it is by itself: one thread for each run, as many runs side by side as are asked for.

    Everything else is its default, its memory arena too, so that nothing of Luna's own policy slows what Luna is
    compared with.
    """

    def __init__(self) -> None:
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = 1
        self._options.inter_op_num_threads = 1
        self._sessions: dict[Path, Any] = {}

    def replay(self, runs: Sequence[Run]) -> Callable[[], None]:
        """A call that makes the same runs again, one after the other; safe in several threads."""
        for run in runs:
            if run.model not in self._sessions:
                self._sessions[run.model] = onnxruntime.InferenceSession(
                    str(run.model), self._options, providers=["CPUExecutionProvider"]
                )
        prepared = [(self._sessions[run.model], dict(run.inputs)) for run in runs]

        def again() -> None:
            for session, inputs in prepared:
                session.run(None, inputs)

        return again


class _RecordingSession:
    def __init__(self, model: Path, inner: Session, runs: list[Run]) -> None:
        self._model = model
        self._inner = inner
        self._runs = runs

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def max_batch(self) -> int | None:
        return self._inner.max_batch

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._inner.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._inner.outputs

    def run(self, inputs: Tensors) -> dict[str, Tensor]:
        # copied, because a caller may use its arrays again
        self._runs.append(Run(self._model, {name: value.copy() for name, value in inputs.items()}))
        return self._inner.run(inputs)

    def close(self) -> None:
        self._inner.close()
