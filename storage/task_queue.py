"""The queue that hands tasks to workers: how jobs are put into it, inside the transactions that make them needed.

The library's own function puts a job into its table, so the job is committed together with what it is about, and the
library's triggers wake the workers when that happens.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

QUEUE: Final = "tasks"
PLAN: Final = "luna.plan"
PART: Final = "luna.part"
COLLECT: Final = "luna.collect"
TIDY: Final = "luna.tidy"

TIDY_AFTER: Final = timedelta(seconds=15)
"""What still works on a task that ends has stopped by then, and leaves no file behind."""

#: The lock keeps two workers from the same job. Later parts wait behind the first ones of younger tasks, so that a long
#: task does not keep short ones waiting until it has ended.
DEFER_ONE: Final = text("""
    SELECT procrastinate_defer_jobs_v1(ARRAY[ROW(
        CAST(:queue AS text), CAST(:job AS text), 1, CAST(:lock AS text), NULL,
        jsonb_build_object('task_id', CAST(:task_id AS bigint)), now() + CAST(:after AS interval)
    )::procrastinate_job_to_defer_v1])
""")
DEFER_PARTS: Final = text("""
    SELECT procrastinate_defer_jobs_v1(array_agg(ROW(
        CAST(:queue AS text), CAST(:job AS text), -number, 'task ' || task_id || ' part ' || number, NULL,
        jsonb_build_object('task_id', task_id, 'number', number), NULL
    )::procrastinate_job_to_defer_v1 ORDER BY number))
    FROM subtasks WHERE task_id = :task_id AND status IN (0, 1) AND NOT EXISTS (
        SELECT FROM procrastinate_jobs AS job
        WHERE job.lock = 'task ' || task_id || ' part ' || number AND job.status IN ('todo', 'doing')
    )
    HAVING count(*) > 0
""")


async def defer_plan(connection: AsyncConnection, task_id: int) -> None:
    """Let a worker split a task."""
    await _defer(connection, PLAN, task_id)


async def defer_parts(connection: AsyncConnection, task_id: int) -> None:
    """Let workers do all parts of a task that have not ended and that no job is there for."""
    await connection.execute(DEFER_PARTS, {"queue": QUEUE, "job": PART, "task_id": task_id})


async def defer_collect(connection: AsyncConnection, task_id: int) -> None:
    """Let a worker make the result of a task."""
    await _defer(connection, COLLECT, task_id)


async def defer_tidy(connection: AsyncConnection, task_id: int) -> None:
    """Let a worker remove the files of a task that has ended, in a while."""
    await _defer(connection, TIDY, task_id, TIDY_AFTER)


async def _defer(connection: AsyncConnection, job: str, task_id: int, after: timedelta | None = None) -> None:
    values = {"queue": QUEUE, "job": job, "lock": f"task {task_id} {job}", "task_id": task_id, "after": after}
    await connection.execute(DEFER_ONE, values)
