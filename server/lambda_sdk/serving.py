"""A lambda's code behind HTTP: one process, one event loop, as many calls at a time as come."""

from __future__ import annotations

import asyncio
import signal
import sys
import traceback
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

from .calls import request_id
from .environment import Environment
from .errors import Refused
from .program import Program
from .request import Request
from .response import Response
from .routes import WrongVerb

if TYPE_CHECKING:
    from .platform import Platform

HEALTH_PATH = "/.luna/health"
"""Answers 200 once calls may come. It can not be reached from outside."""
ERROR_HEADER = "Luna-Lambda-Error"
"""Name of the exception that ended a call."""
DRAIN_SECONDS = 5.0
"""Calls in progress, and then onShutdown, have so long when the lambda is told to stop."""
HEADER_BYTES = 64 << 10
"""Longest request line and header: more than the edge lets through."""
IDLE_SECONDS = 3600.0
"""A connection that nothing comes on is kept so long: who calls is one program, and ends it by itself."""


class Server:
    """Answers calls by a program's functions."""

    def __init__(self, program: Program, environment: Environment) -> None:
        self._program = program
        self._environment = environment
        self._client: Platform | None = None
        self._ready = False

    async def run(self) -> None:
        """Start the program, serve until SIGTERM or SIGINT, finish the calls in progress and shut the program down.

        Raises:
            Exception: what the program raised while it started or shut down.
        """
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(
            application,
            access_log=None,
            auto_decompress=False,
            handler_cancellation=True,
            keepalive_timeout=IDLE_SECONDS,
            max_field_size=HEADER_BYTES,
            max_line_size=HEADER_BYTES,
            shutdown_timeout=DRAIN_SECONDS,
        )
        await runner.setup()
        await web.SockSite(runner, self._environment.listener()).start()
        try:
            await self._live(stopped)
        finally:
            await runner.cleanup()
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._program.shutdown(self._platform)
            if self._client is not None:
                await self._client.close()

    async def _live(self, stopped: asyncio.Event) -> None:
        """Start the program and wait until it is told to stop, which it may be before it has started."""
        start = asyncio.create_task(self._program.start(self._platform))
        stop = asyncio.create_task(stopped.wait())
        await asyncio.wait({start, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not start.done():
            start.cancel()
            return
        await start
        self._ready = True
        await stop

    def _platform(self) -> Platform:
        if self._client is None:
            from .platform import Platform

            self._client = Platform(self._environment.platform, self._environment.token)
        return self._client

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if not self._ready:
            return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, headers={"Retry-After": "1"})
        if request.path == HEALTH_PATH:
            return web.Response()
        try:
            answer = await self._called(request)
            if isinstance(answer.body, bytes):
                return web.Response(body=answer.body, status=answer.status, headers=answer.headers)
            first = await anext(answer.body, b"")
            out = web.StreamResponse(status=answer.status, headers=answer.headers)
        except Exception as error:  # noqa: BLE001 whatever a user's code raises
            return _failed(error)
        await _send(request, out, first, answer.body)
        return out

    async def _called(self, request: web.Request) -> Response:
        environment = self._environment
        call = Request(request, environment.identity, environment.request_bytes, self._platform, self._program.context)
        request_id.set(call.request_id)
        try:
            handler, call.variables = self._program.handler(request.method, request.path)
            answer = await handler(call)
        except Refused as refused:
            return refused.answer()
        except WrongVerb as wrong:
            return _refused_verb(wrong)
        return answer if isinstance(answer, Response) else Response.json(answer)


def _refused_verb(wrong: WrongVerb) -> Response:
    answer = Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"Allowed are {wrong}", desc="Method not allowed").answer()
    answer.headers.append(("Allow", str(wrong)))
    return answer


def _failed(error: Exception) -> web.Response:
    """What the caller is told of a failure; the lambda's log is told all."""
    traceback.print_exception(error, file=sys.stderr)
    return web.Response(status=HTTPStatus.INTERNAL_SERVER_ERROR, headers={ERROR_HEADER: type(error).__name__})


async def _send(request: web.Request, out: web.StreamResponse, first: bytes, more: AsyncIterator[bytes]) -> None:
    """Send a body in pieces. A failure cuts it off, so that nobody takes it for the whole one."""
    await out.prepare(request)
    if first:
        await out.write(first)
    async for piece in more:
        await out.write(piece)
    await out.write_eof()
