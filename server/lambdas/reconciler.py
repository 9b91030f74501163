"""What is wanted of lambdas made real: rows are looked at, a runner is told, and what it reaches is reported.

Every look compares all rows with all that the runner has. Nothing is remembered that a restart would need, and a change
that nobody heard of is found by the next look.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from uuid import UUID

from server.domain.lambdas import ImageStatus, LambdaRunner, LambdaState, LambdaStatus, WantedLambdas
from server.errors import LambdaArchiveGone, LunaError

LOOK_SECONDS = 1.0
"""Longest wait between two looks."""
REPORT_SECONDS = 1.0
"""Wait until a report is tried again that could not be kept."""
RETRY_SECONDS = 60.0
"""Wait until an archive is looked for again that was not there."""

Counted = Callable[[Mapping[str, int]], None]
"""Is told how many lambdas have each status."""

log = logging.getLogger(__name__)


class Reconciler:
    """Keeps a runner to what is wanted.

    Args:
        wanted: what that is, and who is reported to.
        runner: runs lambdas.
        counted: is told how many lambdas have each status.
    """

    def __init__(self, wanted: WantedLambdas, runner: LambdaRunner, counted: Counted | None = None) -> None:
        self._wanted = wanted
        self._runner = runner
        self._counted = counted
        self._busy: dict[UUID, asyncio.Task[None]] = {}
        self._told: dict[UUID, int] = {}
        self._lost: dict[UUID, tuple[int, float]] = {}
        self._reported: dict[UUID, LambdaState] = {}

    async def run(self) -> None:
        """Look and report until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._look_for_ever(), name="look at lambdas")
                group.create_task(self._report_for_ever(), name="report lambdas")
        finally:
            for task in self._busy.values():
                task.cancel()

    async def look(self) -> None:
        """Compare once, and begin what has to be done. Of one lambda one thing is done at a time."""
        wanted = await self._wanted.versions()
        known = self._runner.states()
        for lambda_id in known.keys() - wanted.keys():
            self._begin(lambda_id, self._remove(lambda_id))
        for lambda_id, version in wanted.items():
            if self._lacks(lambda_id, version, known):
                self._begin(lambda_id, self._deploy(lambda_id))

    async def report(self) -> None:
        """Report every state that has changed since it was last reported."""
        states = dict(self._runner.states())
        if self._counted is not None:
            found = Counter(state.status for state in states.values())
            self._counted({status.value: found[status] for status in LambdaStatus})
        for lambda_id, state in states.items():
            if self._reported.get(lambda_id) != state:
                await self._wanted.report(lambda_id, state)
                self._reported[lambda_id] = state
        for lambda_id in self._reported.keys() - states.keys():
            del self._reported[lambda_id]

    def _lacks(self, lambda_id: UUID, version: int, known: Mapping[UUID, LambdaState]) -> bool:
        lost = self._lost.get(lambda_id)
        if lost is not None and lost[0] == version and asyncio.get_running_loop().time() < lost[1]:
            return False
        # a version that this process has not asked for may be one that was built before its start, and has to run again
        return lambda_id not in known or self._told.get(lambda_id) != version

    def _begin(self, lambda_id: UUID, work: Coroutine[None, None, None]) -> None:
        if lambda_id in self._busy:
            work.close()
            return
        task = asyncio.create_task(work, name=f"lambda {lambda_id}")
        self._busy[lambda_id] = task
        task.add_done_callback(lambda _: self._busy.pop(lambda_id, None))

    async def _deploy(self, lambda_id: UUID) -> None:
        try:
            deployment = await self._wanted.deployment(lambda_id)
            if deployment is None:
                return
            self._runner.deploy(deployment)
            self._told[lambda_id] = deployment.version
            self._lost.pop(lambda_id, None)
        except LambdaArchiveGone as error:
            await self._tell_lost(lambda_id, error)
        except LunaError as error:
            log.warning("lambda %s is not deployed yet: %s", lambda_id, error.detail)
        except Exception:
            log.exception("lambda %s cannot be deployed", lambda_id)

    async def _remove(self, lambda_id: UUID) -> None:
        try:
            await self._runner.remove(lambda_id)
            self._told.pop(lambda_id, None)
            self._lost.pop(lambda_id, None)
            log.info("lambda %s is removed", lambda_id)
        except LunaError as error:
            log.warning("lambda %s is not removed yet: %s", lambda_id, error.detail)
        except Exception:
            log.exception("lambda %s cannot be removed", lambda_id)

    async def _tell_lost(self, lambda_id: UUID, error: LunaError) -> None:
        """Say that there is nothing to build. A version that runs goes on."""
        log.warning("lambda %s cannot be built: %s", lambda_id, error.detail)
        version = (await self._wanted.versions()).get(lambda_id)
        if version is None:
            return
        self._lost[lambda_id] = version, asyncio.get_running_loop().time() + RETRY_SECONDS
        status = LambdaStatus.WAITING
        known = self._runner.states().get(lambda_id)
        if known is not None:
            status = known.status
        await self._wanted.report(
            lambda_id, LambdaState(version, status, ImageStatus.ERROR, image_logs=(error.detail,))
        )

    async def _look_for_ever(self) -> None:
        while True:
            try:
                await self.look()
                await self._wanted.changed(LOOK_SECONDS)
            except LunaError as error:
                log.warning("what is wanted of lambdas is not known now: %s", error.detail)
                await asyncio.sleep(LOOK_SECONDS)
            except Exception:
                log.exception("looking at lambdas failed")
                await asyncio.sleep(LOOK_SECONDS)

    async def _report_for_ever(self) -> None:
        while True:
            try:
                await self.report()
                await self._runner.changed()
            except LunaError as error:
                log.warning("how lambdas are cannot be reported now: %s", error.detail)
                await asyncio.sleep(REPORT_SECONDS)
            except Exception:
                log.exception("reporting lambdas failed")
                await asyncio.sleep(REPORT_SECONDS)
