"""The changes of indexed faces, read from PostgreSQL so that none is missed and none is read again and again.

Every statement that changes an indexed face writes rows (xid, face_id) into `index_changes` by trigger. Transactions
commit in another order than they begin, so neither a sequence nor a time tells what is new. Snapshots do: a position
is the snapshot that was last read with, and new is exactly what this snapshot could not see, which is the rows of the
transactions that ran then or began later (PostgreSQL, "System Information Functions", pg_snapshot).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select, text

from server.domain.access import Scope
from server.domain.descriptors import Descriptor
from server.domain.faces import FaceFilter
from server.domain.search import FeedUpdate, IndexedFace
from server.errors import Unavailable
from storage.database import COMPONENT, Database
from storage.filters import face_conditions
from storage.listener import Listener
from storage.schema import CHANNEL, faces

BATCH: Final = 2000
"""Faces that are read in one go."""

#: Gives the history a name where it has none: at first, after a crash (which empties unlogged tables) and in a copy.
BEGIN_EPOCH: Final = text("""
    INSERT INTO index_floor AS present (epoch, origin, floor, mark, marked_at)
    SELECT gen_random_uuid(), luna_origin(), xmin, xmin, now() FROM pg_snapshot_xmin(pg_current_snapshot()) AS xmin
    ON CONFLICT (single) DO UPDATE SET
        epoch = excluded.epoch, origin = excluded.origin, floor = excluded.floor, mark = excluded.mark,
        marked_at = excluded.marked_at
    WHERE present.origin <> excluded.origin
""")

POSITION: Final = "SELECT epoch, pg_current_snapshot()::text AS snapshot FROM index_floor"

CHANGES: Final = text("""
    SELECT
        pg_current_snapshot()::text AS snapshot,
        (
            SELECT epoch FROM index_floor
            WHERE origin = luna_origin() AND floor <= CAST(CAST(:xmin AS text) AS xid8)
        ) AS epoch,
        ARRAY(
            SELECT face_id FROM index_changes WHERE xid >= CAST(CAST(:xmax AS text) AS xid8)
            UNION
            SELECT face_id FROM index_changes WHERE xid = ANY (CAST(CAST(:running AS text) AS xid8[]))
        ) AS face_ids
""")

STATE: Final = """
    SELECT
        face.face_id, face.account_id, face.create_time, face.external_id, face.event_id,
        ARRAY(SELECT list_id FROM list_faces WHERE list_faces.face_id = face.face_id ORDER BY list_id) AS list_ids,
        descriptors.versions, descriptors.vectors
    FROM faces AS face
    CROSS JOIN LATERAL (
        SELECT array_agg(version ORDER BY version) AS versions, array_agg(data ORDER BY version) AS vectors
        FROM face_descriptors WHERE face_descriptors.face_id = face.face_id
    ) AS descriptors
    WHERE descriptors.versions IS NOT NULL
"""
SOME_FACES: Final = text(f"{STATE} AND face.face_id = ANY (CAST(:face_ids AS uuid[]))")


@dataclass(frozen=True, slots=True)
class Position:
    """A snapshot of one epoch: transactions below `xmin` are in it, those from `xmax` on and `running` ones are not."""

    epoch: UUID
    xmin: int
    xmax: int
    running: tuple[int, ...]

    @classmethod
    def parse(cls, epoch: UUID, snapshot: str) -> Position:
        """Take PostgreSQL's text of a snapshot, `xmin:xmax:running,running,...`."""
        xmin, xmax, running = snapshot.split(":")
        return cls(epoch, int(xmin), int(xmax), tuple(int(xid) for xid in running.split(",") if xid))


class PostgresFaceFeed:
    """Implements `server.domain.search.FaceFeed`. Each follower has a feed of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listener = Listener(database, CHANNEL)
        self._position: Position | None = None
        self._reading = asyncio.Lock()

    async def snapshot(self) -> AsyncIterator[Sequence[IndexedFace]]:
        """All faces that have a descriptor, in batches, of one moment. See `FaceFeed.snapshot`.

        The position is taken over once the last batch has been used; a follower that stops before keeps the old one.
        """
        await self._begin_epoch()
        async with self._database.alone() as driver, driver.transaction(isolation="repeatable_read", readonly=True):
            start = await driver.fetchrow(POSITION)
            if start is None:  # a crash came between the two transactions
                raise Unavailable(component=COMPONENT)
            cursor = await driver.cursor(STATE)
            while rows := await cursor.fetch(BATCH):
                yield [_indexed(row) for row in rows]
        self._position = Position.parse(start["epoch"], start["snapshot"])

    async def catch_up(self) -> FeedUpdate:
        """Everything committed before this call began and since the last one. See `FaceFeed.catch_up`."""
        async with self._reading:
            position = self._position
            if position is None:
                return FeedUpdate((), (), reset=True)
            ((snapshot, epoch, face_ids),) = await self._database.fetch(CHANGES, _parameters(position))
            if epoch != position.epoch:
                return FeedUpdate((), (), reset=True)
            changed: list[IndexedFace] = []
            for start in range(0, len(face_ids), BATCH):
                rows = await self._database.fetch(SOME_FACES, {"face_ids": face_ids[start : start + BATCH]})
                changed.extend(_indexed(row) for row in rows)
            self._position = Position.parse(epoch, snapshot)
            gone = set(face_ids).difference(face.face_id for face in changed)
            return FeedUpdate(tuple(changed), tuple(gone))

    async def wait(self, seconds: float) -> None:
        """Return once something may have changed, or after the time."""
        await self._listener.wait(seconds)

    async def select(self, scope: Scope, where: FaceFilter) -> list[UUID]:
        """Ids of the faces under filters."""
        rows = await self._database.fetch(select(faces.c.face_id).where(*face_conditions(scope, where)))
        return [row.face_id for row in rows]

    async def close(self) -> None:
        """Stop listening. The database belongs to whoever made it."""
        await self._listener.close()

    async def _begin_epoch(self) -> None:
        async with self._database.transaction(traced=False) as connection:
            if (await connection.execute(BEGIN_EPOCH)).rowcount:
                # Whatever is noted belongs to another history. Nobody needs it: nobody has a position in this one yet.
                await connection.execute(text("DELETE FROM index_changes"))


def _parameters(position: Position) -> dict[str, object]:
    running = ",".join(map(str, position.running))
    return {"xmin": str(position.xmin), "xmax": str(position.xmax), "running": f"{{{running}}}"}


def _indexed(row: Iterable[Any]) -> IndexedFace:
    face_id, account_id, create_time, external_id, event_id, list_ids, versions, vectors = row
    descriptors = tuple(map(Descriptor, versions, vectors))
    return IndexedFace(face_id, account_id, create_time, external_id, event_id, tuple(list_ids), descriptors)
