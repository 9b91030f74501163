"""Tasks with real workers: shared, cancelled, taken over, tried again."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable

import pytest
from sqlalchemy import text

from server.domain.faces import Page
from server.domain.tasks import FailureFilter, ResultForm, TaskStatus
from storage.database import Database
from storage.task_progress import PostgresTaskProgress
from tests.integration.tasks.conftest import Tasks, Workers
from tests.servers import PostgresServer
from tests.task_kinds import lines


async def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.02)


async def test_a_task_is_split_worked_on_and_collected(tasks: Tasks, workers: Workers) -> None:
    workers.start()
    task_id = await tasks.create(3)
    task = await tasks.until(task_id, TaskStatus.DONE)
    assert (task.parts_done, task.parts_all) == (3, 3)
    assert task.end_time is not None
    result = await tasks.store.result(task, ResultForm.DATA)
    assert result is not None
    assert json.loads(result.data) == {"result": [0, 1, 2], "errors": []}
    assert sorted(line for line in lines(tasks.journal) if not line.startswith("process")) == [
        "begin 0", "begin 1", "begin 2", "collect", "end 0", "end 1", "end 2", "split"
    ]  # fmt: skip


async def test_two_workers_share_the_parts_of_a_task(tasks: Tasks, workers: Workers) -> None:
    both = await workers.up(2, WORKERS="1")
    task_id = await tasks.create(8, seconds=0.5)
    await tasks.until(task_id, TaskStatus.DONE, seconds=60)
    shares = [sum(line.startswith(f"process {one.pid} ") for line in lines(tasks.journal)) for one in both]
    assert min(shares) >= 2
    begun = [line for line in lines(tasks.journal) if line.startswith("begin")]
    assert sorted(begun) == sorted({f"begin {number}" for number in range(8)})


async def test_the_parts_of_a_killed_worker_are_taken_over(tasks: Tasks, workers: Workers) -> None:
    doomed = workers.start(WORKERS="1")
    task_id = await tasks.create(2, seconds=1, trouble={"0": ["kill"]})
    await until(lambda: doomed.poll() is not None)
    assert doomed.returncode == -signal.SIGKILL
    workers.start(WORKERS="1")
    began = time.monotonic()
    task = await tasks.until(task_id, TaskStatus.DONE)
    assert time.monotonic() - began < 20
    assert (task.parts_done, task.parts_all) == (2, 2)
    assert lines(tasks.journal).count("end 0") == 1
    assert lines(tasks.journal).count("begin 0") == 2


async def test_a_cancelled_task_stops_within_seconds(tasks: Tasks, workers: Workers) -> None:
    await workers.up(WORKERS="2")
    task_id = await tasks.create(3, seconds=600, trouble={"0": ["wait"]})
    await until(lambda: {"begin 0", "begin 1"} <= set(lines(tasks.journal)))
    assert await tasks.store.cancel(tasks.scope, task_id) is TaskStatus.IN_PROGRESS
    next_id = await tasks.create(1)
    began = time.monotonic()
    await tasks.until(next_id, TaskStatus.DONE)
    assert time.monotonic() - began < 5, "the cancelled task kept the worker"
    cancelled = await tasks.get(task_id)
    assert cancelled.status is TaskStatus.CANCELLED
    assert cancelled.end_time is not None
    assert "begin 2" not in lines(tasks.journal)
    parts = await tasks.store.subtasks(tasks.scope, task_id)
    assert {part.status for part in parts} == {TaskStatus.CANCELLED}


async def test_a_living_worker_takes_over_from_one_that_is_killed_in_the_middle(tasks: Tasks, workers: Workers) -> None:
    both = await workers.up(2, WORKERS="1")
    task_id = await tasks.create(4, seconds=4)
    await until(lambda: {"begin 0", "begin 1"} <= set(lines(tasks.journal)))
    (doomed,) = [one for one in both if f"process {one.pid} has 0" in lines(tasks.journal)]
    doomed.kill()
    killed = time.monotonic()
    await until(lambda: lines(tasks.journal).count("begin 0") == 2)
    # silent for 3 s, looked for every 0.75 s, and the other worker is busy for 4 s
    assert time.monotonic() - killed < 10
    task = await tasks.until(task_id, TaskStatus.DONE)
    assert (task.parts_done, task.parts_all) == (4, 4)
    for number in range(4):
        assert lines(tasks.journal).count(f"end {number}") == 1
    assert lines(tasks.journal).count("collect") == 1


async def test_a_worker_that_was_slow_to_say_that_it_lives_does_not_take_over_from_itself(
    tasks: Tasks, workers: Workers
) -> None:
    (slow,) = await workers.up(HEARTBEAT_SECONDS="0.2", STALLED_SECONDS="0.5", WORKERS="4")
    task_id = await tasks.create(2, trouble={str(number): ["wait"] for number in range(2)})
    await until(lambda: {"begin 0", "begin 1"} <= set(lines(tasks.journal)))
    for _ in range(5):
        slow.send_signal(signal.SIGSTOP)
        await asyncio.sleep(0.8)
        slow.send_signal(signal.SIGCONT)
        await asyncio.sleep(0.3)
    assert [lines(tasks.journal).count(f"begin {number}") for number in range(2)] == [1, 1]
    assert "lost worker" not in workers.logs()
    await tasks.store.cancel(tasks.scope, task_id)


async def test_what_nobody_foresaw_is_tried_again_and_reported_errors_are_kept_once(
    tasks: Tasks, workers: Workers
) -> None:
    workers.start()
    again, killed = ["report+unforeseen"] * 2, ["report+unforeseen", "report+kill"]
    trouble = {"0": [*again, *["report"] * 9], "1": ["report"] * 9, "2": [*killed, *["report"] * 9]}
    task_id = await tasks.create(3, trouble=trouble)
    await until(lambda: workers.processes[0].poll() is not None)
    workers.start()
    task = await tasks.until(task_id, TaskStatus.DONE)
    failures = await tasks.store.failures(tasks.scope, FailureFilter(task_ids=(task_id,)), Page(size=100))
    assert [(one.code, one.info) for one in failures] == [(12022, "a file")] * 3
    result = await tasks.store.result(task, ResultForm.DATA)
    assert result is not None
    assert len(json.loads(result.data)["errors"]) == 3


async def test_what_goes_on_failing_fails_the_task_and_says_nothing_of_its_text(tasks: Tasks, workers: Workers) -> None:
    workers.start()
    task_id = await tasks.create(2, seconds=600, trouble={"0": ["unforeseen"] * 9})
    await tasks.until(task_id, TaskStatus.FAILED)
    (failure,) = await tasks.store.failures(tasks.scope, FailureFilter(), Page())
    assert (failure.code, failure.status_code, failure.info) == (1, 500, None)
    assert "secret" not in failure.detail
    assert lines(tasks.journal).count("begin 0") == 3
    statuses = [part.status for part in await tasks.store.subtasks(tasks.scope, task_id)]
    assert statuses == [TaskStatus.FAILED, TaskStatus.CANCELLED]
    # and the other part, which would run for minutes, has made place
    began = time.monotonic()
    await tasks.until(await tasks.create(1), TaskStatus.DONE)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("content", [{"empty": True}, {"trouble": {"1": ["luna"]}}])
async def test_an_error_of_luna_ends_the_task_at_once_with_its_code(
    tasks: Tasks, workers: Workers, content: dict[str, object]
) -> None:
    workers.start()
    task_id = await tasks.create(2, **content)
    task = await tasks.until(task_id, TaskStatus.FAILED)
    assert (task.end_time is not None, task.result_id) == (True, None)
    (failure,) = await tasks.store.failures(tasks.scope, FailureFilter(), Page())
    assert (failure.code, failure.status_code, failure.task_id) == (28010, 400, task_id)
    assert lines(tasks.journal).count("split") == 1


async def test_a_stopping_worker_gives_its_parts_back(tasks: Tasks, workers: Workers) -> None:
    (stopping,) = await workers.up(WORKERS="2")
    task_id = await tasks.create(2, seconds=600, trouble={"1": ["wait"]})
    await until(lambda: {"begin 0", "begin 1"} <= set(lines(tasks.journal)))
    await workers.up(WORKERS="2")
    stopping.send_signal(signal.SIGTERM)
    began = time.monotonic()
    assert await asyncio.to_thread(stopping.wait, 10) == 0
    assert time.monotonic() - began < 5
    await until(lambda: {lines(tasks.journal).count(f"begin {number}") for number in (0, 1)} == {2}, seconds=3)
    await tasks.store.cancel(tasks.scope, task_id)
    assert "Traceback" not in workers.logs()
    assert "lost worker" not in workers.logs()


async def test_a_task_without_its_job_gets_one(tasks: Tasks, database: Database, workers: Workers) -> None:
    progress = PostgresTaskProgress(database, tasks.blobs)
    waiting, begun, collecting = [await tasks.create(2) for _ in range(3)]
    for task_id in (begun, collecting):
        await progress.begin(task_id)
        await progress.planned(task_id, [{}, {}], [])
        await progress.finish_part(task_id, 0, [])
    await tasks.files(collecting)
    await progress.finish_part(collecting, 1, [])
    assert (await tasks.get(collecting)).status is TaskStatus.COLLECTING
    async with database.transaction() as connection:
        await connection.execute(text("DELETE FROM procrastinate_jobs"))
        await connection.execute(text("UPDATE tasks SET last_update_time = now() - interval '1 minute'"))
    await tasks.files(begun)
    assert await progress.recover() == 3
    assert await progress.recover() == 0
    workers.start()
    for task_id in (waiting, begun, collecting):
        await tasks.until(task_id, TaskStatus.DONE)


async def test_the_files_of_a_task_go_when_it_has_ended_and_its_result_stays(
    tasks: Tasks, database: Database, workers: Workers
) -> None:
    workers.start()
    task = await tasks.until(await tasks.create(2), TaskStatus.DONE)
    folder = tasks.folder / "data" / "blobs" / "tasks" / str(task.task_id)
    assert any(folder.rglob("found-*"))
    await until(lambda: not any(folder.rglob("found-*")), seconds=30)
    assert await tasks.store.result(task, ResultForm.DATA) is not None
    assert await tasks.store.result(task, ResultForm.HTML) is not None
    assert await tasks.store.remove(tasks.scope, task.task_id) is TaskStatus.DONE
    assert not any((tasks.folder / "data" / "blobs").rglob(str(task.result_id)))


async def test_a_worker_goes_on_when_the_database_comes_back(
    tasks: Tasks, postgres: PostgresServer, workers: Workers
) -> None:
    workers.start()
    task_id = await tasks.create(4, seconds=2)
    await until(lambda: "begin 0" in lines(tasks.journal))
    await postgres.restart("immediate")
    await tasks.until(task_id, TaskStatus.DONE, seconds=60)
    assert lines(tasks.journal).count("collect") == 1
