"""Networks whose runs are timed: for an observer, and for the thread that asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engines.runtime.observer import Observer
from engines.runtime.runtime import Runtime, Session, Tensor, Tensors, TensorSpec


@dataclass(slots=True)
class Spent:
    """Seconds that a thread has spent in networks: in `Session.run`, the wait for a batch included."""

    seconds: float = 0.0


class _Thread(threading.local):
    spent: Spent | None = None


_thread = _Thread()


@contextmanager
def spending() -> Iterator[Spent]:
    """Count what this thread spends in networks from here on."""
    outer, spent = _thread.spent, Spent()
    _thread.spent = spent
    try:
        yield spent
    finally:
        _thread.spent = outer
        if outer is not None:
            outer.seconds += spent.seconds


class MeasuredSession:
    """A session that is timed.

    Args:
        session: what runs.
        network: its name for the observer.
        observer: told of each run; None where the session tells it itself, because it gathers batches of its own.
    """

    def __init__(self, session: Session, network: str, observer: Observer | None) -> None:
        self._session = session
        self._network = network
        self._observer = observer

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What `run` takes."""
        return self._session.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What `run` gives."""
        return self._session.outputs

    def run(self, inputs: Tensors) -> dict[str, Tensor]:
        """As `Session.run`. A run that fails counts as spent, and the observer is not told of it."""
        began = time.perf_counter()
        try:
            outputs = self._session.run(inputs)
        finally:
            seconds = time.perf_counter() - began
            if _thread.spent is not None:
                _thread.spent.seconds += seconds
        if self._observer is not None:
            rows = max((len(tensor) for tensor in inputs.values() if tensor.ndim), default=1)
            self._observer.ran(self._network, rows, 0.0, seconds)
        return outputs


class MeasuredRuntime:
    """A runtime whose sessions are measured. A network is called after its pack and its file: `default/descriptor`."""

    def __init__(self, runtime: Runtime, observer: Observer | None) -> None:
        self._runtime = runtime
        self._observer = observer

    @property
    def name(self) -> str:
        """Runtime and device."""
        return self._runtime.name

    def load(self, model: Path) -> MeasuredSession:
        """As `Runtime.load`."""
        return MeasuredSession(self._runtime.load(model), f"{model.parent.name}/{model.stem}", self._observer)
