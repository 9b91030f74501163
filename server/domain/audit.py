"""The audit trail: who changed what, when, and from where. It holds ids and names, never what was changed.

A call that changes data announces its change before it begins. Whatever commits the change in the database commits its
entry with it; what is kept elsewhere has its entry written before. So no change is without its entry, however the call
ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

MOST = 1000
"""Ids that one entry holds: a request has no more, and an answer to several images seldom has."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change.

    `account_id` is None for what needs no account. `objects` are the ids that the call named and those that it made.
    `done` is False where the entry was written ahead of a change and nothing tells that the change was made.
    """

    time: datetime
    account_id: UUID | None
    token_id: UUID | None
    method: str
    objects: tuple[UUID, ...]
    address: str
    request_id: str
    done: bool = True


@dataclass(slots=True, eq=False)
class Change:
    """A change in progress, and how much of it is safe in the trail.

    A call may commit in several steps, side by side too, and has one entry: the first step makes it, the next ones add
    their objects. Each takes its turn, so that it sees what the one before it has committed.

    `entry` is what is known before the change, `row` tells the trail its entry again, and `made` are ids that steps
    want in it.
    """

    entry: AuditEntry
    row: int | None = None
    ahead: bool = False
    made: dict[UUID, None] = field(default_factory=dict)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _safe: dict[UUID, None] | None = field(default=None, init=False)

    @property
    def safe(self) -> bool:
        """True once an entry has been committed."""
        return self._safe is not None

    def missing(self, objects: Iterable[UUID]) -> tuple[UUID, ...]:
        """Those of the ids that the entry lacks, each once, as far as it has room for them."""
        kept = dict.fromkeys(self.entry.objects) if self._safe is None else self._safe
        found = dict.fromkeys(one for one in objects if one not in kept)
        return tuple(found)[: max(0, MOST - len(kept))]

    def keep(self, objects: Iterable[UUID]) -> None:
        """Note that the entry was committed with these ids."""
        self._safe = {**(self._safe or dict.fromkeys(self.entry.objects)), **dict.fromkeys(objects)}


_current: ContextVar[Change | None] = ContextVar("luna_change", default=None)


def in_progress() -> Change | None:
    """The change that this task works on; None where it makes none that is to be remembered."""
    return _current.get()


@contextmanager
def announced(change: Change) -> Iterator[None]:
    """Make a change the one that this task, and every task that it starts, works on."""
    before = _current.set(change)
    try:
        yield
    finally:
        _current.reset(before)


class AuditTrail(Protocol):
    """Where the trail is kept."""

    async def begin(self, objects: Iterable[UUID] = ()) -> None:
        """Make the entry of the change in progress safe before something is changed outside the database.

        It says that it is not known to be done. Without a change in progress nothing is done.
        """
        ...

    async def complete(self, change: Change, objects: Iterable[UUID] = ()) -> None:
        """See to it that a change that succeeded has its entry, with these objects too, as one that was done."""
        ...

    async def newest(self, account_id: UUID | None, limit: int) -> list[AuditEntry]:
        """The last entries, of one account where it is named, newest first."""
        ...
