"""Tasks, their parts and errors in PostgreSQL; their results in the blob store."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import delete, func, select

from server.domain.access import Scope
from server.domain.faces import Page
from server.domain.task_progress import task_object
from server.domain.tasks import (
    HTML_RESULT,
    FailureFilter,
    NewTask,
    ResultForm,
    ResultRange,
    Subtask,
    Task,
    TaskFailure,
    TaskFilter,
    TaskResult,
    TaskStatus,
)
from storage import task_rows
from storage.blobs import BlobStore
from storage.database import Database
from storage.filters import inside, offset
from storage.schema import subtasks, task_errors, tasks
from storage.task_files import PAGES, RESULTS, result_key
from storage.task_queue import defer_tidy


class PostgresTaskStore:
    """Implements `server.domain.tasks.TaskStore`."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    async def create(self, new: NewTask) -> int:
        """Keep a new task, and hand it to the workers. Its id."""
        made: list[UUID] = []
        async with self._database.transaction(made=made) as connection:
            task_id = await task_rows.insert_task(connection, new)
            made.append(task_object(task_id))
        return task_id

    async def get(self, scope: Scope, task_id: int) -> Task | None:
        """One task."""
        chosen = (tasks.c.task_id == task_id, *inside(tasks.c.account_id, scope))
        rows = await self._database.fetch(select(*task_rows.TASK_COLUMNS).where(*chosen))
        return task_rows.task(rows[0]) if rows else None

    async def find(self, scope: Scope, where: TaskFilter, page: Page) -> list[Task]:
        """A page of tasks, newest first."""
        chosen = select(*task_rows.TASK_COLUMNS).where(*task_rows.conditions(scope, where))
        newest = chosen.order_by(tasks.c.create_time.desc(), tasks.c.task_id.desc())
        return [task_rows.task(row) for row in await self._database.fetch(newest.limit(page.size).offset(offset(page)))]

    async def count(self, scope: Scope, where: TaskFilter) -> int:
        """How many tasks."""
        counted = select(func.count()).select_from(tasks).where(*task_rows.conditions(scope, where))
        (row,) = await self._database.fetch(counted)
        return int(row[0])

    async def subtasks(self, scope: Scope, task_id: int) -> list[Subtask]:
        """All parts of a task, by their number."""
        chosen = (tasks.c.task_id == task_id, *inside(tasks.c.account_id, scope))
        joined = select(*task_rows.SUBTASK_COLUMNS).join_from(subtasks, tasks).where(*chosen)
        return [task_rows.subtask(row) for row in await self._database.fetch(joined.order_by(subtasks.c.number))]

    async def cancel(self, scope: Scope, task_id: int) -> TaskStatus | None:
        """Cancel a task that has not ended: what works on it sees that within a second or two."""
        async with self._database.transaction(made=(task_object(task_id),)) as connection:
            return await task_rows.cancel_task(connection, scope, task_id)

    async def remove(self, scope: Scope, task_id: int) -> TaskStatus | None:
        """Delete a task that has ended, and what belongs to it. One that has not is left as it is."""
        chosen = (tasks.c.task_id == task_id, *inside(tasks.c.account_id, scope))
        async with self._database.transaction(made=(task_object(task_id),)) as connection:
            found = (
                await connection.execute(select(tasks.c.status, tasks.c.result_id).where(*chosen).with_for_update())
            ).first()
            if found is None:
                return None
            status = TaskStatus(found.status)
            if not status.ended:
                return status
            await connection.execute(delete(tasks).where(tasks.c.task_id == task_id))
            await defer_tidy(connection, task_id)
        if found.result_id is not None:
            for folder in (RESULTS, PAGES):
                await self._blobs.delete(result_key(folder, found.result_id))
        return status

    async def failures(self, scope: Scope, where: FailureFilter, page: Page) -> list[TaskFailure]:
        """A page of errors, newest first."""
        chosen = select(*task_rows.ERROR_COLUMNS).where(*task_rows.failure_conditions(scope, where))
        newest = chosen.order_by(task_errors.c.time.desc(), task_errors.c.error_id.desc())
        rows = await self._database.fetch(newest.limit(page.size).offset(offset(page)))
        return [task_rows.failure(row) for row in rows]

    async def count_failures(self, scope: Scope, where: FailureFilter) -> int:
        """How many errors."""
        counted = select(func.count()).select_from(task_errors).where(*task_rows.failure_conditions(scope, where))
        (row,) = await self._database.fetch(counted)
        return int(row[0])

    async def result(self, task: Task, form: ResultForm) -> TaskResult | None:
        """The result of a task in a form, as a whole; None where there is none in it."""
        if task.result_id is None:
            return None
        data = await self._blobs.get(_key(task.result_id, form))
        return None if data is None else TaskResult(data, *await self._named(task, form))

    async def result_range(self, task: Task, form: ResultForm, start: int, length: int) -> ResultRange | None:
        """A range of the result of a task in a form. See `TaskStore.result_range`."""
        if task.result_id is None:
            return None
        key = _key(task.result_id, form)
        size = await self._blobs.size(key)
        if size is None:
            return None
        length = min(length, max(0, size - start))
        data = await self._blobs.get_range(key, start, length) if length else b""
        return None if data is None else ResultRange(data, start, size, *await self._named(task, form))

    async def _named(self, task: Task, form: ResultForm) -> tuple[str, str]:
        """Type and file name of a result."""
        if form is ResultForm.HTML:
            return HTML_RESULT, ""
        named = select(tasks.c.result_type, tasks.c.result_name).where(tasks.c.task_id == task.task_id)
        rows = await self._database.fetch(named)
        return (rows[0].result_type, rows[0].result_name) if rows else ("", "")


def _key(result_id: UUID, form: ResultForm) -> str:
    return result_key(PAGES if form is ResultForm.HTML else RESULTS, result_id)
