"""Keeping batches of events: at once, or in the background where nobody waits for it."""

from __future__ import annotations

import asyncio
import logging

from server.domain.events import Batch, EventStore

log = logging.getLogger(__name__)


class Keeping:
    """Keeps batches. Belongs to one event loop.

    Args:
        store: where they are kept.
        most: so many are kept in the background; whoever brings one more waits for their own.
    """

    def __init__(self, store: EventStore, most: int = 64) -> None:
        self._store = store
        self._most = most
        self._running: set[asyncio.Task[None]] = set()

    async def keep(self, batch: Batch, *, wait: bool = True) -> None:
        """Keep a batch. What cannot be kept in the background is told in the log alone.

        Raises:
            ListsNotFound: it is waited for, and a list is not there.
        """
        if not any((batch.events, batch.samples, batch.images, batch.faces, batch.attributes)):
            return
        if wait or len(self._running) >= self._most:
            await self._store.keep(batch)
            return
        task = asyncio.create_task(self._behind(batch))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def drain(self) -> None:
        """Wait until everything in the background is kept."""
        while self._running:
            await asyncio.wait(self._running)

    async def _behind(self, batch: Batch) -> None:
        try:
            await self._store.keep(batch)
        except Exception as error:  # noqa: BLE001 - nobody waits for it: the log is the only place to tell it
            log.error("%d events were not kept: %s", len(batch.events), error)
