"""The limiter: how many run, how many wait, and what happens to those that give up."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from engines.limiter import Limiter
from server.domain.deadline import within
from server.errors import Busy, Unavailable


class Gate:
    """Work that blocks until it is let through, and counts."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.lock = threading.Condition()
        self.running = 0
        self.most = 0
        self.done: list[int] = []

    def work(self, number: int) -> Callable[[], int]:
        def run() -> int:
            with self.lock:
                self.running += 1
                self.most = max(self.most, self.running)
                self.lock.notify_all()
            self.open.wait(20)
            with self.lock:
                self.running -= 1
                self.done.append(number)
            return number

        return run

    async def reaches(self, running: int) -> None:
        def wait() -> bool:
            with self.lock:
                return self.lock.wait_for(lambda: self.running == running, timeout=20)

        assert await asyncio.to_thread(wait)


@pytest_asyncio.fixture
async def gate() -> AsyncIterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


async def test_no_more_run_than_there_are_workers_and_results_reach_their_callers(gate: Gate) -> None:
    limiter = Limiter(2, 10)
    calls = [asyncio.create_task(limiter.run(gate.work(i))) for i in range(8)]
    await gate.reaches(2)
    assert limiter.waiting == 6
    gate.open.set()
    assert await asyncio.gather(*calls) == list(range(8))
    assert gate.most == 2
    assert limiter.waiting == 0
    await limiter.close()


async def test_the_next_call_begins_without_the_loop() -> None:
    limiter = Limiter(1, 2)
    begun = threading.Event()
    calls = [asyncio.create_task(limiter.run(work)) for work in (lambda: None, begun.set)]
    await asyncio.sleep(0)
    # nothing of the loop runs meanwhile
    assert begun.wait(20)
    await asyncio.gather(*calls)
    await limiter.close()


async def test_a_full_queue_refuses_with_the_seconds_to_wait(gate: Gate) -> None:
    limiter = Limiter(1, 2)
    calls = [asyncio.create_task(limiter.run(gate.work(i))) for i in range(3)]
    await gate.reaches(1)
    with pytest.raises(Busy) as refused:
        await limiter.run(gate.work(3))
    assert refused.value.values["retry_after"] == "1"
    gate.open.set()
    assert await asyncio.gather(*calls) == [0, 1, 2]
    assert await limiter.run(gate.work(4)) == 4
    assert 3 not in gate.done
    await limiter.close()


async def test_work_that_is_cancelled_while_it_waits_never_runs_and_frees_its_place(gate: Gate) -> None:
    limiter = Limiter(1, 2)
    first = asyncio.create_task(limiter.run(gate.work(0)))
    await gate.reaches(1)
    second, third = (asyncio.create_task(limiter.run(gate.work(i))) for i in (1, 2))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    fourth = asyncio.create_task(limiter.run(gate.work(3)))
    gate.open.set()
    assert await asyncio.gather(first, third, fourth) == [0, 2, 3]
    assert gate.done == [0, 2, 3]
    await limiter.close()


async def test_work_that_is_cancelled_while_it_runs_keeps_its_thread_until_it_is_done(gate: Gate) -> None:
    limiter = Limiter(1, 2)
    first = asyncio.create_task(limiter.run(gate.work(0)))
    await gate.reaches(1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(limiter.run(gate.work(1)))
    await asyncio.sleep(0.01)
    assert gate.running == 1
    gate.open.set()
    assert await second == 1
    assert gate.most == 1
    await limiter.close()


async def test_a_deadline_ends_the_wait(gate: Gate) -> None:
    limiter = Limiter(1, 2)
    first = asyncio.create_task(limiter.run(gate.work(0)))
    await gate.reaches(1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await limiter.run(gate.work(1))
    gate.open.set()
    await first
    await limiter.close()
    assert gate.done == [0]


async def test_a_failure_reaches_its_caller_and_frees_the_thread() -> None:
    limiter = Limiter(1, 1)

    def fail() -> None:
        raise ZeroDivisionError

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await limiter.run(fail)
    assert await limiter.run(lambda: 1) == 1
    await limiter.close()


async def test_closing_lets_running_work_finish_and_refuses_the_rest(gate: Gate) -> None:
    limiter = Limiter(1, 5)
    first = asyncio.create_task(limiter.run(gate.work(0)))
    await gate.reaches(1)
    second = asyncio.create_task(limiter.run(gate.work(1)))
    await asyncio.sleep(0)
    closing = asyncio.create_task(limiter.close())
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await limiter.run(gate.work(2))
    gate.open.set()
    assert await first == 0
    with pytest.raises(Unavailable):
        await second
    await closing
    assert gate.done == [0]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("inference") and gate.running]


async def full(limiter: Limiter, gate: Gate, calls: int) -> list[asyncio.Task[int]]:
    """Let so many calls run or wait, after one that has taken 0.2 s."""
    await limiter.run(lambda: time.sleep(0.2))
    tasks = [asyncio.create_task(limiter.run(gate.work(i))) for i in range(calls)]
    await gate.reaches(limiter.workers)
    return tasks


async def test_a_refused_client_is_told_to_wait_as_long_as_the_queue_will_take(gate: Gate) -> None:
    limiter = Limiter(1, 20)
    calls = await full(limiter, gate, 21)
    assert 20 * 0.2 <= limiter.expected_wait < 20 * 2
    with pytest.raises(Busy) as refused:
        await limiter.run(gate.work(99))
    assert refused.value.values["retry_after"] == str(math.ceil(limiter.expected_wait))
    gate.open.set()
    await asyncio.gather(*calls)
    await limiter.close()


async def test_a_call_whose_deadline_would_pass_in_the_queue_is_refused_at_once(gate: Gate) -> None:
    limiter = Limiter(1, 50)
    calls = await full(limiter, gate, 11)
    began = time.perf_counter()
    with pytest.raises(Busy, match="longer than the request may take"):
        async with within(0.5):
            await limiter.run(gate.work(99))
    assert time.perf_counter() - began < 0.3
    assert limiter.waiting == 10
    gate.open.set()
    await asyncio.gather(*calls)
    assert 99 not in gate.done
    await limiter.close()


@pytest.mark.parametrize("seconds", [None, 60.0])
async def test_a_call_that_has_the_time_waits(gate: Gate, seconds: float | None) -> None:
    limiter = Limiter(1, 50)
    calls = await full(limiter, gate, 11)

    async def patient() -> int:
        async with within(seconds):
            return await limiter.run(gate.work(99))

    waiting = asyncio.create_task(patient())
    await asyncio.sleep(0.01)
    assert limiter.waiting == 11
    gate.open.set()
    assert await waiting == 99
    await asyncio.gather(*calls)
    await limiter.close()


async def test_a_short_deadline_is_no_reason_to_refuse_while_a_thread_is_free() -> None:
    limiter = Limiter(1, 1)
    await limiter.run(lambda: time.sleep(0.2))
    async with within(0.1):
        assert await limiter.run(lambda: 1) == 1
    await limiter.close()
