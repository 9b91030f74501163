"""The runner of lambdas that has a cluster."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

import aiohttp

from server.domain import deadline
from server.domain.cancellation import ended
from server.domain.http_calls import HttpCall, HttpReply
from server.domain.lambdas import Deployment, LambdaState, LambdaStatus
from server.errors import DeadlineExceeded, LambdaNotRunning, LunaError, NoIsolation, Unavailable
from server.lambdas.exchange import Limits, NotConnected, exchanged, session
from server.lambdas.gate import Gate
from server.settings import Lambdas

from .chronicle import LOG_LINES, Chronicle
from .held import Held
from .keeper import Keeper
from .manifests import Manifests
from .network import PORT, Unreachable
from .permissions import missing
from .programs import name_of
from .records import Report
from .refusals import ClusterError

if TYPE_CHECKING:
    from .cluster import Cluster

CHECK_SECONDS = 30.0
"""How long what `check` found good counts."""
RECONNECT_SECONDS = 10.0
CONNECT_SECONDS = 3.0
"""Longest wait for a connection to a lambda that is ready: its Service may learn of that a little later."""
AGAIN_SECONDS = 0.1
VERSION = "lambda-version"
"""Header of an answer: the version that gave it."""

log = logging.getLogger(__name__)

Connect = Callable[[], Awaitable["Cluster"]]


class KubernetesRunner:
    """Implements `server.domain.lambdas.LambdaRunner`. It begins with its first use, inside of a loop.

    What runs in the cluster goes on when this process ends, and the next one takes it over.

    Args:
        settings: of lambdas.
        connect: gives the cluster; raises NoIsolation or ClusterError where there is none.
        connector: how lambdas are reached; None resolves the names of their Services.
    """

    def __init__(
        self,
        settings: Lambdas,
        connect: Connect | None = None,
        connector: Callable[[], aiohttp.BaseConnector] | None = None,
    ) -> None:
        self._settings = settings
        self._connect = connect or (lambda: _connected(settings))
        self._connector = connector or _connections
        self._lambdas: dict[UUID, Held] = {}
        self._gates: dict[UUID, Gate] = {}
        self._moved = asyncio.Event()
        self._keeper: Keeper | None = None
        self._chronicle: Chronicle | None = None
        self._cluster: Cluster | None = None
        self._client: aiohttp.ClientSession | None = None
        self._task: asyncio.Task[None] | None = None
        self._good_until = 0.0

    async def check(self) -> None:
        """Return where lambdas can be kept apart.

        Raises:
            NoIsolation: the client or a setting is missing, or the cluster does not let this process do its work.
        """
        self._begin()
        loop = asyncio.get_running_loop()
        if loop.time() < self._good_until:
            return
        self._manifests()
        try:
            cluster = self._cluster or await self._connect()
            try:
                lacks = list(missing(await cluster.permissions()))
            finally:
                if cluster is not self._cluster:
                    await cluster.close()
        except ClusterError as error:
            raise NoIsolation(message=f"the cluster cannot be used: {error}") from error
        if lacks:
            namespace = self._settings.kubernetes.namespace
            raise NoIsolation(message=f"this process may not do in namespace {namespace}: {', '.join(lacks)}")
        self._good_until = loop.time() + CHECK_SECONDS

    def deploy(self, deployment: Deployment) -> None:
        """Build and start a version, in the background. See `LambdaRunner.deploy`."""
        self._begin()
        held = self._lambdas.get(deployment.lambda_id)
        if held is None or held.leaving:
            held = self._lambdas[deployment.lambda_id] = Held(deployment.lambda_id)
        held.wanted = deployment
        held.lost_until = 0.0
        held.refusal = ""
        if held.judge():
            self._moved.set()
        if self._keeper is not None:
            self._keeper.mark(deployment.lambda_id)

    async def remove(self, lambda_id: UUID) -> None:
        """Delete all that there is of a lambda; nothing where there is none.

        Raises:
            Unavailable: the cluster does not do it now.
        """
        self._begin()
        held = self._lambdas.get(lambda_id)
        if held is None:
            return
        if self._keeper is None:
            raise Unavailable(component="Kubernetes")
        await self._keeper.remove(held)
        self._gates.pop(lambda_id, None)

    def states(self) -> Mapping[UUID, LambdaState]:
        """How far each known lambda is. One whose Secret is lost is left out, so that it is deployed again."""
        self._begin()
        now = asyncio.get_running_loop().time()
        return {
            held.lambda_id: held.state
            for held in self._lambdas.values()
            if held.state is not None and now >= held.lost_until
        }

    async def changed(self) -> None:
        """Wait until a state has changed since the last time that this was waited for."""
        self._begin()
        await self._moved.wait()
        self._moved.clear()

    async def logs(self, lambda_id: UUID, tail_lines: int | None) -> list[str]:
        """The last lines that a lambda's pods wrote, the oldest first.

        Raises:
            Unavailable: the cluster does not tell them.
        """
        held = self._lambdas.get(lambda_id)
        if held is None or self._chronicle is None:
            return []
        lines = LOG_LINES if tail_lines is None else min(tail_lines, LOG_LINES)
        if not lines:
            return []
        try:
            found = await self._chronicle.logs(held, lines)
        except ClusterError as error:
            raise Unavailable(component=f"Kubernetes ({error})") from error
        return list(found or held.last_logs[-lines:])

    @asynccontextmanager
    async def called(self, lambda_id: UUID, call: HttpCall) -> AsyncIterator[HttpReply]:
        """The answer of a lambda, for the length of the block. See `LambdaRunner.called`."""
        held = self._lambdas.get(lambda_id)
        if held is None or held.leaving or held.state is None:
            raise LambdaNotRunning(lambda_id=lambda_id, status=LambdaStatus.NOT_FOUND.value)
        gate = self._gates.setdefault(lambda_id, Gate(self._settings.calls, self._settings.waiting))
        held.calls += 1
        seconds = self._settings.call_seconds
        try:
            async with gate.passed(asyncio.get_running_loop().time() + seconds):
                await self._awake(held)
                async with deadline.within(seconds), self._exchanged(held, call) as reply:
                    yield reply
        except TimeoutError as error:
            raise DeadlineExceeded from error
        finally:
            held.calls -= 1
            held.called_at = asyncio.get_running_loop().time()

    def reported(self, lambda_id: UUID, version: int, report: Report) -> None:
        """Take what the build of a lambda says of itself."""
        held = self._lambdas.get(lambda_id)
        if held is not None and held.program is not None and held.program.version == version:
            held.report = version, report
            if self._keeper is not None:
                self._keeper.mark(lambda_id)

    async def close(self) -> None:
        """Let go of the cluster. What runs there goes on."""
        if self._task is not None:
            await ended(self._task)
        if self._client is not None:
            await self._client.close()
        if self._cluster is not None:
            await self._cluster.close()
            self._cluster = None

    def _begin(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name="lambdas of a cluster")

    async def _keep(self) -> None:
        while True:
            try:
                manifests, secret = self._manifests()
                self._cluster = await self._connect()
                self._chronicle = Chronicle(self._cluster, self._settings.log_bytes)
                self._keeper = Keeper(
                    self._cluster,
                    manifests,
                    self._chronicle,
                    secret,
                    idle_seconds=self._settings.idle_seconds,
                    lambdas=self._lambdas,
                    changed=self._moved.set,
                )
                for lambda_id in self._lambdas:
                    self._keeper.mark(lambda_id)
                await self._keeper.run()
            except (LunaError, ClusterError) as error:
                log.warning("lambdas are not kept: %s", error.detail if isinstance(error, LunaError) else error)
            except Exception:
                log.exception("lambdas are not kept")
            cluster, self._cluster, self._keeper, self._chronicle = self._cluster, None, None, None
            if cluster is not None:
                await cluster.close()
            await asyncio.sleep(RECONNECT_SECONDS)

    def _manifests(self) -> tuple[Manifests, bytes]:
        """How objects are wanted, and the secret.

        Raises:
            NoIsolation: a setting is missing, or means what no policy can say.
        """
        cluster = self._settings.kubernetes
        given = {"IMAGE": cluster.image, "PLATFORM": cluster.platform, "ARCHIVES": cluster.archives}
        lacks = [f"LUNA_LAMBDAS__KUBERNETES__{name}" for name, value in given.items() if not value]
        if lacks:
            raise NoIsolation(message=f"{', '.join(lacks)} must be set")
        if self._settings.secret is None:
            raise NoIsolation(message="LUNA_LAMBDAS__SECRET must be set")
        try:
            return Manifests.of(self._settings), self._settings.secret.get_secret_value().encode()
        except Unreachable as error:
            raise NoIsolation(message=f"a network policy cannot be made: {error}") from error

    async def _awake(self, held: Held) -> None:
        """Return once a pod answers; start those of a lambda that is asleep.

        Raises:
            LambdaNotRunning: none does, or none will in time.
        """
        if held.ready:
            return
        if held.asleep and self._keeper is not None:
            held.asleep, held.waking = False, True
            self._keeper.mark(held.lambda_id)
        try:
            async with asyncio.timeout(self._settings.start_seconds):
                while not held.ready:
                    if not held.waking or held.leaving:
                        raise _not_running(held)
                    await held.turned.wait()
        except TimeoutError:
            raise _not_running(held) from None

    @asynccontextmanager
    async def _exchanged(self, held: Held, call: HttpCall) -> AsyncIterator[HttpReply]:
        """One call over HTTP. A connection is tried for again: nothing has been sent by then.

        Raises:
            LambdaNotRunning: nobody listens.
        """
        if self._client is None:
            self._client = session(self._connector())
        name, namespace = name_of(held.lambda_id), self._settings.kubernetes.namespace
        root = f"http://{name}.{namespace}.svc:{PORT}"
        limits = Limits(self._settings.request_max_bytes, self._settings.response_max_bytes)
        loop = asyncio.get_running_loop()
        ends = loop.time() + CONNECT_SECONDS
        while True:
            try:
                async with exchanged(self._client, root, call, limits, connect_seconds=CONNECT_SECONDS) as reply:
                    yield _versioned(reply, held.ready)
                    return
            except NotConnected as error:
                if loop.time() > ends:
                    raise _not_running(held) from error
            await asyncio.sleep(AGAIN_SECONDS)


async def _connected(settings: Lambdas) -> Cluster:
    try:
        # an extra of this package
        from .cluster import Cluster
    except ImportError as error:
        message = "the client of Kubernetes is not installed: install luna-open[kubernetes]"
        raise NoIsolation(message=message) from error
    return await Cluster.connect(settings.kubernetes.namespace, settings.kubernetes.config)


def _connections() -> aiohttp.BaseConnector:
    """A connection of its own for each call: a Service chooses a pod for each connection, and not for each call."""
    return aiohttp.TCPConnector(limit=0, force_close=True)


def _not_running(held: Held) -> LambdaNotRunning:
    status = held.state.status if held.state is not None and not held.leaving else LambdaStatus.NOT_FOUND
    return LambdaNotRunning(lambda_id=held.lambda_id, status=status.value)


def _versioned(reply: HttpReply, ready: frozenset[int]) -> HttpReply:
    """The answer with the version that gave it; without one for the moments in which pods of two versions answer."""
    kept = tuple(pair for pair in reply.headers if pair[0] != VERSION)
    return replace(reply, headers=(*kept, (VERSION, str(*ready))) if len(ready) == 1 else kept)
