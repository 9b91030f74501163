"""Tasks in PostgreSQL: what is committed together, what is forgotten, what is swept."""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from server import settings
from server.domain.access import Scope
from server.domain.task_progress import failure_of
from server.domain.tasks import JSON_RESULT, Collected, NewTask, ResultForm, TaskResult, TaskStatus, TaskType
from server.errors import NoClusters
from storage.blobs import BlobStore
from storage.database import Database
from storage.sweeper import FOLDERS, Sweeper
from storage.task_files import BlobTaskFiles
from storage.task_progress import PostgresTaskProgress
from storage.tasks import PostgresTaskStore

ACCOUNT = uuid.uuid4()
SCOPE = Scope(ACCOUNT)
SOURCE = {"source_type": "s3", "authorization": {"public_access_key": "k", "secret_access_key": "s", "user": "me"}}


class World:
    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.blobs = BlobStore(settings.Blobs(), folder)
        self.store = PostgresTaskStore(database, self.blobs)
        self.progress = PostgresTaskProgress(database, self.blobs)

    async def jobs(self) -> list[tuple[str, dict[str, int]]]:
        rows = await self.database.fetch(
            text("SELECT task_name, args FROM procrastinate_jobs WHERE status = 'todo' ORDER BY priority DESC, id")
        )
        return [(row.task_name.removeprefix("luna."), row.args) for row in rows]

    async def create(self, **content: object) -> int:
        return await self.store.create(NewTask(ACCOUNT, TaskType.ESTIMATOR, content))

    async def begun(self, parts: int, **content: object) -> int:
        task_id = await self.create(**content)
        await self.progress.begin(task_id)
        await self.progress.planned(task_id, [{} for _ in range(parts)], [])
        return task_id

    async def status(self, task_id: int) -> TaskStatus:
        task = await self.store.get(SCOPE, task_id)
        assert task is not None
        return task.status


@pytest.fixture
def world(database: Database, tmp_path: Path) -> World:
    return World(database, tmp_path)


async def test_each_step_leaves_the_jobs_that_follow_from_it(world: World) -> None:
    task_id = await world.create()
    assert await world.jobs() == [("plan", {"task_id": task_id})]
    await world.progress.begin(task_id)
    await world.progress.planned(task_id, [{}, {}], [])
    parts = [("part", {"task_id": task_id, "number": number}) for number in range(2)]
    assert (await world.jobs())[1:] == parts
    await world.progress.planned(task_id, [{}, {}, {}], [])
    assert (await world.jobs())[1:] == parts, "the plan was made a second time"
    await world.progress.finish_part(task_id, 0, [])
    await world.progress.finish_part(task_id, 0, [failure_of(NoClusters(task_id=1))])
    assert await world.status(task_id) is TaskStatus.IN_PROGRESS
    assert await world.progress.errors(task_id) == []
    await world.progress.finish_part(task_id, 1, [])
    assert await world.status(task_id) is TaskStatus.COLLECTING
    assert ("collect", {"task_id": task_id}) in await world.jobs()
    await world.progress.finish(task_id, Collected(TaskResult(b"{}", JSON_RESULT)), [])
    assert await world.status(task_id) is TaskStatus.DONE


async def test_parts_that_end_at_once_collect_once(world: World) -> None:
    task_id = await world.begun(12)
    await asyncio.gather(*(world.progress.finish_part(task_id, number, []) for number in range(12)))
    task = await world.store.get(SCOPE, task_id)
    assert task is not None
    assert (task.status, task.parts_done) == (TaskStatus.COLLECTING, 12)
    assert (await world.jobs()).count(("collect", {"task_id": task_id})) == 1


async def test_a_task_without_parts_is_collected(world: World) -> None:
    task_id = await world.begun(0)
    assert await world.status(task_id) is TaskStatus.COLLECTING
    assert ("collect", {"task_id": task_id}) in await world.jobs()


async def test_what_has_ended_is_not_changed_any_more(world: World) -> None:
    task_id = await world.begun(1)
    assert await world.store.cancel(SCOPE, task_id) is TaskStatus.IN_PROGRESS
    await world.progress.finish_part(task_id, 0, [])
    await world.progress.fail(task_id, 0, [failure_of(NoClusters(task_id=1))])
    await world.progress.finish(task_id, Collected(TaskResult(b"{}", JSON_RESULT)), [])
    task = await world.store.get(SCOPE, task_id)
    assert task is not None
    assert (task.status, task.result_id, task.parts_done) == (TaskStatus.CANCELLED, None, 0)
    assert await world.progress.errors(task_id) == []
    assert [blob async for batch in world.blobs.entries("task_results") for blob in batch] == []
    assert await world.store.cancel(SCOPE, task_id) is TaskStatus.CANCELLED


