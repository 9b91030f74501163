"""HTTP over a lambda's socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp

from server.domain.http_calls import HttpCall, HttpReply
from server.errors import LambdaFailed
from server.lambdas.exchange import Limits, NotConnected, exchanged, session

HEALTH = "/.luna/health"

_ROOT = "http://lambda"
_OK = 200


class Connection:
    """Calls one process. Each call has a connection of its own: what comes after an answer is nobody's answer.

    Args:
        path: the socket.
        limits: of the bodies.
    """

    def __init__(self, path: str, limits: Limits) -> None:
        self._limits = limits
        self._session = session(aiohttp.UnixConnector(path, force_close=True, limit=0))

    async def close(self) -> None:
        """Break off what is open."""
        await self._session.close()

    async def healthy(self, seconds: float) -> bool:
        """Whether the program says so, within so many seconds."""
        with suppress(aiohttp.ClientError, OSError, TimeoutError, ValueError):
            async with asyncio.timeout(seconds), self._session.get(f"{_ROOT}{HEALTH}") as response:
                return response.status == _OK
        return False

    @asynccontextmanager
    async def called(self, call: HttpCall, ends: float) -> AsyncIterator[HttpReply]:
        """The answer to a call, for the length of the block.

        Args:
            call: what is sent.
            ends: when it has to be whole, in the time of the loop.

        Raises:
            LunaError: as for `exchanged`.
            LambdaFailed: nobody listens, too.
        """
        try:
            async with exchanged(self._session, _ROOT, call, self._limits, ends=ends) as reply:
                yield reply
        except NotConnected:
            raise LambdaFailed(message="it does not take calls") from None
