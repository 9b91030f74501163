"""Lambdas on the local runner, for tests: written as text, deployed, called and waited for."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import textwrap
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from server.domain.http_calls import Headers, HttpCall
from server.domain.lambdas import Deployment, ImageStatus, LambdaState, LambdaStatus, LambdaType
from server.errors import NoIsolation
from server.lambdas.local import LocalRunner
from server.settings import Lambdas

SECONDS = 60.0
"""Longest wait; machines that run tests may be busy."""

WAYS = ("bubblewrap", "user")


def archive(code: str, **files: str | bytes) -> bytes:
    """An archive with `lambda_main.py`, and other files whose dots and slashes are written as keys of a mapping."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as written:
        written.writestr("lambda_main.py", textwrap.dedent(code))
        for name, content in files.items():
            written.writestr(name, content)
    return data.getvalue()


@dataclass(frozen=True)
class Answer:
    """An answer as a whole."""

    status: int
    headers: Headers
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Local:
    """A runner, and the lambdas that a test has given it."""

    runner: LocalRunner
    folder: Path
    accounts: dict[UUID, UUID] = field(default_factory=dict)

    def deploy(self, code: str | bytes, lambda_id: UUID | None = None, version: int = 1, **files: str | bytes) -> UUID:
        """Give the runner a version of a lambda."""
        lambda_id = lambda_id or uuid4()
        account = self.accounts.setdefault(lambda_id, uuid4())
        data = code if isinstance(code, bytes) else archive(code, **files)
        self.runner.deploy(Deployment(lambda_id, account, version, LambdaType.STANDALONE, data, f"token-{lambda_id}"))
        return lambda_id

    async def started(self, code: str | bytes, lambda_id: UUID | None = None, version: int = 1, **files: Any) -> UUID:
        """Give the runner a version of a lambda, and wait until it runs."""
        lambda_id = self.deploy(code, lambda_id, version, **files)
        await self.reaches(lambda_id, lambda state: state.status is LambdaStatus.RUNNING)
        return lambda_id

    def state(self, lambda_id: UUID) -> LambdaState:
        return self.runner.states()[lambda_id]

    async def reaches(
        self, lambda_id: UUID, wanted: Callable[[LambdaState], bool], seconds: float = SECONDS
    ) -> LambdaState:
        """The first state of a kind; one that can never be reached any more is told with the logs."""
        try:
            async with asyncio.timeout(seconds):
                while not wanted(self.state(lambda_id)):
                    if self.state(lambda_id).image_status is ImageStatus.ERROR:
                        break
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pass
        state = self.state(lambda_id)
        assert wanted(state), (state, await self.runner.logs(lambda_id, None))
        return state

    async def call(
        self,
        lambda_id: UUID,
        path: str = "/",
        method: str = "GET",
        body: Any = b"",
        headers: Headers = (),
        query: str = "",
    ) -> Answer:
        """Call a lambda and take its whole answer."""
        async with self.runner.called(lambda_id, HttpCall(method, path, query, headers, body)) as reply:
            return Answer(reply.status, reply.headers, b"".join([piece async for piece in reply.body]))

    async def ask(self, lambda_id: UUID, path: str = "/") -> Any:
        """What a lambda answers, as JSON."""
        answer = await self.call(lambda_id, path)
        assert answer.status == 200, (answer, await self.runner.logs(lambda_id, None))
        return answer.json()

    async def logs(self, lambda_id: UUID) -> str:
        return "\n".join(await self.runner.logs(lambda_id, None))


def settings(way: str, **more: Any) -> Lambdas:
    return Lambdas(isolation=way, **more)


@asynccontextmanager
async def local(
    folder: Path, way: str, platform: tuple[str, int] = ("127.0.0.1", 9), **more: Any
) -> AsyncIterator[Local]:
    """A runner with a folder, closed at the end."""
    runner = LocalRunner(settings(way, **more), folder, platform)
    try:
        yield Local(runner, folder)
    finally:
        await runner.close()


async def need(way: str) -> None:
    """Skip a test where this machine has not a way of isolation, and say why."""
    if way == "bubblewrap" and shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    if way == "user" and os.geteuid() != 0:
        pytest.skip("only root can become the user of a lambda")
    try:
        await LocalRunner(settings(way), Path("/nonexistent-probe"), ("127.0.0.1", 9)).check()
    except NoIsolation as refusal:
        pytest.skip(refusal.detail)
