"""How many calls one lambda is given at a time, and how many wait for that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.errors import Busy

RETRY_SECONDS = 1


class Gate:
    """Lets calls in, in the order in which they come.

    Args:
        at_once: calls inside.
        waiting: calls before it.
    """

    def __init__(self, at_once: int, waiting: int) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._most = at_once + waiting
        self._calls = 0

    @property
    def calls(self) -> int:
        """Calls inside and before it."""
        return self._calls

    @asynccontextmanager
    async def passed(self) -> AsyncIterator[None]:
        """Be inside for the length of the block, once there is a place.

        Raises:
            Busy: too many wait already.
        """
        if self._calls >= self._most:
            raise Busy(message="too many calls wait for the lambda", retry_after=RETRY_SECONDS)
        self._calls += 1
        try:
            async with self._places:
                yield
        finally:
            self._calls -= 1
