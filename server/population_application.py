"""The composition root of the kinds of tasks that go over populations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

from engines.vision.thumbnails import OpenCvThumbnails
from server.domain.extraction import Extraction
from server.domain.task_contents import ContentForm
from server.domain.tasks import Collected, Kind, Subtask, TaskContext, TaskFailure, TaskSettings, TaskType
from server.engine_application import EngineOnDemand
from server.settings import Settings, address
from server.tasks.additional_extraction import AdditionalExtraction
from server.tasks.contact_sheets import ContactSheets
from server.tasks.exporter import Exporter
from server.tasks.garbage_collection import GarbageCollection
from server.tasks.linker import Linker
from server.tasks.objects import ObjectReader
from server.tasks.reporter import Reporter
from server.tasks.sample_descriptors import SampleDescriptors
from storage import redis
from storage.attributes import RedisAttributeStore
from storage.audit import AuditedAttributes, PostgresAuditTrail
from storage.blobs import BlobStore
from storage.cleaning import PostgresCleaning
from storage.database import Database
from storage.described import PostgresDescribed
from storage.events import PostgresEventStore
from storage.faces import PostgresFaceStore
from storage.linking import PostgresLinking
from storage.origins import HttpOrigins
from storage.populations import PostgresPopulations
from storage.samples import PostgresSampleStore
from storage.tasks import PostgresTaskStore


def population_kinds(
    settings: Settings,
    defaults: TaskSettings,
    database: Database,
    blobs: BlobStore,
    trail: PostgresAuditTrail,
    contents: ContentForm,
    closing: AsyncExitStack,
    engine: EngineOnDemand,
) -> list[Kind]:
    """Exporter, reporter, linker, garbage collection and additional extraction.

    Args:
        settings: all settings of the process.
        defaults: how large parts are.
        database: the pool of connections.
        blobs: where bytes are kept.
        trail: the audit trail.
        contents: what reads the content of a task.
        closing: closes, with the worker, what was opened here.
        engine: of the worker.
    """
    size = defaults.part_size
    populations, samples = PostgresPopulations(database), PostgresSampleStore(database, blobs)
    reader = ObjectReader(populations, samples)
    # it only deletes events here, for which it needs no temporary attributes
    client = redis.connect(address(settings.redis.url, "REDIS"), settings.redis)
    closing.push_async_callback(client.aclose)
    attributes = AuditedAttributes(RedisAttributeStore(client), trail)
    events = PostgresEventStore(database, blobs, attributes)
    return [
        Exporter(contents, populations, reader, size),
        Reporter(
            contents,
            PostgresTaskStore(database, blobs),
            reader,
            ContactSheets(reader, OpenCvThumbnails()),
            size,
        ),
        Linker(contents, populations, PostgresLinking(database), size),
        GarbageCollection(
            contents,
            populations,
            PostgresFaceStore(database),
            events,
            samples,
            PostgresCleaning(database, blobs),
            HttpOrigins(settings.fetch),
            size,
        ),
        AdditionalExtractionOnDemand(database, samples, attributes, contents, engine, size),
    ]


class AdditionalExtractionOnDemand:
    """Additional extraction, with an engine that starts when its first task comes.

    Implements `server.domain.tasks.Kind`.
    """

    task_type = TaskType.ADDITIONAL_EXTRACT

    def __init__(
        self,
        database: Database,
        samples: PostgresSampleStore,
        attributes: AuditedAttributes,
        contents: ContentForm,
        engine: EngineOnDemand,
        part_size: int,
    ) -> None:
        self._database = database
        self._samples = samples
        self._attributes = attributes
        self._contents = contents
        self._engine = engine
        self._part_size = part_size

    async def split(self, context: TaskContext) -> Sequence[Mapping[str, object]]:
        """See `AdditionalExtraction.split`."""
        return await (await self._kind()).split(context)

    async def work(self, context: TaskContext, part: Subtask) -> None:
        """See `AdditionalExtraction.work`."""
        await (await self._kind()).work(context, part)

    async def collect(self, context: TaskContext, parts: Sequence[Subtask], errors: Sequence[TaskFailure]) -> Collected:
        """See `AdditionalExtraction.collect`."""
        return await (await self._kind()).collect(context, parts, errors)

    async def _kind(self) -> AdditionalExtraction:
        engine = await self._engine.get()
        return AdditionalExtraction(
            self._contents,
            PostgresPopulations(self._database),
            PostgresDescribed(self._database),
            SampleDescriptors(Extraction(engine, self._samples, self._attributes), engine, self._samples),
            self._part_size,
        )
