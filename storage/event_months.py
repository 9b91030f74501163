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

_HAS: Final = text("SELECT luna_has_event_month(to_char(CAST(:day AS date), 'YYYY_MM'))")
#: A month is made with the tables locked against readers too, before they look which partitions there are. One that has
#: looked, and then waits for the default partition, would miss whatever has left it when the wait is over.
_ALONE: Final = (
    text("SET LOCAL lock_timeout = '700ms'"),
    text("SELECT pg_advisory_xact_lock(hashtext('luna_event_months'))"),
    text("LOCK TABLE events, event_descriptors IN ACCESS EXCLUSIVE MODE"),
)
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
        if (await self._database.fetch(_HAS, {"day": day}))[0][0]:
            return False  # without a lock: this is asked all the time
        return await self._patiently(day, *_ALONE, _MAKE)

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
        return [month for month in old if await self._patiently(month, _DROP)]

    async def _patiently(self, day: date, *statements: TextClause) -> bool:
        """Run statements in one transaction until the locks that they need are free. What the last one answers."""
        for _ in range(ATTEMPTS - 1):
            try:
                return await self._run(day, *statements)
            except Busy:
                await asyncio.sleep(RETRY_SECONDS)
        return await self._run(day, *statements)

    async def _run(self, day: date, *statements: TextClause) -> bool:
        *before, last = statements
        async with self._database.transaction(traced=False) as connection:
            for statement in before:
                await connection.execute(statement)
            return bool(await connection.scalar(last, {"day": day}))


def _month(day: date, distance: int) -> date:
    """The first day of the month so many months after the one of a day."""
    months = day.year * 12 + day.month - 1 + distance
    return date(months // 12, months % 12 + 1, 1)
