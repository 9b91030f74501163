"""WebSockets: the streams of methods for programs that speak HTTP.

    GET /6/ws?sources=camera    101, then a text frame of JSON for each message

The handshake passes what every call passes, and is refused as REST refuses: with a status and LUNA's body. What a
client sends is not looked at. A client that is slow is waited for, and one that does not answer pings is gone.
"""

from __future__ import annotations

import asyncio
import http
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from google.protobuf.message import Message
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from gateway.documents import write_json
from gateway.handlers import REQUEST_ID, refused
from gateway.media import JSON
from gateway.pairs import Pairs
from gateway.places import places_of
from gateway.query import Parameters
from gateway.render import Renderer
from server.domain.cancellation import ended
from server.errors import Internal, LunaError, MalformedRequest, PathNotFound, Unauthenticated, Unavailable
from server.rpc.calls import ADDRESS, RestOrigin, keep_believed
from server.rpc.methods import StreamMethod
from server.rpc.native import request_id_of
from server.rpc.streams import Streams

HEALTH = "/health"
"""Path that Envoy asks whether new WebSockets are taken."""
LARGEST = 4096
"""Bytes of the largest message of a client."""
FRAMES = 256
"""Frames that are kept, so that one message for many clients is written once."""
CLOSE_SECONDS = 5.0
"""How long the end of a connection is waited for."""
REASON_BYTES = 120
"""A close frame has room for 123."""

GAP = 4000
"""Close code: messages are lost. Codes from 4000 on are an application's own."""
UNAUTHORIZED = 3000
RESTARTING = 1012
FAILED = 1011
"""Close codes of the registry of IANA."""

log = logging.getLogger(__name__)


class SocketEndpoint:
    """One method as a WebSocket."""

    def __init__(self, method: StreamMethod, renderer: Renderer) -> None:
        places = places_of(method.descriptor)
        self.method = method
        self.frame = method.rest.frame
        self._origin = RestOrigin(places.query)
        self._parameters = Parameters(method.input, places.query)
        self._pairs = Pairs(method.input, places.query)
        self._write = renderer.field(method.output.fields_by_name[self.frame])
        self._frames: OrderedDict[int, tuple[Message, bytes]] = OrderedDict()

    @asynccontextmanager
    async def opened(
        self, streams: Streams, query: str, headers: Mapping[str, str], request_id: str, address: str
    ) -> AsyncIterator[AsyncIterator[Message]]:
        """The stream that a query asks for.

        Raises:
            LunaError: the query is wrong, or the call is refused or fails.
        """
        request = self.method.request_type()
        self._parameters.bind(request, {}, query)
        self._pairs.bind(request, query)
        async with streams.opened(
            self.method, request, headers=headers, request_id=request_id, address=address, rest=self._origin
        ) as messages:
            yield messages

    def frame_of(self, message: Message) -> bytes | None:
        """The text of a message; None where it has none. Those who are sent the same message share it."""
        if not message.HasField(self.frame):
            return None
        known = self._frames.get(id(message))
        if known is not None and known[0] is message:
            return known[1]
        data = write_json(self._write(message))
        self._frames[id(message)] = (message, data)
        if len(self._frames) > FRAMES:
            self._frames.popitem(last=False)
        return data


