"""Networks whose runs are timed for the thread that asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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
    """A session whose runs are added to what their thread spends in networks."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def name(self) -> str:
        """Name of the model's file."""
        return self._session.name

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What `run` takes."""
        return self._session.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What `run` gives."""
        return self._session.outputs

    @property
    def max_batch(self) -> int | None:
        """That of the session."""
        return self._session.max_batch

    def run(self, inputs: Tensors) -> dict[str, Tensor]:
        """As `Session.run`. A run that fails counts as spent."""
        began = time.perf_counter()
        try:
            return self._session.run(inputs)
        finally:
            if _thread.spent is not None:
                _thread.spent.seconds += time.perf_counter() - began

    def close(self) -> None:
        """Free the network."""
        self._session.close()


class MeasuredRuntime:
    """A runtime whose sessions are measured."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @property
    def name(self) -> str:
        """Runtime and device."""
        return self._runtime.name

    @property
    def device(self) -> str:
        """The device as the settings name it."""
        return self._runtime.device

    def load(self, model: Path) -> MeasuredSession:
        """As `Runtime.load`."""
        return MeasuredSession(self._runtime.load(model))

    def close(self) -> None:
        """Free every network."""
        self._runtime.close()
