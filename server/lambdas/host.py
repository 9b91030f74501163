"""The HTTP of the lambda host: calls from the edge, questions of servers, and its health.

/6/lambdas/...  `server.lambdas.proxy`
/internal/...   `server.lambdas.internal`
/archives/...   `server.lambdas.kubernetes.archives`, where a cluster runs lambdas
/health         200 while calls are taken
"""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
from aiohttp import web

from server import errors
from server.errors import Busy, LunaError, MethodNotAllowed, Unauthenticated
from server.lambdas.failures import unreachable
from server.lambdas.internal import ROOT, Internal, refusal
from server.lambdas.kubernetes import archives
from server.lambdas.kubernetes.archives import Archives
from server.lambdas.proxy import METHOD, Arrival, Exchange, Proxy
from server.rpc.calls import ADDRESS, keep_believed
from server.rpc.dispatcher import Told
from server.rpc.native import request_id_of

HEALTH = "/health"
HEAD_BYTES = 64 << 10
"""Longest line and longest header: Envoy takes 60 KB of headers."""

log = logging.getLogger(__name__)


class Host:
    """Serves HTTP.

    Args:
        proxy: takes calls from the edge.
        internal: answers servers.
        key: the key that Envoy has; without one the address of a client is that of its connection.
        told: is told of each call from the edge that has ended.
        pods: answers pods of a cluster.
    """

    def __init__(self, proxy: Proxy, internal: Internal, key: str, told: Told, pods: Archives | None = None) -> None:
        self._proxy = proxy
        self._internal = internal
        self._archives = pods
        self._key = key
        self._told = told
        self._draining = False
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @asynccontextmanager
    async def served(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
        """Serve for the length of the block, by TLS where there is a context; the port that it is on.

        Raises:
            OSError: the port cannot be listened on.
        """
        server = web.Server(
            self._serve,
            # a client that goes away ends its call
            handler_cancellation=True,
            access_log=None,
            max_line_size=HEAD_BYTES,
            max_field_size=HEAD_BYTES,
        )
        runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, ssl_context=tls).start()
            yield int(runner.addresses[0][1])
        finally:
            await runner.cleanup()

    async def drain(self, seconds: float) -> None:
        """Take no call any more, and let those that run end."""
        self._draining = True
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            log.warning("%d calls of lambdas are broken off", self._calls)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.raw_path == HEALTH:
            return web.Response(status=503 if self._draining else 200)
        self._calls += 1
        self._idle.clear()
        try:
            return await self._answer(_arrival(request, self._key), Exchange(request))
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()

    async def _answer(self, arrival: Arrival, exchange: Exchange) -> web.StreamResponse:
        """An answer in any case; one that has begun and cannot be finished ends with its connection."""
        inside = arrival.request.raw_path.startswith(ROOT)
        edge = not inside and not arrival.request.raw_path.startswith(archives.ROOT)
        began, code = time.perf_counter(), "CANCELLED"
        try:
            if self._draining:
                raise unreachable()
            if inside:
                response = await self._internal.answer(arrival, exchange)
            elif edge or self._archives is None:
                response = await self._proxy.answer(arrival, exchange)
            else:
                response = await self._archives.answer(arrival)
            code = "OK"
        except LunaError as error:
            code = error.grpc.name
            response = self._refused(error, arrival, exchange, inside=inside)
        except ConnectionError:
            # nobody is left to be answered
            response = web.Response(status=499)
        except Exception:
            code = errors.Internal.grpc.name
            log.exception("request %s failed in the lambda host", arrival.request_id)
            internal = errors.Internal(request_id=arrival.request_id)
            response = self._refused(internal, arrival, exchange, inside=inside)
        finally:
            if edge:
                self._told(METHOD.name, code, time.perf_counter() - began)
        return response

    def _refused(self, error: LunaError, arrival: Arrival, exchange: Exchange, *, inside: bool) -> web.Response:
        if exchange.broken():
            log.info("request %s ended within its answer: %s", arrival.request_id, error.detail)
            return web.Response(status=error.status)
        return refusal(error) if inside else _refusal(error, arrival)


def _arrival(request: web.BaseRequest, key: str) -> Arrival:
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        headers.setdefault(name.lower(), value)
    keep_believed(headers, key)
    address = headers.pop(ADDRESS, "") or request.remote or ""
    return Arrival(request, request_id_of(headers.get("luna-request-id")), address, headers)


def _refusal(error: LunaError, arrival: Arrival) -> web.Response:
    """An error as REST has it, with the headers that its status asks for."""
    headers = {"luna-request-id": arrival.request_id}
    if isinstance(error, Unauthenticated):
        bearer = arrival.headers.get("authorization", "").lower().startswith("bearer")
        headers["www-authenticate"] = f'{"Bearer" if bearer else "Basic"} realm="luna"'
    if isinstance(error, Busy):
        headers["retry-after"] = str(max(1, math.ceil(float(error.values["retry_after"]))))
    if isinstance(error, MethodNotAllowed):
        headers["allow"] = error.values["allowed"]
    body = orjson.dumps(error.body())
    return web.Response(status=error.status, body=body, content_type="application/json", headers=headers)
