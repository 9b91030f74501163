"""A lambda host for tests of what is between callers and lambdas: the programs are functions of the test's own."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import cast
from uuid import UUID, uuid4

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from server.domain.access import Principal, Scope, TokenGrant
from server.domain.accounts import AccountType
from server.domain.http_calls import HttpCall, HttpReply
from server.domain.lambdas import Deployment, Lambda, LambdaState, LambdaStore, LambdaType
from server.domain.permissions import Permissions
from server.domain.registry import AccountRegistry
from server.domain.tokens import TokenRegistry
from server.errors import LambdaNotRunning, LunaError, TokenNotFound
from server.lambdas.calls import LambdaCalls
from server.lambdas.client import RemoteLambdaHost
from server.lambdas.host import Host
from server.lambdas.internal import Internal
from server.lambdas.proxy import Proxy
from server.rpc.authorization import Authorizer
from tests.edge import ACCOUNT, KEY, OneAccount

SECRET = "a secret of sixteen and more"
LARGEST = 4 << 20
"""Bytes of the largest body of a call."""

Program = Callable[[web.Request], Awaitable[web.StreamResponse]]


def lambda_of(account_id: UUID, lambda_id: UUID | None = None) -> Lambda:
    """A lambda of an account."""
    now = datetime.now(UTC)
    return Lambda(lambda_id or uuid4(), account_id, "one", "", LambdaType.STANDALONE, (), 1, uuid4(), uuid4(), now, now)


@dataclass
class Programs:
    """A `LambdaRunner` whose lambdas are functions, each behind HTTP of its own."""

    version: int = 1
    refusal: LunaError | None = None
    lines: list[str] = field(default_factory=list)
    sockets: dict[UUID, Path] = field(default_factory=dict)
    ended: int = 0

    async def check(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    def deploy(self, deployment: Deployment) -> None:
        raise NotImplementedError

    async def remove(self, lambda_id: UUID) -> None:
        raise NotImplementedError

    def states(self) -> Mapping[UUID, LambdaState]:
        return {}

    async def changed(self) -> None:
        await asyncio.Event().wait()

    async def logs(self, lambda_id: UUID, tail_lines: int | None) -> list[str]:
        return self.lines if tail_lines is None else self.lines[len(self.lines) - tail_lines :]

    @asynccontextmanager
    async def called(self, lambda_id: UUID, call: HttpCall) -> AsyncIterator[HttpReply]:
        if lambda_id not in self.sockets:
            raise LambdaNotRunning(lambda_id=lambda_id, status="waiting")
        connector = aiohttp.UnixConnector(str(self.sockets[lambda_id]))
        query = f"?{call.query}" if call.query else ""
        try:
            async with (
                aiohttp.ClientSession(connector=connector, auto_decompress=False) as session,
                session.request(
                    call.method,
                    URL(f"http://lambda/{call.path}{query}", encoded=True),
                    headers=CIMultiDict(call.headers),
                    data=call.body or None,
                    allow_redirects=False,
                    skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
                ) as response,
            ):
                given = tuple((name.lower(), value) for name, value in response.headers.items())
                headers = (*(one for one in given if one[0] != "lambda-version"), ("lambda-version", str(self.version)))
                yield HttpReply(response.status, headers, response.content.iter_chunked(1 << 16))
        finally:
            self.ended += 1

    async def close(self) -> None:
        pass


@dataclass
class Tokens:
    """Tokens by their text, of the account of the tests."""

    known: dict[str, Permissions] = field(default_factory=dict)

    async def principal(self, text: str) -> Principal:
        if text not in self.known:
            raise TokenNotFound(token_id=text)
        return Principal(ACCOUNT, AccountType.USER, TokenGrant(uuid4(), self.known[text], False))


@dataclass
class Lambdas:
    """Lambdas by their id."""

    known: dict[UUID, Lambda] = field(default_factory=dict)

    async def get(self, scope: Scope, lambda_id: UUID) -> Lambda | None:
        found = self.known.get(lambda_id)
        return found if found is not None and scope.includes(found.account_id) else None


@dataclass
class Running:
    """A lambda host on a port, and what is behind it."""

    port: int
    host: Host
    programs: Programs
    lambdas: Lambdas
    tokens: Tokens
    told: list[tuple[str, str]]
    folder: Path
    closing: AsyncExitStack

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.port}"

    async def add(self, program: Program, account_id: UUID = ACCOUNT) -> UUID:
        """A lambda that runs a function."""
        one = lambda_of(account_id)
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/{path:.*}", program)
        runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        self.closing.push_async_callback(runner.cleanup)
        socket = self.folder / f"{len(self.lambdas.known)}.sock"
        await web.UnixSite(runner, str(socket)).start()
        self.programs.sockets[one.lambda_id] = socket
        self.lambdas.known[one.lambda_id] = one
        return one.lambda_id


@asynccontextmanager
async def lambda_host(seconds: float = 10.0, tls: ssl.SSLContext | None = None) -> AsyncIterator[Running]:
    """A lambda host without lambdas."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="luna-lambdas-")))
        programs, lambdas, tokens, told = Programs(), Lambdas(), Tokens(), list[tuple[str, str]]()
        authorizer = Authorizer(
            cast("AccountRegistry", OneAccount()), cast("TokenRegistry", tokens), account_header=False
        )
        calls = LambdaCalls(programs, seconds)
        proxy = Proxy(calls, cast("LambdaStore", lambdas), authorizer, LARGEST)
        host = Host(proxy, Internal(programs, calls, SECRET), KEY, lambda method, code, _: told.append((method, code)))
        port = await stack.enter_async_context(host.served("127.0.0.1", 0, tls))
        yield Running(port, host, programs, lambdas, tokens, told, folder, stack)


@asynccontextmanager
async def remote(
    running: Running,
    secret: str = SECRET,
    seconds: float = 10.0,
    tls: ssl.SSLContext | None = None,
    name: str = "",
) -> AsyncIterator[RemoteLambdaHost]:
    """The host as servers see it."""
    client = RemoteLambdaHost(running.address, secret, seconds, tls, name)
    try:
        yield client
    finally:
        await client.close()
