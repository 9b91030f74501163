"""Batching across callers: whose rows run together, who waits, who leads, and who gets which failure."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

from engines.runtime import batching
from engines.runtime.batching import BatchingSession, Policy
from engines.runtime.runtime import RuntimeFailure, Tensor, Tensors, TensorSpec, rows_of

BAD = -1.0
"""A row that begins with this fails its whole run."""


@dataclass
class Doubling:
    """A network of any width that doubles; counts its runs. With a gate, each run waits until it is let through."""

    seconds: float = 0.0
    gate: threading.Semaphore | None = None
    limit: int | None = None
    error: Callable[[], BaseException] = lambda: RuntimeFailure("a bad row")
    batches: list[int] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    running: int = 0
    most: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    name = "doubling.onnx"
    inputs = (TensorSpec("x", (None, None)),)
    outputs = (TensorSpec("y", (None, None)),)

    @property
    def max_batch(self) -> int | None:
        return self.limit

    def run(self, inputs: Tensors) -> dict[str, Tensor]:
        x = inputs["x"]
        with self.changed:
            self.running += 1
            self.most = max(self.most, self.running)
            self.batches.append(len(x))
            self.widths.append(x.shape[1])
            self.changed.notify_all()
        try:
            if self.gate is not None:
                assert self.gate.acquire(timeout=20)
            time.sleep(self.seconds)
            rows_of(self, inputs)
            if (x[:, :1] == BAD).any():
                raise self.error()
            return {"y": 2 * x}
        finally:
            with self.changed:
                self.running -= 1

    def close(self) -> None:
        """Nothing to free."""

    def reaches(self, runs: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.batches) >= runs, timeout=20)


class Noted:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, int, list[float], float]] = []

    def ran(self, network: str, rows: int, queued: Sequence[float], seconds: float) -> None:
        self.runs.append((network, rows, list(queued), seconds))


def rows(count: int, width: int = 2, value: float = 1.0) -> dict[str, Tensor]:
    return {"x": np.full((count, width), value, np.float32)}


def waiting(session: BatchingSession, calls: int) -> None:
    """Returns when so many calls wait for a slot."""
    until = time.monotonic() + 20
    while len(session._waiting) < calls:
        assert time.monotonic() < until
        time.sleep(0.001)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as pool:
        yield pool


def test_calls_that_wait_for_a_slot_run_as_one_batch_and_get_their_own_rows(pool: ThreadPoolExecutor) -> None:
    network = Doubling(gate=threading.Semaphore(0))
    session = BatchingSession(network, Policy(max_batch=16, slots=1))
    first = pool.submit(session.run, rows(1))
    network.reaches(1)
    others = [pool.submit(session.run, rows(number, value=number)) for number in (1, 2, 3, 4)]
    waiting(session, 4)
    network.gate.release(2)
    assert np.array_equal(first.result(20)["y"], 2 * rows(1)["x"])
    for number, other in zip((1, 2, 3, 4), others, strict=True):
        answer = other.result(20)["y"]
        assert np.array_equal(answer, 2 * rows(number, value=number)["x"])
        assert answer.flags.c_contiguous
    assert network.batches == [1, 10]


def test_a_batch_has_no_more_rows_than_allowed_and_takes_the_oldest_first(pool: ThreadPoolExecutor) -> None:
    network = Doubling(gate=threading.Semaphore(0))
    session = BatchingSession(network, Policy(max_batch=4, slots=1))
    begun = [pool.submit(session.run, rows(1))]
    network.reaches(1)
    for number in range(1, 8):
        begun.append(pool.submit(session.run, rows(1, value=number)))
        waiting(session, number)
    network.gate.release(10)
    for one in begun:
        one.result(20)
    assert network.batches == [1, 4, 3]


def test_the_limit_of_the_session_goes_before_that_of_the_policy(pool: ThreadPoolExecutor) -> None:
    network = Doubling(gate=threading.Semaphore(0), limit=2)
    session = BatchingSession(network, Policy(max_batch=16, slots=1))
    begun = [pool.submit(session.run, rows(1))]
    network.reaches(1)
    begun += [pool.submit(session.run, rows(1)) for _ in range(4)]
    waiting(session, 4)
    network.gate.release(10)
    for one in begun:
        one.result(20)
    assert network.batches == [1, 2, 2]


def test_a_call_with_more_rows_than_a_batch_runs_alone(pool: ThreadPoolExecutor) -> None:
    network = Doubling(gate=threading.Semaphore(0))
    session = BatchingSession(network, Policy(max_batch=4, slots=1))
    begun = [pool.submit(session.run, rows(1))]
    network.reaches(1)
    for number, count in enumerate((9, 1, 1), 1):
        begun.append(pool.submit(session.run, rows(count)))
        waiting(session, number)
    network.gate.release(10)
    assert [len(one.result(20)["y"]) for one in begun] == [1, 9, 1, 1]
    assert network.batches == [1, 9, 2]


def test_calls_of_different_shapes_do_not_mix_and_the_oldest_goes_first(pool: ThreadPoolExecutor) -> None:
    network = Doubling(gate=threading.Semaphore(0))
    session = BatchingSession(network, Policy(max_batch=16, slots=1))
    begun = [pool.submit(session.run, rows(1))]
    network.reaches(1)
    for number, width in enumerate((3, 2, 3, 2), 1):
        begun.append(pool.submit(session.run, rows(number, width)))
        waiting(session, number)
    network.gate.release(10)
    assert [one.result(20)["y"].shape[1] for one in begun] == [2, 3, 2, 3, 2]
    assert network.batches == [1, 1 + 3, 2 + 4]


def test_who_is_passed_over_for_another_shape_keeps_its_place(pool: ThreadPoolExecutor) -> None:
    network = Doubling(gate=threading.Semaphore(0))
    session = BatchingSession(network, Policy(max_batch=2, slots=1))
    begun = [pool.submit(session.run, rows(1, width=9))]
    network.reaches(1)
    for number, width in enumerate((1, 2, 3, 1, 4, 5), 1):
        begun.append(pool.submit(session.run, rows(1, width)))
        waiting(session, number)
    network.gate.release(10)
    for one in begun:
        one.result(20)
    assert network.widths == [9, 1, 2, 3, 4, 5]


def test_no_more_runs_are_under_way_than_there_are_slots(pool: ThreadPoolExecutor) -> None:
    network = Doubling(seconds=0.002)
    session = BatchingSession(network, Policy(max_batch=2, slots=3))
    for one in [pool.submit(session.run, rows(1, width=number % 5 + 1)) for number in range(200)]:
        one.result(20)
    assert network.most == 3
    assert session._free == 3
    assert session._inside == 0


def test_a_caller_that_is_alone_does_not_wait() -> None:
    session = BatchingSession(Doubling(), Policy(max_batch=16, wait=30, slots=1))
    begin = time.monotonic()
    for _ in range(3):
        session.run(rows(1))
    assert time.monotonic() - begin < 10


def test_a_leader_waits_for_company_within_its_budget_and_no_longer(pool: ThreadPoolExecutor) -> None:
    network = Doubling(gate=threading.Semaphore(0))
    session = BatchingSession(network, Policy(max_batch=16, wait=1, slots=2))
    busy = pool.submit(session.run, rows(1, width=5))
    network.reaches(1)
    begin = time.monotonic()
    early = pool.submit(session.run, rows(1))
    while not session._gathering:
        time.sleep(0.001)
    late = pool.submit(session.run, rows(2))
    network.reaches(2)
    assert time.monotonic() - begin >= 0.99
    network.gate.release(2)
    assert [len(one.result(20)["y"]) for one in (busy, early, late)] == [1, 1, 2]
    assert network.batches == [1, 3]


def test_a_full_batch_does_not_wait(pool: ThreadPoolExecutor) -> None:
    network = Doubling(gate=threading.Semaphore(0))
    session = BatchingSession(network, Policy(max_batch=3, wait=30, slots=2))
    begun = [pool.submit(session.run, rows(1, width=5))]
    network.reaches(1)
    begun += [pool.submit(session.run, rows(count)) for count in (1, 2)]
    network.reaches(2)
    network.gate.release(2)
    for one in begun:
        one.result(20)
    assert network.batches == [1, 3]


def test_who_has_waited_for_a_slot_beyond_the_budget_does_not_wait_again(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(batching, "time", SimpleNamespace(monotonic=lambda: now))
    network = Doubling(gate=threading.Semaphore(0))
    session = BatchingSession(network, Policy(max_batch=16, wait=30, slots=1))
    begun = [pool.submit(session.run, rows(1, width=1))]
    network.reaches(1)
    for number in (1, 2):
        begun.append(pool.submit(session.run, rows(1, width=1 + number)))
        waiting(session, number)
    now = 31.0
    network.gate.release(3)
    begin = time.monotonic()
    for one in begun:
        one.result(60)
    assert time.monotonic() - begin < 20
    assert network.batches == [1, 1, 1]


@pytest.mark.parametrize("error", [lambda: RuntimeFailure("a bad row"), lambda: ZeroDivisionError("not ours")])
def test_a_failure_reaches_exactly_the_callers_whose_rows_are_bad(
    pool: ThreadPoolExecutor, error: Callable[[], BaseException]
) -> None:
    network = Doubling(gate=threading.Semaphore(0), error=error)
    session = BatchingSession(network, Policy(max_batch=16, slots=1))
    begun: list[Future[dict[str, Tensor]]] = [pool.submit(session.run, rows(1))]
    network.reaches(1)
    for number, value in enumerate((3.0, BAD, 5.0, BAD), 1):
        begun.append(pool.submit(session.run, rows(2, value=value)))
        waiting(session, number)
    network.gate.release(20)
    for value, one in zip((1.0, 3.0, BAD, 5.0, BAD), begun, strict=True):
        if value == BAD:
            with pytest.raises(type(error())):
                one.result(20)
        else:
            assert (one.result(20)["y"] == 2 * value).all()
    assert network.batches == [1, 8, 2, 2, 2, 2]
    assert len(session.run(rows(4))["y"]) == 4


def test_an_input_of_another_type_joins_no_batch(pool: ThreadPoolExecutor) -> None:
    network = Doubling(gate=threading.Semaphore(0))
    session = BatchingSession(network, Policy(max_batch=16, slots=1))
    first = pool.submit(session.run, rows(1))
    network.reaches(1)
    with pytest.raises(RuntimeFailure, match="float64"):
        session.run({"x": np.zeros((1, 2))})  # type: ignore[dict-item]
    with pytest.raises(RuntimeFailure, match="nothing"):
        session.run({})
    network.gate.release(1)
    first.result(20)
    assert network.batches == [1]


def test_a_thread_that_is_ended_while_it_leads_leaves_nobody_waiting(pool: ThreadPoolExecutor) -> None:
    network = Doubling(gate=threading.Semaphore(0), error=KeyboardInterrupt)
    session = BatchingSession(network, Policy(max_batch=2, slots=1))
    begun = [pool.submit(session.run, rows(1))]
    network.reaches(1)
    for number, value in enumerate((BAD, 3.0, 4.0), 1):
        begun.append(pool.submit(session.run, rows(1, value=value)))
        waiting(session, number)
    network.gate.release(10)
    assert (begun[0].result(20)["y"] == 2).all()
    with pytest.raises(KeyboardInterrupt):
        begun[1].result(20)
    with pytest.raises(RuntimeFailure, match="interrupted"):
        begun[2].result(20)
    assert (begun[3].result(20)["y"] == 8).all()


def test_nobody_starves_while_others_keep_the_network_busy() -> None:
    session = BatchingSession(Doubling(seconds=0.001), Policy(max_batch=4, slots=1))
    ended = threading.Event()
    served = dict.fromkeys(range(6), 0)

    def keep_busy(number: int) -> None:
        width = 2 if number < 5 else 7
        while not ended.is_set():
            session.run(rows(1, width))
            served[number] += 1

    threads = [threading.Thread(target=keep_busy, args=(number,)) for number in served]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 20
    while min(served.values()) < 30 and time.monotonic() < until:
        time.sleep(0.01)
    ended.set()
    for thread in threads:
        thread.join(20)
    assert min(served.values()) >= 30
    assert max(served.values()) < 5 * min(served.values())


def test_under_load_batches_grow_to_what_waits() -> None:
    network = Doubling(seconds=0.005)
    session = BatchingSession(network, Policy(max_batch=8, slots=1))
    with ThreadPoolExecutor(8) as pool:
        for one in [pool.submit(session.run, rows(1)) for _ in range(160)]:
            one.result(20)
    assert sum(network.batches) == 160
    assert len(network.batches) < 60
    assert max(network.batches) <= 8


@pytest.mark.parametrize(
    "policy",
    [Policy(8), Policy(8, 0.002), Policy(8, 0, 1), Policy(8, 0.001, 2), Policy(1, 0, 2), Policy(3, 0.003, 1)],
    ids=str,
)
def test_many_threads_with_random_shapes_get_what_they_would_get_alone(policy: Policy) -> None:
    network = Doubling()
    session = BatchingSession(network, policy, Noted())

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(60):
            count, width = chance.randint(0, 11), chance.randint(1, 3)
            x = np.random.default_rng(chance.getrandbits(32)).uniform(0, 1, (count, width)).astype(np.float32)
            bad = chance.random() < 0.05 and count > 0
            if bad:
                x[chance.randrange(count), 0] = BAD
            if chance.random() < 0.1:
                time.sleep(0.001)
            if bad:
                with pytest.raises(RuntimeFailure):
                    session.run({"x": x})
            else:
                assert np.array_equal(session.run({"x": x})["y"], 2 * x)

    with ThreadPoolExecutor(12) as pool:
        for one in [pool.submit(work, seed) for seed in range(12)]:
            one.result(60)
    assert session._inside == 0
    assert not session._waiting
    assert not session._gathering


def test_an_observer_hears_rows_and_seconds_of_every_run(pool: ThreadPoolExecutor) -> None:
    network, noted = Doubling(seconds=0.02, gate=threading.Semaphore(0)), Noted()
    session = BatchingSession(network, Policy(max_batch=16, slots=1), noted)
    begun = [pool.submit(session.run, rows(3))]
    network.reaches(1)
    begun += [pool.submit(session.run, rows(count)) for count in (1, 2)]
    waiting(session, 2)
    time.sleep(0.05)
    network.gate.release(2)
    for one in begun:
        one.result(20)
    (name, count, queued, computed), (_, together, waited, _) = noted.runs
    assert (name, count, len(queued)) == ("doubling.onnx", 3, 1)
    assert computed >= 0.02
    assert (together, len(waited)) == (3, 2)
    assert min(waited) >= 0.05


def test_with_unlimited_slots_and_no_wait_every_call_goes_straight_through() -> None:
    network, noted = Doubling(), Noted()
    assert len(BatchingSession(network, Policy()).run(rows(40))["y"]) == 40
    assert len(BatchingSession(network, Policy(), noted).run(rows(40))["y"]) == 40
    assert network.batches == [40, 40]
    assert [(run[1], len(run[2])) for run in noted.runs] == [(40, 1)]
