"""The one place where a process decides how many images are worked on at a time, and how many may wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from server.errors import Busy, Unavailable

T = TypeVar("T")

_RETRY_AFTER = 1
"""Seconds that a refused client is told to wait."""


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

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread as soon as one is free, and give its result.

        A call that is cancelled while it waits never runs. One that is cancelled while it runs keeps its thread until
        it is done, because threads cannot be stopped; its result is dropped.

        Raises:
            Busy: the queue is full.
            Unavailable: the limiter has been closed.
        """
        self._refuse_if_closed()
        if self._free.locked() and self._waiting >= self._max_queue:
            raise Busy(message=f"{self._waiting} images wait for the engine", retry_after=_RETRY_AFTER)
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            self._refuse_if_closed()
            running = asyncio.get_running_loop().run_in_executor(self._executor, work)
        except BaseException:
            self._free.release()
            raise
        running.add_done_callback(self._done)
        return await asyncio.shield(running)

    async def close(self) -> None:
        """Refuse new and waiting calls, wait for the running ones, and end the threads."""
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(None, self._executor.shutdown)

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise Unavailable(component="The inference engine")

    def _done(self, running: asyncio.Future[T]) -> None:
        self._free.release()
        if not running.cancelled():
            # Seen here, so that the failure of a call that nobody waits for any more is not reported as forgotten.
            running.exception()
