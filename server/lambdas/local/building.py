"""From an archive to a build: unpacked, with its requirements installed, and described; whole, or not there."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from server.domain.lambdas import REQUIREMENTS_FILE, Deployment
from server.lambda_archives.reading import ArchiveRules, BadArchive, LambdaArchive
from server.lambdas.local import base, packages, requirements, seccomp, view
from server.lambdas.local.environment import environment
from server.lambdas.local.folders import Build, LambdaFolder
from server.lambdas.local.live import Means
from server.lambdas.local.output import Collected, Lines, Reader
from server.lambdas.local.priority import Priority
from server.lambdas.local.process import CannotStart, Process
from server.lambdas.local.sandbox import Order
from server.lambdas.local.watch import Most
from server.settings import Lambdas

DOCUMENTATION_BYTES = 1 << 20
MEMORY_BYTES = 1 << 30
"""Memory of a build: it is this service's own programs that run, on what an archive says."""
PROCESSES = 16
LOOK_SECONDS = 0.25
MOST_FILES = 100_000
REPORT_BYTES = 16 << 20


class BuildFailed(Exception):
    """There is no build; the text says why.

    Attributes:
        lines: what the build had written.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lines: tuple[str, ...] = ()


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
                failed = BuildFailed(f"the build took longer than {means.settings.build_seconds:g} s")
                failed.lines = job.lines
                raise failed from None
            except BuildFailed as error:
                error.lines = job.lines
                raise
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
            await asyncio.to_thread(_unpack, self._deployment.archive, self._partial / "code", settings)
        except BadArchive as error:
            raise BuildFailed(str(error)) from error
        self._lines.add(f"unpacked {len(self._deployment.archive)} bytes of archive")
        (self._partial / "packages").mkdir()
        (self._partial / "packages").chmod(0o755)
        await self._install()
        documentation = await self._described()
        self._lines.add(f"version {self._deployment.version} is built for {base.interpreter()}")
        build = Build(self._deployment.version, base.version(), base.interpreter(), self.lines, documentation)
        await asyncio.to_thread(self._folder.finish, self._partial, build)
        return build

    async def close(self) -> None:
        """End what runs, and remove what is not finished."""
        if self._process is not None:
            self._process.kill()
            await self._process.ended()
        await asyncio.to_thread(shutil.rmtree, self._partial, ignore_errors=True)

    async def _install(self) -> None:
        """Install what the archive asks for: first it is planned and judged, then exactly the plan is installed.

        Raises:
            BuildFailed: it cannot be, or is not allowed.
        """
        file = self._partial / "code" / REQUIREMENTS_FILE
        if not file.is_file():
            self._lines.add(f"no {REQUIREMENTS_FILE}: nothing to install")
            return
        settings = self._means.settings
        own = requirements.wheels(self._partial / "code" / "wheels")
        work = self._partial / "work"
        try:
            wanted = requirements.asked(file.read_text(errors="replace"))
            if not wanted:
                return
            requirements.installer()
            for folder in (work, work / "tmp", self._partial / "packages"):
                folder.mkdir(mode=0o755, exist_ok=True)
                if self._folder.uid is not None:
                    os.chown(folder, self._folder.uid, self._folder.uid)
            (work / packages.ASKED).write_text("\n".join(wanted))
            await self._pip(packages.plan(settings, own_wheels=own))
            plan = requirements.planned(_read(work / packages.REPORT), packages.OWN_WHEELS)
            requirements.judge(plan, settings.requirements)
            if plan:
                (work / packages.PLANNED).write_text(requirements.pinned(plan))
                await self._pip(packages.install(settings, own_wheels=own))
        except requirements.Refused as error:
            raise BuildFailed(str(error)) from error
        await asyncio.to_thread(shutil.rmtree, work)

    async def _pip(self, arguments: tuple[str, ...]) -> None:
        """Run pip.

        Raises:
            BuildFailed: it failed.
        """
        settings = self._means.settings
        order = self._order(
            arguments,
            packages.environment(settings),
            view.Bind(str(self._partial / "code"), view.CODE),
            view.Bind(str(self._partial / "packages"), view.PACKAGES, writable=True),
            view.Bind(str(self._partial / "work"), packages.WORK, writable=True),
            *packages.sees(settings),
        )
        code = await self._ran(replace(order, network=packages.online(settings)))
        if code != 0:
            raise BuildFailed("the requirements cannot be installed")

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
            self._means.watch.add(process, Most(MEMORY_BYTES, PROCESSES), Priority(), blame.append)
            measuring = asyncio.get_running_loop().create_task(self._measure(process, blame))
            try:
                await process.ended()
            finally:
                measuring.cancel()
            if blame:
                raise BuildFailed(blame[0])
            return process.code or 0
        except CannotStart as error:
            raise BuildFailed(str(error)) from error
        finally:
            await reader.close()

    async def _measure(self, process: Process, blame: list[str]) -> None:
        """End a program once the build has become too large."""
        most = self._means.settings.build_max_bytes
        while True:
            size, files = await asyncio.to_thread(_size, self._partial)
            if size > most or files > MOST_FILES:
                blame.append(f"the build has more than {most} bytes or {MOST_FILES} files")
                process.kill()
                return
            await asyncio.sleep(LOOK_SECONDS)


def _unpack(data: bytes, folder: Path, settings: Lambdas) -> None:
    """Unpack an archive for everybody to read: its lambda is another user than this process.

    It was judged when it was taken, and is judged again: limits may have changed.

    Raises:
        BadArchive: it cannot be taken.
    """
    rules = ArchiveRules(
        bytes=settings.archive_max_bytes,
        unpacked_bytes=settings.archive_max_unpacked_bytes,
        files=settings.archive_max_files,
        ratio=settings.archive_max_ratio,
    )
    folder.mkdir(mode=0o755)
    LambdaArchive.open(data, rules).unpack(folder)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _size(folder: Path) -> tuple[int, int]:
    """Bytes that a folder takes on the disk, and its files; links are not followed."""
    size = files = 0
    waiting = [str(folder)]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                files += 1
                with suppress(OSError):
                    size += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
    return size, files


def _read(path: Path) -> bytes:
    """A file that a sandbox has written, if it is one and of a sensible size.

    Raises:
        Refused: it is not.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise requirements.Refused("pip has told nothing of what it would install") from error
    with os.fdopen(handle, "rb") as file:
        data = file.read(REPORT_BYTES + 1)
    if len(data) > REPORT_BYTES:
        raise requirements.Refused("what pip would install takes too many bytes to tell")
    return data
