"""The composition root: builds one server process from its settings, starts it, and takes it down in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection
from luna.v6 import (
    accounts_pb2,
    attributes_pb2,
    blobs_pb2,
    documents_pb2,
    events_pb2,
    faces_pb2,
    handlers_pb2,
    iso_pb2,
    lambdas_pb2,
    lists_pb2,
    liveness_pb2,
    matcher_pb2,
    platform_pb2,
    samples_pb2,
    sdk_pb2,
    tasks_pb2,
    tokens_pb2,
    verifiers_pb2,
)

from engines.index.compare import MatrixComparer
from engines.index.follower import FollowingIndex, Pace
from gateway.binder import Binder
from gateway.documentation import Documentation
from gateway.edge import path_pattern, proxied_templates, socket_paths
from gateway.handlers import rest_handlers
from gateway.lambda_page import lambda_page
from gateway.render import Renderer
from gateway.websocket import WebSockets
from server.certificates import authorities
from server.domain.claims import Claims
from server.domain.descriptors import LAYOUTS, calibrated
from server.domain.detection import Detection
from server.domain.event_conditions import Condition
from server.domain.extraction import Extraction
from server.domain.generation.generation import Generation
from server.domain.generation.keeping import Keeping
from server.domain.handler_registry import HandlerRegistry
from server.domain.images import Images
from server.domain.iso import IsoChecks
from server.domain.lambda_registry import LambdaRegistry
from server.domain.lambdas import LambdaHost, LambdaStore
from server.domain.liveness import LivenessPrediction, LivenessThresholds
from server.domain.matching import Matching
from server.domain.passwords import Passwords
from server.domain.people import People
from server.domain.registry import AccountRegistry
from server.domain.schedules import ScheduleRegistry
from server.domain.sdk import Sdk
from server.domain.subscriptions import Subscriptions
from server.domain.task_registry import TaskRegistry
from server.domain.tasks import TaskSettings
from server.domain.tokens import TokenRegistry
from server.domain.verification import Verification
from server.edge_client import Trust
from server.engine_application import engine_of
from server.errors import Busy, LambdaOff
from server.health import Health
from server.inference.remote import RemoteEngine
from server.lambda_archives.process import ArchiveProcesses
from server.lambda_archives.reading import ArchiveRules
from server.lambdas.client import RemoteLambdaHost
from server.metrics import Metrics, PortTaken, served
from server.rpc.admission import Admission
from server.rpc.authorization import Authorizer
from server.rpc.dispatcher import Dispatcher
from server.rpc.methods import collect, collect_streams
from server.rpc.native import handlers
from server.rpc.options import server_options
from server.rpc.streams import Streams
from server.services.accounts import AccountsService
from server.services.attributes import AttributesService
from server.services.blobs import ImagesService, ObjectsService
from server.services.documents import DocumentsService
from server.services.event_generation import EventGeneration
from server.services.events import EventsService
from server.services.faces import FacesService
from server.services.handler_lambdas import HandlerLambdas
from server.services.handlers import HandlersService
from server.services.iso import IsoService
from server.services.lambda_docs import LambdaDocuments
from server.services.lambdas import LambdasOff, LambdasService
from server.services.lists import ListsService
from server.services.liveness import LivenessService
from server.services.matcher import MatcherService
from server.services.platform import PlatformService
from server.services.policies import ProtoPolicyForm
from server.services.samples import SamplesService
from server.services.schedules import SchedulesService
from server.services.sdk import SdkService
from server.services.subscriptions import SubscriptionsService, read_notice
from server.services.task_contents import ProtoContentForm
from server.services.task_creation import TaskPreparation
from server.services.tasks import TasksService
from server.services.tokens import CredentialsService, TokensService
from server.services.verifier_policies import ProtoVerifierPolicyForm
from server.services.verifiers import VerifiersService
from server.settings import Settings, address, shown
from storage import redis
from storage.accounts import PostgresAccountStore
from storage.attributes import RedisAttributeStore
from storage.audit import AuditedAttributes, PostgresAuditTrail
from storage.blobs import BlobStore
from storage.database import Database
from storage.event_feed import PostgresEventFeed
from storage.event_months import EventMonths
from storage.events import PostgresEventStore
from storage.face_feed import PostgresFaceFeed
from storage.faces import PostgresFaceStore
from storage.fetch import HttpFetcher
from storage.handlers import PostgresHandlerStore
from storage.lambdas import PostgresLambdaStore
from storage.lists import PostgresListStore
from storage.logins import RedisFailedLogins
from storage.media import PostgresMediaStore
from storage.notices import RedisNotices
from storage.outbox import OutboxRelay
from storage.samples import PostgresSampleStore
from storage.schedules import PostgresScheduleStore
from storage.tasks import PostgresTaskStore
from storage.tokens import PostgresTokenStore
from storage.verifiers import PostgresVerifierStore

log = logging.getLogger(__name__)

SERVICES = {
    "Platform": platform_pb2.DESCRIPTOR.services_by_name["Platform"],
    "Accounts": accounts_pb2.DESCRIPTOR.services_by_name["Accounts"],
    "Tokens": tokens_pb2.DESCRIPTOR.services_by_name["Tokens"],
    "Credentials": tokens_pb2.DESCRIPTOR.services_by_name["Credentials"],
    "Sdk": sdk_pb2.DESCRIPTOR.services_by_name["Sdk"],
    "Iso": iso_pb2.DESCRIPTOR.services_by_name["Iso"],
    "Samples": samples_pb2.DESCRIPTOR.services_by_name["Samples"],
    "Images": blobs_pb2.DESCRIPTOR.services_by_name["Images"],
    "Objects": blobs_pb2.DESCRIPTOR.services_by_name["Objects"],
    "Attributes": attributes_pb2.DESCRIPTOR.services_by_name["Attributes"],
    "Faces": faces_pb2.DESCRIPTOR.services_by_name["Faces"],
    "Lists": lists_pb2.DESCRIPTOR.services_by_name["Lists"],
    "Matcher": matcher_pb2.DESCRIPTOR.services_by_name["Matcher"],
    "Events": events_pb2.DESCRIPTOR.services_by_name["Events"],
    "Handlers": handlers_pb2.DESCRIPTOR.services_by_name["Handlers"],
    "Verifiers": verifiers_pb2.DESCRIPTOR.services_by_name["Verifiers"],
    "Lambdas": lambdas_pb2.DESCRIPTOR.services_by_name["Lambdas"],
    "Liveness": liveness_pb2.DESCRIPTOR.services_by_name["Liveness"],
    "Subscriptions": events_pb2.DESCRIPTOR.services_by_name["Subscriptions"],
    "Tasks": tasks_pb2.DESCRIPTOR.services_by_name["Tasks"],
    "Schedules": tasks_pb2.DESCRIPTOR.services_by_name["Schedules"],
    "Documents": documents_pb2.DESCRIPTOR.services_by_name["Documents"],
}
"""Every service that is served, in the reference document's order."""

