"""One lambda on this machine: its newest version, the one that answers, its log, and what is told of it."""

from __future__ import annotations

import asyncio
import logging
import platform
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import UUID

from server.domain.http_calls import HttpCall, HttpReply
from server.domain.lambdas import Deployment, ImageStatus, LambdaState, LambdaStatus
from server.errors import LambdaNotRunning, NoIsolation
from server.lambdas.gate import Gate
from server.lambdas.local.building import Builder, BuildFailed
from server.lambdas.local.folders import Build, LambdaFolder
from server.lambdas.local.live import Means
from server.lambdas.local.output import Log
from server.lambdas.local.run import STATUS, Phase, Run
from server.lambdas.local.sandbox import Way
from server.lambdas.local.uids import NoUser

Preparing = Callable[[], Awaitable[Means]]

log = logging.getLogger(__name__)


class Tenant:
    """Builds, runs and replaces the versions of one lambda.

    Args:
        lambda_id: its id.
        folder: its files.
        log_bytes: of its log.
        gate: what its calls pass.
        changed: is called when its state has changed.
    """

    def __init__(
        self, lambda_id: UUID, folder: LambdaFolder, log_bytes: int, gate: Gate, changed: Callable[[], None]
    ) -> None:
        self._id = lambda_id
        self._folder = folder
        self._log = Log(folder.log, log_bytes)
        self._gate = gate
        self._changed = changed
        self._wanted: Deployment | None = None
        self._build: Build | None = folder.newest()
        self._image = ImageStatus.COMPLETED if self._build is not None else ImageStatus.NOT_FOUND
        self._told: tuple[str, ...] = () if self._build is None else self._build.logs
        self._way: Way | None = None
        self._newest: Run | None = None
        self._answering: Run | None = None
        self._deploying: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def version(self) -> int:
        """The newest version that was asked for, or that there is a build of."""
        if self._wanted is not None:
            return self._wanted.version
        return 0 if self._build is None else self._build.version

    def deploy(self, deployment: Deployment, means: Preparing, builder: Builder) -> None:
        """Build and start a version in the background; nothing where it is the present one."""
        if self._wanted is not None and self._wanted.version >= deployment.version:
            return
        before, self._deploying = self._deploying, None
        self._wanted = deployment
        self._image = ImageStatus.IN_PROGRESS
        self._told = ()
        self._deploying = asyncio.get_running_loop().create_task(
            self._deploy(before, deployment, means, builder), name=f"deploy lambda {self._id}"
        )
        self._changed()

    def state(self) -> LambdaState:
        """How far the newest version is."""
        build = self._build if self._image is ImageStatus.COMPLETED else None
        newest = self._newest
        status = LambdaStatus.WAITING if newest is None or newest.version != self.version else STATUS[newest.phase]
        return LambdaState(
            version=self.version,
            status=status,
            image_status=self._image,
            base="" if build is None else build.base,
            info=self._info(),
            image_logs=self._told,
            documentation="" if build is None else build.documentation,
        )

    def logs(self, count: int | None) -> list[str]:
        """The last lines of its log."""
        return self._log.tail(count)

    @asynccontextmanager
    async def called(self, call: HttpCall, ends: float) -> AsyncIterator[HttpReply]:
        """The answer to a call, for the length of the block.

        Raises:
            LambdaNotRunning: no version runs.
            LunaError: as for `Gate.passed` and `Run.called`.
        """
        run = self._answering or self._newest
        if run is None:
            raise LambdaNotRunning(lambda_id=self._id, status=self.state().status.value)
        async with self._gate.passed(ends), run.called(call, ends) as reply:
            yield reply

    async def stop(self) -> None:
        """Stop everything; the files stay."""
        if self._deploying is not None:
            self._deploying.cancel()
            await asyncio.gather(self._deploying, return_exceptions=True)
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        runs = {run for run in (self._newest, self._answering) if run is not None}
        await asyncio.gather(*(run.stop() for run in runs))
        await self._log.close()

    async def remove(self) -> None:
        """Stop everything and delete all files."""
        await self.stop()
        await asyncio.to_thread(self._folder.remove)

    async def _deploy(
        self,
        before: asyncio.Task[None] | None,
        deployment: Deployment,
        means: Preparing,
        builder: Builder,
    ) -> None:
        if before is not None:
            before.cancel()
            await asyncio.gather(before, return_exceptions=True)
        try:
            ready = await means()
            build = self._folder.built(deployment.version) or await builder.build(ready, deployment, self._folder)
        except (BuildFailed, NoIsolation, NoUser, OSError) as error:
            self._fail((*error.lines, str(error)) if isinstance(error, BuildFailed) else (str(error),))
            return
        except Exception:
            log.exception("lambda %s cannot be built", self._id)
            self._fail(("an unexpected error of the service",))
            return
        self._way = ready.way
        self._build, self._told, self._image = build, build.logs, ImageStatus.COMPLETED
        overtaken = self._newest
        self._newest = Run(ready, deployment, self._folder, self._log, self._turned)
        if overtaken is not None and overtaken is not self._answering:
            self._retire(overtaken)
        self._changed()

    def _fail(self, lines: tuple[str, ...]) -> None:
        self._told, self._image = lines, ImageStatus.ERROR
        self._changed()

    def _turned(self, run: Run) -> None:
        """A version takes the place of the one before as soon as it answers."""
        if run is self._newest and run.phase is Phase.READY and run is not self._answering:
            before, self._answering = self._answering, run
            if before is not None:
                self._retire(before)
        self._changed()

    def _retire(self, run: Run) -> None:
        task = asyncio.get_running_loop().create_task(self._retired(run))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _retired(self, run: Run) -> None:
        await run.retire()
        versions = {one.version for one in (self._newest, self._answering) if one is not None} | {self.version}
        await asyncio.to_thread(self._folder.keep, versions)

    def _info(self) -> dict[str, str]:
        info: dict[str, str] = {"python": platform.python_version()}
        if self._way is not None:
            info["isolation"] = self._way.value
        if self._answering is not None:
            info["answering_version"] = str(self._answering.version)
        if self._newest is not None:
            info["phase"] = self._newest.phase.value
            info["restarts"] = str(self._newest.restarts)
            if self._newest.reason:
                info["last_end"] = self._newest.reason
        return info
