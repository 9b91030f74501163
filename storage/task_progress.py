"""The progress of tasks in PostgreSQL: each step is one transaction, and puts the jobs that follow into the queue."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Row, case, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from server.domain.ids import uuid7
from server.domain.task_progress import NewFailure
from server.domain.tasks import Collected, Subtask, Task, TaskFailure, TaskResult, TaskStatus
from storage import task_rows
from storage.blobs import BlobStore
from storage.database import Database
from storage.schema import subtasks, task_errors, tasks
from storage.task_files import PAGES, RESULTS, files_of, result_key
from storage.task_queue import COLLECT, PLAN, defer_collect, defer_parts, defer_plan, defer_tidy

ADD_PARTS: Final = text("""
    INSERT INTO subtasks (task_id, number, content, create_time, last_update_time)
    SELECT :task_id, part.number - 1, part.content, now(), now()
    FROM jsonb_array_elements(CAST(:parts AS jsonb)) WITH ORDINALITY AS part (content, number)
""")

#: Whatever a task waits for has a job from the very transaction that made it wait. This finds what nobody should ever
#: see: jobs that were deleted by hand, or a queue that was restored from an older backup than the tasks.
ORPHANS: Final = text(f"""
    SELECT task.task_id FROM tasks AS task
    WHERE task.status IN (0, 1, 4) AND task.last_update_time < now() - interval '30 seconds' AND CASE
        WHEN task.status = 1 AND task.parts_all > 0 THEN EXISTS (
            SELECT FROM subtasks AS part
            WHERE part.task_id = task.task_id AND part.status IN (0, 1) AND NOT EXISTS (
                SELECT FROM procrastinate_jobs AS job WHERE job.status IN ('todo', 'doing')
                AND job.lock = 'task ' || part.task_id || ' part ' || part.number
            )
        )
        ELSE NOT EXISTS (
            SELECT FROM procrastinate_jobs AS job WHERE job.status IN ('todo', 'doing')
            AND job.lock = 'task ' || task.task_id || CASE task.status WHEN 4 THEN ' {COLLECT}' ELSE ' {PLAN}' END
        )
    END
    LIMIT 1000
