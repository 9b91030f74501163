"""What an engine could do at best: the runs of networks that a call of it makes, again, with nothing around them.

Bare networks are files of packs in ONNX Runtime as it is by itself. The engine runs them more quickly, because it says
some operators in other words and chooses its batches (`engines.runtime.onnx_runtime`). The floor is those runs together
with what the engine asks of OpenCV: what is left beside it is Luna's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import onnxruntime

from engines.runtime.runtime import Runtime, Session, Tensor, Tensors, TensorSpec

LIBRARY = ("imdecode", "imencode", "cvtColor", "resize", "warpAffine", "copyMakeBorder")
"""Functions of OpenCV that decode, scale, cut out and encode pictures."""

Call = Callable[[], object]


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

    def replay(self, runs: Sequence[Run]) -> Call:
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


class EngineNetworks:
    """Networks as the engine runs them on a CPU.

    Args:
        runtime: the engine's.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._sessions: dict[Path, Session] = {}

    def replay(self, runs: Sequence[Run]) -> Call:
        """As `BareNetworks.replay`."""
        for run in runs:
            if run.model not in self._sessions:
                self._sessions[run.model] = self._runtime.load(run.model)
        return together([partial(self._sessions[run.model].run, run.inputs) for run in runs])


def together(calls: Sequence[Call]) -> Call:
    """A call that makes several, one after the other."""

    def again() -> None:
        for call in calls:
            call()

    return again


@contextmanager
def library_calls() -> Iterator[list[Call]]:
    """Notes what this process asks of OpenCV's `LIBRARY` meanwhile, as calls that ask it again."""
    made: list[Call] = []
    plain = {name: getattr(cv2, name) for name in LIBRARY}

    def noting(call: Callable[..., object]) -> Callable[..., object]:
        def noted(*values: object, **named: object) -> object:
            # again in several threads, which must not write to one place
            made.append(partial(call, *values, **{name: value for name, value in named.items() if name != "dst"}))
            return call(*values, **named)

        return noted

    for name, call in plain.items():
        setattr(cv2, name, noting(call))
    try:
        yield made
    finally:
        for name, call in plain.items():
            setattr(cv2, name, call)


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
