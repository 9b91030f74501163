"""What every call of a shared engine passes through: the secret, the descriptor version, the deadline, and errors."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import grpc

from server.domain import deadline
from server.errors import DeadlineExceeded, EngineFailure, Internal, LunaError
from server.inference.failures import failure_of
from server.rpc.native import request_id_of

log = logging.getLogger(__name__)

SERVICE = "luna.engine.v1.Inference"

SECRET = "luna-engine-secret-bin"  # noqa: S105 - the header's name; its value may be any bytes
VERSION = "luna-descriptor-version"
REQUEST_ID = "luna-request-id"

Behaviour = Callable[[Any, Any], Awaitable[Any]]


class Guard(grpc.aio.ServerInterceptor):
    """Guards the methods of `luna.engine.v1.Inference`. `grpc.health.v1` is open: it tells one bit.

    Args:
        secret: what callers have to send; None demands nothing.
        descriptor_version: the engine's. A server that was started with another one is refused: its index and its
            attributes are of that version.
    """

    def __init__(self, secret: str | None, descriptor_version: int) -> None:
        self._secret = None if secret is None else secret.encode()
        self._version = str(descriptor_version)
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def idle(self) -> None:
        """Return once no call is under way. Streams of `grpc.health.v1` are not waited for: they have no end."""
        await self._idle.wait()

    async def intercept_service(self, continuation: Any, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Judge a call by its headers, before its message is parsed."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(f"/{SERVICE}/"):
            return handler
        # values are bytes where the name ends in -bin, and texts otherwise
        headers: dict[str, Any] = dict(handler_call_details.invocation_metadata or ())
        if not self._knows(headers.get(SECRET, b"")):
            return grpc.unary_unary_rpc_method_handler(_refuse)
        request_id = request_id_of(headers.get(REQUEST_ID))
        return grpc.unary_unary_rpc_method_handler(
            self._guarded(handler.unary_unary, request_id, headers.get(VERSION, self._version)),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _knows(self, sent: bytes) -> bool:
        return self._secret is None or hmac.compare_digest(sent, self._secret)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._running += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._running -= 1
            if self._running == 0:
                self._idle.set()

    def _guarded(self, behaviour: Behaviour, request_id: str, version: str) -> Behaviour:
        async def serve(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            try:
                if version != self._version:
                    message = f"it makes descriptors of version {self._version}, and the server expects {version}"
                    raise EngineFailure(message=message)
                with self._counted():
                    async with deadline.within(context.time_remaining()):
                        return await behaviour(request, context)
            except TimeoutError:
                error: LunaError = DeadlineExceeded()
            except LunaError as raised:
                error = raised
            except Exception:
                log.exception("request %s failed", request_id)
                error = Internal(request_id=request_id)
            status = failure_of(error, request_id)
            return await context.abort(status.code, status.details, status.trailing_metadata or ())

        return serve


async def _refuse(_: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> NoReturn:
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the secret is not that of this engine")
    raise AssertionError
