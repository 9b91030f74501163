"""How many calls one lambda is given at a time, and how many may wait for that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.errors import Busy, DeadlineExceeded

RETRY_SECONDS = 1


class Gate:
    """Lets calls through.

    Args:
        calls: so many at the same time.
        waiting: so many wait; further ones are refused.
    """

    def __init__(self, calls: int, waiting: int) -> None:
        self._free = asyncio.Semaphore(calls)
        self._waiting = waiting

    @asynccontextmanager
    async def passed(self, ends: float) -> AsyncIterator[None]:
        """Be one of the calls for the length of the block.

        Raises:
            Busy: too many wait already.
            DeadlineExceeded: there was no place until `ends`, in the time of the loop.
        """
        if self._free.locked():
            if self._waiting <= 0:
                raise Busy(message="too many calls wait for the lambda", retry_after=RETRY_SECONDS)
            self._waiting -= 1
            try:
                async with asyncio.timeout_at(ends):
                    await self._free.acquire()
            except TimeoutError:
                raise DeadlineExceeded from None
            finally:
                self._waiting += 1
        else:
            await self._free.acquire()
        try:
            yield
        finally:
            self._free.release()
