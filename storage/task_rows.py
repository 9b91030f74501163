"""Rows of tasks, their parts and errors: how they are read, and which a filter selects."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ARRAY, BigInteger, ColumnElement, Row, Text, any_, func, insert, literal, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from server.domain.access import Scope
from server.domain.task_progress import NewFailure
from server.domain.tasks import FailureFilter, NewTask, Subtask, Task, TaskFailure, TaskFilter, TaskStatus, TaskType
from storage.filters import between, inside
from storage.schema import subtasks, task_errors, tasks
from storage.task_queue import defer_plan, defer_tidy

UNFINISHED = tuple(status.value for status in TaskStatus if not status.ended)
TASK_COLUMNS = tuple(column for column in tasks.c if column.name not in {"result_type", "result_name", "tries"})
SUBTASK_COLUMNS = tuple(column for column in subtasks.c if column.name != "tries")
ERROR_COLUMNS = tuple(column for column in task_errors.c if column.name != "account_id")


def task(row: Row[*tuple[Any, ...]]) -> Task:
    """A task from `TASK_COLUMNS`."""
    values = {**row._mapping, "task_type": TaskType(row.task_type), "status": TaskStatus(row.status)}
    return Task(**values)


def subtask(row: Row[*tuple[Any, ...]]) -> Subtask:
    """A part from `SUBTASK_COLUMNS`."""
    return Subtask(**{**row._mapping, "status": TaskStatus(row.status)})


def failure(row: Row[*tuple[Any, ...]]) -> TaskFailure:
    """An error from `ERROR_COLUMNS`."""
    return TaskFailure(**{**row._mapping, "task_type": TaskType(row.task_type)})


def conditions(scope: Scope, where: TaskFilter) -> list[ColumnElement[bool]]:
    """Everything that a task must satisfy."""
    row = tasks.c
    chosen = inside(row.account_id, scope)
    if where.task_ids is not None:
        chosen.append(numbered(row.task_id, where.task_ids))
    if where.task_type is not None:
        chosen.append(row.task_type == where.task_type.value)
    if where.status is not None:
        chosen.append(row.status == where.status.value)
    if where.schedule_id is not None:
        chosen.append(row.schedule_id == where.schedule_id)
    chosen += between(row.create_time, where.create_time_gte, where.create_time_lt)
    chosen += between(row.end_time, where.end_time_gte, where.end_time_lt)
    return chosen


def failure_conditions(scope: Scope, where: FailureFilter) -> list[ColumnElement[bool]]:
    """Everything that an error must satisfy."""
    row = task_errors.c
    chosen = inside(row.account_id, scope)
    if where.error_ids is not None:
        chosen.append(numbered(row.error_id, where.error_ids))
    if where.task_ids is not None:
        chosen.append(numbered(row.task_id, where.task_ids))
    if where.task_type is not None:
        chosen.append(row.task_type == where.task_type.value)
    if where.code is not None:
        chosen.append(row.code == where.code)
    if where.status_code is not None:
        chosen.append(row.status_code == where.status_code)
    return [*chosen, *between(row.time, where.time_gte, where.time_lt)]


def numbered(column: ColumnElement[int], ids: tuple[int, ...]) -> ColumnElement[bool]:
    """The condition that a number is one of many, which travel as one array."""
    return column == any_(literal(list(ids), ARRAY(BigInteger)))


def without_secrets(content: ColumnElement[Any]) -> ColumnElement[Any]:
    """The content of a task that has ended: what opened its sources is needed no more, and is overwritten.

    The members are those that `server.services.task_contents` hides.
    """
    for name in ("password", "public_access_key", "secret_access_key"):
        path = literal(["source", "authorization", name], ARRAY(Text))
        content = func.jsonb_set(content, path, literal("***", JSONB), False)
    return content


async def insert_task(connection: AsyncConnection, new: NewTask) -> int:
    """Keep a new task and the job that splits it, in the caller's transaction. Its id."""
    values = {
        "account_id": new.account_id,
        "task_type": new.task_type.value,
        "content": dict(new.content),
        "description": new.description,
        "create_time": func.now(),
        "last_update_time": func.now(),
        "schedule_id": new.schedule_id,
    }
    task_id = await connection.scalar(insert(tasks).values(values).returning(tasks.c.task_id))
    if task_id is None:
        message = "a row that was inserted has no id"
        raise RuntimeError(message)
    await defer_plan(connection, int(task_id))
    return int(task_id)


async def cancel_task(connection: AsyncConnection, scope: Scope, task_id: int) -> TaskStatus | None:
    """Cancel a task that has not ended, in the caller's transaction. The status it had; None where there is none."""
    chosen = (tasks.c.task_id == task_id, *inside(tasks.c.account_id, scope))
    found = await connection.scalar(select(tasks.c.status).where(*chosen).with_for_update())
    if found is None:
        return None
    status = TaskStatus(found)
    if not status.ended:
        ended = {"status": TaskStatus.CANCELLED.value, "last_update_time": func.now(), "end_time": func.now()}
        content = without_secrets(tasks.c.content)
        await connection.execute(update(tasks).where(tasks.c.task_id == task_id).values(content=content, **ended))
        open_parts = (subtasks.c.task_id == task_id, subtasks.c.status.in_(UNFINISHED))
        await connection.execute(update(subtasks).where(*open_parts).values(ended))
        await defer_tidy(connection, task_id)
    return status


async def insert_failures(connection: AsyncConnection, row: Row[*tuple[Any, ...]], failures: list[NewFailure]) -> None:
    """Keep errors of a task, whose row has its id, account and type."""
    if failures:
        one = {"task_id": row.task_id, "account_id": row.account_id, "task_type": row.task_type}
        rows = [
            one
            | {
                "code": new.code,
                "status_code": new.status_code,
                "time": new.time,
                "description": new.description,
                "detail": new.detail,
                "info": new.info,
            }
            for new in failures
        ]
        await connection.execute(insert(task_errors), rows)
