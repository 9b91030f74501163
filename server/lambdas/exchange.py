"""One call over HTTP to a lambda that listens somewhere: streamed both ways, within limits, and with LUNA's errors.

Whatever comes back from there is bounded, and believed to be nothing but an answer.
"""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import quote

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from server.domain.http_calls import Headers, HttpCall, HttpReply
from server.errors import DeadlineExceeded, LambdaFailed, RequestTooLarge

HEAD_BYTES = 16 << 10
"""Longest line and longest header of an answer."""
HEADERS = 100
"""Most headers of an answer."""

_PIECE = 64 << 10
_FINAL = 200
_UNESCAPED = "/%:@!$&'()*+,;=~-._[]?|"
_VERB = re.compile(r"[A-Z]{1,20}")
_OWN = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")
"""What the client would add by itself, and the caller has not said."""


class NotConnected(Exception):
    """Nobody listened there, so that nothing of the call was sent."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Largest bodies, in bytes."""

    request: int
    response: int


def session(connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
    """A client that adds nothing to what is said, and keeps nothing of it."""
    return aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        max_line_size=HEAD_BYTES,
        max_field_size=HEAD_BYTES,
        max_headers=HEADERS,
        read_bufsize=_PIECE,
        timeout=aiohttp.ClientTimeout(total=None),
    )


@asynccontextmanager
async def exchanged(
    client: aiohttp.ClientSession,
    root: str,
    call: HttpCall,
    limits: Limits,
    *,
    connect_seconds: float | None = None,
    ends: float | None = None,
) -> AsyncIterator[HttpReply]:
    """The answer to a call, for the length of the block.

    Args:
        client: as `session` makes one.
        root: http://host:port, without a path.
        call: what is sent.
        limits: of the bodies.
        connect_seconds: longest wait for a connection.
        ends: when the answer has to be whole, in the time of the loop; None leaves that to the caller.

    Raises:
        NotConnected: there is no connection; the body has not been touched.
        RequestTooLarge: the body of the call is larger than it may be.
        LambdaFailed: the connection ended before a whole answer, what came is no HTTP, or the answer is too large.
        DeadlineExceeded: it took too long.
    """
    sent = _Sent(call, limits.request)
    try:
        async with asyncio.timeout_at(ends):
            response = await client.request(
                _verb(call.method),
                _address(root, call),
                headers=CIMultiDict(call.headers),
                data=sent.body(),
                allow_redirects=False,
                skip_auto_headers=_OWN,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds),
            )
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, ConnectionRefusedError) as error:
        raise NotConnected from error
    except TimeoutError:
        raise DeadlineExceeded from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise sent.failure or LambdaFailed(message=_told(error)) from None
    try:
        if response.status < _FINAL:
            raise LambdaFailed(message=f"it answered with status {response.status}")
        yield HttpReply(response.status, _headers(response), _received(response, limits.response, sent, ends))
    finally:
        # one that was read to its end has given its connection back; another one is broken off
        response.close()


@dataclass(slots=True)
class _Sent:
    """The body of a call on its way. `failure` is what stopped it, of which the client tells nothing."""

    call: HttpCall
    most: int
    failure: Exception | None = field(default=None)

    def body(self) -> io.BytesIO | AsyncIterator[bytes] | None:
        """What the client sends.

        Raises:
            RequestTooLarge: it is known to be too large before any of it is sent.
        """
        body = self.call.body
        length = dict(self.call.headers).get("content-length", "")
        told = len(body) if isinstance(body, bytes) else int(length) if length.isascii() and length.isdigit() else 0
        if told > self.most:
            raise RequestTooLarge(limit=self.most)
        if isinstance(body, bytes):
            # the client sends a file piece by piece, and bytes at once
            return io.BytesIO(body) if body else None
        return self._pieces(body)

    async def _pieces(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        count = 0
        try:
            async for piece in body:
                count += len(piece)
                if count > self.most:
                    raise RequestTooLarge(limit=self.most)
                yield piece
        except Exception as error:
            # the client tells of no more than a connection that broke
            self.failure = error
            raise


async def _received(
    response: aiohttp.ClientResponse, most: int, sent: _Sent, ends: float | None
) -> AsyncIterator[bytes]:
    taken = 0
    while True:
        try:
            async with asyncio.timeout_at(ends):
                piece = await response.content.readany()
        except TimeoutError:
            raise DeadlineExceeded from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise sent.failure or LambdaFailed(message=_told(error)) from None
        if not piece:
            return
        taken += len(piece)
        if taken > most:
            raise LambdaFailed(message=f"its answer is larger than {most} bytes")
        yield piece


def _verb(method: str) -> str:
    """A verb that cannot be taken for more than one.

    Raises:
        LambdaFailed: it is none.
    """
    if not _VERB.fullmatch(method) or method == "CONNECT":
        raise LambdaFailed(message="its verb is none that lambdas are called with")
    return method


def _address(root: str, call: HttpCall) -> URL:
    path = quote(call.path if call.path.startswith("/") else f"/{call.path}", safe=_UNESCAPED)
    query = quote(call.query, safe=_UNESCAPED)
    base = URL(root)
    return URL.build(
        scheme=base.scheme,
        host=base.host or "",
        port=base.explicit_port,
        path=path.replace("?", "%3F"),
        query_string=query,
        encoded=True,
    )


def _headers(response: aiohttp.ClientResponse) -> Headers:
    return tuple(
        (name.decode("latin-1").lower(), value.decode("utf-8", "replace")) for name, value in response.raw_headers
    )


def _told(error: Exception) -> str:
    """What went wrong, without anything that the lambda wrote."""
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError):
        return "it ended without an answer"
    return "it answered what is no HTTP"
