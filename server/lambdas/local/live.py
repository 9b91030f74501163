"""A process of a lambda with all that ends with it: its socket, its way to the platform, the reader of its output."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from server.domain.lambdas import Deployment
from server.edge_client import LastingTrust
from server.lambdas.exchange import Limits
from server.lambdas.local import seccomp, view
from server.lambdas.local.cgroups import Cgroup, Cgroups
from server.lambdas.local.connection import Connection
from server.lambdas.local.environment import environment
from server.lambdas.local.folders import LambdaFolder
from server.lambdas.local.output import Log, Reader
from server.lambdas.local.priority import Priority
from server.lambdas.local.process import CannotStart, Process
from server.lambdas.local.relay import Relay
from server.lambdas.local.sandbox import Order, Way
from server.lambdas.local.watch import Most, Watch
from server.settings import Lambdas

PROBE_SECONDS = 2.0
"""A program that does not say within so long that it is well is ended."""
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Means:
    """What every version is run with.

    Attributes:
        base: folder of what all stand upon.
        platform: host and port of the platform's gRPC.
        trust: what is believed there, where it speaks TLS.
    """

    settings: Lambdas
    way: Way
    base: Path
    platform: tuple[str, int]
    watch: Watch
    cgroups: Cgroups
    trust: LastingTrust | None = None


class Live:
    """One process."""

    def __init__(self, process: Process, connection: Connection, group: Cgroup | None, rest: AsyncExitStack) -> None:
        self.process = process
        self.connection = connection
        self._group = group
        self._rest = rest
        self._blame = ""
        self._looking: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def accused(self) -> bool:
        """Whether the service has ended it."""
        return bool(self._blame)

    @classmethod
    async def start(
        cls, means: Means, deployment: Deployment, folder: LambdaFolder, told: Log, priority: Priority
    ) -> Live:
        """Start a process; it takes no calls yet.

        Raises:
            CannotStart: it cannot be started.
        """
        settings = means.settings
        try:
            async with AsyncExitStack() as stack:
                own = folder.run()
                stack.push_async_callback(asyncio.to_thread, shutil.rmtree, own, ignore_errors=True)
                most = Most(settings.memory_bytes + settings.temporary_bytes, settings.processes)
                # its first process and the one outside are not its own
                group = means.cgroups.make(own.name, most.memory, most.processes + 2)
                if group is not None:
                    stack.callback(group.remove)
                # paths of sockets are short, those of data folders may be long
                directory = os.open(own, os.O_PATH | os.O_DIRECTORY)
                stack.callback(os.close, directory)
                path = f"/proc/self/fd/{directory}/calls.sock"
                reader = Reader(told.add)
                stack.push_async_callback(reader.close)
                relay = Relay(own / "platform.sock", *means.platform, means.trust)
                stack.push_async_callback(relay.close)
                await relay.start()
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
                    listener.bind(path)
                    listener.listen(settings.calls + settings.waiting)
                    order = _order(means, deployment, folder, own, listener.fileno())
                    process = await Process.start(means.way, order, reader.writing, group=group)
                reader.started()
                connection = Connection(path, Limits(settings.request_max_bytes, settings.response_max_bytes))
                stack.push_async_callback(connection.close)
                live = cls(process, connection, group, stack.pop_all())
        except OSError as error:
            raise CannotStart(str(error)) from error
        means.watch.add(process, most, priority, live._accuse)
        return live

    async def ready(self, seconds: float) -> None:
        """Wait until it takes calls.

        Raises:
            CannotStart: it has ended, or it takes too long.
        """
        loop = asyncio.get_running_loop()
        ends = loop.time() + seconds
        while not self.process.over:
            left = ends - loop.time()
            if left <= 0:
                message = f"it did not take calls within {seconds:g} s"
                raise CannotStart(message)
            if await self.connection.healthy(min(left, PROBE_SECONDS)):
                return
            await self.process.ended(_POLL_SECONDS)
        raise CannotStart(self.reason())

    def look_after(self) -> None:
        """A call did not go well: see whether the program is, and end it where it is not."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look())

    def reason(self) -> str:
        """How it ended, for people."""
        if not self._blame and self._group is not None and self._group.killed():
            self._blame = "it used more memory than it may have"
        return self._blame or self.process.reason()

    async def close(self, seconds: float) -> None:
        """End it, with so many seconds to end by itself, and leave nothing behind, also where this is cancelled."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(seconds))
        await asyncio.shield(self._closing)

    async def _close(self, seconds: float) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self.process.stop(seconds)
        await self._rest.aclose()

    async def _look(self) -> None:
        if not self.process.over and not await self.connection.healthy(PROBE_SECONDS):
            if not self.process.over:
                self._accuse(f"it did not answer within {PROBE_SECONDS:g} s after a call had failed")
            self.process.kill()

    def _accuse(self, reason: str) -> None:
        self._blame = self._blame or reason


def _order(means: Means, deployment: Deployment, folder: LambdaFolder, own: Path, listener: int) -> Order:
    settings = means.settings
    version = deployment.version
    return Order(
        arguments=("-m", "luna_lambda"),
        environment={
            **environment(),
            "LUNA_LAMBDA_FD": "3",
            "LUNA_LAMBDA_CODE": view.CODE,
            "LUNA_LAMBDA_TYPE": deployment.lambda_type.value,
            "LUNA_LAMBDA_ID": str(deployment.lambda_id),
            "LUNA_LAMBDA_VERSION": str(version),
            "LUNA_LAMBDA_ACCOUNT": str(deployment.account_id),
            "LUNA_LAMBDA_PLATFORM": f"unix:{view.PLATFORM}",
            "LUNA_LAMBDA_TOKEN": deployment.token,
            "LUNA_LAMBDA_REQUEST_BYTES": str(settings.request_max_bytes),
            "PYTHONPATH": ":".join((view.CODE, view.PACKAGES, view.BASE)),
        },
        mounts=(
            view.Bind(str(folder.code(version)), view.CODE),
            view.Bind(str(folder.packages(version)), view.PACKAGES),
            view.Bind(str(means.base), view.BASE),
            view.Bind(str(own / "platform.sock"), view.PLATFORM),
            *_names(own, os.getuid() if folder.uid is None else folder.uid),
        ),
        folder=own,
        uid=folder.uid,
        memory=settings.memory_bytes,
        processes=settings.processes,
        files=settings.files,
        file_bytes=settings.temporary_bytes,
        temporary=settings.temporary_bytes,
        network=settings.network,
        filter=seccomp.program(),
        listener=listener,
    )


def _names(own: Path, uid: int) -> Iterator[view.Bind]:
    """Names for its user and its group: some libraries ask for them."""
    for file, line in (
        ("passwd", f"lambda:x:{uid}:{uid}::{view.TEMPORARY}:/bin/false\n"),
        ("group", f"lambda:x:{uid}:\n"),
    ):
        path = own / file
        path.write_text(line)
        path.chmod(0o644)
        yield view.Bind(str(path), f"/etc/{file}")
