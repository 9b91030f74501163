"""Populations for every kind of tasks, and tasks over them that wait for a worker.

They are made once, in a database that is copied for each life of a worker: ids, times and whatever is derived from
them are then the same in all of them, and what tasks leave behind can be compared byte by byte. Each task has an
account of its own, by which its effects are told apart.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

import numpy as np
from pydantic import SecretStr

from server import settings
from server.application import content_form
from server.domain.accounts import Account, AccountType
from server.domain.attributes import AttributeContent, FaceAttribute
from server.domain.descriptors import Descriptor
from server.domain.events import Batch, RecordDetection
from server.domain.faces import Face, NewFace
from server.domain.liveness import LivenessThresholds
from server.domain.media import Media, MediaKind
from server.domain.tasks import JSON_RESULT, Collected, NewTask, TaskResult, TaskType
from storage.accounts import PostgresAccountStore
from storage.blobs import BlobStore
from storage.database import Database
from storage.face_rows import add_faces
from storage.task_progress import PostgresTaskProgress
from storage.tasks import PostgresTaskStore
from tests.integration.storage.made import a_list
from tests.integration.storage.made_events import a_new_event, an_event
from tests.populations import World, picture

PART_SIZE: Final = 25
IMAGES_PER_PART: Final = 4
MANY: Final = 10 * PART_SIZE
"""Objects of a task that costs little for each of them."""
SOME: Final = 2 * PART_SIZE - 10
"""Objects of which each costs a run of a network."""
GALLERY: Final = 4000
SAMPLED: Final = 40
PEOPLE: Final = 40
OLD_VERSION: Final = 1001
"""The version that the default pack makes."""


@dataclass(frozen=True, slots=True)
class Case:
    """A task that waits, and the account that it is alone in."""

    name: str
    task_type: TaskType
    task_id: int
    account_id: UUID


class Maker:
    """Makes the populations and tasks.

    Args:
        database: an empty, migrated one.
        blobs: an empty blob store.
        images: a folder for the images of the estimator, which workers may read.
        elsewhere: an address below which images lie that events came from.
    """

    def __init__(self, database: Database, blobs: BlobStore, images: Path, elsewhere: str) -> None:
        self._database = database
        self._blobs = blobs
        self._images = images
        self._elsewhere = elsewhere
        self._world = World(database, blobs)
        self._form = content_form(LivenessThresholds(0.88, 0))
        self._tasks = PostgresTaskStore(database, blobs)
        self._now = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
        self._number = 0

    async def make(self) -> list[Case]:
        """All of them: at least one task of each kind."""
        return [
            await self._linker_of_faces(),
            await self._linker_of_events(),
            await self._clustering(),
            await self._reporter(),
            await self._gc_of_faces(),
            await self._gc_of_events(),
            await self._gc_of_descriptors(),
            await self._extraction(),
            await self._cross_matching(),
            await self._roc(),
            await self._exporter(),
            await self._estimator(),
        ]

    async def _linker_of_faces(self) -> Case:
        account = await self._account()
        await self._faces(account, MANY)
        content = {"objects_type": "faces", "filters": {}, "create_list": 1, "list_id": str(self._id())}
        return await self._case("linker of faces", TaskType.LINKER, account, content)

    async def _linker_of_events(self) -> Case:
        account, list_id = await self._account(), self._id()
        await self._world.lists.create(a_list(list_id.int, account))
        await self._events(account, MANY // 2)
        content = {"objects_type": "events", "filters": {}, "list_id": str(list_id)}
        return await self._case("linker of events", TaskType.LINKER, account, content)

    async def _clustering(self) -> Case:
        account = await self._account()
        await self._gallery(account)
        content = {"objects_type": "faces", "filters": {}, "threshold": 0.9}
        return await self._case("clustering", TaskType.CLUSTERING, account, content)

    async def _reporter(self) -> Case:
        account = await self._account()
        faces = await self._faces(account, MANY, sampled=SAMPLED, missing=2)
        clustering = await self._task(TaskType.CLUSTERING, account, {"objects_type": "faces", "filters": {}})
        progress = PostgresTaskProgress(self._database, self._blobs)
        await progress.begin(clustering)
        await progress.planned(clustering, [], [])
        clusters = [[str(one) for one in faces[start : start + 7]] for start in range(0, len(faces), 7)]
        result = json.dumps({"result": clusters, "errors": []}).encode()
        await progress.finish(clustering, Collected(TaskResult(result, JSON_RESULT)), [])
        content = {"task_id": clustering, "save_images": 1}
        return await self._case("reporter", TaskType.REPORTER, account, content)

    async def _gc_of_faces(self) -> Case:
        account = await self._account()
        await self._faces(account, MANY, sampled=SAMPLED)
        content = {"target": "faces", "filters": {"create_time__gte": "2020-01-01T00:00:00Z"}, "remove_samples": 1}
        return await self._case("gc of faces", TaskType.GC, account, content)

    async def _gc_of_events(self) -> Case:
        account = await self._account()
        await self._events(account, MANY // 2, sampled=SAMPLED, origins=True)
        content = {"target": "events", "filters": {}, "remove_samples": 1, "remove_image_origins": 1}
        return await self._case("gc of events", TaskType.GC, account, content)

    async def _gc_of_descriptors(self) -> Case:
        account = await self._account()
        await self._faces(account, MANY, versions=(OLD_VERSION, 1002))
        content = {"target": "face_descriptors", "filters": {}, "descriptor_version": 1002}
        return await self._case("gc of descriptors", TaskType.GC, account, content)

    async def _extraction(self) -> Case:
        account = await self._account()
        await self._faces(account, SOME - 10, sampled=SOME - 10, missing=2, versions=())
        await self._faces(account, 10)
        content = {"objects_type": "faces", "filters": {}, "descriptor_version": OLD_VERSION}
        return await self._case("additional extraction", TaskType.ADDITIONAL_EXTRACT, account, content)

    async def _cross_matching(self) -> Case:
        account = await self._account()
        faces = [*(await self._gallery(account))[:MANY], self._id()]
        content = {
            "reference_filters": {"origin": "faces", "face_ids": list(map(str, faces))},
            "candidate_filters": {"origin": "faces"},
            "threshold": 0.8,
            "limit": 5,
        }
        return await self._case("cross-matching", TaskType.CROSS_MATCH, account, content)

    async def _roc(self) -> Case:
        account = await self._account()
        faces = await self._gallery(account, MANY)
        content = {
            "markup": [{"face_id": str(one), "label": number % PEOPLE} for number, one in enumerate(faces)],
            "limit": 200,
            "key_FPRs": [0.01],
        }
        return await self._case("ROC", TaskType.ROC, account, content)

    async def _exporter(self) -> Case:
        account = await self._account()
        await self._faces(account, MANY, sampled=SAMPLED, missing=2)
        content = {"objects_type": "faces", "filters": {}, "save_images": 1}
        return await self._case("exporter", TaskType.EXPORTER, account, content)

    async def _estimator(self) -> Case:
        account, list_id = await self._account(), self._id()
        await self._world.lists.create(a_list(list_id.int, account))
        for number in range(SOME):
            (self._images / f"{number:03}.jpg").write_bytes(picture(3 * number))
        for number in (3, 17):
            (self._images / f"{number:03}.jpg").write_bytes(b"no picture")
        storing = {
            "face_policy": {"store_face": 1, "link_to_lists_policy": [{"list_id": str(list_id)}]},
            "image_origin_policy": {"store_image": 1},
            "notification_policy": {"send_notification": 1},
        }
        content = {
            "source": {"source_type": "network_disk", "path": str(self._images)},
            "handler": {"policies": {"storage_policy": storing}},
            "image_type": 1,
        }
        return await self._case("estimator", TaskType.ESTIMATOR, account, content)

    async def _case(self, name: str, task_type: TaskType, account: UUID, content: Mapping[str, object]) -> Case:
        return Case(name, task_type, await self._task(task_type, account, content), account)

    async def _task(self, task_type: TaskType, account: UUID, content: Mapping[str, object]) -> int:
        written = self._form.write(self._form.message(task_type, content))
        return await self._tasks.create(NewTask(account, task_type, written))

    def _id(self) -> UUID:
        self._number += 1
        return UUID(int=self._number)

    async def _account(self) -> UUID:
        account_id, now = self._id(), self._now
        account = Account(account_id, f"{account_id}@example.com", "", AccountType.USER, "", now, now)
        await PostgresAccountStore(self._database).add(account)
        return account_id

    async def _samples(self, account: UUID, count: int) -> list[UUID]:
        ids = [self._id() for _ in range(count)]
        await asyncio.gather(*(self._world.sample(one, account) for one in ids))
        return ids

    async def _faces(
        self,
        account: UUID,
        count: int,
        *,
        sampled: int = 0,
        missing: int = 0,
        versions: Sequence[int] = (OLD_VERSION,),
    ) -> list[UUID]:
        """Faces, the first of which have samples as avatars. So many of those samples are not there."""
        samples = await self._samples(account, sampled - missing) + [self._id() for _ in range(missing)]
        vectors = tuple(Descriptor.raw(one, bytes([1]) * 256) for one in versions)
        attribute = FaceAttribute(self._now, AttributeContent(vectors)) if vectors else None
        made = [
            NewFace(
                Face(
                    self._id(),
                    account,
                    self._now,
                    external_id=f"e{number}",
                    avatar=f"/6/samples/faces/{samples[number]}" if number < sampled else "",
                ),
                attribute,
            )
            for number in range(count)
        ]
        async with self._database.transaction() as connection:
            await add_faces(connection, made)
        return [one.face.face_id for one in made]

    async def _gallery(self, account: UUID, count: int = GALLERY) -> list[UUID]:
        """Faces of people, each of which is some of them."""
        chance = np.random.default_rng(count)
        people = chance.normal(size=(PEOPLE, 128))
        made = []
        for number in range(count):
            vector = people[number % PEOPLE] + 0.5 * chance.normal(size=128)
            raw = Descriptor.raw(OLD_VERSION, (vector / np.linalg.norm(vector)).astype("<f2").tobytes())
            attribute = FaceAttribute(self._now, AttributeContent((raw,)))
            made.append(NewFace(Face(self._id(), account, self._now), attribute))
        async with self._database.transaction() as connection:
            await add_faces(connection, made)
        return [one.face.face_id for one in made]

    async def _events(self, account: UUID, count: int, *, sampled: int = 0, origins: bool = False) -> None:
        """Events of different moments, the first of which have samples, and images that are here or elsewhere."""
        samples = await self._samples(account, sampled)
        made = []
        for number in range(count):
            detections: tuple[RecordDetection, ...] = ()
            time = self._now - timedelta(seconds=number)
            if number < sampled:
                origin = None
                if origins:
                    origin = f"{self._elsewhere}/{number}.jpg" if number % 2 else await self._image(account)
                detections = (RecordDetection(time, sample_id=samples[number], image_origin=origin),)
            record = an_event(
                self._id().int,
                account,
                create_time=time,
                face_detections=detections,
                external_id=f"e{number}",
            )
            made.append(a_new_event(record, notice=None))
        await self._world.events.keep(Batch(tuple(made)))

    async def _image(self, account: UUID) -> str:
        media_id = self._id()
        row = Media(media_id, account, MediaKind.IMAGES, "image/jpeg", 1, b"hash", self._now)
        await self._world.media.add(row, b"i")
        return f"/6/images/{media_id}"


def of_population(one: UUID) -> bool:
    """Whether an id is one of the population: those are counted from 1."""
    return one.int < 1 << 64


async def make(url: SecretStr, data: Path, images: Path, elsewhere: str) -> list[Case]:
    """Make everything in a database and a folder of blobs."""
    database = Database(url, settings.Database())
    try:
        return await Maker(database, BlobStore(settings.Blobs(), data), images, elsewhere).make()
    finally:
        await database.close()