EVENTS_PACE = Pace(attention=0.25)
"""Nobody tells the index of events of new ones: it looks often, so that a search has little to catch up with."""

COMPONENTS = {
    "Handlers": "handlers",
    "Events": "events",
    "Subscriptions": "sender",
    "Samples": "image_store",
    "Matcher": "index_module",
    "Tasks": "tasks",
    "Lambdas": "lambda",
}
"""The services that /6/features knows, by its names for them."""

ROOM = 64 << 10
"""What an answer with the bytes of a result may have beside them."""

MOST_ARCHIVES = 8
"""Archives of lambdas that wait to be looked at; further ones are refused."""

HEALTH_SECONDS = 2.0
"""How often the parts are asked for the sake of `grpc.health.v1`."""


def components(settings: Settings) -> frozenset[str]:
    """The parts that this server has, by the names of /6/features."""
    off = set() if settings.lambdas.enabled else {"Lambdas"}
    return frozenset(name for service, name in COMPONENTS.items() if service in SERVICES.keys() - off)


def content_form(liveness: LivenessThresholds) -> ProtoContentForm:
    """The form that contents of tasks are kept in: the one that REST has."""
    return ProtoContentForm(Binder(binary=False).bind, Renderer(binary=False).render, liveness)


def task_settings(settings: Settings) -> TaskSettings:
    """What tasks do where callers say nothing."""
    options = settings.tasks
    return TaskSettings(
        clustering_threshold=options.clustering_threshold,
        cross_match_threshold=options.cross_match_threshold,
        cross_match_limit=options.cross_match_limit,
        part_size=options.part_size,
    )


