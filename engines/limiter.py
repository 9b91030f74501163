"""The one place where a process decides how many images are worked on at a time, and how many may wait."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from server.domain import deadline
from server.errors import Busy, Unavailable

T = TypeVar("T")

_NEWEST = 0.2
"""Weight of the newest run in the mean of recent runs."""

_SURE = 0.5
"""Part of the expected wait that a deadline is held to: what waits may be quicker than what ran before."""


class _Run(Generic[T]):
    """Work that is timed in its thread; `seconds` is None until it has been run."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self.seconds: float | None = None

    def __call__(self) -> T:
        began = time.perf_counter()
        try:
            return self._work()
        finally:
            self.seconds = time.perf_counter() - began


class Limiter:
    """Runs blocking work in a fixed number of threads, with a bounded queue in front of them.

    Belongs to one event loop: the one that calls `run` first. Waiting calls are served in the order in which they came.
    A thread takes the next one by itself: where the loop handed it over, threads were idle for a fifth of the time,
    because the loop has to wait for the interpreter that the other threads hold.

    Args:
        workers: threads; at least 1.
        max_queue: calls that may wait for a thread; at least 1.
    """

    def __init__(self, workers: int, max_queue: int) -> None:
        self._workers = workers
        self._max_queue = max_queue
        self._inside = 0
        self._mean = 0.0
        self._closed = False
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="inference")

    @property
    def workers(self) -> int:
        """Threads."""
        return self._workers

    @property
    def max_queue(self) -> int:
        """Calls that may wait for a thread."""
        return self._max_queue

    @property
    def waiting(self) -> int:
        """Calls that wait for a thread."""
        return max(0, self._inside - self._workers)

    @property
    def expected_wait(self) -> float:
        """Seconds that those who wait now will take, by the mean of recent runs; 0 before the first has ended."""
        return self.waiting / self._workers * self._mean

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread as soon as one is free, and give its result.

        A call that is cancelled while it waits never runs. One that is cancelled while it runs keeps its thread until
        it is done, because threads cannot be stopped; its result is dropped.

        Raises:
            Busy: the queue is full, or so long that the call's deadline would pass in it.
            Unavailable: the limiter has been closed.
        """
        if self._closed:
            raise _closed()
        self._refuse_if_hopeless()
        loop = asyncio.get_running_loop()
        run, answer = _Run(work), loop.create_future()
        self._inside += 1
        running = self._executor.submit(run)
        running.add_done_callback(lambda done: loop.call_soon_threadsafe(self._done, run, done, answer))
        try:
            result: T = await answer
        finally:
            # of no effect on what has begun
            running.cancel()
        return result

    async def close(self) -> None:
        """Refuse new and waiting calls, wait for the running ones, and end the threads."""
        self._closed = True
        # at once, before a thread is free to take what waits
        self._executor.shutdown(wait=False, cancel_futures=True)
        await asyncio.get_running_loop().run_in_executor(None, self._executor.shutdown)

    def _refuse_if_hopeless(self) -> None:
        if self._inside < self._workers:
            return
        message = f"{self.waiting} images wait for the engine"
        if self.waiting >= self._max_queue:
            raise Busy(message=message, retry_after=self._retry_after())
        left = deadline.remaining()
        if left is not None and left < _SURE * self.expected_wait:
            message = f"{message}, longer than the request may take"
            raise Busy(message=message, retry_after=self._retry_after())

    def _retry_after(self) -> int:
        """Whole seconds after which the queue of now will have been worked off; at least 1."""
        return max(1, math.ceil(self.expected_wait))

    def _done(self, run: _Run[T], done: Future[T], answer: asyncio.Future[T]) -> None:
        self._inside -= 1
        if run.seconds is not None:
            self._mean = run.seconds if self._mean == 0 else self._mean + _NEWEST * (run.seconds - self._mean)
        if answer.done():
            return
        failure = _closed() if done.cancelled() else done.exception()
        if failure is None:
            answer.set_result(done.result())
        else:
            answer.set_exception(failure)


def _closed() -> Unavailable:
    return Unavailable(component="The inference engine")
