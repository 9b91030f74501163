"""The changes of indexed objects, read from PostgreSQL so that none is missed and none is read again and again.

Every statement that changes an indexed object writes rows (xid, id) by trigger, for faces into `index_changes` and for
events into `event_changes`. Transactions commit in another order than they begin, so neither a sequence nor a time
tells what is new. Snapshots do: a position is the snapshot that was last read with, and new is exactly what this
snapshot could not see, which is the rows of the transactions that ran then or began later (PostgreSQL, "System
Information Functions", pg_snapshot).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from uuid import UUID

from sqlalchemy import ColumnElement, LargeBinary, Row, TextClause, func, literal, select, text

from server.domain.search import FeedUpdate, IndexedObject
from server.errors import Unavailable
from storage.database import COMPONENT, Database

BATCH: Final = 2000
"""Objects that are read in one go."""

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

#: What every feed asks for besides its changes: the new position, and the epoch if nothing before the old one is lost.
PRESENT: Final = """
    pg_current_snapshot()::text AS snapshot,
    (
        SELECT epoch FROM index_floor WHERE origin = luna_origin() AND floor <= CAST(CAST(:xmin AS text) AS xid8)
    ) AS epoch
"""

#: The transactions that a position could not see.
LATER: Final = "xid >= CAST(CAST(:xmax AS text) AS xid8)"
RUNNING: Final = "xid = ANY (CAST(CAST(:running AS text) AS xid8[]))"


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


class PostgresFeed(ABC):
    """What the feeds of all kinds of objects have in common. Each follower has a feed of its own.

    Attributes:
        changes: one row: `PRESENT`, and what was noted since the position `:xmin`, `:xmax`, `:running`.
        state: every object that has a descriptor; its rows are read by `indexed`.
    """

    changes: ClassVar[TextClause]
    state: ClassVar[str]

    def __init__(self, database: Database) -> None:
        self._database = database
        self._position: Position | None = None
        self._reading = asyncio.Lock()

    async def snapshot(self) -> AsyncIterator[Sequence[IndexedObject]]:
        """All objects that have a descriptor, in batches, of one moment. See `Feed.snapshot`.

        The position is taken over once the last batch has been used; a follower that stops before keeps the old one.
        """
        await self._begin_epoch()
        async with self._database.alone() as driver, driver.transaction(isolation="repeatable_read", readonly=True):
            start = await driver.fetchrow(POSITION)
            if start is None:  # a crash came between the two transactions
                raise Unavailable(component=COMPONENT)
            cursor = await driver.cursor(self.state)
            while rows := await cursor.fetch(BATCH):
                yield [self.indexed(row) for row in rows]
        self._position = Position.parse(start["epoch"], start["snapshot"])

    async def catch_up(self) -> FeedUpdate:
        """Everything committed before this call began and since the last one. See `Feed.catch_up`."""
        async with self._reading:
            position = self._position
            if position is None:
                return FeedUpdate(reset=True)
            (noted,) = await self._database.fetch(self.changes, _parameters(position))
            if noted.epoch != position.epoch:
                return FeedUpdate(reset=True)
            update = await self.update(noted)
            self._position = Position.parse(noted.epoch, noted.snapshot)
            return update

    async def packed(self, column: ColumnElement[UUID], conditions: Sequence[ColumnElement[bool]]) -> bytes:
        """The ids in a column under conditions, 16 bytes each."""
        together = func.string_agg(func.uuid_send(column), literal(b"", LargeBinary), type_=LargeBinary)
        ((ids,),) = await self._database.fetch(select(together).where(*conditions))
        return ids or b""

    @abstractmethod
    async def update(self, noted: Row[*tuple[Any, ...]]) -> FeedUpdate:
        """The present state of what a row of `changes` names."""

    @staticmethod
    @abstractmethod
    def indexed(row: Iterable[Any]) -> IndexedObject:
        """The object of a row of `state`."""

    async def _begin_epoch(self) -> None:
        async with self._database.transaction(traced=False) as connection:
            if (await connection.execute(BEGIN_EPOCH)).rowcount:
                # Whatever is noted belongs to another history. Nobody needs it: nobody has a position in this one yet.
                await connection.execute(text("DELETE FROM index_changes"))
                await connection.execute(text("DELETE FROM event_changes"))


def _parameters(position: Position) -> dict[str, object]:
    running = ",".join(map(str, position.running))
    return {"xmin": str(position.xmin), "xmax": str(position.xmax), "running": f"{{{running}}}"}
