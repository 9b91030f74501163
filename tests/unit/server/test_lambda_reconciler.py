"""What is wanted of lambdas, and what a runner is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import pytest

from server.domain.cancellation import ended
from server.domain.http_calls import HttpCall, HttpReply
from server.domain.lambdas import Deployment, ImageStatus, LambdaState, LambdaStatus, LambdaType
from server.errors import LambdaArchiveGone, Unavailable
from server.lambdas.reconciler import Reconciler

ONE, OTHER = uuid4(), uuid4()


def state(version: int, status: LambdaStatus = LambdaStatus.RUNNING) -> LambdaState:
    return LambdaState(version, status, ImageStatus.COMPLETED)


@dataclass
class Rows:
    """`WantedLambdas` in memory."""

    wanted: dict[UUID, int] = field(default_factory=dict)
    gone: set[UUID] = field(default_factory=set)
    reports: list[tuple[UUID, LambdaState]] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def versions(self) -> Mapping[UUID, int]:
        if self.failures:
            raise self.failures.pop()
        return dict(self.wanted)

    async def deployment(self, lambda_id: UUID) -> Deployment | None:
        if lambda_id in self.gone:
            raise LambdaArchiveGone(lambda_id=lambda_id)
        if lambda_id not in self.wanted:
            return None
        return Deployment(lambda_id, uuid4(), self.wanted[lambda_id], LambdaType.STANDALONE, b"zip", "jwt")

    async def report(self, lambda_id: UUID, state: LambdaState) -> None:
        if self.failures:
            raise self.failures.pop()
        self.reports.append((lambda_id, state))

    async def changed(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(0.01):
                await self.news.wait()
        except TimeoutError:
            return

    async def close(self) -> None:
        pass


@dataclass
class Runner:
    """A `LambdaRunner` that is at once where it is told to be."""

    known: dict[UUID, LambdaState] = field(default_factory=dict)
    deployed: list[tuple[UUID, int]] = field(default_factory=list)
    removed: list[UUID] = field(default_factory=list)
    stubborn: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def check(self) -> None:
        pass

    def deploy(self, deployment: Deployment) -> None:
        self.deployed.append((deployment.lambda_id, deployment.version))
        self.known[deployment.lambda_id] = state(deployment.version)
        self.news.set()

    async def remove(self, lambda_id: UUID) -> None:
        self.removed.append(lambda_id)
        if self.stubborn:
            self.stubborn = False
            raise Unavailable(component="a cluster")
        self.known.pop(lambda_id, None)
        self.news.set()

    def states(self) -> Mapping[UUID, LambdaState]:
        return self.known

    async def changed(self) -> None:
        await self.news.wait()
        self.news.clear()

    async def logs(self, lambda_id: UUID, tail_lines: int | None) -> list[str]:
        return []

    def called(self, lambda_id: UUID, call: HttpCall) -> AbstractAsyncContextManager[HttpReply]:
        raise NotImplementedError

    async def close(self) -> None:
        pass


@asynccontextmanager
async def reconciled(rows: Rows, runner: Runner) -> AsyncIterator[None]:
    task = asyncio.create_task(Reconciler(rows, runner).run())
    try:
        yield
    finally:
        assert not task.done()
        await ended(task)


async def settled() -> None:
    await asyncio.sleep(0.2)


async def test_every_lambda_is_deployed_once_and_again_with_each_version() -> None:
    rows, runner = Rows({ONE: 1, OTHER: 4}), Runner()
    async with reconciled(rows, runner):
        await settled()
        assert sorted(runner.deployed) == sorted([(ONE, 1), (OTHER, 4)])
        rows.wanted[ONE] = 2
        await settled()
    assert runner.deployed.count((ONE, 2)) == 1
    assert len(runner.deployed) == 3


async def test_what_was_built_before_a_start_is_told_again() -> None:
    rows, runner = Rows({ONE: 3}), Runner({ONE: state(3, LambdaStatus.WAITING)})
    async with reconciled(rows, runner):
        await settled()
    assert runner.deployed == [(ONE, 3)]


async def test_a_lambda_without_a_row_is_removed_also_one_of_before_the_start() -> None:
    rows, runner = Rows({ONE: 1}), Runner({OTHER: state(1)})
    async with reconciled(rows, runner):
        await settled()
        assert runner.removed == [OTHER]
        del rows.wanted[ONE]
        await settled()
    assert runner.removed == [OTHER, ONE]
    assert not runner.known


async def test_a_removal_that_fails_is_tried_again() -> None:
    rows, runner = Rows(), Runner({ONE: state(1)}, stubborn=True)
    async with reconciled(rows, runner):
        await settled()
    assert runner.removed == [ONE, ONE]
    assert not runner.known


async def test_a_state_that_is_gone_is_deployed_anew() -> None:
    rows, runner = Rows({ONE: 1}), Runner()
    async with reconciled(rows, runner):
        await settled()
        runner.known.clear()
        await settled()
    assert runner.deployed == [(ONE, 1), (ONE, 1)]


async def test_each_change_of_a_state_is_reported_once() -> None:
    rows, runner = Rows({ONE: 1}), Runner()
    async with reconciled(rows, runner):
        await settled()
        runner.news.set()
        await settled()
        runner.known[ONE] = state(1, LambdaStatus.TERMINATED)
        runner.news.set()
        await settled()
    assert [(one.status) for _, one in rows.reports] == [LambdaStatus.RUNNING, LambdaStatus.TERMINATED]


@pytest.mark.parametrize("error", [Unavailable(component="PostgreSQL"), ValueError("unforeseen")])
async def test_a_failure_ends_neither_the_looking_nor_the_reporting(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.lambdas.reconciler.LOOK_SECONDS", 0.01)
    monkeypatch.setattr("server.lambdas.reconciler.REPORT_SECONDS", 0.01)
    rows, runner = Rows({ONE: 1}, failures=[error] * 3), Runner()
    async with reconciled(rows, runner):
        await settled()
        runner.known[ONE] = state(1, LambdaStatus.TERMINATED)
        rows.failures = [error]
        runner.news.set()
        await settled()
    assert runner.deployed == [(ONE, 1)]
    assert rows.reports[-1] == (ONE, state(1, LambdaStatus.TERMINATED))


async def test_a_lost_archive_is_reported_and_not_asked_for_at_every_look() -> None:
    rows, runner = Rows({ONE: 2}, gone={ONE}), Runner()
    async with reconciled(rows, runner):
        await settled()
        assert [(one.version, one.image_status) for _, one in rows.reports] == [(2, ImageStatus.ERROR)]
        assert str(ONE) in rows.reports[0][1].image_logs[0]
        rows.wanted[ONE], rows.gone = 3, set()
        await settled()
    assert runner.deployed == [(ONE, 3)]
