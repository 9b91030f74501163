"""A feed in memory that keeps the contract of `FaceFeed`, with trouble on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

from index_model import selects

from server.domain.access import Scope
from server.domain.faces import FaceFilter
from server.domain.search import FeedUpdate, IndexedFace
from server.errors import Unavailable


class MemoryFeed:
    """Committed faces and the log of their changes.

    Attributes:
        delay: seconds that a call takes after it has read what it will answer.
        broken: an exception that every call raises.
        calls: catch-ups that were begun.
        snapshots: snapshots that were begun.
    """

    def __init__(self) -> None:
        self.faces: dict[UUID, IndexedFace] = {}
        self.user_data: dict[UUID, str] = {}
        self.delay = 0.0
        self.broken: Exception | None = None
        self.calls = 0
        self.snapshots = 0
        self.under_way = 0
        self._log: list[UUID] = []
        self._position = 0
        self._too_old = False
        self._woken = asyncio.Event()

    def commit(self, *faces: IndexedFace, user_data: str = "") -> None:
        """Write faces."""
        for face in faces:
            self.faces[face.face_id] = face
            self.user_data[face.face_id] = user_data
            self._log.append(face.face_id)
        self._woken.set()

    def delete(self, *face_ids: UUID) -> None:
        """Delete faces."""
        for face_id in face_ids:
            del self.faces[face_id]
            self._log.append(face_id)
        self._woken.set()

    def cut(self) -> None:
        """Lose the log: the follower's position is too old."""
        self._too_old = True

    async def snapshot(self) -> AsyncIterator[Sequence[IndexedFace]]:
        self.snapshots += 1
        self._fail()
        position = len(self._log)
        faces = [face for face in self.faces.values() if face.descriptors]
        for start in range(0, len(faces), 100):
            await asyncio.sleep(self.delay)
            self._fail()
            yield faces[start : start + 100]
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
            ids = list(dict.fromkeys(self._log[self._position : position]))
            present = {face_id: self.faces.get(face_id) for face_id in ids}
            await asyncio.sleep(self.delay)
            self._fail()
            if self._too_old:
                return FeedUpdate((), (), reset=True)
            self._position = position
            changed = tuple(face for face in present.values() if face is not None and face.descriptors)
            held = {face.face_id for face in changed}
            return FeedUpdate(changed, tuple(face_id for face_id in ids if face_id not in held))
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

    async def select(self, scope: Scope, where: FaceFilter) -> list[UUID]:
        self._fail()
        await asyncio.sleep(self.delay)
        text = where.user_data or ""
        return [i for i, face in self.faces.items() if text in self.user_data[i] and selects(where, scope, face)]

    def _fail(self) -> None:
        if self.broken is not None:
            raise self.broken


TROUBLE = Unavailable(component="PostgreSQL")