class WebSockets:
    """The WebSockets of one process.

    Args:
        streams: what they are.
        key: the key that Envoy has; without one the address of a client is that of its connection.
        ping_seconds: how often a client is pinged, and how long its answer is waited for.
    """

    def __init__(self, streams: Streams, key: str, ping_seconds: float) -> None:
        renderer = Renderer(binary=False)
        sockets = (method for method in streams.methods.values() if method.rest.websocket)
        self._endpoints = {method.rest.websocket: SocketEndpoint(method, renderer) for method in sockets}
        self._streams = streams
        self._key = key
        self._ping_seconds = ping_seconds
        self._opened: dict[ServerConnection, tuple[SocketEndpoint, AsyncExitStack, AsyncIterator[Message]]] = {}

    @asynccontextmanager
    async def served(self, host: str, port: int) -> AsyncIterator[int]:
        """Serve for the length of the block; the port that it is on.

        Raises:
            OSError: the port cannot be listened on.
        """
        async with serve(
            self._serve,
            host,
            port,
            process_request=self._asked,
            process_response=self._answered,
            compression=None,
            server_header=None,
            max_size=LARGEST,
            ping_interval=self._ping_seconds,
            ping_timeout=self._ping_seconds,
            close_timeout=min(self._ping_seconds, CLOSE_SECONDS),
            logger=log,
        ) as server:
            yield next(iter(server.sockets)).getsockname()[1]

    def _asked(self, _connection: ServerConnection, request: Request) -> Response | None:
        """Answer Envoy's question for health; everything else is looked at in `_answered`."""
        if request.path != HEALTH:
            return None
        return _response(503 if self._streams.stopping else 200, b"", {})

    async def _answered(self, connection: ServerConnection, request: Request, response: Response) -> Response | None:
        """Open the stream once the handshake is a correct one, or refuse it."""
        if request.path == HEALTH:
            return None
        headers = _headers(request)
        request_id = request_id_of(headers.get(REQUEST_ID))
        upgraded = response.status_code == http.HTTPStatus.SWITCHING_PROTOCOLS
        try:
            await self._open(connection, request.path, headers, request_id, upgraded=upgraded)
        except LunaError as error:
            return _refusal(error, headers, request_id)
        except Exception:
            log.exception("request %s failed in the handshake", request_id)
            return _refusal(Internal(request_id=request_id), headers, request_id)
        response.headers["Luna-Request-Id"] = request_id
        return None

    async def _open(
        self, connection: ServerConnection, target: str, headers: dict[str, str], request_id: str, *, upgraded: bool
    ) -> None:
        path, _, query = target.partition("?")
        endpoint = self._endpoints.get(path)
        if endpoint is None:
            raise PathNotFound(path=path)
        if not upgraded:
            raise MalformedRequest(
                message="a WebSocket is expected: Upgrade, Connection and Sec-WebSocket-* of RFC 6455"
            )
        address = self._address(connection, headers)
        stack = AsyncExitStack()
        messages = await stack.enter_async_context(endpoint.opened(self._streams, query, headers, request_id, address))
        self._opened[connection] = (endpoint, stack, messages)
        task = asyncio.current_task()
        if task is not None:
            # where the client goes away before the answer is sent, `_serve` is never called
            task.add_done_callback(lambda _: self._abandoned(connection))

    def _abandoned(self, connection: ServerConnection) -> None:
        left = self._opened.pop(connection, None)
        if left is not None:
            self._closing = asyncio.get_running_loop().create_task(left[1].aclose())

    def _address(self, connection: ServerConnection, headers: dict[str, str]) -> str:
        """The client's address: that which Envoy saw, or the connection's."""
        keep_believed(headers, self._key)
        if ADDRESS in headers:
            return headers.pop(ADDRESS)
        peer = connection.remote_address
        return str(peer[0]) if peer else ""

    async def _serve(self, connection: ServerConnection) -> None:
        endpoint, stack, messages = self._opened.pop(connection)
        try:
            async with stack:
                await self._until_closed(connection, endpoint, messages)
        except LunaError as error:
            await connection.close(_close_code(error), error.detail.encode()[:REASON_BYTES].decode(errors="ignore"))

    async def _until_closed(
        self, connection: ServerConnection, endpoint: SocketEndpoint, messages: AsyncIterator[Message]
    ) -> None:
        sending = asyncio.create_task(_send(connection, endpoint, messages))
        listening = asyncio.create_task(_ignore(connection))
        try:
            await asyncio.wait((sending, listening), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await ended(sending, listening)
        if not sending.cancelled():
            sending.result()


async def _send(connection: ServerConnection, endpoint: SocketEndpoint, messages: AsyncIterator[Message]) -> None:
    with suppress(ConnectionClosed):
        async for message in messages:
            frame = endpoint.frame_of(message)
            if frame is None:
                await connection.close(GAP, "messages are lost: they are not kept any more")
                return
            # returns once there is room for it
            await connection.send(frame, text=True)


async def _ignore(connection: ServerConnection) -> None:
    """Read what the client sends, so that its pongs and its end are seen."""
    with suppress(ConnectionClosed):
        async for _ in connection:
            pass


def _headers(request: Request) -> dict[str, str]:
    """The headers under lower-case names, the first of each."""
    headers: dict[str, str] = {}
    for name, value in request.headers.raw_items():
        headers.setdefault(name.lower(), value)
    return headers


def _refusal(error: LunaError, headers: Mapping[str, str], request_id: str) -> Response:
    answer = refused(error, headers)
    return _response(
        answer.status, answer.data, {**dict(answer.headers), "Content-Type": JSON, "Luna-Request-Id": request_id}
    )


def _response(status: int, body: bytes, headers: Mapping[str, str]) -> Response:
    own = {**headers, "Content-Length": str(len(body)), "Connection": "close"}
    return Response(status, http.HTTPStatus(status).phrase, Headers(own), body)


def _close_code(error: LunaError) -> int:
    match error:
        case Unauthenticated():
            return UNAUTHORIZED
        case Unavailable():
            return RESTARTING
        case _:
            return FAILED
