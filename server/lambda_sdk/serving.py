"""A lambda's code behind HTTP: one process, one event loop, as many calls at a time as come."""

from __future__ import annotations

import asyncio
import signal
import sys
import traceback
from http import HTTPStatus

from aiohttp import web

from .environment import Environment
from .errors import Refused
from .program import Program
from .request import Request
from .response import Response
from .routes import WrongVerb

HEALTH_PATH = "/.luna/health"
"""Answers 200 once calls may come. It can not be reached from outside."""
ERROR_HEADER = "Luna-Lambda-Error"
"""Name of the exception that ended a call."""
DRAIN_SECONDS = 5
"""Calls in progress have so long when the lambda is told to stop."""


class Server:
    """Answers calls by a program's functions."""

    def __init__(self, program: Program, environment: Environment) -> None:
        self._program = program
        self._environment = environment
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
            handle_signals=False,
            handler_cancellation=True,
            shutdown_timeout=DRAIN_SECONDS,
        )
        await runner.setup()
        await web.SockSite(runner, self._environment.listener()).start()
        try:
            await self._program.start()
            self._ready = True
            await stopped.wait()
            self._ready = False
        finally:
            await runner.cleanup()
        await self._program.shutdown()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if not self._ready:
            return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, headers={"Retry-After": "1"})
        if request.path == HEALTH_PATH:
            return web.Response()
        return await _send(request, await self._called(request))

    async def _called(self, request: web.Request) -> Response:
        environment = self._environment
        call = Request(request, environment.identity, environment.request_bytes, self._program.context)
        try:
            handler, call.variables = self._program.handler(request.method, request.path)
            answer = await handler(call)
            return answer if isinstance(answer, Response) else _plain(answer)
        except Refused as refused:
            return refused.answer()
        except WrongVerb as wrong:
            answer = Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"Allowed are {wrong}", desc="Method not allowed").answer()
            answer.headers.append(("Allow", str(wrong)))
            return answer
        except Exception as error:  # noqa: BLE001 - whatever a user's code raises
            return _failed(error)


def _plain(value: object) -> Response:
    """A value that is no answer yet is JSON, whatever it is: a text in quotes."""
    from .response import JSON_TYPE, written

    return Response(written(value), content_type=JSON_TYPE)


def _failed(error: Exception) -> Response:
    traceback.print_exception(error, file=sys.stderr)
    return Response(status=HTTPStatus.INTERNAL_SERVER_ERROR, headers={ERROR_HEADER: type(error).__name__})


async def _send(request: web.Request, answer: Response) -> web.StreamResponse:
    if isinstance(answer.body, bytes):
        return web.Response(body=answer.body, status=answer.status, headers=answer.headers)
    out = web.StreamResponse(status=answer.status, headers=answer.headers)
    await out.prepare(request)
    async for piece in answer.body:
        await out.write(piece)
    await out.write_eof()
    return out
