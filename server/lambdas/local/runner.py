"""The local runner: `server.domain.lambdas.LambdaRunner` on this machine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

from server.domain import deadline
from server.domain.http_calls import HttpCall, HttpReply
from server.domain.lambdas import Deployment, LambdaState
from server.edge_client import LastingTrust
from server.errors import LambdaNotRunning
from server.lambdas.gate import Gate
from server.lambdas.local import seccomp
from server.lambdas.local.building import Builder
from server.lambdas.local.cgroups import Cgroups
from server.lambdas.local.folders import Folders
from server.lambdas.local.isolation import Isolation
from server.lambdas.local.live import Means
from server.lambdas.local.sandbox import Way
from server.lambdas.local.tenant import Tenant
from server.lambdas.local.watch import Watch
from server.settings import Lambdas

log = logging.getLogger(__name__)


class LocalRunner:
    """Runs lambdas on this machine. Made and used in one running loop, that of the main thread.

    Args:
        settings: limits, and how lambdas are kept apart.
        folder: where they are kept; nobody else's.
        platform: host and port of the platform's gRPC, which lambdas reach through a socket.
        trust: what is believed there, where it speaks TLS.
    """

    def __init__(
        self, settings: Lambdas, folder: Path, platform: tuple[str, int], trust: LastingTrust | None = None
    ) -> None:
        self._settings = settings
        self._folders = Folders(folder)
        self._platform = platform
        self._trust = trust
        self._isolation = Isolation(settings.isolation)
        self._watch = Watch()
        self._builder = Builder(settings.builds)
        self._means: Means | None = None
        self._preparing = asyncio.Lock()
        self._changes = asyncio.Event()
        self._tenants: dict[UUID, Tenant] = {}
        self._closing = False
        for lambda_id, own in self._folders.present():
            own.tidy()
            self._tenants[lambda_id] = self._tenant(lambda_id)

    async def check(self) -> None:
        """Return where lambdas can be kept apart.

        Raises:
            NoIsolation: they cannot; the error says why, and what would help.
        """
        await self._isolation.way()

    def deploy(self, deployment: Deployment) -> None:
        """Build and start a version of a lambda, in the background, in place of the version that runs."""
        if self._closing:
            return
        tenant = self._tenants.get(deployment.lambda_id)
        if tenant is None:
            tenant = self._tenants[deployment.lambda_id] = self._tenant(deployment.lambda_id)
        tenant.deploy(deployment, self._prepared, self._builder)

    async def remove(self, lambda_id: UUID) -> None:
        """Stop a lambda, whatever it does, and delete all that there is of it; nothing where there is none."""
        tenant = self._tenants.get(lambda_id)
        if tenant is not None:
            await tenant.remove()
            if self._tenants.get(lambda_id) is tenant:
                del self._tenants[lambda_id]
            self._changes.set()

    def states(self) -> Mapping[UUID, LambdaState]:
        """How far each known lambda is. Those of an earlier start are known by their builds, and do not run."""
        return {lambda_id: tenant.state() for lambda_id, tenant in self._tenants.items()}

    async def changed(self) -> None:
        """Wait until a state has changed since the last time that this was waited for."""
        await self._changes.wait()
        self._changes.clear()

    async def logs(self, lambda_id: UUID, tail_lines: int | None) -> list[str]:
        """The last lines that a lambda wrote, the oldest first; None is all that are kept. None of an unknown one."""
        tenant = self._tenants.get(lambda_id)
        return [] if tenant is None else tenant.logs(tail_lines)

    @asynccontextmanager
    async def called(self, lambda_id: UUID, call: HttpCall) -> AsyncIterator[HttpReply]:
        """The answer of a lambda, for the length of the block. One that was stopped for idleness is started.

        Raises:
            LambdaNotRunning: it is not there, not built, or ended by itself.
            LambdaFailed: it ended during the call, or answered what is no HTTP.
            Busy: too many calls wait for it.
            DeadlineExceeded: it took too long, also while its body was read.
            RequestTooLarge: the body of the call is larger than it may be.
        """
        tenant = self._tenants.get(lambda_id)
        if tenant is None:
            raise LambdaNotRunning(lambda_id=lambda_id, status="not_found")
        left = deadline.remaining()
        seconds = self._settings.call_seconds if left is None else min(left, self._settings.call_seconds)
        async with tenant.called(call, asyncio.get_running_loop().time() + seconds) as reply:
            yield reply

    async def close(self) -> None:
        """Stop everything in an orderly way. What is built stays, so that the next start needs no build."""
        self._closing = True
        await asyncio.gather(*(tenant.stop() for tenant in self._tenants.values()))
        await self._watch.close()

    async def _prepared(self) -> Means:
        """What lambdas are run with.

        Raises:
            NoIsolation: they cannot be kept apart.
            OSError: the folder cannot be written.
        """
        async with self._preparing:
            if self._means is None:
                way = await self._isolation.way()
                base = await asyncio.to_thread(self._folders.prepare)
                cgroups = Cgroups.found()
                self._means = Means(self._settings, way, base, self._platform, self._watch, cgroups, self._trust)
                _tell(self._means)
            return self._means

    def _tenant(self, lambda_id: UUID) -> Tenant:
        self._folders.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        gate = Gate(self._settings.calls, self._settings.waiting)
        return Tenant(lambda_id, self._folders.take(lambda_id), self._settings.log_bytes, gate, self._changes.set)


def _tell(means: Means) -> None:
    """Say what holds lambdas here, and what is missing."""
    held = "a control group each" if means.cgroups.available else "a look every moment"
    log.info("lambdas are kept apart by %s, and held to their memory by %s", means.way.value, held)
    if means.way is Way.NONE:
        log.warning("lambdas are not kept apart: each may do whatever this program may (LUNA_LAMBDAS__ISOLATION)")
    elif not seccomp.program():
        log.warning("libseccomp is not installed: lambdas may ask the kernel for whatever it gives to everybody")
