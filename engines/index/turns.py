"""Who may touch the index now: many scans, or one change."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """A lock for readers and writers on one event loop, first come first served.

    First come first served keeps both alive: a change waits only for the scans before it, a scan only for the changes
    before it. Readers that wait side by side begin together.
    """

    def __init__(self) -> None:
        self._reading = 0
        self._writing = False
        self._waiting: deque[tuple[bool, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[None]:
        """Hold the index as one of many that only read it."""
        await self._enter(writes=False)
        try:
            yield
        finally:
            self._reading -= 1
            self._admit()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[None]:
        """Hold the index alone."""
        await self._enter(writes=True)
        try:
            yield
        finally:
            self._writing = False
            self._admit()

    async def _enter(self, *, writes: bool) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((writes, turn))
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._admit()
            elif writes:
                self._writing = False
                self._admit()
            else:
                self._reading -= 1
                self._admit()
            raise

    def _admit(self) -> None:
        """Let in whoever is first in line and may enter."""
        while self._waiting and not self._writing:
            writes, turn = self._waiting[0]
            if turn.cancelled():
                self._waiting.popleft()
                continue
            if writes and self._reading:
                return
            self._waiting.popleft()
            turn.set_result(None)
            if writes:
                self._writing = True
            else:
                self._reading += 1
