"""The composition root of a worker's tasks: the kinds, and what they work with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

from server.application import content_form, task_settings
from server.domain.liveness import LivenessThresholds
from server.domain.task_contents import ContentForm
from server.domain.task_work import TaskWork
from server.domain.tasks import Kind, Kinds, TaskSettings
from server.engine_application import EngineOnDemand
from server.estimation_application import EstimatorOnDemand
from server.number_application import number_kinds
from server.population_application import population_kinds
from server.settings import Settings, address
from storage.audit import PostgresAuditTrail
from storage.blobs import BlobStore
from storage.database import Database
from storage.task_files import BlobTaskFiles
from storage.task_progress import PostgresTaskProgress
from storage.task_worker import TaskWorker


@dataclass(frozen=True, slots=True)
class Parts:
    """What kinds are made of. Engines and indexes are built by those who need them.

    Attributes:
        settings: all settings of the process.
        defaults: what tasks do where callers say nothing, and how large parts are.
        database: the pool of connections.
        blobs: where bytes are kept.
        trail: the audit trail, for stores whose changes are not in PostgreSQL.
        contents: what reads the content of a task.
        closing: closes, with the worker, what kinds have opened.
    """

    settings: Settings
    defaults: TaskSettings
    database: Database
    blobs: BlobStore
    trail: PostgresAuditTrail
    contents: ContentForm
    closing: AsyncExitStack


MakeKinds: TypeAlias = Callable[[Parts], Sequence[Kind]]


def kinds(parts: Parts) -> list[Kind]:
    """Every kind of tasks that workers do: one line for each."""
    shared = (parts.settings, parts.database, parts.blobs, parts.trail, parts.contents, parts.closing)
    engine = EngineOnDemand(parts.settings, parts.closing)
    return [
        EstimatorOnDemand(*shared, engine),
        *population_kinds(parts.settings, parts.defaults, *shared[1:], engine),
        *number_kinds(parts.settings, parts.defaults, parts.database, parts.contents, parts.closing),
    ]


@asynccontextmanager
async def task_worker(
    settings: Settings, database: Database, blobs: BlobStore, make: MakeKinds = kinds
) -> AsyncIterator[TaskWorker]:
    """The part of a worker that does tasks.

    Raises:
        NotConfigured: an address is missing.
    """
    trail = PostgresAuditTrail(database)
    progress = PostgresTaskProgress(database, blobs)
    liveness = LivenessThresholds(settings.engine.liveness_threshold, settings.engine.liveness_quality_threshold)
    options = settings.tasks
    async with AsyncExitStack() as closing:
        parts = Parts(settings, task_settings(settings), database, blobs, trail, content_form(liveness), closing)
        work = TaskWork(
            Kinds(make(parts)),
            progress,
            trail,
            lambda task_id: BlobTaskFiles(blobs, task_id),
            tries=options.tries,
            retry_seconds=options.retry_seconds,
        )
        yield TaskWorker(address(settings.database.url, "DATABASE"), options, work, progress)
