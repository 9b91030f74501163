"""Schedules: what is kept comes back, each run is made once however many ask, and accounts are walls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from server import settings
from server.domain.access import Scope
from server.domain.cron import Trigger
from server.domain.faces import Page
from server.domain.schedules import NewSchedule, Schedule, ScheduleFilter
from server.domain.tasks import Task, TaskFilter, TaskStatus, TaskType
from storage.blobs import BlobStore
from storage.database import Database
from storage.scheduler import Scheduler
from storage.schedules import MOST_TASKS, PostgresScheduleStore
from storage.tasks import PostgresTaskStore
from tests.integration.storage.made import EVERYONE, OURS, THEIRS

OUR_SCOPE, THEIR_SCOPE = Scope(OURS), Scope(THEIRS)
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOURLY = Trigger("0 * * * *")
EVERYTHING = TaskFilter()


@pytest.fixture
def schedules(database: Database) -> PostgresScheduleStore:
    return PostgresScheduleStore(database)


@pytest.fixture
def tasks(database: Database, tmp_path: Path) -> PostgresTaskStore:
    return PostgresTaskStore(database, BlobStore(settings.Blobs(), tmp_path))


@pytest.fixture
async def others(database_url: SecretStr) -> AsyncIterator[list[PostgresScheduleStore]]:
    """Stores of other processes, each with connections of its own."""
    databases = [Database(database_url, settings.Database(), application_name=f"other {n}") for n in range(3)]
    yield [PostgresScheduleStore(one) for one in databases]
    for one in databases:
        await one.close()


def a_schedule(account: UUID = OURS, **fields: object) -> NewSchedule:
    made = {"task_type": TaskType.GC, "content": {"target": "events"}, "description": "", "trigger": HOURLY}
    return NewSchedule(account, **{**made, "running": True, "next_run_time": NOON, **fields})  # type: ignore[arg-type]


async def got(store: PostgresScheduleStore, schedule_id: int) -> Schedule:
    found = await store.get(EVERYONE, schedule_id)
    assert found is not None
    return found


async def made_by(tasks: PostgresTaskStore, schedule_id: int) -> list[Task]:
    return await tasks.find(EVERYONE, TaskFilter(schedule_id=schedule_id), Page(size=1000))


async def end_tasks(database: Database) -> None:
    """All tasks are done."""
    async with database.transaction() as connection:
        await connection.execute(text("UPDATE tasks SET status = 5"))


async def test_a_schedule_comes_back_as_it_was(schedules: PostgresScheduleStore) -> None:
    content = {"target": "events", "filters": {"create_time__lt": "now-30d", "tags": ["Ω", None, 1.5]}}
    new = a_schedule(
        task_type=TaskType.LINKER,
        content=content,
        description="by night",
        trigger=Trigger("5 4 * * MON", "Europe/Berlin"),
    )
    before = datetime.now(UTC) - timedelta(seconds=5)
    schedule_id = await schedules.create(new)
    found = await got(schedules, schedule_id)
    assert before < found.create_time == found.last_update_time < datetime.now(UTC) + timedelta(seconds=5)
    assert found == Schedule(
        schedule_id=schedule_id,
        account_id=OURS,
        task_type=TaskType.LINKER,
        content=content,
        description="by night",
        trigger=Trigger("5 4 * * MON", "Europe/Berlin"),
        running=True,
        next_run_time=NOON,
        create_time=found.create_time,
        last_update_time=found.last_update_time,
    )


async def test_nothing_of_another_account_is_seen_or_changed(
    schedules: PostgresScheduleStore, tasks: PostgresTaskStore
) -> None:
    schedule_id = await schedules.create(a_schedule(at_once=True))
    before = await got(schedules, schedule_id)
    assert await schedules.get(THEIR_SCOPE, schedule_id) is None
    assert await schedules.find(THEIR_SCOPE, ScheduleFilter(), Page()) == []
    assert not await schedules.replace(THEIR_SCOPE, schedule_id, a_schedule(THEIRS, at_once=True))
    assert not await schedules.switch(THEIR_SCOPE, schedule_id, running=False, now=NOON)
    assert not await schedules.remove(THEIR_SCOPE, schedule_id)
    assert await got(schedules, schedule_id) == before
    assert [task.status for task in await made_by(tasks, schedule_id)] == [TaskStatus.WAITING]
    assert await tasks.count(THEIR_SCOPE, EVERYTHING) == 0


async def test_schedules_are_found_by_kind_and_time_newest_first(schedules: PostgresScheduleStore) -> None:
    ids = [await schedules.create(a_schedule(task_type=kind)) for kind in (TaskType.GC, TaskType.LINKER, TaskType.GC)]
    await schedules.create(a_schedule(THEIRS))
    times = [(await got(schedules, one)).create_time for one in ids]
    cases = [
        (ScheduleFilter(), ids[::-1]),
        (ScheduleFilter(task_type=TaskType.GC), [ids[2], ids[0]]),
        (ScheduleFilter(task_type=TaskType.ROC), []),
        (ScheduleFilter(create_time_gte=times[1]), [ids[2], ids[1]]),
        (ScheduleFilter(create_time_lt=times[1]), [ids[0]]),
    ]
    for where, expected in cases:
        found = await schedules.find(OUR_SCOPE, where, Page())
        assert [one.schedule_id for one in found] == expected, where
    assert [one.schedule_id for one in await schedules.find(OUR_SCOPE, ScheduleFilter(), Page(2, 2))] == [ids[0]]
    assert len(await schedules.find(EVERYONE, ScheduleFilter(), Page())) == 4


async def test_a_due_schedule_makes_its_task_and_moves_on(
    database: Database, schedules: PostgresScheduleStore, tasks: PostgresTaskStore
) -> None:
    content = {"target": "events", "filters": {"create_time__lt": "now-30d"}}
    schedule_id = await schedules.create(a_schedule(content=content, description="old ones"))
    assert await schedules.next_due() == NOON
    assert await schedules.run_due(NOON - timedelta(microseconds=1)) == 0
    assert await schedules.run_due(NOON) == 1
    (task,) = await made_by(tasks, schedule_id)
    assert (task.account_id, task.task_type, task.description) == (OURS, TaskType.GC, "old ones")
    assert (task.content, task.status) == (content, TaskStatus.WAITING)
    found = await got(schedules, schedule_id)
    assert (found.next_run_time, found.task_ids) == (NOON + HOUR, (task.task_id,))
    jobs = await database.fetch(text("SELECT args FROM procrastinate_jobs"))
    assert [row.args for row in jobs] == [{"task_id": task.task_id}]


async def test_no_task_is_made_while_the_one_before_has_not_ended(
    database: Database, schedules: PostgresScheduleStore, tasks: PostgresTaskStore
) -> None:
    schedule_id = await schedules.create(a_schedule())
    assert await schedules.run_due(NOON) == 1
    for status in (TaskStatus.WAITING, TaskStatus.IN_PROGRESS, TaskStatus.COLLECTING):
        async with database.transaction() as connection:
            await connection.execute(text("UPDATE tasks SET status = :status"), {"status": status.value})
        due = (await got(schedules, schedule_id)).next_run_time
        assert due is not None
        assert await schedules.run_due(due) == 0, status
        assert (await got(schedules, schedule_id)).next_run_time == due + HOUR
    for status in (TaskStatus.DONE, TaskStatus.FAILED, TaskStatus.CANCELLED):
        async with database.transaction() as connection:
            await connection.execute(text("UPDATE tasks SET status = :status"), {"status": status.value})
        due = (await got(schedules, schedule_id)).next_run_time
        assert due is not None
        assert await schedules.run_due(due) == 1, status
    assert len(await made_by(tasks, schedule_id)) == 4


async def test_what_was_missed_is_made_up_for_once(
    schedules: PostgresScheduleStore, tasks: PostgresTaskStore, database: Database
) -> None:
    schedule_id = await schedules.create(a_schedule())
    late = NOON + timedelta(days=3, minutes=20)
    assert await schedules.run_due(late) == 1
    await end_tasks(database)
    assert await schedules.run_due(late) == 0
    assert (await got(schedules, schedule_id)).next_run_time == NOON + timedelta(days=3, hours=1)
    assert len(await made_by(tasks, schedule_id)) == 1


async def test_several_schedulers_make_each_of_hundreds_of_runs_once(
    database: Database,
    schedules: PostgresScheduleStore,
    others: list[PostgresScheduleStore],
    tasks: PostgresTaskStore,
) -> None:
    ids = [await schedules.create(a_schedule()) for _ in range(300)]
    everyone = [schedules, *others]
    for run in range(1, 4):
        made = await asyncio.gather(*(store.run_due(NOON + (run - 1) * HOUR) for store in everyone))
        assert sum(made) == 300
        assert sum(one > 0 for one in made) > 1, "one did everything: nobody raced"
        rows = await database.fetch(text("SELECT schedule_id, count(*) AS n FROM tasks GROUP BY 1"))
        assert {row.schedule_id: row.n for row in rows} == dict.fromkeys(ids, run)
        await end_tasks(database)
    times = await database.fetch(text("SELECT DISTINCT next_run_time FROM schedules"))
    assert [row.next_run_time for row in times] == [NOON + 3 * HOUR]
    assert await tasks.count(OUR_SCOPE, EVERYTHING) == 900


async def test_a_scheduler_that_dies_leaves_no_half_of_a_run(
    schedules: PostgresScheduleStore, others: list[PostgresScheduleStore], database: Database
) -> None:
    ids = [await schedules.create(a_schedule()) for _ in range(60)]
    for store in others:
        running = asyncio.create_task(store.run_due(NOON))
        await asyncio.sleep(0.05)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    await schedules.run_due(NOON)
    rows = await database.fetch(
        text("""
            SELECT schedule_id, next_run_time, count(task_id) AS tasks, count(job.id) AS jobs
            FROM schedules LEFT JOIN tasks USING (schedule_id)
            LEFT JOIN procrastinate_jobs AS job ON (job.args->>'task_id')::bigint = task_id GROUP BY schedule_id
        """)
    )
    assert {row.schedule_id: (row.next_run_time, row.tasks, row.jobs) for row in rows} == dict.fromkeys(
        ids, (NOON + HOUR, 1, 1)
    )


async def test_a_paused_schedule_makes_nothing_until_it_is_started(
    schedules: PostgresScheduleStore, tasks: PostgresTaskStore
) -> None:
    schedule_id = await schedules.create(a_schedule())
    assert await schedules.switch(OUR_SCOPE, schedule_id, running=False, now=NOON)
    paused = await got(schedules, schedule_id)
    assert (paused.running, paused.next_run_time) == (False, None)
    assert await schedules.next_due() is None
    assert await schedules.run_due(NOON + 5 * HOUR) == 0
    assert await schedules.switch(OUR_SCOPE, schedule_id, running=False, now=NOON)
    assert await got(schedules, schedule_id) == paused
    assert await schedules.switch(OUR_SCOPE, schedule_id, running=True, now=NOON + 5.5 * HOUR)
    started = await got(schedules, schedule_id)
    assert (started.running, started.next_run_time) == (True, NOON + 6 * HOUR)
    assert await schedules.run_due(NOON + 5.75 * HOUR) == 0
    assert await schedules.run_due(NOON + 6 * HOUR) == 1
    assert len(await made_by(tasks, schedule_id)) == 1


async def test_starting_what_runs_does_not_put_off_what_is_due(schedules: PostgresScheduleStore) -> None:
    schedule_id = await schedules.create(a_schedule())
    before = await got(schedules, schedule_id)
    assert await schedules.switch(OUR_SCOPE, schedule_id, running=True, now=NOON + HOUR)
    assert await got(schedules, schedule_id) == before


async def test_a_schedule_that_is_replaced_cancels_its_task_and_goes_by_the_new_one(
    schedules: PostgresScheduleStore, tasks: PostgresTaskStore
) -> None:
    schedule_id = await schedules.create(a_schedule(at_once=True))
    (old,) = await made_by(tasks, schedule_id)
    created = (await got(schedules, schedule_id)).create_time
    new = a_schedule(
        task_type=TaskType.LINKER, content={"objects_type": "faces"}, description="new", trigger=Trigger("30 * * * *")
    )
    assert await schedules.replace(OUR_SCOPE, schedule_id, replace(new, next_run_time=NOON + HOUR / 2))
    ended = await tasks.get(OUR_SCOPE, old.task_id)
    assert ended is not None
    assert (ended.status, ended.end_time is None) == (TaskStatus.CANCELLED, False)
    found = await got(schedules, schedule_id)
    assert (found.task_type, found.content, found.description) == (new.task_type, new.content, "new")
    assert (found.next_run_time, found.create_time) == (NOON + HOUR / 2, created)
    assert found.last_update_time > created
    assert await schedules.run_due(NOON + HOUR / 2) == 1
    latest, first = await made_by(tasks, schedule_id)
    assert (latest.task_type, latest.content, first.task_id) == (new.task_type, new.content, old.task_id)
    assert (await got(schedules, schedule_id)).task_ids == (first.task_id, latest.task_id)


async def test_a_schedule_that_is_replaced_leaves_tasks_that_have_ended(
    database: Database, schedules: PostgresScheduleStore, tasks: PostgresTaskStore
) -> None:
    schedule_id = await schedules.create(a_schedule(at_once=True))
    await end_tasks(database)
    assert await schedules.replace(OUR_SCOPE, schedule_id, a_schedule(at_once=True))
    assert [task.status for task in await made_by(tasks, schedule_id)] == [TaskStatus.WAITING, TaskStatus.DONE]
    assert not await schedules.replace(OUR_SCOPE, schedule_id + 1, a_schedule(at_once=True))
    assert await tasks.count(EVERYONE, EVERYTHING) == 2


async def test_replacing_and_running_at_the_same_time_leave_one_task_that_goes_on(
    schedules: PostgresScheduleStore, others: list[PostgresScheduleStore], tasks: PostgresTaskStore
) -> None:
    ids = [await schedules.create(a_schedule()) for _ in range(60)]
    new = a_schedule(task_type=TaskType.LINKER, at_once=True, next_run_time=NOON + HOUR)
    await asyncio.gather(
        others[0].run_due(NOON), others[1].run_due(NOON), *(schedules.replace(OUR_SCOPE, one, new) for one in ids)
    )
    for schedule_id in ids:
        made = await made_by(tasks, schedule_id)
        going = [task.task_type for task in made if task.status is TaskStatus.WAITING]
        assert going == [TaskType.LINKER]
        # by their ids: times are those at which transactions began, and the replacing one may have waited for the other
        assert max(made, key=lambda task: task.task_id).task_type is TaskType.LINKER
        assert {task.status for task in made} <= {TaskStatus.WAITING, TaskStatus.CANCELLED}


async def test_tasks_of_a_deleted_schedule_stay(schedules: PostgresScheduleStore, tasks: PostgresTaskStore) -> None:
    schedule_id = await schedules.create(a_schedule(at_once=True))
    (task,) = await made_by(tasks, schedule_id)
    assert await schedules.remove(OUR_SCOPE, schedule_id)
    assert not await schedules.remove(OUR_SCOPE, schedule_id)
    assert await schedules.get(OUR_SCOPE, schedule_id) is None
    left = await tasks.get(OUR_SCOPE, task.task_id)
    assert left is not None
    assert (left.status, left.schedule_id) == (TaskStatus.WAITING, None)


async def test_a_schedule_tells_of_its_last_tasks_alone(database: Database, schedules: PostgresScheduleStore) -> None:
    schedule_id = await schedules.create(a_schedule())
    async with database.transaction() as connection:
        await connection.execute(
            text("""
                INSERT INTO tasks (account_id, task_type, status, content, create_time, last_update_time, schedule_id)
                SELECT account_id, 4, 5, '{}', now(), now(), schedule_id FROM schedules, generate_series(1, :count)
            """),
            {"count": MOST_TASKS + 7},
        )
    (row,) = await database.fetch(text("SELECT max(task_id) FROM tasks"))
    last = int(row[0])
    assert (await got(schedules, schedule_id)).task_ids == tuple(range(last - MOST_TASKS + 1, last + 1))


async def test_a_schedule_whose_trigger_cannot_be_read_any_more_is_paused(
    database: Database, schedules: PostgresScheduleStore, tasks: PostgresTaskStore, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = [await schedules.create(a_schedule()) for _ in range(2)]
    async with database.transaction() as connection:
        await connection.execute(
            text("UPDATE schedules SET timezone = 'Old/Zone' WHERE schedule_id = :id"), {"id": bad}
        )
    assert await schedules.run_due(NOON) == 1
    assert not (await got(schedules, bad)).running
    assert len(await made_by(tasks, good)) == 1
    assert f"schedule {bad} is paused" in caplog.text


async def test_running_schedulers_hear_of_new_schedules_and_make_their_tasks_on_time(
    database: Database,
    schedules: PostgresScheduleStore,
    others: list[PostgresScheduleStore],
    tasks: PostgresTaskStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("storage.scheduler.MOST_SECONDS", 60.0)  # a word alone wakes them
    stop = asyncio.Event()
    running = [asyncio.create_task(Scheduler(database, store).run(stop)) for store in [schedules, *others]]
    await asyncio.sleep(1)
    due = datetime.now(UTC) + timedelta(seconds=1.5)
    ids = [await schedules.create(a_schedule(next_run_time=due)) for _ in range(20)]
    paused = await schedules.create(a_schedule(running=False, next_run_time=None))
    for _ in range(400):
        if await tasks.count(OUR_SCOPE, EVERYTHING) == len(ids):
            break
        await asyncio.sleep(0.05)
    stop.set()
    await asyncio.gather(*running)
    rows = await database.fetch(text("SELECT schedule_id, create_time, status FROM tasks"))
    assert sorted(row.schedule_id for row in rows) == ids
    assert all(due <= row.create_time < due + timedelta(seconds=5) for row in rows)
    assert await made_by(tasks, paused) == []
