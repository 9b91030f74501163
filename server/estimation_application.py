"""The composition root of the estimator: indexes of its own, built when its first task comes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

from engines.index.compare import MatrixComparer
from engines.index.follower import FollowingIndex
from gateway.render import Renderer
from server.domain.descriptors import LAYOUTS, calibrated
from server.domain.generation.generation import Generation
from server.domain.generation.keeping import Keeping
from server.domain.images import Images
from server.domain.liveness import LivenessThresholds
from server.domain.matching import Matching
from server.domain.task_contents import ContentForm
from server.domain.tasks import Collected, Kind, Subtask, TaskContext, TaskFailure, TaskType
from server.engine_application import EngineOnDemand
from server.services.event_answers import JsonAnswers
from server.services.policies import ProtoPolicyForm
from server.settings import Settings, address
from server.tasks.estimator import Estimator, EstimatorLimits
from storage import redis
from storage.accounts import PostgresAccountStore
from storage.attributes import RedisAttributeStore
from storage.audit import AuditedAttributes, PostgresAuditTrail
from storage.blobs import BlobStore
from storage.database import Database
from storage.event_feed import PostgresEventFeed
from storage.events import PostgresEventStore
from storage.face_feed import PostgresFaceFeed
from storage.faces import PostgresFaceStore
from storage.fetch import HttpFetcher
from storage.handlers import PostgresHandlerStore
from storage.media import PostgresMediaStore
from storage.samples import PostgresSampleStore
from storage.sources.opening import Sources
from storage.task_notes import PostgresTaskNotes


class EstimatorOnDemand:
    """The estimator, built when its first task comes: a worker without such tasks needs no models in its memory.

    Implements `server.domain.tasks.Kind`.

    Args:
        settings: all settings of the process.
        database: the pool of connections.
        blobs: where bytes are kept.
        trail: the audit trail.
        contents: what reads the content of a task.
        closing: closes what was built, with the worker.
        engine: of the worker.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        blobs: BlobStore,
        trail: PostgresAuditTrail,
        contents: ContentForm,
        closing: AsyncExitStack,
        engine: EngineOnDemand,
    ) -> None:
        self._settings = settings
        self._database = database
        self._blobs = blobs
        self._trail = trail
        self._contents = contents
        self._closing = closing
        self._engine = engine
        self._turn = asyncio.Lock()
        self._built: Kind | None = None

    @property
    def task_type(self) -> TaskType:
        """Its number."""
        return TaskType.ESTIMATOR

    async def split(self, context: TaskContext) -> Sequence[Mapping[str, object]]:
        """See `Estimator.split`."""
        return await (await self._estimator()).split(context)

    async def work(self, context: TaskContext, part: Subtask) -> None:
        """See `Estimator.work`."""
        await (await self._estimator()).work(context, part)

    async def collect(self, context: TaskContext, parts: Sequence[Subtask], errors: Sequence[TaskFailure]) -> Collected:
        """See `Estimator.collect`."""
        return await (await self._estimator()).collect(context, parts, errors)

    async def _estimator(self) -> Kind:
        async with self._turn:
            if self._built is None:
                async with AsyncExitStack() as stack:
                    self._built = await self._build(stack)
                    self._closing.push_async_callback(stack.pop_all().aclose)
            return self._built

    async def _build(self, stack: AsyncExitStack) -> Estimator:
        settings, database, blobs = self._settings, self._database, self._blobs
        client = redis.connect(address(settings.redis.url, "REDIS"), settings.redis)
        stack.push_async_callback(client.aclose)
        fetcher = HttpFetcher(settings.fetch)
        stack.push_async_callback(fetcher.close)
        engine = await self._engine.get()
        index = FollowingIndex(PostgresFaceFeed(database))
        stack.push_async_callback(index.close)
        await index.start()
        event_index = None
        if settings.events.enabled and settings.events.matching:
            event_index = FollowingIndex(PostgresEventFeed(database), "event index")
            stack.push_async_callback(event_index.close)
            await event_index.start()
        attributes = AuditedAttributes(RedisAttributeStore(client), self._trail)
        # who is told is for the servers' relays to see to: they look into the outbox from time to time
        events = PostgresEventStore(database, blobs, attributes)
        matching = Matching(
            index,
            MatrixComparer(),
            PostgresFaceStore(database),
            attributes,
            events if settings.events.enabled else None,
            event_index,
            descriptor_version=engine.descriptor_version,
            specs=calibrated(LAYOUTS, engine.calibrations),
        )
        images = Images(engine, PostgresSampleStore(database, blobs), fetcher)
        liveness = LivenessThresholds(settings.engine.liveness_threshold, settings.engine.liveness_quality_threshold)
        return Estimator(
            self._contents,
            Sources(settings.fetch, settings.tasks, fetcher, PostgresMediaStore(database, blobs)),
            Generation(images, matching, Keeping(events), stores_events=settings.events.enabled),
            events,
            PostgresTaskNotes(database),
            PostgresHandlerStore(database, ProtoPolicyForm(liveness)),
            PostgresAccountStore(database),
            JsonAnswers(Renderer(binary=False).render),
            EstimatorLimits(settings.tasks.images_per_part, settings.tasks.images_at_once),
        )
