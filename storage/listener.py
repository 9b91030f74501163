"""Waiting for a notification of PostgreSQL."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Final

import asyncpg

from server.domain.cancellation import ended
from storage.database import Database

RECONNECT_SECONDS: Final = 1.0
CHECK_SECONDS: Final = 30.0
"""How often the connection is tried: one whose other end has gone without a word would wait for ever."""

log = logging.getLogger(__name__)


class Listener:
    """Listens to one channel on a connection of its own, which is made anew whenever it breaks."""

    def __init__(self, database: Database, channel: str) -> None:
        self._database = database
        self._channel = channel
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def wait(self, seconds: float) -> None:
        """Return once a notification may have come since the last return, or after the time.

        A new connection counts as a notification: what was sent before it has been missed.
        """
        if self._task is None:
            self._task = asyncio.create_task(self._listen(), name=f"listen to {self._channel}")
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        self._woken.clear()

    async def close(self) -> None:
        """Stop listening."""
        if self._task is not None:
            await ended(self._task)
            self._task = None

    async def _listen(self) -> None:
        while True:
            try:
                await self._follow()
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
                log.warning("Connection that listens to %s is lost: %s", self._channel, error)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _follow(self) -> None:
        """Listen on one connection until it breaks."""
        connection = await self._database.open()
        try:
            ended = asyncio.Event()
            connection.add_termination_listener(lambda _: ended.set())
            await connection.add_listener(self._channel, lambda *_: self._woken.set())
            self._woken.set()
            while not ended.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(CHECK_SECONDS):
                        await ended.wait()
                        return
                await connection.execute("SELECT 1")
        finally:
            connection.terminate()