class Application:
    """One server process: gRPC, its REST facade, and everything behind them."""

    def __init__(
        self, server: grpc.aio.Server, health: Health, serving: HealthServicer, streams: Streams, port: int
    ) -> None:
        self._server = server
        self._health = health
        self._serving = serving
        self._streams = streams
        self.port = port

    async def start(self) -> None:
        """Begin to answer calls."""
        await self._server.start()

    async def watch(self) -> None:
        """Tell `grpc.health.v1` how the parts are, until cancelled."""
        while True:
            await self._tell(serving=await self._healthy())
            await asyncio.sleep(HEALTH_SECONDS)

    async def drain(self, seconds: float) -> None:
        """Tell that no call is taken any more, end the streams, let the other calls end, and stop."""
        await self._serving.enter_graceful_shutdown()
        self._streams.stop()
        await self._server.stop(seconds)

    async def _healthy(self) -> bool:
        try:
            await self._health.check()
        except Exception as error:  # noqa: BLE001 - whatever a probe raises, the service is not healthy
            log.warning("not serving: %s", error)
            return False
        return True

    async def _tell(self, *, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *(service.full_name for service in SERVICES.values())):
            await self._serving.set(name, status)


@asynccontextmanager
async def application(settings: Settings) -> AsyncIterator[Application]:
    """Build a server process. It is ready to start, and everything is closed behind it.

    Raises:
        NotConfigured: an address is missing.
        PackMissing, PackDamaged: a model pack cannot be used.
        EngineUnreachable: the shared engine does not answer.
    """
    async with AsyncExitStack() as stack:
        metrics = Metrics()
        stack.enter_context(served(metrics, settings.metrics.host, settings.metrics.port))
        database = Database(
            address(settings.database.url, "DATABASE"), settings.database, application_name="luna-server"
        )
        stack.push_async_callback(database.close)
        client = redis.connect(address(settings.redis.url, "REDIS"), settings.redis)
        stack.push_async_callback(client.aclose)
        blobs = BlobStore(settings.blobs, settings.data)
        fetcher = HttpFetcher(settings.fetch)
        stack.push_async_callback(fetcher.close)
        passwords = Passwords(settings.access.password_cache_seconds)
        stack.callback(passwords.close)

        engine = await stack.enter_async_context(engine_of(settings, metrics))
        feed = PostgresFaceFeed(database)
        stack.push_async_callback(feed.close)
        index = FollowingIndex(feed)
        await index.start()
        stack.push_async_callback(index.close)

        stream = RedisNotices(
            client, settings.events.stream_length, settings.events.stream_bytes, settings.redis.timeout_seconds
        )
        stack.push_async_callback(stream.close)
        subscriptions = Subscriptions(stream, read_notice)
        await subscriptions.start()
        stack.push_async_callback(subscriptions.close)
        relay = OutboxRelay(database, stream, lambda: subscriptions.last)
        await relay.start()
        stack.push_async_callback(relay.close)

        accounts = PostgresAccountStore(database)
        samples = PostgresSampleStore(database, blobs)
        trail = PostgresAuditTrail(database)
        attributes = AuditedAttributes(RedisAttributeStore(client), trail)
        faces = PostgresFaceStore(database)
        lists = PostgresListStore(database)
        media = PostgresMediaStore(database, blobs)
        events = PostgresEventStore(database, blobs, attributes, told=relay.wake)
        failures = RedisFailedLogins(
            client, most=settings.access.login_failures, window_seconds=settings.access.login_window_seconds
        )
        registry = AccountRegistry(accounts, passwords, failures, open_registration=settings.registration_open)
        tokens = TokenRegistry(PostgresTokenStore(database), accounts)
        authorizer = Authorizer(registry, tokens, account_header=settings.access.account_header)
        if settings.access.admin_password is not None:
            await registry.ensure_admin(settings.access.admin_login, settings.access.admin_password.get_secret_value())

        try:
            await EventMonths(database).prepare()
        except Busy as error:
            log.warning("the months of events are left to the worker: %s", error)

        version = engine.descriptor_version
        specs = calibrated(LAYOUTS, engine.calibrations)
        searched = settings.events.enabled and settings.events.matching
        matching = Matching(
            index,
            MatrixComparer(),
            faces,
            attributes,
            events if settings.events.enabled else None,
            await _event_index(stack, database) if searched else None,
            descriptor_version=version,
            specs=specs,
        )
        probes = {"PostgreSQL": database.ready, "Redis": lambda: redis.ready(client), "blob store": blobs.ready}
        if isinstance(engine, RemoteEngine):
            probes["The inference engine"] = engine.ready
        health = Health(probes)
        pictures = Images(engine, samples, fetcher)
        liveness = LivenessThresholds(settings.engine.liveness_threshold, settings.engine.liveness_quality_threshold)
        handler_store = PostgresHandlerStore(database, ProtoPolicyForm(liveness))
        lambdas = PostgresLambdaStore(database, blobs)
        host = _lambda_host(stack, settings)
        handler_registry = HandlerRegistry(handler_store, lists, None if host is None else lambdas)
        keeping = Keeping(events)
        stack.push_async_callback(keeping.drain)
        generation = Generation(pictures, matching, keeping, stores_events=settings.events.enabled)
        tasks = PostgresTaskStore(database, blobs)
        task_registry = TaskRegistry(tasks, lists, handler_store, handler_registry)
        contents = content_form(liveness)
        preparation = TaskPreparation(contents, task_registry, task_settings(settings), descriptor_version=version)
        schedules = PostgresScheduleStore(database)
        verifiers = PostgresVerifierStore(database, ProtoVerifierPolicyForm(liveness))
        documentation = Documentation(SERVICES.values())
        answers = settings.grpc.max_message_bytes - ROOM
        servicers = {
            "Platform": PlatformService(health, engine, shown(settings), components(settings)),
            "Accounts": AccountsService(registry, authorizer),
            "Tokens": TokensService(tokens, PostgresTokenStore(database)),
            "Credentials": CredentialsService(registry, tokens, account_header=settings.access.account_header),
            "Sdk": SdkService(Sdk(pictures, liveness), liveness),
            "Iso": IsoService(IsoChecks(pictures)),
            "Samples": SamplesService(Detection(pictures, samples, liveness), engine, samples, liveness),
            "Images": ImagesService(engine, media),
            "Objects": ObjectsService(media),
            "Attributes": AttributesService(
                Extraction(engine, samples, attributes), attributes, descriptor_version=version
            ),
            "Faces": FacesService(People(faces, attributes), faces, descriptor_version=version),
            "Lists": ListsService(lists),
            "Matcher": MatcherService(matching, descriptor_version=version),
            "Handlers": HandlersService(handler_registry, handler_store, liveness),
            "Events": EventsService(
                EventGeneration(generation, handler_store, handler_registry, liveness),
                events,
                keeping,
                handler_store,
                HandlerLambdas(lambdas, host, answers),
                enabled=settings.events.enabled,
            ),
            "Verifiers": VerifiersService(
                verifiers,
                Verification(pictures, matching, Claims(matching, faces, attributes, events), events),
                matching,
                liveness,
            ),
            "Lambdas": LambdasOff() if host is None else _lambdas(settings, lambdas, tokens, host),
            "Liveness": LivenessService(LivenessPrediction(pictures), liveness),
            "Subscriptions": SubscriptionsService(subscriptions),
            "Tasks": TasksService(
                task_registry,
                tasks,
                preparation,
                contents,
                most=answers,
            ),
            "Schedules": SchedulesService(ScheduleRegistry(schedules), schedules, preparation, contents),
            "Documents": DocumentsService(
                documentation.specification, documentation.specification_page, documentation.page
            ),
        }
        served_by = {SERVICES[name]: one for name, one in servicers.items()}
        methods = collect(served_by)
        dispatcher = Dispatcher(methods, authorizer, trail, Admission(engine.places), metrics.answered)
        streams = Streams(
            collect_streams(served_by),
            authorizer,
            most=settings.events.subscribers,
            recheck_seconds=settings.events.recheck_seconds,
            told=metrics.answered,
        )
        server = grpc.aio.server(options=server_options(settings.grpc.max_message_bytes))
        serving = HealthServicer()
        key = settings.rest.key.get_secret_value() if settings.rest.key is not None else ""
        facade = rest_handlers(
            dispatcher,
            settings.grpc.max_message_bytes,
            key,
            socket_paths(SERVICES.values()),
            {path_pattern(path): LambdaOff for path in proxied_templates(SERVICES.values())} if host is None else None,
        )
        server.add_generic_rpc_handlers([*handlers(dispatcher, streams, key), *facade])
        health_pb2_grpc.add_HealthServicer_to_server(serving, server)
        if settings.grpc.reflection:
            names = [service.full_name for service in SERVICES.values()]
            reflection.enable_server_reflection([*names, "grpc.health.v1.Health", reflection.SERVICE_NAME], server)
        port = server.add_insecure_port(settings.grpc.listen)
        sockets = WebSockets(streams, key, settings.websocket.ping_seconds)
        await _listen(stack, sockets, settings)
        yield Application(server, health, serving, streams, port)


