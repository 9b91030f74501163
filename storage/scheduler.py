"""The clock of schedules: makes tasks when they are due."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Final

from server.domain.schedules import ScheduleStore
from server.errors import LunaError
from storage.database import Database
from storage.listener import Listener
from storage.schema import SCHEDULED

MOST_SECONDS: Final = 5.0
"""Longest time between two looks: what was set by hand, or a clock that was, goes unnoticed for so long."""
LEAST_SECONDS: Final = 0.05
"""Wait where a schedule is due that another scheduler is at work on."""
REST_SECONDS: Final = 1.0
"""Wait where the database cannot be asked."""

log = logging.getLogger(__name__)


class Scheduler:
    """Makes the tasks of schedules when they are due, and hears of schedules that are new or changed.

    Any number of them may run, on any machine: each task is made once.
    """

    def __init__(self, database: Database, schedules: ScheduleStore) -> None:
        self._schedules = schedules
        self._listener = Listener(database, SCHEDULED)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. A transaction that is cut off then has made nothing."""
        working = asyncio.create_task(self._work(), name="make tasks of schedules")
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                await working
        finally:
            for one in (working, stopping):
                one.cancel()
            await asyncio.gather(working, stopping, return_exceptions=True)
            await self._listener.close()

    async def _work(self) -> None:
        while True:
            await self._listener.wait(await self._round())

    async def _round(self) -> float:
        """Make what is due. Seconds until the next look."""
        try:
            await self._schedules.run_due(datetime.now(UTC))
            due = await self._schedules.next_due()
        except LunaError as error:
            log.warning("schedules wait for the database: %s", error)
            return REST_SECONDS
        if due is None:
            return MOST_SECONDS
        return min(MOST_SECONDS, max(LEAST_SECONDS, (due - datetime.now(UTC)).total_seconds()))
