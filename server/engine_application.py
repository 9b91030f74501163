"""The composition root of the engine: in the server's own process, in another one, and that other one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from luna.engine.v1 import engine_pb2_grpc

from engines.crew.processes import OF_SERVERS, Manners, ProcessCrew
from engines.engine import DefaultEngine, cores
from engines.packs.pack import Pack, load
from engines.turn import EngineObserver
from engines.vision.raw_descriptors import aggregate
from server.inference.credentials import credentials_of
from server.inference.guard import SERVICE, Guard
from server.inference.remote import RemoteEngine
from server.inference.service import InferenceService
from server.metrics import Metrics, served
from server.rpc.options import server_options
from server.settings import LOOPBACK, Engine, Settings

log = logging.getLogger(__name__)

_SHARE = 4
"""For so many images that an engine of theirs works on, one behind them works on one."""

_AROUND = 1 << 20
"""Bytes around the image in a message between server and engine."""


class SecretMissing(Exception):
    """An engine that other machines reach needs a secret."""


@asynccontextmanager
async def engine_of(
    settings: Settings, metrics: Metrics, manners: Manners = OF_SERVERS
) -> AsyncIterator[DefaultEngine | RemoteEngine]:
    """The engine that the settings choose, started: a shared one where they have its address.

    Args:
        settings: all settings of the process.
        metrics: are told of what it does.
        manners: of the processes of one that is not shared.

    Raises:
        PackMissing, PackDamaged: a model pack cannot be used.
        EngineUnreachable: the shared engine does not answer.
    """
    if not settings.engine.address:
        async with own_engine(settings, metrics, manners) as own:
            yield own
        return
    remote = RemoteEngine(
        settings.engine,
        max_message_bytes=settings.grpc.max_message_bytes + _AROUND,
        aggregate=aggregate,
        asked=metrics.asked,
    )
    try:
        log.info("waiting for the engine at %s", settings.engine.address)
        await remote.start()
        yield remote
    finally:
        await remote.close()


@asynccontextmanager
async def own_engine(
    settings: Settings, metrics: Metrics, manners: Manners = OF_SERVERS
) -> AsyncIterator[DefaultEngine]:
    """An engine of this process, started: its work is done in threads, or in processes of its own.

    Raises:
        PackMissing, PackDamaged: a model pack cannot be used.
    """
    names = dict.fromkeys(settings.engine.packs)
    packs = [await asyncio.to_thread(load, settings.models_folder, name) for name in names]
    engine = configured(packs, settings.engine, metrics, manners)
    try:
        await engine.start()
        metrics.watch_queue(lambda: engine.waiting)
        yield engine
    finally:
        await engine.close()


def configured(
    packs: Sequence[Pack], settings: Engine, observer: EngineObserver | None = None, manners: Manners = OF_SERVERS
) -> DefaultEngine:
    """An engine that is not started yet. Its work is done in threads or in processes, as the settings say."""
    apart = settings.processes and settings.device == "cpu"
    crew = ProcessCrew(packs, settings, observer, manners=manners) if apart else None
    return DefaultEngine(packs, settings, observer=observer, crew=crew)


class EngineOnDemand:
    """One engine for all that a process does now and then, started when it is first needed.

    It does what nobody waits for beside engines that people wait for: it takes but a part of the cores, its processes
    stand behind theirs, and they end when there is nothing to do.

    Args:
        settings: all settings of the process.
        closing: closes the engine, with the process.
    """

    def __init__(self, settings: Settings, closing: AsyncExitStack) -> None:
        self._settings = behind_others(settings)
        self._manners = Manners(settings.tasks.engine_nice, settings.tasks.engine_idle_seconds)
        self._closing = closing
        self._turn = asyncio.Lock()
        self._engine: DefaultEngine | RemoteEngine | None = None

    async def get(self) -> DefaultEngine | RemoteEngine:
        """The engine, started.

        Raises:
            PackMissing, PackDamaged, EngineUnreachable: as for `engine_of`.
        """
        async with self._turn:
            if self._engine is None:
                async with AsyncExitStack() as stack:
                    engine = engine_of(self._settings, Metrics(), self._manners)
                    self._engine = await stack.enter_async_context(engine)
                    self._closing.push_async_callback(stack.pop_all().aclose)
            return self._engine


def behind_others(settings: Settings) -> Settings:
    """The settings of an engine that works beside those of servers."""
    workers = settings.tasks.engine_workers or max(1, settings.engine.at_once(cores()) // _SHARE)
    return settings.model_copy(update={"engine": settings.engine.model_copy(update={"workers": workers})})


class EngineApplication:
    """One engine process."""

    def __init__(self, server: grpc.aio.Server, guard: Guard, serving: HealthServicer, port: int) -> None:
        self._server = server
        self._guard = guard
        self._serving = serving
        self.port = port

    async def start(self) -> None:
        """Begin to answer calls."""
        await self._server.start()
        for name in ("", SERVICE):
            await self._serving.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def drain(self, seconds: float) -> None:
        """Tell that no call is taken any more, let the running ones end, and stop."""
        await self._serving.enter_graceful_shutdown()
        # gRPC's own grace would end with its last second: servers watch the health until the connection is closed
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._guard.idle()
        await self._server.stop(0)


@asynccontextmanager
async def engine_application(settings: Settings) -> AsyncIterator[EngineApplication]:
    """Build an engine process. It is ready to start, and everything is closed behind it.

    Raises:
        SecretMissing: other machines would reach it without a secret.
        CertificateUnusable: its certificate or key is no good.
        PackMissing, PackDamaged: a model pack cannot be used.
    """
    host, secret = settings.engine.host, settings.engine.secret
    if host not in LOOPBACK and not secret:
        message = (
            f"LUNA_ENGINE__SECRET is empty: an engine on {host}, which is not loopback, would work for everybody. "
            "Set it, here and at the servers"
        )
        raise SecretMissing(message)
    credentials = credentials_of(settings.engine)
    async with AsyncExitStack() as stack:
        metrics = Metrics()
        stack.enter_context(served(metrics, settings.metrics.host, settings.metrics.port))
        engine = await stack.enter_async_context(own_engine(settings, metrics))
        guard = Guard(secret.get_secret_value() if secret else None, engine.descriptor_version)
        options = server_options(settings.grpc.max_message_bytes + _AROUND)
        server = grpc.aio.server(interceptors=[guard], options=options)
        engine_pb2_grpc.add_InferenceServicer_to_server(InferenceService(engine), server)
        serving = HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(serving, server)
        listen = f"{host}:{settings.engine.port}"
        port = server.add_secure_port(listen, credentials) if credentials else server.add_insecure_port(listen)
        yield EngineApplication(server, guard, serving, port)
