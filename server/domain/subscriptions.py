"""Following the events that are made: one reader for all subscribers of a process, and a cursor for each of them.

The notices of all server processes are in one stream, in one order. A process reads its end once, into a ring of the
newest ones that all of its subscribers share. A subscriber takes from the ring what is behind its cursor, and from the
stream where it has fallen behind the ring; so a slow one holds no queue, and waits for nobody but itself.

Positions are numbered without a hole. Where the next notice is not the next number, something is not known any more:
the retention has trimmed it, or the stream was lost. The subscriber is then told a gap instead of nothing.
"""

from __future__ import annotations

import asyncio
import logging
import re
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, NamedTuple, Protocol, TypeVar
from uuid import UUID

from server.domain.access import Scope
from server.domain.cancellation import ended
from server.domain.event_conditions import Conditions
from server.domain.event_values import EventValues, judge_of_all
from server.errors import LunaError

RING = 2000
"""Most notices in the ring."""
RING_BYTES = 32 << 20
"""Most bytes of notices in the ring."""
BATCH = 100
"""Notices that a subscriber takes at a time."""
REMEMBERED = 500
"""Notices behind the ring that are remembered for others who are just as late."""
BLOCK_SECONDS = 2.0
"""How long one question for newer notices waits."""
RETRY_SECONDS = 0.5

log = logging.getLogger(__name__)

T = TypeVar("T")

_CURSOR = re.compile(r"(\d{1,15})-(\d{1,15})", re.ASCII)


class Position(NamedTuple):
    """A place in the stream, behind an entry: the epoch, which is a new one where the stream was lost, and a number."""

    epoch: int
    number: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.number}"

    @property
    def next(self) -> Position:
        """The position of the notice that follows."""
        return Position(self.epoch, self.number + 1)

    @property
    def previous(self) -> Position:
        """The position before this notice."""
        return Position(self.epoch, self.number - 1)


BEGINNING = Position(0, 0)
"""Before everything that is kept."""


def position_of(cursor: str) -> Position | None:
    """The position that a cursor names: "0" is the beginning; None where it is none."""
    if cursor == "0":
        return BEGINNING
    found = _CURSOR.fullmatch(cursor)
    return None if found is None else Position(int(found[1]), int(found[2]))


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """An entry of the stream. An empty notice only tells that the stream has begun anew."""

    position: Position
    account_id: UUID
    notice: bytes


class NoticeStream(Protocol):
    """The stream of notices, whose oldest entries are trimmed."""

    async def last(self) -> Position:
        """The position of the newest entry; the beginning where there is none.

        Raises:
            Unavailable: it cannot be reached.
        """
        ...

    async def newest(self, count: int) -> Sequence[StreamEntry]:
        """The newest entries, oldest first.

        Raises:
            Unavailable: it cannot be reached.
        """
        ...

    async def after(self, position: Position, count: int) -> Sequence[StreamEntry]:
        """The first entries behind a position, which need not be there.

        Raises:
            Unavailable: it cannot be reached.
        """
        ...

    async def wait(self, position: Position, count: int, seconds: float) -> Sequence[StreamEntry]:
        """The same; where there is none, it is waited for. None has come where none is returned.

        Raises:
            Unavailable: it cannot be reached.
        """
        ...

    async def append(self, notices: Sequence[tuple[UUID, bytes]], known: Position) -> Position:
        """Add notices of accounts, behind everything. Returns the position of the last one.

        Where the stream ends before the position that is known to have been there, it has lost something: then a new
        epoch begins, with an empty notice. Without notices nothing else happens.

        Raises:
            Unavailable: it cannot be reached; whether they were added is not known.
        """
        ...


@dataclass(frozen=True, slots=True)
class Notified(Generic[T]):
    """A notice that has been read: what conditions ask, the labels that found somebody, and what is told."""

    values: EventValues
    labels: frozenset[str]
    told: T


class Entry(Generic[T]):
    """An entry whose notice is read once, when the first subscriber asks for it."""

    def __init__(self, raw: StreamEntry, read: Callable[[Position, bytes], Notified[T]]) -> None:
        self.position = raw.position
        self.account_id = raw.account_id
        self.size = len(raw.notice)
        self._notice = raw.notice
        self._read = read

    @cached_property
    def notified(self) -> Notified[T]:
        """What it says."""
        return self._read(self.position, self._notice)


@dataclass(frozen=True, slots=True)
class Gap:
    """Nothing is known behind `after`, up to `until`."""

    after: Position
    until: Position


