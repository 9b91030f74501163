"""The composition root of the kinds of tasks that compare descriptors: clustering, cross-matching, ROC."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from engines.packs.describing import calibrations, chosen_version
from engines.packs.errors import PackError
from engines.packs.pack import load
from engines.tasks.clustering import ComponentClusterer
from engines.tasks.nearest import ExactNeighbours
from engines.tasks.packing import DescriptorPacker
from engines.tasks.roc import RocMeasurement
from server.domain.descriptors import LAYOUTS, calibrated
from server.domain.task_contents import ContentForm
from server.domain.tasks import Kind, TaskSettings
from server.engine_application import engine_of
from server.errors import EngineFailure, Unavailable
from server.inference.remote import EngineUnreachable
from server.metrics import Metrics
from server.settings import Settings, address
from server.tasks.clustering import ClusteringKind
from server.tasks.cross_matching import CrossMatchingKind
from server.tasks.gathering import Gathering, Layouts
from server.tasks.roc import RocKind
from storage import redis
from storage.attributes import RedisAttributeStore
from storage.database import Database
from storage.galleries import StoredGalleries


def number_kinds(
    settings: Settings, defaults: TaskSettings, database: Database, contents: ContentForm, closing: AsyncExitStack
) -> list[Kind]:
    """Clustering, cross-matching and ROC.

    Args:
        settings: all settings of the process.
        defaults: how large parts are.
        database: the pool of connections.
        contents: what reads the content of a task.
        closing: closes, with the worker, what is opened here.
    """
    client = redis.connect(address(settings.redis.url, "REDIS"), settings.redis)
    closing.push_async_callback(client.aclose)
    galleries = StoredGalleries(database, RedisAttributeStore(client))
    gathering = Gathering(galleries, DescriptorPacker(), LayoutsOnDemand(settings))
    return [
        ClusteringKind(contents, gathering, ComponentClusterer()),
        CrossMatchingKind(contents, gathering, ExactNeighbours(), defaults),
        RocKind(contents, gathering, RocMeasurement(), defaults),
    ]


class LayoutsOnDemand:
    """The layouts of descriptors, learnt when the first task asks: from a shared engine, or from the packs' manifests.

    No network is loaded: descriptors that are stored are compared without one.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._turn = asyncio.Lock()
        self._learnt: Layouts | None = None

    async def __call__(self) -> Layouts:
        """The layouts.

        Raises:
            Unavailable: the shared engine does not answer.
            EngineFailure: a model pack cannot be used.
        """
        async with self._turn:
            if self._learnt is None:
                self._learnt = await (self._of_engine() if self._settings.engine.address else self._of_packs())
            return self._learnt

    async def _of_engine(self) -> Layouts:
        try:
            async with engine_of(self._settings, Metrics()) as engine:
                return Layouts(engine.descriptor_version, calibrated(LAYOUTS, engine.calibrations))
        except EngineUnreachable as error:
            raise Unavailable(component="The inference engine") from error

    async def _of_packs(self) -> Layouts:
        names = dict.fromkeys(self._settings.engine.packs)
        try:
            packs = [await asyncio.to_thread(load, self._settings.models_folder, name) for name in names]
            return Layouts(chosen_version(packs, self._settings.engine), calibrated(LAYOUTS, calibrations(packs)))
        except PackError as error:
            raise EngineFailure(message=error) from error
