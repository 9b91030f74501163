"""Next runs, against a clock that is watched minute by minute; and triggers that cannot be read."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.cron import Trigger, next_run
from server.errors import BadBody

MINUTE = timedelta(minutes=1)
BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
CHANGES = {
    "Europe/Berlin": ("2024-03-30", "2024-10-26"),
    "America/New_York": ("2024-03-09", "2024-11-02"),
    "America/St_Johns": ("2024-03-09", "2024-11-02"),
    "Australia/Lord_Howe": ("2024-04-06", "2024-10-05"),  # half an hour
    "America/Santiago": ("2024-04-06", "2024-09-07"),  # at midnight
    "Africa/Cairo": ("2024-04-25", "2024-10-30"),  # there is no midnight
    "Antarctica/Troll": ("2024-03-30", "2024-10-26"),  # two hours
    "Asia/Kolkata": ("2024-03-30",),  # never
    "utc": ("2024-03-30",),
}
"""Days on which clocks are set, by zone."""


def values(field: str, low: int, high: int) -> set[int]:
    """The numbers of a field of cron, read by the manual page."""
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        if span == "*":
            numbers = range(low, high + 1)
        elif last:
            numbers = range(int(first), int(last) + 1)
        else:
            numbers = range(int(first), high + 1 if step else int(first) + 1)
        found |= set(numbers[:: int(step or 1)])
    return found


def shows(cron: str, clock: datetime) -> bool:
    """True where a clock shows a time that an expression is about."""
    fields = cron.split()
    minute, hour, day, month, weekday = (
        values(field, *bounds) for field, bounds in zip(fields, BOUNDS, strict=True)
    )  # fmt: skip
    days = clock.day in day, bool({clock.isoweekday(), clock.isoweekday() % 7} & weekday)
    either = not fields[2].startswith("*") and not fields[4].startswith("*")
    matched = any(days) if either else all(days)
    return clock.minute in minute and clock.hour in hour and clock.month in month and matched


def watched(cron: str, zone: str, begin: datetime, end: datetime) -> Iterator[datetime]:
    """The moments after `begin` and before `end`, from looking at a clock each minute."""
    tz = UTC if zone == "utc" else ZoneInfo(zone)
    wild = any(field.startswith("*") for field in cron.split()[:2])
    seen: set[datetime] = set()
    before: datetime | None = None
    moment = begin - timedelta(hours=4)
    while moment < end:
        clock = moment.astimezone(tz).replace(tzinfo=None)
        skipped = []
        while not wild and before is not None and before + MINUTE < clock:
            before += MINUTE
            skipped.append(before)
        due = shows(cron, clock) if wild else any(shows(cron, one) and one not in seen for one in [*skipped, clock])
        seen |= {clock, *skipped}
        before = clock
        if due and moment > begin:
            yield moment
        moment += MINUTE


def computed(trigger: Trigger, begin: datetime, end: datetime) -> list[datetime]:
    found = []
    moment = begin
    while (moment := next_run(trigger, moment)) < end:
        found.append(moment)
    return found


def expression(dice: random.Random) -> str:
    def field(low: int, high: int) -> str:
        one, two = sorted(dice.choices(range(low, high + 1), k=2))
        return dice.choice(["*", "*", str(one), f"{one}-{two}", f"*/{dice.randint(1, 30)}", f"{one},{two}"])

    minute = dice.choice(["*/7", "0", "30", "0,15,45", "59", "10-50/20", str(dice.randint(0, 59))])
    hour = dice.choice(["*", "*/2", "0", "1", "2", "3", "0-3", "1,2", str(dice.randint(0, 23))])
    day, weekday = dice.choice([("*", "*"), ("*", "*"), (field(1, 31), "*"), ("*", field(0, 7)), (field(1, 31), "0")])
    return f"{minute} {hour} {day} * {weekday}"


@pytest.mark.parametrize("zone", CHANGES)
def test_runs_are_those_of_a_clock_that_is_watched_each_minute(zone: str) -> None:
    dice = random.Random(zone)
    runs = 0
    for day in CHANGES[zone]:
        begin = datetime.fromisoformat(f"{day}T00:00Z")
        end = begin + timedelta(days=3)
        for _ in range(12):
            cron = expression(dice)
            start = begin + timedelta(seconds=dice.randint(0, 36 * 3600))
            expected = list(watched(cron, zone, start.replace(second=0), end))
            expected = [one for one in expected if one > start]
            assert computed(Trigger(cron, zone), start, end) == expected, (cron, start)
            runs += len(expected)
    assert runs > 100


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        ("5 4 * * *", "utc", "2024-02-28T04:05Z", ["2024-02-29T04:05Z", "2024-03-01T04:05Z"]),
        # the hour that is skipped: right after it, and once
        ("15,45 2 * * *", "Europe/Berlin", "2024-03-30T02:00Z", ["2024-03-31T01:00Z", "2024-04-01T00:15Z"]),
        # the hour that comes twice: the first time alone
        ("30 2 * * *", "Europe/Berlin", "2024-10-26T12:00Z", ["2024-10-27T00:30Z", "2024-10-28T01:30Z"]),
        ("30 2 * * *", "Europe/Berlin", "2024-10-27T01:00Z", ["2024-10-28T01:30Z"]),
        # by the hour it goes on by real time
        ("0 * * * *", "Europe/Berlin", "2024-10-26T23:30Z", [f"2024-10-27T0{hour}:00Z" for hour in range(4)]),
        ("0 * * * *", "America/New_York", "2024-03-10T06:30Z", ["2024-03-10T07:00Z", "2024-03-10T08:00Z"]),
        ("0 12 29 feb *", "UTC", "2024-03-01T00:00Z", ["2028-02-29T12:00Z"]),
        ("0 0 1 * MON", "utc", "2024-03-30T00:00Z", ["2024-04-01T00:00Z", "2024-04-08T00:00Z"]),
        ("0 0 1 1 *", "Asia/Tokyo", "2024-06-01T00:00Z", ["2024-12-31T15:00Z"]),
        ("* * * * *", "utc", "2024-01-01T00:00:59.999999Z", ["2024-01-01T00:01Z"]),
    ],
)
def test_known_runs(cron: str, zone: str, after: str, expected: list[str]) -> None:
    moment = datetime.fromisoformat(after)
    for one in expected:
        moment = next_run(Trigger(cron, zone), moment)
        assert moment == datetime.fromisoformat(one)
        assert moment.tzinfo is UTC


def test_local_is_the_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    begin, end = datetime(2024, 3, 30, tzinfo=UTC), datetime(2024, 4, 2, tzinfo=UTC)
    try:
        with monkeypatch.context() as patch:
            patch.setenv("TZ", "America/New_York")
            time.tzset()
            local = computed(Trigger("0 9 * * *", "local"), begin, end)
            autumn = computed(Trigger("*/20 1 * * *", "Local"), *_around("2024-11-03"))
    finally:
        time.tzset()
    assert local == computed(Trigger("0 9 * * *", "America/New_York"), begin, end)
    assert autumn == computed(Trigger("*/20 1 * * *", "America/New_York"), *_around("2024-11-03"))
    assert len(autumn) == 9, "three times, and six where the hour comes twice"


def _around(day: str) -> tuple[datetime, datetime]:
    middle = datetime.fromisoformat(f"{day}T00:00Z")
    return middle, middle + timedelta(days=2)


@pytest.mark.parametrize(
    ("cron", "told"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("0 0 * * * *", "five fields"),
        ("@daily", "five fields"),
        ("60 * * * *", "minute"),
        ("* 24 * * *", "hour"),
        ("* * 0 * *", "day of month"),
        ("* * * 13 *", "month"),
        ("* * * * 8", "day of week"),
        ("*/0 * * * *", "minute"),
        ("5-1 * * * *", "minute"),
        ("1, * * * *", "minute"),
        ("-1 * * * *", "minute"),
        ("² * * * *", "minute"),
        ("0 0 30 2 *", "day of month"),
        ("* * */20 * 1L", "50 years"),
    ],
)
def test_an_expression_that_cannot_be_read_is_refused_with_its_field(cron: str, told: str) -> None:
    with pytest.raises(BadBody) as refused:
        next_run(Trigger(cron), datetime.now(UTC))
    assert "'trigger.cron'" in refused.value.detail
    assert told in refused.value.detail


@pytest.mark.parametrize("zone", ["Mars/Base", "Europe", "../UTC", "/etc/localtime", "x" * 300, "\0", "+03:00", " utc"])
def test_a_time_zone_that_is_not_known_is_refused(zone: str) -> None:
    with pytest.raises(BadBody, match=r"trigger\.cron_timezone"):
        next_run(Trigger("* * * * *", zone), datetime.now(UTC))


PIECES = st.sampled_from([*"0123456789*/-,#L ", "LW", "MON", "jan", "1L", "5#2", " ", "  ", "Ⅷ", "²", "\n"])


@given(st.lists(PIECES, max_size=40).map("".join), st.sampled_from(["utc", "Europe/Berlin", "local", "Mars"]))
def test_whatever_is_given_has_a_next_run_or_is_refused(cron: str, zone: str) -> None:
    now = datetime(2024, 3, 30, 23, 59, 59, 999999, tzinfo=UTC)
    with suppress(BadBody):
        assert next_run(Trigger(cron, zone), now) > now


@given(st.lists(st.sampled_from(["*", "*/5", "1", "7", "1-5", "L", "1L", "MON#5", "31", "2"]), min_size=5, max_size=5))
def test_whatever_has_five_fields_has_a_later_run_or_is_refused(fields: list[str]) -> None:
    now = datetime(2024, 10, 26, 23, 59, tzinfo=UTC)
    try:
        assert next_run(Trigger(" ".join(fields), "Europe/Berlin"), now) > now
    except BadBody as refused:
        assert "trigger.cron'" in refused.detail
