"""Closed loops of callers, and what is said about them: rates, percentiles, ratios.

A window is a short stretch in which so many callers call again as soon as they are answered. What is compared is
measured in turns, one window of each in every round, so that whatever else the machine does hits all alike; a ratio is
taken within a round, and the median over the rounds is told.
"""

from __future__ import annotations

import asyncio
import math
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Window:
    """One stretch: how long it took until the last answer, and what each call took; in seconds.

    `processor` is the processor time that this process and those that it has begun used meanwhile, in seconds: what
    others do on the machine does not add to it.
    """

    seconds: float
    latencies: tuple[float, ...]
    processor: float = 0.0

    @property
    def rate(self) -> float:
        """Calls in a second."""
        return len(self.latencies) / self.seconds


@dataclass(frozen=True, slots=True)
class Figures:
    """What several windows say: the median of their rates, and of all their calls percentiles, processor time, number.

    `rate` is in calls a second, all else in seconds; `processor` is the mean of one call.
    """

    rate: float
    p50: float
    p99: float
    processor: float
    calls: int


def spent() -> float:
    """Processor time of this process and of all that it has begun, whether they are still there or not, in seconds."""
    ended = os.times()
    children = ended.children_user + ended.children_system
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            children += times.user + times.system
    return time.process_time() + children


async def in_tasks(call: Callable[[], Awaitable[object]], callers: int, seconds: float) -> Window:
    """One window of tasks of this event loop. Every caller calls at least once."""
    latencies: list[float] = []
    used, begin = spent(), time.perf_counter()

    async def repeat() -> None:
        while True:
            began = time.perf_counter()
            await call()
            ended = time.perf_counter()
            latencies.append(ended - began)
            if ended >= begin + seconds:
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(repeat())
    return Window(time.perf_counter() - begin, tuple(latencies), spent() - used)


def in_threads(call: Callable[[], object], callers: int, seconds: float) -> Window:
    """One window of threads. Every caller calls at least once."""

    def repeat() -> list[float]:
        taken: list[float] = []
        while True:
            began = time.perf_counter()
            call()
            ended = time.perf_counter()
            taken.append(ended - began)
            if ended >= begin + seconds:
                return taken

    with ThreadPoolExecutor(callers) as pool:
        used, begin = spent(), time.perf_counter()
        found = [pool.submit(repeat) for _ in range(callers)]
        latencies = tuple(latency for one in found for latency in one.result())
        return Window(time.perf_counter() - begin, latencies, spent() - used)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all, in (0, 1], do not exceed (nearest rank); NaN of none."""
    if not values:
        return math.nan
    return sorted(values)[max(1, math.ceil(share * len(values) - 1e-9)) - 1]


def figures(windows: Sequence[Window]) -> Figures:
    """What windows say together; at least one."""
    latencies = [latency for window in windows for latency in window.latencies]
    rate = statistics.median(window.rate for window in windows)
    processor = sum(window.processor for window in windows) / len(latencies)
    return Figures(rate, percentile(latencies, 0.5), percentile(latencies, 0.99), processor, len(latencies))


def ratio(windows: Sequence[Window], reference: Sequence[Window]) -> float:
    """The rate of one thing over that of another: the median over rounds, in which both had a window."""
    return statistics.median(one.rate / other.rate for one, other in zip(windows, reference, strict=True))
