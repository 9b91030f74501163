"""Closed loops, and what is said about their windows."""

from __future__ import annotations

import asyncio
import math
import random
import threading
import time

import pytest

from server.commands.bench_load import Window, figures, in_tasks, in_threads, percentile, ratio


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 0.9, 0.99, 1.0])
def test_a_percentile_is_the_smallest_value_that_enough_do_not_exceed(seed: int, share: float) -> None:
    source = random.Random(seed)
    values = [source.randrange(10) / 10 for _ in range(1 + 7 * seed)]

    enough = [value for value in values if sum(other <= value for other in values) >= share * len(values) - 1e-9]

    assert percentile(values, share) == min(enough)


def test_the_percentile_of_nothing_is_not_a_number() -> None:
    assert math.isnan(percentile([], 0.5))


def test_the_rate_is_the_median_of_the_windows_and_percentiles_are_those_of_all_calls() -> None:
    windows = [Window(1.0, (0.1,) * 10, 0.5), Window(2.0, (0.2,) * 10, 0.5), Window(1.0, (0.3,) * 80, 1.0)]

    found = figures(windows)

    assert (found.rate, found.p50, found.p99, found.processor, found.calls) == (10.0, 0.3, 0.3, 0.02, 100)


def test_a_ratio_is_taken_round_by_round_so_that_a_slow_round_does_not_count() -> None:
    # the machine is three times slower in the last round, for both
    engine = [Window(1.0, (0.0,) * 80), Window(1.0, (0.0,) * 84), Window(3.0, (0.0,) * 80)]
    bare = [Window(1.0, (0.0,) * 100), Window(1.0, (0.0,) * 100), Window(3.0, (0.0,) * 100)]

    assert ratio(engine, bare) == pytest.approx(0.8)


async def test_tasks_call_side_by_side_and_each_at_least_once() -> None:
    inside = most = 0

    async def call() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0.01)
        inside -= 1

    window = await in_tasks(call, 5, 0)

    assert (most, len(window.latencies)) == (5, 5)
    assert all(0.009 < latency <= window.seconds for latency in window.latencies)


async def test_the_processor_time_is_that_of_work_and_not_of_waiting() -> None:
    def work() -> None:
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass

    async def wait() -> None:
        await asyncio.sleep(0.05)

    assert 0.04 <= in_threads(work, 2, 0).processor < 0.2
    assert (await in_tasks(wait, 2, 0)).processor < 0.03


async def test_a_call_that_fails_ends_the_measurement() -> None:
    async def call() -> None:
        raise ValueError("no")

    with pytest.raises(ExceptionGroup):
        await in_tasks(call, 2, 0.1)


def test_threads_call_side_by_side_until_the_time_is_over() -> None:
    together = threading.Barrier(3, timeout=5)

    def call() -> None:
        if not together.broken and threads.setdefault(threading.get_ident(), 0) == 0:
            together.wait()  # passes only where three threads call at the same time
        threads[threading.get_ident()] += 1
        time.sleep(0.002)

    threads: dict[int, int] = {}
    window = in_threads(call, 3, 0.05)

    assert len(threads) == 3
    assert len(window.latencies) == sum(threads.values()) > 3
    assert window.seconds >= 0.05
