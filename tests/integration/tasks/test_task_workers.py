"""Tasks with real workers: shared, cancelled, taken over, tried again."""

from __future__ import annotations

import asyncio
import json
import signal
import time

from server.domain.tasks import ResultForm, TaskStatus
from tests.integration.tasks.conftest import Tasks, Workers
from tests.task_kinds import lines


async def until(condition, seconds: float = 30) -> None:
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
    assert sorted(lines(tasks.journal)) == [
        "begin 0", "begin 1", "begin 2", "collect", "end 0", "end 1", "end 2", "split"
    ]  # fmt: skip


async def test_two_workers_share_the_parts_of_a_task(tasks: Tasks, workers: Workers) -> None:
    for _ in range(2):
        workers.start(WORKERS="1")
    task_id = await tasks.create(12, seconds=0.5)
    await tasks.until(task_id, TaskStatus.DONE, seconds=60)
    begun = [line for line in lines(tasks.journal) if line.startswith("begin")]
    assert sorted(begun) == sorted({f"begin {number}" for number in range(12)})


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
    workers.start(WORKERS="2")
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
