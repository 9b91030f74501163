"""The one place where a process decides how many images are worked on at a time, and how many may wait."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from server.domain import deadline
from server.errors import Busy, Unavailable

T = TypeVar("T")

_NEWEST = 0.2
"""Weight of the newest run in the mean of recent runs."""

_SURE = 0.5
"""Part of the expected wait that a deadline is held to: what waits may be quicker than what ran before."""


class Limiter:
    """Runs blocking work in a fixed number of threads, with a bounded queue in front of them.

    Belongs to one event loop: the one that calls `run` first. Waiting calls are served in the order in which they came.

    Args:
        workers: threads; at least 1.
        max_queue: calls that may wait for a thread; at least 1.
    """

    def __init__(self, workers: int, max_queue: int) -> None:
        self._workers = workers
        self._max_queue = max_queue
        self._free = asyncio.Semaphore(workers)
        self._waiting = 0
        self._mean = 0.0
        self._closed = False
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="inference")

    @property
    def workers(self) -> int:
        """Threads."""
        return self._workers

    @property
    def waiting(self) -> int:
        """Calls that wait for a thread."""
        return self._waiting

    @property
    def expected_wait(self) -> float:
        """Seconds that those who wait now will take, by the mean of recent runs; 0 before the first has ended."""
        return self._waiting / self._workers * self._mean

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread as soon as one is free, and give its result.

        A call that is cancelled while it waits never runs. One that is cancelled while it runs keeps its thread until
        it is done, because threads cannot be stopped; its result is dropped.

        Raises:
            Busy: the queue is full, or so long that the call's deadline would pass in it.
            Unavailable: the limiter has been closed.
        """
        self._refuse_if_closed()
        self._refuse_if_hopeless()
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            self._refuse_if_closed()
            loop = asyncio.get_running_loop()
            began = loop.time()
            running = loop.run_in_executor(self._executor, work)
        except BaseException:
            self._free.release()
            raise
        running.add_done_callback(lambda done: self._done(done, loop.time() - began))
        return await asyncio.shield(running)

    async def close(self) -> None:
        """Refuse new and waiting calls, wait for the running ones, and end the threads."""
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(None, self._executor.shutdown)

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise Unavailable(component="The inference engine")

    def _refuse_if_hopeless(self) -> None:
        if not self._free.locked():
            return
        message = f"{self._waiting} images wait for the engine"
        if self._waiting >= self._max_queue:
            raise Busy(message=message, retry_after=self._retry_after())
        left = deadline.remaining()
        if left is not None and left < _SURE * self.expected_wait:
            message = f"{message}, longer than the request may take"
            raise Busy(message=message, retry_after=self._retry_after())

    def _retry_after(self) -> int:
        """Whole seconds after which the queue of now will have been worked off; at least 1."""
        return max(1, math.ceil(self.expected_wait))

    def _done(self, running: asyncio.Future[T], seconds: float) -> None:
        self._free.release()
        self._mean = seconds if self._mean == 0 else self._mean + _NEWEST * (seconds - self._mean)
        if not running.cancelled():
            # Seen here, so that the failure of a call that nobody waits for any more is not reported as forgotten.
            running.exception()