class Interest:
    """Which events a subscriber is told.

    Args:
        scope: those of these accounts.
        conditions: all of them hold.
        labels: one of these comparisons found somebody; without labels it does not matter.
    """

    def __init__(self, scope: Scope, conditions: Conditions = (), labels: Sequence[str] = ()) -> None:
        self._scope = scope
        self._judge = judge_of_all(conditions)
        self._labels = frozenset(labels)

    def in_scope(self, account_id: UUID) -> bool:
        """True for accounts that the subscriber may see."""
        return self._scope.includes(account_id)

    def takes(self, notified: Notified[T]) -> bool:
        """True where an event that is in scope is told."""
        if self._labels and self._labels.isdisjoint(notified.labels):
            return False
        return self._judge(notified.values)


class Subscriptions(Generic[T]):
    """The subscribers of one process.

    Args:
        stream: the notices of all processes.
        read: makes of a position and the bytes of a notice what it says.
    """

    def __init__(self, stream: NoticeStream, read: Callable[[Position, bytes], Notified[T]]) -> None:
        self._stream = stream
        self._read = read
        self._ring: list[Entry[T]] = []
        self._size = 0
        self._floor = BEGINNING
        """The ring holds everything behind this position."""
        self._last: Position | None = None
        self._behind: OrderedDict[Position, Entry[T]] = OrderedDict()
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to read the end of the stream."""
        self._task = asyncio.create_task(self._run(), name="read notices")

    async def close(self) -> None:
        """Stop reading."""
        if self._task is not None:
            await ended(self._task)

    @property
    def last(self) -> Position:
        """The position of the last entry that has been read here."""
        return self._last or BEGINNING

    async def now(self) -> Position:
        """The position behind everything that has been told so far.

        Raises:
            Unavailable: the stream cannot be reached.
        """
        return await self._stream.last()

    async def follow(self, since: Position, interest: Interest) -> AsyncGenerator[tuple[Position, T | Gap], None]:
        """Everything behind a position that is of interest, for ever; gaps are told as they are met.

        Raises:
            Unavailable: the stream cannot be reached when it is first asked; later its return is waited for.
        """
        position = since
        if (self._last is None or since > self._last) and since > (last := await self._stream.last()):
            # what it names is not there any more: the stream was lost, or the cursor is of another one
            yield last, Gap(since, last)
            position = last
        while True:
            for entry in await self._after(position):
                if entry.position != position.next and position != BEGINNING:
                    yield entry.position.previous, Gap(position, entry.position.previous)
                position = entry.position
                if entry.size and interest.in_scope(entry.account_id) and interest.takes(entry.notified):
                    yield position, entry.notified.told

    async def _after(self, position: Position) -> Sequence[Entry[T]]:
        """Some entries behind a position, at least one; they are waited for."""
        while True:
            news = self._news
            if self._last is None or position < self._floor:
                try:
                    if late := await self._late(position):
                        return late
                except LunaError:
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
            elif position < self._last:
                start = bisect_right(self._ring, position, key=lambda entry: entry.position)
                return self._ring[start : start + BATCH]
            await news.wait()

    async def _late(self, position: Position) -> Sequence[Entry[T]]:
        """Entries that are not in the ring any more."""
        return [self._remember(raw) for raw in await self._stream.after(position, BATCH)]

    def _remember(self, raw: StreamEntry) -> Entry[T]:
        entry = self._behind.get(raw.position)
        if entry is None:
            entry = self._behind[raw.position] = Entry(raw, self._read)
            if len(self._behind) > REMEMBERED:
                self._behind.popitem(last=False)
        return entry

    async def _run(self) -> None:
        """Keep the ring."""
        told = False
        while True:
            try:
                await self._read_on()
                told = False
            except LunaError as error:
                if not told:
                    log.warning("notices cannot be read, it is tried again: %s", error)
                told = True
                await asyncio.sleep(RETRY_SECONDS)

    async def _read_on(self) -> None:
        if self._last is None:
            found = await self._stream.newest(RING)
            self._floor = found[0].position.previous if found else await self._stream.last()
            self._last = self._floor
        else:
            found = await self._stream.wait(self._last, BATCH, BLOCK_SECONDS)
            if not found and await self._stream.last() < self._last:
                # the stream was lost: those who wait are told by the empty notice of the new epoch
                await self._stream.append((), self._last)
                return
        self._take(found)

    def _take(self, found: Sequence[StreamEntry]) -> None:
        if not found:
            return
        fresh = [Entry(raw, self._read) for raw in found]
        self._ring += fresh
        self._size += sum(entry.size for entry in fresh)
        surplus = 0
        while len(self._ring) - surplus > RING or (self._size > RING_BYTES and surplus < len(self._ring) - 1):
            self._size -= self._ring[surplus].size
            surplus += 1
        if surplus:
            self._floor = self._ring[surplus - 1].position
            del self._ring[:surplus]
        self._last = fresh[-1].position
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
