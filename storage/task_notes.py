"""Notes of tasks in PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import ColumnElement, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from server.domain.access import Scope
from server.domain.task_notes import TaskNote
from storage.database import Database
from storage.filters import inside
from storage.schema import task_notes, tasks


class PostgresTaskNotes:
    """Implements `server.domain.task_notes.TaskNotes`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def answers(self, scope: Scope, task_id: int, numbers: Collection[int]) -> Mapping[int, bytes | None]:
        """What came of those of the items that have notes."""
        found = select(task_notes.c.number, task_notes.c.answer).where(
            *_of(scope, task_id), task_notes.c.number.in_(list(numbers))
        )
        return {row.number: row.answer for row in await self._database.fetch(found)}

    async def forget(self, scope: Scope, task_id: int) -> None:
        """Forget what came of the items of a task."""
        async with self._database.transaction(traced=False) as connection:
            await connection.execute(update(task_notes).where(*_of(scope, task_id)).values(answer=None))


async def add_note(connection: AsyncConnection, note: TaskNote) -> None:
    """Write a note in a transaction. Where another one writes the same, this waits for its end, and one of them fails.

    The constraint that is violated is `task_notes_pkey`, or `task_notes_task_id_fkey` where the task was deleted.
    """
    await connection.execute(insert(task_notes).values(task_id=note.task_id, number=note.number, answer=note.answer))


def _of(scope: Scope, task_id: int) -> list[ColumnElement[bool]]:
    owned = select(tasks.c.task_id).where(tasks.c.task_id == task_id, *inside(tasks.c.account_id, scope))
    return [task_notes.c.task_id == task_id, task_notes.c.task_id.in_(owned)]
