"""A feed in memory that keeps the contract of `Feed`, with trouble on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

from server.domain.access import Scope
from server.domain.search import FeedUpdate, IndexedObject, Span
from server.errors import Unavailable


class MemoryFeed:
    """Committed objects with a text each, and the log of their changes. Its filters are parts of the text.

    Attributes:
        delay: seconds that a call takes after it has read what it will answer.
        broken: an exception that every call raises.
        calls: catch-ups that were begun.
        snapshots: snapshots that were begun.
        selected: the filters that were asked for.
    """

    def __init__(self) -> None:
        self.objects: dict[UUID, IndexedObject] = {}
        self.texts: dict[UUID, str] = {}
        self.delay = 0.0
        self.broken: Exception | None = None
        self.calls = 0
        self.snapshots = 0
        self.under_way = 0
        self.selected: list[str] = []
        self._log: list[UUID | Span] = []
        self._position = 0
        self._too_old = False
        self._woken = asyncio.Event()

    def commit(self, *objects: IndexedObject, text: str = "") -> None:
        """Write objects."""
        for one in objects:
            self.objects[one.object_id] = one
            self.texts[one.object_id] = text
            self._log.append(one.object_id)
        self._woken.set()

    def delete(self, *ids: UUID) -> None:
        """Delete objects."""
        for object_id in ids:
            del self.objects[object_id]
            self._log.append(object_id)
        self._woken.set()

    def drop(self, span: Span) -> None:
        """Delete everything that was created within a span, without naming it."""
        for one in list(self.objects.values()):
            if span.start <= one.create_time < span.end:
                del self.objects[one.object_id]
        self._log.append(span)
        self._woken.set()

    def cut(self) -> None:
        """Lose the log: the follower's position is too old."""
        self._too_old = True

    async def snapshot(self) -> AsyncIterator[Sequence[IndexedObject]]:
        self.snapshots += 1
        self._fail()
        position = len(self._log)
        objects = [one for one in self.objects.values() if one.descriptors]
        for start in range(0, len(objects), 100):
            await asyncio.sleep(self.delay)
            self._fail()
            yield objects[start : start + 100]
        self._position = position
        self._too_old = False

    async def catch_up(self) -> FeedUpdate:
        self.calls += 1
        self.under_way += 1
        try:
            if self.under_way > 1:
                raise RuntimeError("two at a time")
            self._fail()
            position = len(self._log)
            noted = list(dict.fromkeys(self._log[self._position : position]))
            dropped = tuple(one for one in noted if isinstance(one, Span))
            present = {one: self.objects.get(one) for one in noted if isinstance(one, UUID)}
            await asyncio.sleep(self.delay)
            self._fail()
            if self._too_old:
                return FeedUpdate(reset=True)
            self._position = position
            changed = tuple(one for one in present.values() if one is not None and one.descriptors)
            held = {one.object_id for one in changed}
            return FeedUpdate(changed, tuple(one for one in present if one not in held), dropped)
        finally:
            self.under_way -= 1

    async def wait(self, seconds: float) -> None:
        self._fail()
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return
        self._woken.clear()

    async def select(self, scope: Scope, filters: str) -> bytes:
        self._fail()
        self.selected.append(filters)
        await asyncio.sleep(self.delay)
        found = [i for i, one in self.objects.items() if filters in self.texts[i] and scope.includes(one.account_id)]
        return b"".join(one.bytes for one in found)

    def _fail(self) -> None:
        if self.broken is not None:
            raise self.broken


TROUBLE = Unavailable(component="PostgreSQL")
