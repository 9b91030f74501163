"""Schedules in PostgreSQL.

The order of locks is a schedule, then its tasks.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Row, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncConnection

from server.domain.access import Scope
from server.domain.cron import Trigger, next_run
from server.domain.faces import Page
from server.domain.schedules import NewSchedule, Schedule, ScheduleFilter, schedule_object
from server.domain.task_progress import task_object
from server.domain.tasks import NewTask, TaskType
from server.errors import BadBody
from storage.database import Database
from storage.filters import between, inside, offset
from storage.schema import SCHEDULED, schedules, tasks
from storage.task_rows import UNFINISHED, cancel_task, insert_task

MOST_TASKS: Final = 1000
"""Tasks of a schedule that are told of with it: one that comes each minute makes half a million in a year."""

log = logging.getLogger(__name__)

_LAST = (
    select(tasks.c.task_id)
    .where(tasks.c.schedule_id == schedules.c.schedule_id)
    .order_by(tasks.c.task_id.desc())
    .limit(MOST_TASKS)
    .correlate(schedules)
    .subquery("last")
)
_TASK_IDS = select(func.array_agg(aggregate_order_by(_LAST.c.task_id, _LAST.c.task_id))).scalar_subquery()
_COLUMNS = (*schedules.c, _TASK_IDS.label("task_ids"))


class PostgresScheduleStore:
    """Implements `server.domain.schedules.ScheduleStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, new: NewSchedule) -> int:
        """Keep a new schedule, and its first task where that is made at once. Its id."""
        made: list[UUID] = []
        async with self._database.transaction(made=made) as connection:
            values = {**_columns(new), "account_id": new.account_id, "create_time": func.now()}
            kept = insert(schedules).values(values).returning(schedules.c.schedule_id)
            schedule_id = int((await connection.execute(kept)).scalar_one())
            made.append(schedule_object(schedule_id))
            await _begin(connection, schedule_id, new.account_id, new, made)
        return schedule_id

    async def get(self, scope: Scope, schedule_id: int) -> Schedule | None:
        """One schedule."""
        rows = await self._database.fetch(select(*_COLUMNS).where(*_one(scope, schedule_id)))
        return _schedule(rows[0]) if rows else None

    async def find(self, scope: Scope, where: ScheduleFilter, page: Page) -> list[Schedule]:
        """A page of schedules, newest first."""
        chosen = select(*_COLUMNS).where(*_conditions(scope, where))
        newest = chosen.order_by(schedules.c.create_time.desc(), schedules.c.schedule_id.desc())
        return [_schedule(row) for row in await self._database.fetch(newest.limit(page.size).offset(offset(page)))]

    async def replace(self, scope: Scope, schedule_id: int, new: NewSchedule) -> bool:
        """Replace a schedule, and cancel what it has made that has not ended. See `ScheduleStore.replace`."""
        made = [schedule_object(schedule_id)]
        changed = update(schedules).where(*_one(scope, schedule_id)).values(_columns(new))
        async with self._database.transaction(made=made) as connection:
            account_id = await connection.scalar(changed.returning(schedules.c.account_id))
            if account_id is None:
                return False
            for task_id in await _unfinished(connection, schedule_id):
                await cancel_task(connection, Scope(account_id), task_id)
                made.append(task_object(task_id))
            await _begin(connection, schedule_id, account_id, new, made)
        return True

    async def switch(self, scope: Scope, schedule_id: int, *, running: bool, now: datetime) -> bool:
        """Pause or start a schedule. See `ScheduleStore.switch`."""
        locked = select(schedules).where(*_one(scope, schedule_id)).with_for_update()
        async with self._database.transaction(made=(schedule_object(schedule_id),)) as connection:
            row = (await connection.execute(locked)).first()
            if row is None:
                return False
            if row.running != running:
                due = next_run(_trigger(row), now) if running else None
                await _change(connection, schedule_id, running=running, next_run_time=due)
                await _notify(connection)
        return True

    async def remove(self, scope: Scope, schedule_id: int) -> bool:
        """Delete a schedule; its tasks stay, and forget it. False where there is none."""
        async with self._database.transaction(made=(schedule_object(schedule_id),)) as connection:
            return (await connection.execute(delete(schedules).where(*_one(scope, schedule_id)))).rowcount > 0

    async def run_due(self, now: datetime) -> int:
        """Make the tasks of all schedules that are due. See `ScheduleStore.run_due`.

        Each is a transaction of its own, and one that another process works on is left to it.
        """
        made = 0
        while (ran := await self._run_one(now)) is not None:
            made += ran
        return made

    async def next_due(self) -> datetime | None:
        """When the next schedule is due; None where none is running."""
        (row,) = await self._database.fetch(select(func.min(schedules.c.next_run_time)).where(schedules.c.running))
        due: datetime | None = row[0]
        return due

    async def _run_one(self, now: datetime) -> bool | None:
        """Run the schedule that has waited longest. Whether it made a task; None where none is due."""
        due = select(schedules).where(schedules.c.running, schedules.c.next_run_time <= now)
        first = due.order_by(schedules.c.next_run_time).limit(1).with_for_update(skip_locked=True)
        async with self._database.transaction(traced=False) as connection:
            row = (await connection.execute(first)).first()
            if row is None:
                return None
            try:
                following = next_run(_trigger(row), now)
            except BadBody as error:
                # it was valid when it was made: the time zone is not known here, or the last time has come
                log.error("schedule %s is paused: %s", row.schedule_id, error)
                await _change(connection, row.schedule_id, running=False, next_run_time=None)
                return False
            moved = update(schedules).where(schedules.c.schedule_id == row.schedule_id)
            await connection.execute(moved.values(next_run_time=following))
            if await _unfinished(connection, row.schedule_id):
                log.info("schedule %s waits: its task has not ended", row.schedule_id)
                return False
            await insert_task(connection, _task(row.schedule_id, row.account_id, row))
            return True


async def _begin(
    connection: AsyncConnection, schedule_id: int, account_id: UUID, new: NewSchedule, made: list[UUID]
) -> None:
    """Make the first task of a new schedule where that is wanted, and tell the schedulers."""
    if new.at_once:
        made.append(task_object(await insert_task(connection, _task(schedule_id, account_id, new))))
    await _notify(connection)


async def _notify(connection: AsyncConnection) -> None:
    await connection.execute(select(func.pg_notify(SCHEDULED, "")))


async def _change(
    connection: AsyncConnection, schedule_id: int, *, running: bool, next_run_time: datetime | None
) -> None:
    values = {"running": running, "next_run_time": next_run_time, "last_update_time": func.now()}
    await connection.execute(update(schedules).where(schedules.c.schedule_id == schedule_id).values(values))


async def _unfinished(connection: AsyncConnection, schedule_id: int) -> list[int]:
    """Tasks of a schedule, which is locked, that have not ended."""
    open_tasks = (tasks.c.schedule_id == schedule_id, tasks.c.status.in_(UNFINISHED))
    return list(await connection.scalars(select(tasks.c.task_id).where(*open_tasks).order_by(tasks.c.task_id)))


def _task(schedule_id: int, account_id: UUID, of: NewSchedule | Row[*tuple[Any, ...]]) -> NewTask:
    return NewTask(
        account_id=account_id,
        task_type=TaskType(of.task_type),
        content=of.content,
        description=of.description,
        schedule_id=schedule_id,
    )


def _columns(new: NewSchedule) -> dict[str, object]:
    return {
        "task_type": new.task_type.value,
        "content": dict(new.content),
        "description": new.description,
        "cron": new.trigger.cron,
        "timezone": new.trigger.timezone,
        "running": new.running,
        "next_run_time": new.next_run_time,
        "last_update_time": func.now(),
    }


def _trigger(row: Row[*tuple[Any, ...]]) -> Trigger:
    return Trigger(row.cron, row.timezone)


def _schedule(row: Row[*tuple[Any, ...]]) -> Schedule:
    return Schedule(
        schedule_id=row.schedule_id,
        account_id=row.account_id,
        task_type=TaskType(row.task_type),
        content=row.content,
        description=row.description,
        trigger=_trigger(row),
        running=row.running,
        next_run_time=row.next_run_time,
        create_time=row.create_time,
        last_update_time=row.last_update_time,
        task_ids=tuple(row.task_ids or ()),
    )


def _one(scope: Scope, schedule_id: int) -> tuple[ColumnElement[bool], ...]:
    return (schedules.c.schedule_id == schedule_id, *inside(schedules.c.account_id, scope))


def _conditions(scope: Scope, where: ScheduleFilter) -> list[ColumnElement[bool]]:
    chosen = inside(schedules.c.account_id, scope)
    if where.task_type is not None:
        chosen.append(schedules.c.task_type == where.task_type.value)
    return [*chosen, *between(schedules.c.create_time, where.create_time_gte, where.create_time_lt)]