async def _event_index(stack: AsyncExitStack, database: Database) -> FollowingIndex[tuple[Condition, ...]]:
    """The index of events, loaded and closed with the server."""
    index = FollowingIndex(PostgresEventFeed(database), "event index", pace=EVENTS_PACE)
    stack.push_async_callback(index.close)
    await index.start()
    return index


def _lambda_host(stack: AsyncExitStack, settings: Settings) -> LambdaHost | None:
    """The process that runs lambdas; None where they are off.

    Raises:
        CertificateUnusable: the file of the authorities that it is known by is no good.
    """
    options = settings.lambdas
    if not options.enabled:
        return None
    secret = "" if options.secret is None else options.secret.get_secret_value()
    tls = Trust(authorities(options.ca, "LUNA_LAMBDAS__CA")).context() if options.ca is not None else None
    host = RemoteLambdaHost(options.reached_at, secret, options.call_seconds, tls, options.name)
    stack.push_async_callback(host.close)
    return host


def _lambdas(settings: Settings, store: LambdaStore, tokens: TokenRegistry, host: LambdaHost) -> LambdasService:
    """The service of lambdas. What anybody may send to be validated takes no place of what is to be made."""
    options = settings.lambdas
    rules = ArchiveRules(
        bytes=options.archive_max_bytes,
        unpacked_bytes=options.archive_max_unpacked_bytes,
        files=options.archive_max_files,
        ratio=options.archive_max_ratio,
        requirements=options.requirements,
    )
    registry = LambdaRegistry(
        store, tokens, host, ArchiveProcesses(rules, at_once=2, waiting=MOST_ARCHIVES), options.most
    )
    anybody = ArchiveProcesses(rules, at_once=1, waiting=MOST_ARCHIVES)
    return LambdasService(registry, store, host, anybody, LambdaDocuments(lambda_page))


async def _listen(stack: AsyncExitStack, sockets: WebSockets, settings: Settings) -> None:
    host, port = settings.websocket.host, settings.websocket.port
    try:
        await stack.enter_async_context(sockets.served(host, port))
    except OSError as error:
        message = f"{host}:{port} cannot be listened on, see LUNA_WEBSOCKET__PORT: {error.strerror or error}"
        raise PortTaken(message) from error
