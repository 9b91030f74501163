"""From the outbox in PostgreSQL to the stream in Redis: what was committed with an event is told, at least once.

Every server process has a relay. One at a time moves what is there, in the order of its rows, and deletes a row only
once the stream has it. Where it ends between the two, the row is moved again. While Redis or PostgreSQL is away, rows
wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from sqlalchemy import text

from server.domain.cancellation import ended
from server.domain.subscriptions import BEGINNING, NoticeStream, Position
from server.errors import LunaError
from storage.database import Database

BATCH: Final = 200
"""Most rows that are moved in one transaction."""
BATCH_BYTES: Final = 16 << 20
"""Most bytes of them, but for one row: Redis takes no command of any size, and answers late what is large."""
LOOK_SECONDS: Final = 1.0
"""How often it is looked without being woken: for rows of processes that have no relay, or have died."""
RETRY_SECONDS: Final = 0.5
CLOSE_SECONDS: Final = 2.0
"""How long a move that is under way may take to its end."""

#: Rows whose deletion a crash of PostgreSQL takes back are moved again, so that it need not wait for the disk.
TURN: Final = text("""
    SELECT set_config('synchronous_commit', 'off', true), pg_advisory_xact_lock(hashtext('luna: move the outbox'))
""")
TAKE: Final = text("""
    WITH first AS (
        SELECT position, octet_length(notice) AS size FROM event_outbox ORDER BY position LIMIT :batch
    ), summed AS (
        SELECT position, sum(size) OVER (ORDER BY position) AS bytes, row_number() OVER (ORDER BY position) AS row
        FROM first
    ), taken AS (
        DELETE FROM event_outbox
        WHERE position IN (SELECT position FROM summed WHERE bytes <= :bytes OR row = 1)
        RETURNING position, account_id, notice
    )
    SELECT position, account_id, notice, (SELECT count(*) FROM first) AS seen FROM taken
""")
WAITING: Final = text("SELECT EXISTS (SELECT FROM event_outbox)")

log = logging.getLogger(__name__)


class OutboxRelay:
    """Moves notices into the stream.

    Args:
        database: where the outbox is.
        stream: where they go.
        known: the newest position of the stream that this process has seen.
    """

    def __init__(self, database: Database, stream: NoticeStream, known: Callable[[], Position]) -> None:
        self._database = database
        self._stream = stream
        self._known = known
        self._appended = BEGINNING
        self._woken = asyncio.Event()
        self._closing = False
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to move."""
        self._tasks = [
            asyncio.create_task(self._run(), name="move the outbox"),
            asyncio.create_task(self._look(), name="look into the outbox"),
        ]

    async def close(self) -> None:
        """Stop, if need be in the middle. What is not moved yet waits for another process, or for the next start."""
        self._closing = True
        self._woken.set()
        if self._tasks:
            await asyncio.wait(self._tasks[:1], timeout=CLOSE_SECONDS)
        await ended(*self._tasks)

    def wake(self) -> None:
        """This process has committed rows."""
        self._woken.set()

    async def move(self) -> bool:
        """Move some rows, all that there are if they are few. True where there may be more.

        Raises:
            LunaError: PostgreSQL or Redis cannot be reached; nothing is lost.
        """
        async with self._database.transaction(traced=False) as connection:
            await connection.execute(TURN)
            rows = sorted((await connection.execute(TAKE, {"batch": BATCH, "bytes": BATCH_BYTES})).all())
            if rows:
                notices = [(account_id, bytes(notice)) for _, account_id, notice, _ in rows]
                self._appended = await self._stream.append(notices, max(self._appended, self._known()))
        return len(rows) == BATCH or any(seen > len(rows) for *_, seen in rows[:1])

    async def _run(self) -> None:
        told = False
        while not self._closing:
            self._woken.clear()
            try:
                while await self.move():
                    pass
                told = False
                await self._woken.wait()
            except LunaError as error:
                if not told:
                    log.warning("notices wait in the outbox: %s", error)
                told = True
                await asyncio.sleep(RETRY_SECONDS)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            with suppress(LunaError):
                ((waiting,),) = await self._database.fetch(WAITING)
                if waiting:
                    self._woken.set()
