"""One version of a lambda running: started, restarted when it ends, put to sleep when nobody calls it, and stopped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from enum import Enum

from server.domain.http_calls import HttpCall, HttpReply
from server.domain.lambdas import Deployment, LambdaStatus
from server.errors import LambdaFailed, LambdaNotRunning
from server.lambdas.local.folders import LambdaFolder
from server.lambdas.local.live import Live, Means
from server.lambdas.local.output import Log
from server.lambdas.local.priority import Priority
from server.lambdas.local.process import CannotStart

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
"""Seconds before a restart; each one in a row doubles it."""
HEALTHY_SECONDS = 60.0
"""A process that took calls for so long begins with the first pause again."""
STOP_SECONDS = 7.0
"""The program gives its calls 5 s to end."""
DRAIN_SECONDS = 30.0
"""A version that another one has taken the place of has so long to end its calls."""
_POLL_SECONDS = 0.05
_END_SECONDS = 1.0
"""A call that was broken off may be the first to notice that its process ends."""
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
        self._live: Live | None = None
        self._called = asyncio.Event()
        self._turned = asyncio.Event()
        self._priority = Priority()
        self._calls = 0
        self._used = 0.0
        self._keeping = asyncio.get_running_loop().create_task(self._keep(), name=f"lambda {deployment.lambda_id}")

    async def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Stop for good."""
        self._keeping.cancel()
        await asyncio.gather(self._keeping, return_exceptions=True)
        await self._end_live(seconds)
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
                if live.accused or await live.process.ended(_END_SECONDS):
                    raise LambdaFailed(message=live.reason()) from None
                raise error from None
            finally:
                if not whole:
                    live.look_after()
        finally:
            self._calls -= 1
            self._used = asyncio.get_running_loop().time()
            self._wake_waiting()

    async def _awake(self, ends: float) -> Live:
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
                self._live = live = await Live.start(
                    self._means, self._deployment, self._folder, self._log, self._priority
                )
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
            # its last words come before what is said of it
            await self._end_live(0)
            self.reason = reason
            if ready_seconds >= HEALTHY_SECONDS:
                pause = FIRST_PAUSE
            self._log.add(f"-- {self.reason}; it is started again in {pause:g} s")
            self._turn(Phase.RESTING)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            self.restarts += 1

    async def _watch_over(self, live: Live) -> bool:
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
        if self._live is not None:
            await self._live.close(seconds)
            self._live = None

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
