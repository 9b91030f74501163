"""HTTP over a lambda's socket. Whatever comes back from there is bounded, and believed to be nothing but an answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import quote

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from server.domain.http_calls import Headers, HttpCall, HttpReply
from server.errors import DeadlineExceeded, LambdaFailed, RequestTooLarge

HEALTH = "/.luna/health"
HEAD_BYTES = 16 << 10
"""Longest line and longest header of an answer."""
HEADERS = 100
_PIECE = 64 << 10
_OK = 200
_FINAL = 200
_AUTOMATIC = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")
_UNESCAPED = "/%:@!$&'()*+,;=~-._[]?|"
_VERB = re.compile(r"[A-Z]{1,20}")


class Connection:
    """Calls one process. Each call has a connection of its own: what comes after an answer is nobody's answer.

    Args:
        path: the socket.
        request_bytes, response_bytes: largest bodies.
    """

    def __init__(self, path: str, request_bytes: int, response_bytes: int) -> None:
        self._request_bytes = request_bytes
        self._response_bytes = response_bytes
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(path, force_close=True, limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            trust_env=False,
            max_line_size=HEAD_BYTES,
            max_field_size=HEAD_BYTES,
            max_headers=HEADERS,
            read_bufsize=_PIECE,
        )

    async def close(self) -> None:
        """Break off what is open."""
        await self._session.close()

    async def healthy(self, seconds: float) -> bool:
        """Whether the program says so, within so many seconds."""
        with suppress(aiohttp.ClientError, OSError, TimeoutError, ValueError):
            async with asyncio.timeout(seconds), self._session.get(f"http://lambda{HEALTH}") as response:
                return response.status == _OK
        return False

    @asynccontextmanager
    async def called(self, call: HttpCall, ends: float) -> AsyncIterator[HttpReply]:
        """The answer to a call, for the length of the block.

        Args:
            call: what is sent.
            ends: when it has to be whole, in the time of the loop.

        Raises:
            LambdaFailed: there is no answer that can be understood.
            DeadlineExceeded: it took too long.
            RequestTooLarge: the body of the call is larger than it may be.
        """
        sent = _Body(call.body, self._request_bytes)
        try:
            async with asyncio.timeout_at(ends):
                response = await self._session.request(
                    _verb(call.method),
                    _address(call),
                    headers=CIMultiDict(call.headers),
                    data=sent.data(),
                    allow_redirects=False,
                    skip_auto_headers=_AUTOMATIC,
                )
        except TimeoutError:
            raise DeadlineExceeded from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise sent.error or LambdaFailed(message=_told(error)) from None
        try:
            if response.status < _FINAL:
                raise LambdaFailed(message=f"it answered with status {response.status}")
            yield HttpReply(response.status, _headers(response), self._body(response, sent, ends))
        finally:
            response.close()

    async def _body(self, response: aiohttp.ClientResponse, sent: _Body, ends: float) -> AsyncIterator[bytes]:
        taken = 0
        while True:
            try:
                async with asyncio.timeout_at(ends):
                    piece = await response.content.readany()
            except TimeoutError:
                raise DeadlineExceeded from None
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise sent.error or LambdaFailed(message=_told(error)) from None
            if not piece:
                return
            taken += len(piece)
            if taken > self._response_bytes:
                raise LambdaFailed(message=f"its answer is larger than {self._response_bytes} bytes")
            yield piece


class _Body:
    """The body of a call, counted while it is sent."""

    def __init__(self, body: bytes | AsyncIterator[bytes], most: int) -> None:
        self.error: Exception | None = None
        self._body = body
        self._most = most

    def data(self) -> bytes | AsyncIterator[bytes] | None:
        """What is sent.

        Raises:
            RequestTooLarge: it is larger than it may be.
        """
        if isinstance(self._body, bytes):
            if len(self._body) > self._most:
                raise RequestTooLarge(limit=self._most)
            return self._body or None
        return self._counted(self._body)

    async def _counted(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        taken = 0
        try:
            async for piece in body:
                taken += len(piece)
                if taken > self._most:
                    raise RequestTooLarge(limit=self._most)
                yield piece
        except Exception as error:
            # the client tells of no more than a connection that broke
            self.error = error
            raise


def _verb(method: str) -> str:
    """A verb that cannot be taken for more than one.

    Raises:
        LambdaFailed: it is none.
    """
    if not _VERB.fullmatch(method) or method == "CONNECT":
        raise LambdaFailed(message="its verb is none that lambdas are called with")
    return method


def _address(call: HttpCall) -> URL:
    path = quote(call.path if call.path.startswith("/") else f"/{call.path}", safe=_UNESCAPED)
    query = quote(call.query, safe=_UNESCAPED)
    return URL.build(scheme="http", host="lambda", path=path.replace("?", "%3F"), query_string=query, encoded=True)


def _headers(response: aiohttp.ClientResponse) -> Headers:
    return tuple(
        (name.decode("latin-1").lower(), value.decode("utf-8", "replace")) for name, value in response.raw_headers
    )


def _told(error: Exception) -> str:
    """What went wrong, without anything that the lambda wrote."""
    if isinstance(error, aiohttp.ClientConnectorError | ConnectionRefusedError):
        return "it does not take calls"
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError):
        return "it ended without an answer"
    return "it answered what is no HTTP"
