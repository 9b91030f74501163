"""From an archive to a build: unpacked, with its requirements installed, and described; whole, or not there."""

from __future__ import annotations

import asyncio
import shutil

from server.domain.lambdas import Deployment
from server.lambdas.local import archive, base, seccomp, view
from server.lambdas.local.archive import BadArchive
from server.lambdas.local.folders import Build, LambdaFolder
from server.lambdas.local.output import Collected, Lines, Reader
from server.lambdas.local.process import CannotStart, Process
from server.lambdas.local.run import Means, environment
from server.lambdas.local.sandbox import Order
from server.lambdas.local.watch import Most

DOCUMENTATION_BYTES = 1 << 20
MEMORY_BYTES = 1 << 30
"""Memory of a build: it is this service's own programs that run, on what an archive says."""
PROCESSES = 16
DESCRIBE_SECONDS = 30.0
LOOK_SECONDS = 0.25
MOST_FILES = 100_000


class BuildFailed(Exception):
    """There is no build; the text says why."""


class Builder:
    """Builds lambdas, so many at a time."""

    def __init__(self, builds: int) -> None:
        self._places = asyncio.Semaphore(builds)

    async def build(self, means: Means, deployment: Deployment, folder: LambdaFolder) -> Build:
        """Build a version in its folder.

        Raises:
            BuildFailed: it cannot be built.
        """
        async with self._places:
            job = Job(means, deployment, folder)
            try:
                async with asyncio.timeout(means.settings.build_seconds):
                    return await job.run()
            except TimeoutError:
                message = f"the build took longer than {means.settings.build_seconds:g} s"
                raise BuildFailed(message) from None
            finally:
                await job.close()


class Job:
    """One build."""

    def __init__(self, means: Means, deployment: Deployment, folder: LambdaFolder) -> None:
        self._means = means
        self._deployment = deployment
        self._folder = folder
        self._lines = Lines(means.settings.log_bytes)
        self._partial = folder.partial(deployment.version)
        self._process: Process | None = None

    @property
    def lines(self) -> tuple[str, ...]:
        """What it has written so far."""
        return tuple(self._lines.tail(None))

    async def run(self) -> Build:
        """Build.

        Raises:
            BuildFailed: it cannot be built.
        """
        settings = self._means.settings
        try:
            await asyncio.to_thread(
                archive.unpack,
                self._deployment.archive,
                self._partial / "code",
                settings.archive_max_unpacked_bytes,
                settings.archive_max_files,
            )
        except BadArchive as error:
            message = f"the archive cannot be used: {error}"
            raise BuildFailed(message) from error
        (self._partial / "packages").mkdir(mode=0o755)
        documentation = await self._described()
        build = Build(self._deployment.version, base.version(), base.interpreter(), self.lines, documentation)
        await asyncio.to_thread(self._folder.finish, self._partial, build)
        return build

    async def close(self) -> None:
        """End what runs, and remove what is not finished."""
        if self._process is not None:
            self._process.kill()
            await self._process.ended()
        await asyncio.to_thread(shutil.rmtree, self._partial, ignore_errors=True)

    async def _described(self) -> str:
        """The lambda's OpenAPI description, read without running its code.

        Raises:
            BuildFailed: there is none.
        """
        out = Collected(DOCUMENTATION_BYTES)
        order = self._order(
            ("-m", "luna_lambda", "describe", view.CODE),
            {"PYTHONPATH": view.BASE},
            view.Bind(str(self._partial / "code"), view.CODE),
            view.Bind(str(self._means.base), view.BASE),
        )
        try:
            code = await self._ran(order, out.writing)
        finally:
            told = await out.close()
        if code != 0:
            raise BuildFailed("the lambda cannot be described")
        return told.decode(errors="replace")

    def _order(self, arguments: tuple[str, ...], more: dict[str, str], *mounts: view.Mount) -> Order:
        return Order(
            arguments=arguments,
            environment={**environment(), **more},
            mounts=mounts,
            folder=self._partial,
            uid=self._folder.uid,
            memory=MEMORY_BYTES,
            processes=PROCESSES,
            files=self._means.settings.files,
            file_bytes=self._means.settings.build_max_bytes,
            temporary=self._means.settings.temporary_bytes,
            filter=seccomp.program(),
        )

    async def _ran(self, order: Order, output: int | None = None) -> int:
        """The exit status of a program.

        Raises:
            BuildFailed: it could not be run, or was ended.
        """
        reader = Reader(self._lines.add)
        try:
            process = await Process.start(
                self._means.way, order, reader.writing if output is None else output, reader.writing
            )
            self._process = process
            blame: list[str] = []
            self._means.watch.add(process, Most(MEMORY_BYTES, PROCESSES), blame.append)
            await process.ended()
            if blame:
                raise BuildFailed(blame[0])
            return process.code or 0
        except CannotStart as error:
            raise BuildFailed(str(error)) from error
        finally:
            await reader.close()
