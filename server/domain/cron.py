"""Cron: at which moments a trigger makes tasks.

The five fields are read as Debian's cron reads them, also where clocks change (crontab(5), cron(8)): what is set to a
certain time of the day comes once each day, right after the gap where that time is skipped; what has a wildcard for its
minute or hour goes on by real time, and comes at every moment that the clock matches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from server.errors import BadBody

FIELDS: Final = 5
SHIFT: Final = timedelta(hours=3)
"""More than clocks are set forwards or back at once."""
_MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Trigger:
    """When tasks are made: five fields of cron, in a time zone (utc, local, or a name of the IANA database)."""

    cron: str
    timezone: str = "utc"


def next_run(trigger: Trigger, after: datetime) -> datetime:
    """The first moment behind another one at which a trigger makes a task, in UTC.

    Args:
        trigger: when.
        after: an aware time; the answer is later than it.

    Raises:
        BadBody: the trigger's cron or time zone cannot be read, or nothing comes in 50 years.
    """
    zone = _zone(trigger.timezone)
    if len(trigger.cron.split()) != FIELDS:
        message = "minute, hour, day of the month, month and day of the week are needed, five fields"
        raise BadBody(field="trigger.cron", message=message)
    try:
        found = _following(trigger.cron, zone, after)
    except CronSimError as error:
        wrong = str(error).removeprefix("Bad ").replace("-", " ")
        raise BadBody(field="trigger.cron", message=f"the {wrong} is not valid") from error
    except OverflowError:
        found = None
    if found is None:
        raise BadBody(field="trigger.cron", message="no such day comes in the next 50 years")
    return found


def _zone(name: str) -> tzinfo | None:
    """The time zone with a name; None is this machine's own, as `datetime` has it.

    Raises:
        BadBody: there is none.
    """
    match name.lower():
        case "utc" | "":
            return UTC
        case "local":
            return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        message = "utc, local, or a name of the IANA time zone database is needed"
        raise BadBody(field="trigger.cron_timezone", message=message) from error


def _following(cron: str, zone: tzinfo | None, after: datetime) -> datetime | None:
    minute, hour = cron.split()[:2]
    wild = minute.startswith("*") or hour.startswith("*")
    begin = _local(after, zone) - (SHIFT if _changes(zone, after) else timedelta())
    # times of the clock without a zone come one after the other; which moments they are is looked up for each
    soonest: datetime | None = None
    end: datetime | None = None
    for clock in CronSim(cron, begin):
        if end is not None and clock > end:
            break
        for moment in _moments(clock, zone, wild=wild):
            if moment > after and (soonest is None or moment < soonest):
                soonest = moment
                end = clock + (SHIFT if _changes(zone, moment) else timedelta())
    return soonest


def _moments(clock: datetime, zone: tzinfo | None, *, wild: bool) -> Iterator[datetime]:
    """When a clock shows a time: once, twice where it is set back, or never where it is set forwards.

    Only with a wildcard it counts twice. Without one the first moment behind the gap stands for never.
    """
    first = _utc(clock, zone, fold=0)
    if _local(first, zone) != clock:
        if not wild:
            while _local(first, zone) != clock:
                clock += _MINUTE
                first = _utc(clock, zone, fold=0)
            yield first
        return
    yield first
    second = _utc(clock, zone, fold=1)
    if wild and second != first:
        yield second


def _changes(zone: tzinfo | None, moment: datetime) -> bool:
    """True where the clock is set near a moment."""
    return (moment - SHIFT).astimezone(zone).utcoffset() != (moment + SHIFT).astimezone(zone).utcoffset()


def _local(moment: datetime, zone: tzinfo | None) -> datetime:
    """What the clock shows at a moment, without the zone."""
    return moment.astimezone(zone).replace(tzinfo=None)


def _utc(clock: datetime, zone: tzinfo | None, *, fold: int) -> datetime:
    return clock.replace(tzinfo=zone, fold=fold).astimezone(UTC)