""")  # noqa: S608 - of constants


class PostgresTaskProgress:
    """Implements `server.domain.task_progress.TaskProgress`."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    async def task(self, task_id: int) -> Task | None:
        """A task of any account."""
        rows = await self._database.fetch(select(*task_rows.TASK_COLUMNS).where(tasks.c.task_id == task_id))
        return task_rows.task(rows[0]) if rows else None

    async def part(self, task_id: int, number: int) -> Subtask | None:
        """A part of a task."""
        chosen = select(*task_rows.SUBTASK_COLUMNS).where(subtasks.c.task_id == task_id, subtasks.c.number == number)
        rows = await self._database.fetch(chosen)
        return task_rows.subtask(rows[0]) if rows else None

    async def parts(self, task_id: int) -> list[Subtask]:
        """All parts of a task, by their number."""
        chosen = select(*task_rows.SUBTASK_COLUMNS).where(subtasks.c.task_id == task_id)
        return [task_rows.subtask(row) for row in await self._database.fetch(chosen.order_by(subtasks.c.number))]

    async def errors(self, task_id: int) -> list[TaskFailure]:
        """All errors of a task, oldest first."""
        chosen = select(*task_rows.ERROR_COLUMNS).where(task_errors.c.task_id == task_id)
        return [task_rows.failure(row) for row in await self._database.fetch(chosen.order_by(task_errors.c.error_id))]

    async def begin(self, task_id: int) -> None:
        """A task is in progress."""
        chosen = (tasks.c.task_id == task_id, tasks.c.status == TaskStatus.WAITING.value)
        begun = {"status": TaskStatus.IN_PROGRESS.value, "last_update_time": func.now()}
        async with self._database.transaction(traced=False) as connection:
            await connection.execute(update(tasks).where(*chosen).values(begun))

    async def begin_part(self, task_id: int, number: int) -> None:
        """A part is in progress."""
        chosen = (
            subtasks.c.task_id == task_id,
            subtasks.c.number == number,
            subtasks.c.status == TaskStatus.WAITING.value,
        )
        begun = {"status": TaskStatus.IN_PROGRESS.value, "last_update_time": func.now()}
        async with self._database.transaction(traced=False) as connection:
            await connection.execute(update(subtasks).where(*chosen).values(begun))

    async def planned(
        self, task_id: int, parts: Sequence[Mapping[str, object]], reported: Sequence[NewFailure]
    ) -> None:
        """A task has these parts; without any its result is to be collected."""
        async with self._database.transaction(traced=False) as connection:
            row = await _locked(connection, task_id)
            if row is None or row.status != TaskStatus.IN_PROGRESS.value or row.parts_all:
                return
            await task_rows.insert_failures(connection, row, list(reported))
            if parts:
                values = {"task_id": task_id, "parts": json.dumps([dict(part) for part in parts])}
                await connection.execute(ADD_PARTS, values)
                await _change(connection, task_id, {"parts_all": len(parts)})
                await defer_parts(connection, task_id)
            else:
                await _change(connection, task_id, {"status": TaskStatus.COLLECTING.value})
                await defer_collect(connection, task_id)

    async def finish_part(self, task_id: int, number: int, reported: Sequence[NewFailure]) -> None:
        """A part is done. The last one hands the result to be collected."""
        async with self._database.transaction(traced=False) as connection:
            row = await _locked(connection, task_id)
            if row is None or row.status != TaskStatus.IN_PROGRESS.value:
                return
            chosen = (
                subtasks.c.task_id == task_id,
                subtasks.c.number == number,
                subtasks.c.status.in_(task_rows.UNFINISHED),
            )
            done = {"status": TaskStatus.DONE.value, "last_update_time": func.now(), "end_time": func.now()}
            if not (await connection.execute(update(subtasks).where(*chosen).values(done))).rowcount:
                return
            await task_rows.insert_failures(connection, row, list(reported))
            all_done = row.parts_done + 1 == row.parts_all
            status = {"status": TaskStatus.COLLECTING.value} if all_done else {}
            await _change(connection, task_id, {"parts_done": row.parts_done + 1, **status})
            if all_done:
                await defer_collect(connection, task_id)

    async def finish(self, task_id: int, collected: Collected, reported: Sequence[NewFailure]) -> None:
        """A task is done and this is its result: first its bytes, then the row that knows them."""
        result_id = uuid7()
        kept = [result_key(RESULTS, result_id)]
        await self._keep(kept[0], collected.result)
        if collected.page is not None:
            kept.append(result_key(PAGES, result_id))
            await self._keep(kept[1], collected.page)
        async with self._database.transaction(traced=False) as connection:
            row = await _locked(connection, task_id)
            done = row is not None and row.status == TaskStatus.COLLECTING.value
            if row is not None and done:
                await task_rows.insert_failures(connection, row, list(reported))
                values = {
                    "status": TaskStatus.DONE.value,
                    "end_time": func.now(),
                    "content": task_rows.without_secrets(tasks.c.content),
                    "result_id": result_id,
                    "result_type": collected.result.content_type,
                    "result_name": collected.result.filename,
                }
                await _change(connection, task_id, values)
                await defer_tidy(connection, task_id)
        if not done:
            for key in kept:
                await self._blobs.delete(key)

    async def fail(self, task_id: int, number: int | None, failures: Sequence[NewFailure]) -> None:
        """A task has failed, in one of its parts where a number is given."""
        async with self._database.transaction(traced=False) as connection:
            row = await _locked(connection, task_id)
            if row is None or row.status not in task_rows.UNFINISHED:
                return
            await task_rows.insert_failures(connection, row, list(failures))
            content = task_rows.without_secrets(tasks.c.content)
            ended = {"status": TaskStatus.FAILED.value, "end_time": func.now(), "content": content}
            await _change(connection, task_id, ended)
            failed, cancelled = TaskStatus.FAILED.value, TaskStatus.CANCELLED.value
            status = case((subtasks.c.number == number, failed), else_=cancelled) if number is not None else cancelled
            part_ended = {"status": status, "last_update_time": func.now(), "end_time": func.now()}
            open_parts = (subtasks.c.task_id == task_id, subtasks.c.status.in_(task_rows.UNFINISHED))
            await connection.execute(update(subtasks).where(*open_parts).values(part_ended))
            await defer_tidy(connection, task_id)

    async def stumble(self, task_id: int, number: int | None) -> int:
        """A step failed in a way that may pass. How often that has happened by now."""
        if number is None:
            changed = update(tasks).where(tasks.c.task_id == task_id).values(tries=tasks.c.tries + 1)
            counted = changed.returning(tasks.c.tries)
        else:
            chosen = (subtasks.c.task_id == task_id, subtasks.c.number == number)
            counted = update(subtasks).where(*chosen).values(tries=subtasks.c.tries + 1).returning(subtasks.c.tries)
        async with self._database.transaction(traced=False) as connection:
            return int(await connection.scalar(counted) or 1)

    async def ended(self, task_ids: Collection[int]) -> set[int]:
        """Those of the tasks that have ended or were deleted."""
        chosen = (task_rows.numbered(tasks.c.task_id, tuple(task_ids)), tasks.c.status.in_(task_rows.UNFINISHED))
        rows = await self._database.fetch(select(tasks.c.task_id).where(*chosen))
        return set(task_ids) - {row.task_id for row in rows}

    async def recover(self) -> int:
        """Hand out again what no job is there for. How many tasks it was."""
        orphans = [row.task_id for row in await self._database.fetch(ORPHANS)]
        for task_id in orphans:
            async with self._database.transaction(traced=False) as connection:
                row = await _locked(connection, task_id)
                if row is None or row.status not in task_rows.UNFINISHED:
                    continue
                if row.status == TaskStatus.COLLECTING.value:
                    await defer_collect(connection, task_id)
                elif row.parts_all:
                    await defer_parts(connection, task_id)
                else:
                    await defer_plan(connection, task_id)
                await _change(connection, task_id, {})
        return len(orphans)

    async def tidy(self, task_id: int) -> None:
        """Remove the files of a task, unless it still is worked on."""
        task = await self.task(task_id)
        if task is None or task.status.ended:
            async for keys in files_of(self._blobs, task_id):
                for key in keys:
                    await self._blobs.delete(key)

    async def _keep(self, key: str, result: TaskResult) -> None:
        if result.file is None:
            await self._blobs.put(key, result.data)
        else:
            await self._blobs.put_file(key, result.file)


async def _locked(connection: AsyncConnection, task_id: int) -> Row[*tuple[Any, ...]] | None:
    """The row of a task, which nobody else changes until the transaction ends."""
    columns = (
        tasks.c.task_id,
        tasks.c.account_id,
        tasks.c.task_type,
        tasks.c.status,
        tasks.c.parts_done,
        tasks.c.parts_all,
    )
    chosen = select(*columns).where(tasks.c.task_id == task_id).with_for_update()
    return (await connection.execute(chosen)).first()


async def _change(connection: AsyncConnection, task_id: int, values: Mapping[str, object]) -> None:
    changed = update(tasks).where(tasks.c.task_id == task_id).values(last_update_time=func.now(), **values)
    await connection.execute(changed)