@pytest.mark.parametrize("end", ["cancel", "fail", "finish"])
async def test_what_opened_a_source_is_forgotten_when_the_task_has_ended(world: World, end: str) -> None:
    task_id = await world.begun(0, source=SOURCE, handler={})
    task = await world.store.get(SCOPE, task_id)
    assert task is not None
    assert task.content["source"] == SOURCE
    match end:
        case "cancel":
            await world.store.cancel(SCOPE, task_id)
        case "fail":
            await world.progress.fail(task_id, None, [])
        case _:
            await world.progress.finish(task_id, Collected(TaskResult(b"{}", JSON_RESULT)), [])
    task = await world.store.get(SCOPE, task_id)
    assert task is not None
    hidden = {"public_access_key": "***", "secret_access_key": "***", "user": "me"}
    assert task.content == {"source": {"source_type": "s3", "authorization": hidden}, "handler": {}}


async def test_a_content_without_a_source_stays_as_it_is(world: World) -> None:
    task_id = await world.begun(0, objects_type="faces")
    await world.progress.fail(task_id, None, [])
    task = await world.store.get(SCOPE, task_id)
    assert task is not None
    assert task.content == {"objects_type": "faces"}


async def test_nothing_outside_the_scope_is_seen_or_changed(world: World) -> None:
    task_id = await world.begun(1)
    stranger = Scope(uuid.uuid4())
    assert await world.store.get(stranger, task_id) is None
    assert await world.store.subtasks(stranger, task_id) == []
    assert await world.store.cancel(stranger, task_id) is None
    await world.store.cancel(SCOPE, task_id)
    assert await world.store.remove(stranger, task_id) is None
    assert await world.store.remove(SCOPE, task_id) is TaskStatus.CANCELLED
    assert await world.store.get(SCOPE, task_id) is None


async def test_a_result_may_come_from_a_file_and_is_read_in_ranges(world: World, tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.write_bytes(b"0123456789" * 100_000)
    task_id = await world.begun(0)
    await world.progress.finish(task_id, Collected(TaskResult(b"", "application/zip", "a.zip", made)), [])
    task = await world.store.get(SCOPE, task_id)
    assert task is not None
    part = await world.store.result_range(task, ResultForm.DATA, 999_995, 100)
    assert part is not None
    assert (part.data, part.size, part.content_type, part.filename) == (b"56789", 10**6, "application/zip", "a.zip")
    assert await world.store.result_range(task, ResultForm.HTML, 0, 1) is None


async def test_strays_of_tasks_are_swept_and_nothing_else(world: World) -> None:
    working, ended = await world.begun(1), await world.begun(0)
    await world.progress.finish(ended, Collected(TaskResult(b"{}", JSON_RESULT)), [])
    for task_id in (working, ended, 10**9):
        await BlobTaskFiles(world.blobs, task_id).write("a/b.json", b"1")
    await world.blobs.put("tasks/notes.txt", b"1")
    stray = uuid.uuid4()
    await world.blobs.put(f"task_results/{stray.hex[-2:]}/{stray}", b"1")
    young = Sweeper(world.database, world.blobs)
    assert await young.sweep_task_files() == 0
    sweeper = Sweeper(world.database, world.blobs, age=timedelta(seconds=-1))
    assert await sweeper.sweep_task_files() == 2
    assert await BlobTaskFiles(world.blobs, working).read("a/b.json") == b"1"
    assert await world.blobs.get("tasks/notes.txt") == b"1"
    assert await sweeper.sweep_blobs(len(FOLDERS)) == 1
    task = await world.store.get(SCOPE, ended)
    assert task is not None
    assert await world.store.result(task, ResultForm.DATA) == TaskResult(b"{}", JSON_RESULT)


@pytest.mark.parametrize("name", ["", "../a", "/a", "a/../b", "a//b", "a/", ".a", "ä", "a" * 101])
async def test_a_file_of_a_task_stays_in_its_folder(world: World, name: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        await BlobTaskFiles(world.blobs, 1).write(name, b"")


async def test_a_file_that_is_not_there_says_so(world: World) -> None:
    files = BlobTaskFiles(world.blobs, 1)
    with pytest.raises(FileNotFoundError):
        await files.read("a")
    await files.write("a", json.dumps([1]).encode())
    await files.write("a", json.dumps([2]).encode())
    assert json.loads(await files.read("a")) == [2]
