"""The composition root of the lambda host: `luna lambdas`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from server.domain.cancellation import ended
from server.domain.lambdas import LambdaRunner
from server.domain.passwords import Passwords
from server.domain.registry import AccountRegistry
from server.domain.tokens import TokenRegistry
from server.edge_client import LastingTrust
from server.errors import LunaError
from server.lambdas.calls import LambdaCalls
from server.lambdas.credentials import context_of
from server.lambdas.host import Host
from server.lambdas.internal import Internal
from server.lambdas.kubernetes.archives import Archives
from server.lambdas.kubernetes.runner import KubernetesRunner
from server.lambdas.local import LocalRunner
from server.lambdas.proxy import Proxy
from server.lambdas.reconciler import Reconciler
from server.metrics import Metrics, PortTaken, served
from server.rpc.authorization import Authorizer
from server.settings import Settings, address, reachable
from storage import redis
from storage.accounts import PostgresAccountStore
from storage.blobs import BlobStore
from storage.database import Database
from storage.lambdas import PostgresLambdaStore
from storage.logins import RedisFailedLogins
from storage.tokens import PostgresTokenStore
from storage.wanted_lambdas import PostgresWantedLambdas

log = logging.getLogger(__name__)


class CannotHost(Exception):
    """Lambdas are not run here; the message says why."""


class LambdaApplication:
    """One lambda host."""

    def __init__(self, host: Host, reconciler: Reconciler, runner: LambdaRunner, port: int) -> None:
        self._host = host
        self._reconciler = reconciler
        self._runner = runner
        self.port = port

    async def run(self) -> None:
        """Keep lambdas to what is wanted, until cancelled."""
        try:
            await self._runner.check()
        except LunaError as error:
            log.warning("%s", error.detail)
        await self._reconciler.run()

    async def drain(self, seconds: float) -> None:
        """Take no call any more, let the running ones end, stop the lambdas, and say so."""
        await self._host.drain(seconds)
        await self._runner.close()
        try:
            await self._reconciler.report()
        except LunaError as error:
            log.warning("that the lambdas have stopped cannot be reported: %s", error.detail)


@asynccontextmanager
async def lambda_application(settings: Settings) -> AsyncIterator[LambdaApplication]:
    """Build a lambda host. It takes calls, and everything is closed behind it.

    Raises:
        NotConfigured: the address of the database or of Redis is missing.
        CannotHost: lambdas are off, or there is no secret.
        PortTaken: a port cannot be listened on.
        CertificateUnusable: the certificate of its port, or what the service is known by, is no good.
    """
    options = settings.lambdas
    if not options.enabled:
        message = "LUNA_LAMBDAS__ENABLED is false: there is nothing to run"
        raise CannotHost(message)
    if options.secret is None:
        message = "LUNA_LAMBDAS__SECRET is empty: it tells servers from others. Set it, here and at the servers"
        raise CannotHost(message)
    tls = context_of(options)
    async with AsyncExitStack() as stack:
        metrics = Metrics()
        stack.enter_context(served(metrics, settings.metrics.host, settings.metrics.port))
        database = Database(
            address(settings.database.url, "DATABASE"), settings.database, application_name="luna-lambdas"
        )
        stack.push_async_callback(database.close)
        client = redis.connect(address(settings.redis.url, "REDIS"), settings.redis)
        stack.push_async_callback(client.aclose)
        blobs = BlobStore(settings.blobs, settings.data)
        passwords = Passwords(settings.access.password_cache_seconds)
        stack.callback(passwords.close)
        accounts = PostgresAccountStore(database)
        failures = RedisFailedLogins(
            client, most=settings.access.login_failures, window_seconds=settings.access.login_window_seconds
        )
        registry = AccountRegistry(accounts, passwords, failures, open_registration=settings.registration_open)
        tokens = TokenRegistry(PostgresTokenStore(database), accounts)
        authorizer = Authorizer(registry, tokens, account_header=settings.access.account_header)
        wanted = PostgresWantedLambdas(database, blobs, tokens.jwt_of)
        stack.push_async_callback(wanted.close)
        runner = lambda_runner(settings)
        stack.push_async_callback(runner.close)
        reconciler = Reconciler(wanted, runner, metrics.counted)
        calls = LambdaCalls(runner, options.call_seconds)
        key = settings.rest.key.get_secret_value() if settings.rest.key is not None else ""
        store = PostgresLambdaStore(database, blobs)
        host = Host(
            Proxy(calls, store, authorizer, options.request_max_bytes),
            Internal(runner, calls, options.secret.get_secret_value()),
            key,
            metrics.answered,
            Archives(wanted, options.secret.get_secret_value(), runner.reported)
            if isinstance(runner, KubernetesRunner)
            else None,
        )
        try:
            port = await stack.enter_async_context(host.served(options.host, options.port, tls))
        except OSError as error:
            message = f"{options.host}:{options.port} cannot be listened on, see LUNA_LAMBDAS__PORT: {error.strerror}"
            raise PortTaken(message) from error
        application = LambdaApplication(host, reconciler, runner, port)
        running = asyncio.create_task(application.run(), name="lambdas")
        stack.push_async_callback(ended, running)
        yield application


def lambda_runner(settings: Settings) -> LambdaRunner:
    """The runner that the settings choose. Whether it can do its work is told by its `check`.

    Raises:
        CertificateUnusable: a file that lambdas would know the service by is not what it should be.
    """
    if settings.lambdas.runner == "kubernetes":
        return KubernetesRunner(settings.lambdas)
    folder = settings.data.expanduser().resolve() / "lambdas"
    return LocalRunner(
        settings.lambdas, folder, (reachable(settings.grpc.host), settings.grpc.port), LastingTrust(settings.tls)
    )
