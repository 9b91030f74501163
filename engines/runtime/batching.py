"""Dynamic batching: callers of one network whose inputs have the same shape are served by one run.

The threads of requests do the work themselves. A caller that finds a free slot leads: it may wait a little for others,
takes who waits for the same shape, runs, and hands the results out. Everybody else sleeps. A slot that becomes free
goes to the caller that has waited longest, whatever its shape, so nobody starves.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engines.runtime.observer import Observer
from engines.runtime.runtime import (
    Runtime,
    RuntimeFailure,
    Session,
    Tensor,
    Tensors,
    TensorSpec,
    cut,
    is_batched,
    joined,
    rows_of,
)
from engines.runtime.spending import spend

log = logging.getLogger(__name__)

Shape = tuple[tuple[int, ...], ...]
"""What the inputs of callers must share to be run together: their shapes without the batch, in order."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How a network's calls are put together.

    Attributes:
        max_batch: most rows that are put together where the session says nothing; a call that has more runs alone.
        wait: seconds from its arrival that a caller waits for others to fill its batch; it never waits alone.
        slots: runs of the network at once; None is no limit.
    """

    max_batch: int = 16
    wait: float = 0.0
    slots: int | None = None


@dataclass(slots=True, eq=False)
class _Call:
    inputs: Tensors
    rows: int
    shape: Shape
    arrived: float
    wake: threading.Event = field(default_factory=threading.Event)
    leads: bool = False
    answer: dict[str, Tensor] | None = None
    failure: Exception | None = None


@dataclass(slots=True, eq=False)
class _Batch:
    """What a leader has put together so far; `full` is set where no row more fits."""

    calls: list[_Call]
    rows: int
    full: threading.Event = field(default_factory=threading.Event)


class BatchingSession:
    """A session that runs the calls of several threads as one.

    With unlimited slots and no wait there is nothing to put together, and a call goes straight through. So does one
    whose network is not `batched`, except that it takes a slot.

    Args:
        session: the network. Its own `max_batch` goes before the policy's.
        policy: how calls are put together.
        observer: is told of every run.
        network: what the observer is told that has run; the session's name where it is empty.
    """

    def __init__(self, session: Session, policy: Policy, observer: Observer | None = None, network: str = "") -> None:
        self._session = session
        self._network = network or session.name
        self._observer = observer
        self._wait = policy.wait
        self._max = (session.max_batch or policy.max_batch) if is_batched(session) else 0
        self._names = [spec.name for spec in session.inputs]
        self._through = policy.slots is None and policy.wait == 0
        self._lock = threading.Lock()
        self._free: float = math.inf if policy.slots is None else policy.slots
        self._inside = 0
        self._waiting: deque[_Call] = deque()
        self._gathering: dict[Shape, _Batch] = {}

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
        """Every output by its name, computed together with the rows of other callers.

        A batch that fails is run again call by call, so that a failure reaches the caller whose input it is. The time
        counts as spent by the caller's thread (`engines.runtime.spending`), the wait for a batch included.

        Raises:
            RuntimeFailure: as the session raises it for these inputs alone.
        """
        began = time.monotonic()
        try:
            return self._run(inputs, began)
        finally:
            spend(time.monotonic() - began)

    def close(self) -> None:
        """Free the network."""
        self._session.close()

    def _run(self, inputs: Tensors, arrived: float) -> dict[str, Tensor]:
        if self._through:
            return self._session.run(inputs) if self._observer is None else self._alone(inputs, arrived)
        rows = rows_of(self._session, inputs)
        shape = tuple(inputs[name].shape[1:] for name in self._names)
        call = _Call({name: inputs[name] for name in self._names}, rows, shape, arrived)
        if self._leads(call):
            self._lead(call)
        if call.answer is not None:
            return call.answer
        # a call that has neither was to be served by a thread that is being ended
        raise call.failure or RuntimeFailure(f"{self.name} was interrupted")

    def _leads(self, call: _Call) -> bool:
        """True where a caller has a slot and must lead; False where its call has been served by another."""
        with self._lock:
            self._inside += 1
            batch = self._gathering.get(call.shape)
            if batch is not None and batch.rows + call.rows <= self._max:
                self._add(batch, call)
            elif self._free >= 1 and not self._waiting:
                self._free -= 1
                call.leads = True
            else:
                self._waiting.append(call)
        if not call.leads:
            call.wake.wait()
        return call.leads

    def _lead(self, call: _Call) -> None:
        batch = _Batch([call], call.rows)
        try:
            self._gather(batch)
            self._serve(batch)
        finally:
            self._pass_on(batch)

    def _gather(self, batch: _Batch) -> None:
        """Take who waits for the same shape, oldest first; then, within the first caller's budget, who comes."""
        first = batch.calls[0]
        with self._lock:
            # who waits for another shape keeps its place
            passed = []
            while self._waiting and batch.rows < self._max:
                one = self._waiting.popleft()
                if one.shape == first.shape and batch.rows + one.rows <= self._max:
                    self._add(batch, one)
                else:
                    passed.append(one)
            self._waiting.extendleft(reversed(passed))
            budget = first.arrived + self._wait - time.monotonic()
            company = self._inside > len(batch.calls)
            if budget <= 0 or not company or batch.rows >= self._max or first.shape in self._gathering:
                return
            self._gathering[first.shape] = batch
        try:
            batch.full.wait(budget)
        finally:
            with self._lock:
                del self._gathering[first.shape]

    def _add(self, batch: _Batch, call: _Call) -> None:
        batch.calls.append(call)
        batch.rows += call.rows
        if batch.rows >= self._max:
            batch.full.set()

    def _serve(self, batch: _Batch) -> None:
        calls = batch.calls
        if len(calls) > 1:
            try:
                answer = self._timed(
                    joined([call.inputs for call in calls]), batch.rows, [call.arrived for call in calls]
                )
            except Exception as failure:  # noqa: BLE001 - whatever it is, each call is tried for itself
                log.warning("a batch of %d calls failed and is run call by call: %s", len(calls), failure)
            else:
                begin = 0
                for call in calls:
                    call.answer = cut(answer, begin, begin + call.rows)
                    begin += call.rows
                return
        for call in calls:
            try:
                call.answer = self._timed(call.inputs, call.rows, [call.arrived])
            except Exception as failure:  # noqa: BLE001 - raised again in the thread whose call it is
                call.failure = failure

    def _pass_on(self, batch: _Batch) -> None:
        """Wake those who were served, and give the slot to the caller that has waited longest."""
        with self._lock:
            self._inside -= len(batch.calls)
            if self._waiting:
                heir = self._waiting.popleft()
                heir.leads = True
                heir.wake.set()
            else:
                self._free += 1
        for call in batch.calls[1:]:
            call.wake.set()

    def _alone(self, inputs: Tensors, arrived: float) -> dict[str, Tensor]:
        return self._timed(inputs, rows_of(self._session, inputs), [arrived])

    def _timed(self, inputs: Tensors, rows: int, arrived: Sequence[float]) -> dict[str, Tensor]:
        if self._observer is None:
            return self._session.run(inputs)
        begin = time.monotonic()
        try:
            return self._session.run(inputs)
        finally:
            queued = [begin - one for one in arrived]
            self._observer.ran(self._network, rows, queued, time.monotonic() - begin)


class BatchingRuntime:
    """A runtime whose sessions run the calls of several threads as one. Observers know networks as `pack/file`.

    Args:
        runtime: what executes.
        policy: how the calls of each network are put together.
        observer: is told of every run.
    """

    def __init__(self, runtime: Runtime, policy: Policy, observer: Observer | None = None) -> None:
        self._runtime = runtime
        self._policy = policy
        self._observer = observer

    @property
    def name(self) -> str:
        """Runtime and device."""
        return self._runtime.name

    @property
    def device(self) -> str:
        """The device as the settings name it."""
        return self._runtime.device

    def load(self, model: Path) -> BatchingSession:
        """Load a model.

        Raises:
            RuntimeFailure: as the runtime raises it.
        """
        network = f"{model.parent.name}/{model.stem}"
        return BatchingSession(self._runtime.load(model), self._policy, self._observer, network)

    def close(self) -> None:
        """Free every network."""
        self._runtime.close()
