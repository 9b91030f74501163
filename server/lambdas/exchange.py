"""One call over HTTP to a lambda that listens somewhere: streamed both ways, within limits, and with LUNA's errors."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from server.domain.http_calls import HttpCall, HttpReply
from server.errors import LambdaFailed, LunaError, RequestTooLarge

PIECE = 64 << 10
HEAD_BYTES = 64 << 10
"""Longest line and longest header of an answer."""
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
        timeout=aiohttp.ClientTimeout(total=None),
    )


@asynccontextmanager
async def exchanged(
    client: aiohttp.ClientSession, root: str, call: HttpCall, limits: Limits, connect_seconds: float
) -> AsyncIterator[HttpReply]:
    """The answer to a call, for the length of the block. How long it may take is up to the caller.

    Args:
        client: as `session` makes one.
        root: http://host:port, without a path.
        call: what is sent.
        limits: of the bodies.
        connect_seconds: longest wait for a connection.

    Raises:
        NotConnected: there is no connection; the body has not been touched.
        RequestTooLarge: the body of the call is larger than it may be.
        LambdaFailed: the connection ended before a whole answer, what came is no HTTP, or the answer is too large.
    """
    sent = _Sent(call, limits.request)
    query = f"?{call.query}" if call.query else ""
    try:
        response = await client.request(
            call.method,
            URL(f"{root}/{call.path}{query}", encoded=True),
            headers=CIMultiDict(call.headers),
            data=sent.body(),
            allow_redirects=False,
            skip_auto_headers=_OWN,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds),
        )
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise NotConnected from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise sent.failure or LambdaFailed(
            message="it ended before it answered, or answered what is no HTTP"
        ) from error
    try:
        headers = tuple((name.lower(), value) for name, value in response.headers.items())
        yield HttpReply(response.status, headers, _received(response, limits.response, sent))
    finally:
        # one that was read to its end has given its connection back; another one is broken off
        response.close()


@dataclass(slots=True)
class _Sent:
    """The body of a call on its way. `failure` is what stopped it, of which the client tells nothing."""

    call: HttpCall
    most: int
    failure: BaseException | None = field(default=None)

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
        except (LunaError, OSError, aiohttp.ClientError) as error:
            self.failure = error
            raise


async def _received(response: aiohttp.ClientResponse, most: int, sent: _Sent) -> AsyncIterator[bytes]:
    count = 0
    try:
        async for piece in response.content.iter_chunked(PIECE):
            count += len(piece)
            if count > most:
                raise LambdaFailed(message=f"its answer is larger than {most} bytes")
            yield piece
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise sent.failure or LambdaFailed(message="its answer is not whole") from error
