"""The estimator with real stores: events of every image, each once however often its part runs."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from gateway.render import Renderer
from server import settings
from server.domain.access import Scope
from server.domain.accounts import Account, AccountType
from server.domain.events import Batch
from server.domain.generation.generation import Generation
from server.domain.generation.keeping import Keeping
from server.domain.handlers import Handler, HandlerType
from server.domain.images import Images
from server.domain.liveness import LivenessThresholds
from server.domain.matching import Matching
from server.domain.policies import (
    EventPolicy,
    FacePolicy,
    ImageOriginPolicy,
    LinkToList,
    NotificationPolicy,
    Policies,
    SamplePolicy,
    StoragePolicy,
)
from server.domain.task_contents import DiskSource, Estimation, S3Source, Source, ZipSource
from server.domain.tasks import NewTask, Subtask, Task, TaskStatus, TaskStopped, TaskType
from server.errors import BadBody, Busy, FeatureOff, HandlerNotFound, ListsNotFound, NotAnImage, Unavailable
from server.services.event_answers import JsonAnswers
from server.services.policies import ProtoPolicyForm
from server.tasks.estimator import NO_HANDLER, Estimator, EstimatorLimits
from storage.accounts import PostgresAccountStore
from storage.attributes import RedisAttributeStore
from storage.audit import AuditedAttributes, PostgresAuditTrail
from storage.blobs import BlobStore
from storage.database import Database
from storage.events import PostgresEventStore
from storage.fetch import HttpFetcher
from storage.handlers import PostgresHandlerStore
from storage.media import PostgresMediaStore
from storage.samples import PostgresSampleStore
from storage.sources.opening import Sources
from storage.task_notes import PostgresTaskNotes
from storage.tasks import PostgresTaskStore
from tests.scripted_engine import ScriptedEngine, face
from tests.task_contexts import MemoryContext, MemoryFiles

LIVENESS = LivenessThresholds(0.88, 0)
KEEPING_ALL = Policies(
    storage=StoragePolicy(
        face=FacePolicy(store=True), image_origin=ImageOriginPolicy(store=True), event=EventPolicy(wait=False)
    )
)
TABLES = ("events", "event_descriptors", "event_outbox", "samples", "media", "faces", "task_notes")


class Crash(Exception):
    """The worker dies."""


@dataclass
class Forms:
    """The content of tasks as it is: no form is in the way."""

    content: Estimation

    def read(self, task_type: TaskType, form: Mapping[str, object]) -> Estimation:
        return self.content

    def shown(self, task_type: TaskType, form: Mapping[str, object]) -> dict[str, object]:
        return dict(form)


@dataclass
class Events:
    """The real store, which may be lost before or after it has kept a batch, and lets others go first."""

    store: PostgresEventStore
    before: list[Exception] = field(default_factory=list)
    after: list[Exception] = field(default_factory=list)
    pause: float = 0

    async def keep(self, batch: Batch) -> None:
        if self.before:
            raise self.before.pop()
        await asyncio.sleep(self.pause)
        await self.store.keep(batch)
        if self.after:
            raise self.after.pop()


@dataclass
class World:
    """Everything that the estimator works with."""

    database: Database
    blobs: BlobStore
    engine: ScriptedEngine
    events: Events
    media: PostgresMediaStore
    handlers: PostgresHandlerStore
    tasks: PostgresTaskStore
    estimator: Estimator
    forms: Forms
    account_id: UUID

    async def task(self, content: Estimation) -> Task:
        """A task that is kept."""
        self.forms.content = content
        task_id = await self.tasks.create(NewTask(self.account_id, TaskType.ESTIMATOR, {}))
        found = await self.tasks.get(Scope(self.account_id), task_id)
        assert found is not None
        return found

    async def split(self, context: MemoryContext) -> list[Subtask]:
        """The parts of a task."""
        now = datetime.now(UTC)
        return [
            Subtask(number, context.task.task_id, number, TaskStatus.WAITING, json.loads(json.dumps(part)), now, now)
            for number, part in enumerate(await self.estimator.split(context))
        ]

    async def run(self, content: Estimation) -> tuple[dict[str, Any], MemoryContext]:
        """A whole task: its result, and its context."""
        context = MemoryContext(await self.task(content))
        parts = await self.split(context)
        for part in parts:
            await self.estimator.work(context, part)
        return await self.result(context, parts), context

    async def result(self, context: MemoryContext, parts: list[Subtask]) -> dict[str, Any]:
        collected = await self.estimator.collect(context, parts, context.reported)
        file = collected.result.file
        assert file is not None
        data = file.read_bytes()
        file.unlink()
        return dict(json.loads(data))

    async def rows(self) -> dict[str, int]:
        counts = {name: await self.database.fetch(text(f"SELECT count(*) FROM {name}")) for name in TABLES}
        return {name: count[0][0] for name, count in counts.items()}

    async def handler(self, policies: Policies | None) -> UUID:
        now, handler_id = datetime.now(UTC), uuid4()
        kind = HandlerType.DYNAMIC if policies is None else HandlerType.STATIC
        await self.handlers.create(Handler(handler_id, self.account_id, kind, "", policies, None, now, now))
        return handler_id


@asynccontextmanager
async def _world(database: Database, redis_client: Redis, folder: Path, **options: Any) -> AsyncIterator[World]:
    blobs = BlobStore(settings.Blobs(), folder / "data")
    engine = ScriptedEngine({})
    fetch = settings.Fetch(allow_private=True)
    fetcher = HttpFetcher(fetch)
    attributes = AuditedAttributes(RedisAttributeStore(redis_client), PostgresAuditTrail(database))
    events = Events(PostgresEventStore(database, blobs, attributes))
    media, accounts = PostgresMediaStore(database, blobs), PostgresAccountStore(database)
    handlers = PostgresHandlerStore(database, ProtoPolicyForm(LIVENESS))
    matching = Matching(None, None, None, attributes, None, None, descriptor_version=1001)  # type: ignore[arg-type] # no policy here compares
    images = Images(engine, PostgresSampleStore(database, blobs), fetcher)  # type: ignore[arg-type] # it is scripted
    forms = Forms(Estimation(DiskSource("/"), None, None))
    estimator = Estimator(
        forms,
        Sources(fetch, settings.Tasks(folders=(folder,), **options), fetcher, media),
        Generation(images, matching, Keeping(events)),  # type: ignore[arg-type] # the rest of the store is not used
        events,  # type: ignore[arg-type] # the rest of the store is not used
        PostgresTaskNotes(database),
        handlers,
        accounts,
        JsonAnswers(Renderer(binary=False).render),
        EstimatorLimits(images_per_part=4, images_at_once=2),
    )
    now, account_id = datetime.now(UTC), uuid4()
    await accounts.add(Account(account_id, f"{account_id}@example.com", "", AccountType.USER, "", now, now))
    tasks = PostgresTaskStore(database, blobs)
    yield World(database, blobs, engine, events, media, handlers, tasks, estimator, forms, account_id)
    await fetcher.close()


@pytest.fixture
async def world(database: Database, redis_client: Redis, tmp_path: Path) -> AsyncIterator[World]:
    async with _world(database, redis_client, tmp_path) as one:
        yield one


@pytest.fixture
def images(world: World, tmp_path: Path) -> Path:
    """Ten pictures: 3.jpg shows nobody, 5.jpg is none, 7.jpg shows two, the others one."""
    folder = tmp_path / "images"
    folder.mkdir()
    seen: dict[bytes, Any] = {}
    for number in range(10):
        data = f"picture {number}".encode()
        (folder / f"{number}.jpg").write_bytes(data)
        seen[data] = [face(number)]
    seen[b"picture 3"] = []
    seen[b"picture 5"] = NotAnImage(message="no picture")
    seen[b"picture 7"] = [face(7), face(17)]
    world.engine.seen = seen
    return folder


def of(folder: Path, policies: Policies | None = KEEPING_ALL, **content: Any) -> Estimation:
    return Estimation(DiskSource(str(folder)), content.pop("handler_id", None), policies, **content)


ONCE = {
    "events": 9,
    "event_descriptors": 9,
    "event_outbox": 9,
    "samples": 9,
    "media": 8,  # one of each picture that shows somebody
    "faces": 9,
    "task_notes": 9,
}


async def test_every_image_has_its_events_and_a_broken_one_is_an_error(world: World, images: Path) -> None:
    result, context = await world.run(
        of(images, external_id="ours", user_data="text", tags=("a", "b"), event_source="camera")
    )
    assert [one["images"][0]["filename"] for one in result["result"]] == [f"{n}.jpg" for n in range(10) if n != 5]
    assert [len(one["events"]) for one in result["result"]] == [1, 1, 1, 0, 1, 1, 2, 1, 1]
    event = result["result"][0]["events"][0]
    assert (event["external_id"], event["user_data"], event["tags"], event["source"]) == (
        "ours",
        "text",
        ["a", "b"],
        "camera",
    )
    (failure,) = context.reported
    assert (failure.code, failure.info) == (NotAnImage.code, "5.jpg")
    (told,) = result["errors"]
    assert told["additional_info"] == "5.jpg"
    assert told["error_code"] == NotAnImage.code
    assert await world.rows() == ONCE
    kept = await world.events.store.get(Scope(world.account_id), UUID(event["event_id"]))
    assert kept is not None
    assert kept.handler_id == NO_HANDLER
    assert await world.events.store.get(Scope(uuid4()), UUID(event["event_id"])) is None


async def test_a_part_that_runs_again_keeps_nothing_again_and_answers_the_same(world: World, images: Path) -> None:
    context = MemoryContext(await world.task(of(images)))
    parts = await world.split(context)
    assert [len(part.content["files"]) for part in parts] == [4, 4, 2]
    for part in parts:
        await world.estimator.work(context, part)
    first = dict(context.files.kept)
    looked = len(world.engine.looks)
    again = MemoryContext(context.task)
    for part in parts:
        await world.estimator.work(again, part)
    assert again.files.kept == {name: data for name, data in first.items() if name.startswith("answers")}
    assert await world.rows() == ONCE
    # only the one that failed is looked at again, and reported again: its report is kept with the end of the part
    assert len(world.engine.looks) == looked + 1
    assert [one.info for one in again.reported] == ["5.jpg"]


@pytest.mark.parametrize("lost", ["before", "after"])
@pytest.mark.parametrize("place", range(1, 4))
async def test_a_worker_that_dies_anywhere_leaves_each_image_once(
    world: World, images: Path, lost: str, place: int
) -> None:
    context = MemoryContext(await world.task(of(images)))
    parts = await world.split(context)
    original = world.events.store.keep
    count = 0

    async def keep(batch: Batch) -> None:
        nonlocal count
        count += 1
        if count == place * 2 and lost == "before":
            raise Crash
        await original(batch)
        if count == place * 2 and lost == "after":
            raise Crash

    world.events.store.keep = keep  # type: ignore[method-assign]
    for part in parts:
        try:
            await world.estimator.work(context, part)
        except Crash:
            context.reported = []
            await world.estimator.work(context, part)
    result = await world.result(context, parts)
    assert len(result["result"]) == 9
    assert await world.rows() == ONCE


async def test_two_workers_with_the_same_part_keep_each_image_once(world: World, images: Path) -> None:
    context = MemoryContext(await world.task(of(images)))
    parts = await world.split(context)
    world.events.pause = 0.02
    contexts = [MemoryContext(context.task) for _ in range(4)]
    await asyncio.gather(*(world.estimator.work(one, part) for one in contexts for part in parts))
    assert await world.rows() == ONCE
    written = [one.files.kept for one in contexts]
    assert all(one == written[0] for one in written), "everybody has the answer of the one who kept it"
    blobs = [entry.key async for batch in world.blobs.entries("samples") for entry in batch]
    assert len(blobs) == ONCE["samples"], "the bytes of the others were taken back"


async def test_what_is_only_told_is_told_once(world: World, images: Path) -> None:
    told = Policies(
        storage=StoragePolicy(
            event=EventPolicy(store=False),
            face_sample=SamplePolicy(store=False),
            notification=NotificationPolicy(send=True),
        )
    )
    context = MemoryContext(await world.task(of(images, told)))
    parts = await world.split(context)
    for _ in range(2):
        for part in parts:
            await world.estimator.work(context, part)
    assert await world.rows() == dict.fromkeys(TABLES, 0) | {"event_outbox": 9, "task_notes": 9}


async def test_a_late_worker_stops_when_the_result_has_been_collected(world: World, images: Path) -> None:
    context = MemoryContext(await world.task(of(images)))
    parts = await world.split(context)
    for part in parts:
        await world.estimator.work(context, part)
    await world.result(context, parts)
    late = MemoryContext(context.task)
    with pytest.raises(TaskStopped):
        await world.estimator.work(late, parts[0])
    assert not late.files.kept
    assert (await world.result(context, parts))["result"], "collecting again needs no note"


async def test_a_deleted_task_keeps_nothing_more(world: World, images: Path) -> None:
    context = MemoryContext(await world.task(of(images)))
    parts = await world.split(context)
    await world.tasks.cancel(Scope(world.account_id), context.task.task_id)
    await world.tasks.remove(Scope(world.account_id), context.task.task_id)
    await world.estimator.work(context, parts[0])
    assert await world.rows() == dict.fromkeys(TABLES, 0)


async def test_a_cancelled_task_stops(world: World, images: Path) -> None:
    context = MemoryContext(await world.task(of(images)))
    parts = await world.split(context)
    context.cancelled = True
    with pytest.raises(TaskStopped):
        await world.estimator.work(context, parts[0])
    assert await world.rows() == dict.fromkeys(TABLES, 0)


async def test_an_image_that_trips_what_nobody_foresaw_is_an_error_of_its_own(world: World, images: Path) -> None:
    world.engine.seen = {name: seen for name, seen in world.engine.seen.items() if name != b"picture 2"}
    result, context = await world.run(of(images))
    assert sorted(str(one.info) for one in context.reported) == ["2.jpg", "5.jpg"]
    assert sum(one.code == NotAnImage.code for one in context.reported) == 1
    assert len(result["result"]) == 8


async def test_an_engine_that_is_busy_is_waited_for(
    world: World, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.tasks.estimator.BUSY_SECONDS", 0.01)
    world.events.before = [Busy(message="full", retry_after=1) for _ in range(5)]
    result, _ = await world.run(of(images))
    assert len(result["result"]) == 9
    assert await world.rows() == ONCE


@pytest.mark.parametrize("error", [Unavailable(component="PostgreSQL"), ListsNotFound(list_id=UUID(int=1))])
async def test_what_is_no_fault_of_an_image_ends_the_part(world: World, images: Path, error: Exception) -> None:
    world.events.before = [error]
    context = MemoryContext(await world.task(of(images)))
    parts = await world.split(context)
    with pytest.raises(type(error)):
        await world.estimator.work(context, parts[0])
    assert not context.reported


async def test_a_list_that_is_not_there_fails_the_task_and_keeps_nothing(world: World, images: Path) -> None:
    linked = replace(KEEPING_ALL, storage=StoragePolicy(face=FacePolicy(store=True, lists=(LinkToList(UUID(int=5)),))))
    with pytest.raises(ListsNotFound):
        await world.run(of(images, linked))
    assert (await world.rows())["events"] == 0


async def test_what_no_model_serves_fails_the_task(world: World, images: Path) -> None:
    world.engine.off = frozenset({"liveness", *__import__("server.domain.vision", fromlist=["x"]).Estimation})
    with pytest.raises(FeatureOff):
        await world.run(of(images))


async def test_the_policies_are_those_of_the_handler_or_those_that_are_given(world: World, images: Path) -> None:
    static, dynamic = await world.handler(KEEPING_ALL), await world.handler(None)
    result, _ = await world.run(of(images, None, handler_id=static))
    event = await world.events.store.get(Scope(world.account_id), UUID(result["result"][0]["events"][0]["event_id"]))
    assert event is not None
    assert event.handler_id == static
    await world.run(of(images, KEEPING_ALL, handler_id=dynamic))
    for wrong in (of(images, KEEPING_ALL, handler_id=static), of(images, None, handler_id=dynamic)):
        with pytest.raises(BadBody, match=r"handler\.policies"):
            await world.run(wrong)
    with pytest.raises(HandlerNotFound):
        await world.run(of(images, None, handler_id=uuid4()))


async def test_an_empty_source_has_an_empty_result(world: World, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    result, _ = await world.run(of(tmp_path / "nothing"))
    assert result == {"result": [], "errors": []}


async def test_an_archive_among_the_objects_of_the_account_is_read(world: World, images: Path) -> None:
    from server.domain.media import Media, MediaKind

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(10):
            one = images / f"{number}.jpg"
            archive.write(one, f"фото/{one.name}")
    object_id = uuid4()
    data = out.getvalue()
    await world.media.add(
        Media(object_id, world.account_id, MediaKind.OBJECTS, "application/zip", len(data), b"", datetime.now(UTC)),
        data,
    )
    source: Source = ZipSource(f"/6/objects/{object_id}")
    result, context = await world.run(Estimation(source, None, KEEPING_ALL))
    assert len(result["result"]) == 9
    assert [one.info for one in context.reported] == ["фото/5.jpg"]
    assert await world.rows() == ONCE | {"media": ONCE["media"] + 1}


async def test_save_origin_keeps_the_images_whatever_the_policies_say(world: World) -> None:
    content = Estimation(S3Source("bucket", save_origin=True), None, Policies())
    context = MemoryContext(await world.task(content), MemoryFiles())
    policies = await world.estimator._policies(context, content)
    assert policies.storage.image_origin.store
    plain = Estimation(S3Source("bucket"), None, Policies())
    assert not (await world.estimator._policies(context, plain)).storage.image_origin.store
