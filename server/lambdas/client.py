"""The lambda host as servers see it: `server.domain.lambdas.LambdaHost` over HTTP."""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from uuid import UUID

import aiohttp
import orjson
from multidict import CIMultiDict
from yarl import URL

from server.domain import deadline
from server.domain.http_calls import HttpCall, HttpReply
from server.errors import DeadlineExceeded, Forbidden, FunctionOff, LambdaFailed, LunaError
from server.lambdas.failures import read, unreachable
from server.lambdas.headers import sent_on
from server.lambdas.internal import ANSWER, DONE, KIND, ROOT, SECONDS, SECRET
from server.lambdas.proxy import PIECE

ASK_SECONDS = 5.0
"""Longest wait for what the host knows by itself."""
CONNECT_SECONDS = 2.0
CONNECTIONS = 1024
"""Calls that a server has there at a time; further ones wait."""

log = logging.getLogger(__name__)


class RemoteLambdaHost:
    """Asks the lambda host at an address. Connections are kept and used again.

    Args:
        address: host:port.
        secret: what a server proves itself with.
        seconds: longest call, where the call in progress has no deadline before it.
        tls: what is believed there; None is plain text.
        name: the name in its certificate, where that is not the host of the address.
    """

    def __init__(
        self, address: str, secret: str, seconds: float, tls: ssl.SSLContext | None = None, name: str = ""
    ) -> None:
        self._root = f"{'http' if tls is None else 'https'}://{address}{ROOT}"
        self._tls = tls
        self._name = name or None
        self._secret = secret
        self._seconds = seconds
        self._session: aiohttp.ClientSession | None = None

    async def check(self) -> None:
        """Return where lambdas are taken.

        Raises:
            NoIsolation: they cannot be kept apart there.
            Unavailable: the process does not answer.
        """
        await self._ask("check")

    async def logs(self, lambda_id: UUID, tail_lines: int | None) -> list[str]:
        """The last lines that a lambda wrote, the oldest first.

        Raises:
            Unavailable: the process does not answer.
        """
        query = "" if tail_lines is None else f"?tail_lines={tail_lines}"
        data = await self._ask(f"lambdas/{lambda_id}/logs{query}")
        return [str(line) for line in orjson.loads(data)["logs"]]

    @asynccontextmanager
    async def called(self, lambda_id: UUID, call: HttpCall) -> AsyncIterator[HttpReply]:
        """The answer of a lambda, for the length of the block.

        Raises:
            Unavailable: the process does not answer.
            LunaError: as for `LambdaRunner.called`.
        """
        seconds = self._left(self._seconds)
        query = f"?{call.query}" if call.query else ""
        target = f"lambdas/{lambda_id}/call/{call.path}{query}"
        account = tuple(pair for pair in call.headers if pair[0] == "luna-account-id")[:1]
        headers = (*sent_on(call.headers, *account), (SECONDS, f"{seconds:.3f}"))
        async with self._asked(call.method, target, seconds, headers, call.body, ANSWER) as response:
            got = tuple((name.lower(), value) for name, value in response.headers.items() if name.lower() != KIND)
            yield HttpReply(response.status, got, _pieces(response))

    async def close(self) -> None:
        """Give the connections back."""
        if self._session is not None:
            await self._session.close()

    async def _ask(self, target: str) -> bytes:
        async with self._asked("GET", target, self._left(ASK_SECONDS), (), b"", DONE) as response:
            with _answering():
                return await response.read()

    @asynccontextmanager
    async def _asked(
        self,
        method: str,
        target: str,
        seconds: float,
        headers: tuple[tuple[str, str], ...],
        body: bytes | AsyncIterator[bytes],
        kind: str,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer of one kind.

        Raises:
            LunaError: the host answers with an error, or does not.
        """
        timeout = aiohttp.ClientTimeout(total=None, connect=min(CONNECT_SECONDS, seconds), sock_read=seconds)
        own = CIMultiDict([*headers, (SECRET, self._secret)])
        with _answering():
            response = await self._sessions().request(
                method,
                URL(self._root + target, encoded=True),
                headers=own,
                data=body or None,
                timeout=timeout,
                allow_redirects=False,
                server_hostname=self._name if self._tls is not None else None,
                skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
            )
        try:
            if response.headers.get(KIND) != kind:
                raise await _refusal(response)
            yield response
        finally:
            # an answer that was read to its end has given its connection back; another one is broken off
            response.close()

    def _sessions(self) -> aiohttp.ClientSession:
        """Made in the loop that uses it."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS, ssl=self._tls or True),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                max_line_size=64 << 10,
                max_field_size=64 << 10,
            )
        return self._session

    def _left(self, most: float) -> float:
        remaining = deadline.remaining()
        return most if remaining is None else max(0.001, min(most, remaining))


async def _refusal(response: aiohttp.ClientResponse) -> LunaError:
    with _answering():
        error = read(await response.read())
    if isinstance(error, Forbidden) and not isinstance(error, FunctionOff):
        # no fault of the caller's
        log.error("the process of lambdas refuses this server: %s", error.detail)
        return unreachable()
    return error


async def _pieces(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        with _answering():
            async for data in response.content.iter_chunked(PIECE):
                yield data
    except aiohttp.ClientPayloadError:
        if deadline.remaining() == 0:
            raise DeadlineExceeded from None
        raise LambdaFailed(message="its answer is not whole") from None


@contextmanager
def _answering() -> Iterator[None]:
    """Errors of the connection as Luna's.

    Raises:
        DeadlineExceeded: the answer did not come in time.
        Unavailable: there is none.
    """
    try:
        yield
    except aiohttp.ClientPayloadError:
        raise
    except aiohttp.ConnectionTimeoutError:
        raise unreachable() from None
    except (TimeoutError, aiohttp.ServerTimeoutError):
        raise DeadlineExceeded from None
    except (aiohttp.ClientError, OSError):
        raise unreachable() from None
