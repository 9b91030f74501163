"""Months of events: the tables that events lie in, made ahead of time and dropped when they are old.

Events are partitioned by the month, in UTC, that they began in, and their descriptors go with them. What is in no month
that has a table of its own, because the caller gave an unusual time, is in the default partition. A month is dropped as
fast as a file is deleted, however many events it has; those of one in the default partition are deleted one by one.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, date, datetime
from typing import Final

from sqlalchemy import TextClause, text

from server.errors import Busy
from storage.database import Database

log = logging.getLogger(__name__)

BEFORE, AFTER = 1, 2
"""Months that have tables of their own before and after the present one."""
ATTEMPTS: Final = 20
RETRY_SECONDS: Final = 0.5
"""A lock is waited for less than a second, so that no other call waits behind it for longer; then it is tried again."""

_MAKE: Final = text("SELECT luna_make_event_month(CAST(:day AS date))")
_DROP: Final = text("SELECT luna_drop_event_month(CAST(:day AS date))")
_THERE: Final = text("""
    SELECT to_date(right(part.relname, 7), 'YYYY_MM') AS month
    FROM pg_inherits JOIN pg_class AS part ON part.oid = inhrelid
    WHERE inhparent = 'events'::regclass AND part.relname ~ '^events_[0-9]{4}_[0-9]{2}$'
    ORDER BY 1
""")


class EventMonths:
    """Makes and drops the tables of months. Several processes may do so at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def prepare(self, now: datetime | None = None) -> int:
        """Make the tables of the present month, of the one before and of the next two, where they are not there.

        What the default partition has of such a month moves there. Returns how many months were made.

        Raises:
            Busy: others keep using the tables.
            Unavailable, DeadlineExceeded: as for `Database.transaction`.
        """
        present = (now or datetime.now(UTC)).astimezone(UTC).date()
        made = 0
        for distance in range(-BEFORE, AFTER + 1):
            month = _month(present, distance)
            if await self.make(month):
                log.info("events of %s have a table", month.strftime("%Y-%m"))
                made += 1
        return made

    async def make(self, day: date) -> bool:
        """Make the table of the month that a day is in. False where it is there. Errors are those of `prepare`."""
        return await self._patiently(_MAKE, day)

    async def there(self) -> list[date]:
        """The first days of the months that have tables, oldest first."""
        return [row.month for row in await self._database.fetch(_THERE)]

    async def drop_before(self, day: date) -> list[date]:
        """Drop every month that has ended before a day, with its events and their descriptors, in all accounts.

        Samples and images of the events stay, and so do events in the default partition. Searches find nothing of the
        events any more once this returns: indexes are told of the time. Returns the months, oldest first.

        Raises:
            Busy, Unavailable, DeadlineExceeded: as for `prepare`.
        """
        old = [month for month in await self.there() if _month(month, 1) <= day]
        return [month for month in old if await self._patiently(_DROP, month)]

    async def _patiently(self, statement: TextClause, day: date) -> bool:
        """Call a function until the locks that it needs are free."""
        for _ in range(ATTEMPTS - 1):
            try:
                return await self._call(statement, day)
            except Busy:
                await asyncio.sleep(RETRY_SECONDS)
        return await self._call(statement, day)

    async def _call(self, statement: TextClause, day: date) -> bool:
        async with self._database.transaction(traced=False) as connection:
            return bool(await connection.scalar(statement, {"day": day}))


def _month(day: date, distance: int) -> date:
    """The first day of the month so many months after the one of a day."""
    months = day.year * 12 + day.month - 1 + distance
    return date(months // 12, months % 12 + 1, 1)
