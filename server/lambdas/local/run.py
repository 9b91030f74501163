"""One version of a lambda running: started, restarted when it ends, put to sleep when nobody calls it, and stopped."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from server.domain.http_calls import HttpCall, HttpReply
from server.domain.lambdas import Deployment, LambdaStatus
from server.errors import LambdaFailed, LambdaNotRunning
from server.lambdas.local import seccomp, view
from server.lambdas.local.connection import Connection
from server.lambdas.local.folders import LambdaFolder
from server.lambdas.local.output import Log, Reader
from server.lambdas.local.process import CannotStart, Process
from server.lambdas.local.relay import Relay
from server.lambdas.local.sandbox import Order, Way
from server.lambdas.local.watch import Most, Watch
from server.settings import Lambdas

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
"""Seconds before a restart; each one in a row doubles it."""
HEALTHY_SECONDS = 60.0
"""A process that took calls for so long begins with the first pause again."""
STOP_SECONDS = 7.0
"""The program gives its calls 5 s to end."""
DRAIN_SECONDS = 30.0
"""A version that another one has taken the place of has so long to end its calls."""
PROBE_SECONDS = 2.0
"""A program that does not say within so long that it is well is ended."""
_POLL_SECONDS = 0.05
_VERSION = "lambda-version"

log = logging.getLogger(__name__)


class Phase(Enum):
    """Where a version is in its life."""

    STARTING = "starting"
    READY = "ready"
    ASLEEP = "asleep"
    RESTING = "resting"
    STOPPED = "stopped"


STATUS = {
    Phase.STARTING: LambdaStatus.WAITING,
    Phase.READY: LambdaStatus.RUNNING,
    # it answers the next call
    Phase.ASLEEP: LambdaStatus.RUNNING,
    Phase.RESTING: LambdaStatus.TERMINATED,
    Phase.STOPPED: LambdaStatus.TERMINATED,
}


@dataclass(frozen=True, slots=True)
class Means:
    """What every version is run with.

    Attributes:
        base: folder of what all stand upon.
        platform: host and port of the platform's gRPC.
    """

    settings: Lambdas
    way: Way
    base: Path
    platform: tuple[str, int]
    watch: Watch


class Run:
    """A built version, kept running until it is stopped.

    Attributes:
        phase: where it is.
        restarts: how often it was started again after it had ended by itself.
        reason: how it ended the last time, for people; empty before.
    """

    def __init__(
        self, means: Means, deployment: Deployment, folder: LambdaFolder, told: Log, changed: Callable[[Run], None]
    ) -> None:
        self.phase = Phase.STARTING
        self.restarts = 0
        self.reason = ""
        self.version = deployment.version
        self._means = means
        self._deployment = replace(deployment, archive=b"")
        self._folder = folder
        self._log = told
        self._changed = changed
        self._live: _Live | None = None
        self._called = asyncio.Event()
        self._turned = asyncio.Event()
        self._calls = 0
        self._used = 0.0
        self._keeping = asyncio.get_running_loop().create_task(self._keep(), name=f"lambda {deployment.lambda_id}")

    async def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Stop for good."""
        self._keeping.cancel()
        await asyncio.gather(self._keeping, return_exceptions=True)
        live, self._live = self._live, None
        if live is not None:
            await live.close(seconds)
        self._turn(Phase.STOPPED)

    async def retire(self) -> None:
        """Stop for good once the calls in progress have ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while self._calls:
                    await self._next_turn()
        await self.stop()

    @asynccontextmanager
    async def called(self, call: HttpCall, ends: float) -> AsyncIterator[HttpReply]:
        """The answer to a call, for the length of the block. It is started for it if it sleeps.

        Raises:
            LambdaNotRunning: it ended by itself, and is not started again yet.
            LunaError: as for `Connection.called`.
        """
        self._calls += 1
        try:
            live = await self._awake(ends)
            whole = False
            try:
                async with live.connection.called(call, ends) as reply:
                    own = tuple(pair for pair in reply.headers if pair[0] != _VERSION)
                    yield replace(reply, headers=((_VERSION, str(self.version)), *own))
                whole = True
            except LambdaFailed as error:
                if live.process.over or await live.process.ended(0.2):
                    raise LambdaFailed(message=live.reason()) from None
                raise error from None
            finally:
                if not whole:
                    live.look_after()
        finally:
            self._calls -= 1
            self._used = asyncio.get_running_loop().time()
            self._wake_waiting()

    async def _awake(self, ends: float) -> _Live:
        """Its process, once that takes calls.

        Raises:
            LambdaNotRunning: it does not run, and will not before `ends`.
        """
        self._called.set()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(ends):
                while self.phase in (Phase.STARTING, Phase.ASLEEP):
                    await self._next_turn()
        if self.phase is not Phase.READY or self._live is None:
            raise LambdaNotRunning(lambda_id=self._deployment.lambda_id, status=STATUS[self.phase].value)
        return self._live

    async def _keep(self) -> None:
        pause = FIRST_PAUSE
        loop = asyncio.get_running_loop()
        while True:
            self._turn(Phase.STARTING)
            ready_seconds, idle = 0.0, False
            try:
                self._live = live = await _Live.start(self._means, self._deployment, self._folder, self._log)
                await live.ready(self._means.settings.start_seconds)
                began = self._used = loop.time()
                self._turn(Phase.READY)
                idle = await self._watch_over(live)
                ready_seconds = loop.time() - began
                reason = live.reason()
            except CannotStart as error:
                reason = str(error)
            except Exception:
                log.exception("lambda %s cannot be kept", self._deployment.lambda_id)
                reason = "an unexpected error of the service"
            if idle:
                self._called.clear()
                self._turn(Phase.ASLEEP)
                await self._end_live(STOP_SECONDS)
                await self._called.wait()
                continue
            # nobody is given a process that ends; its last words come before what is said of it
            self.phase = Phase.RESTING
            await self._end_live(0)
            self.reason = reason
            if ready_seconds >= HEALTHY_SECONDS:
                pause = FIRST_PAUSE
            self._log.add(f"-- {self.reason}; it is started again in {pause:g} s")
            self._changed(self)
            self._wake_waiting()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            self.restarts += 1

    async def _watch_over(self, live: _Live) -> bool:
        """Wait until a process has ended, which is False, or nobody has called it for long, which is True."""
        loop = asyncio.get_running_loop()
        while True:
            idle = self._means.settings.idle_seconds
            left = idle if self._calls else self._used + idle - loop.time()
            if left <= 0:
                return True
            if await live.process.ended(max(left, _POLL_SECONDS)):
                return False

    async def _end_live(self, seconds: float) -> None:
        live, self._live = self._live, None
        if live is not None:
            await live.close(seconds)

    def _turn(self, phase: Phase) -> None:
        if phase is not self.phase:
            self.phase = phase
            self._changed(self)
        self._wake_waiting()

    def _wake_waiting(self) -> None:
        turned, self._turned = self._turned, asyncio.Event()
        turned.set()

    async def _next_turn(self) -> None:
        await self._turned.wait()


class _Live:
    """A process with its socket, its relay and its reader: all that ends with it."""

    def __init__(self, process: Process, connection: Connection, relay: Relay, reader: Reader, folder: Path) -> None:
        self.process = process
        self.connection = connection
        self._relay = relay
        self._reader = reader
        self._folder = folder
        self._directory = -1
        self._blame = ""
        self._looking: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, means: Means, deployment: Deployment, folder: LambdaFolder, told: Log) -> _Live:
        """Start a process; it takes no calls yet.

        Raises:
            CannotStart: it cannot be started.
        """
        own = folder.run()
        directory = os.open(own, os.O_PATH | os.O_DIRECTORY)
        relay = Relay(own / "platform.sock", *means.platform)
        reader = Reader(told.add)
        # paths of sockets are short, those of data folders may be long
        path = f"/proc/self/fd/{directory}/calls.sock"
        try:
            await relay.start()
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
                listener.bind(path)
                listener.listen(means.settings.calls + means.settings.waiting)
                order = _order(means, deployment, folder, own, listener.fileno())
                process = await Process.start(means.way, order, reader.writing)
        except (OSError, CannotStart) as error:
            await relay.close()
            await reader.close()
            os.close(directory)
            shutil.rmtree(own, ignore_errors=True)
            raise CannotStart(str(error)) from error
        reader.started()
        settings = means.settings
        live = cls(
            process, Connection(path, settings.request_max_bytes, settings.response_max_bytes), relay, reader, own
        )
        live._directory = directory
        means.watch.add(process, _most(means), live._accuse)
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
        return self._blame or self.process.reason()

    async def close(self, seconds: float) -> None:
        """End it, with so many seconds to end by itself, and leave nothing behind."""
        if self._looking is not None:
            self._looking.cancel()
        if seconds > 0:
            await self.process.stop(seconds)
        else:
            self.process.kill()
            await self.process.ended()
        await self.connection.close()
        await self._relay.close()
        await self._reader.close()
        os.close(self._directory)
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def _look(self) -> None:
        if not self.process.over and not await self.connection.healthy(PROBE_SECONDS):
            if not self.process.over:
                self._accuse(f"it did not answer within {PROBE_SECONDS:g} s after a call had failed")
            self.process.kill()

    def _accuse(self, reason: str) -> None:
        self._blame = self._blame or reason


def _most(means: Means) -> Most:
    settings = means.settings
    return Most(settings.memory_bytes + settings.temporary_bytes, settings.processes)


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


def environment() -> dict[str, str]:
    """What every program in a sandbox is told, and no more of this process's own environment."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": view.TEMPORARY,
        "TMPDIR": view.TEMPORARY,
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        # pools of threads are otherwise as large as the machine
        "OMP_NUM_THREADS": "2",
        "OPENBLAS_NUM_THREADS": "2",
        "MALLOC_ARENA_MAX": "4",
    }
