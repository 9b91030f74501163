"""Native gRPC: the handlers of `luna.v6` that lead into the dispatcher."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterable

import grpc
from google.protobuf.message import DecodeError, Message

from server.errors import InvalidInput, LunaError
from server.rpc.calls import Context, address_of, headers_of
from server.rpc.dispatcher import Dispatcher
from server.rpc.methods import Method, Rpc, StreamMethod
from server.rpc.status import status_of
from server.rpc.streams import Streams

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,47}")
"""Ids that are echoed. The documented form, ten digits, a comma and a UUID, has 47 characters."""


def request_id_of(sent: str | None) -> str:
    """The id that a client gave its request, or a new one: Unix seconds, a comma, a random UUID.

    What a client sends is kept where it is printable ASCII without spaces of at most 47 characters, and is
    replaced otherwise (reference document, Luna-Request-Id).
    """
    if sent is not None and _REQUEST_ID.fullmatch(sent):
        return sent
    return f"{int(time.time())},{uuid.uuid4()}"


def handlers(dispatcher: Dispatcher, streams: Streams | None = None, key: str = "") -> Iterable[grpc.GenericRpcHandler]:
    """A handler for each service, to be added to a server.

    Args:
        dispatcher: calls the methods.
        streams: calls those that stream; without them there are none.
        key: the key that Envoy has; without one the address of a client is that of its connection.
    """
    by_service: dict[str, dict[str, grpc.RpcMethodHandler[bytes, Message]]] = {}
    found: list[tuple[Rpc, grpc.RpcMethodHandler[bytes, Message]]] = [
        (method, _handler(dispatcher, method, key)) for method in dispatcher.methods.values()
    ]
    if streams is not None:
        found += [(method, _streaming_handler(streams, method, key)) for method in streams.methods.values()]
    for method, handler in found:
        service = method.descriptor.containing_service.full_name
        by_service.setdefault(service, {})[method.descriptor.name] = handler
    return [grpc.method_handlers_generic_handler(name, of_service) for name, of_service in by_service.items()]


def _handler(dispatcher: Dispatcher, method: Method, key: str) -> grpc.RpcMethodHandler[bytes, Message]:
    async def serve(data: bytes, context: Context) -> Message:
        headers, request_id = _accepted(context, key)
        try:
            request = _parsed(method, data)
            return await dispatcher.call(method, request, context, headers=headers, request_id=request_id)
        except LunaError as error:
            await _abort(context, error, request_id)
            raise

    return grpc.unary_unary_rpc_method_handler(
        serve,  # without a deserializer, a request is its bytes
        response_serializer=lambda message: message.SerializeToString(),
    )


def _streaming_handler(streams: Streams, method: StreamMethod, key: str) -> grpc.RpcMethodHandler[bytes, Message]:
    async def serve(data: bytes, context: Context) -> None:
        headers, request_id = _accepted(context, key)
        try:
            request = _parsed(method, data)
            address, remaining = address_of(context, headers), context.time_remaining()
            async with streams.opened(
                method, request, headers=headers, request_id=request_id, address=address, remaining=remaining
            ) as messages:
                # tells the client that from here on nothing is missed
                await context.send_initial_metadata(())
                async for message in messages:
                    # returns once there is room for it: a slow client takes its next message later
                    await context.write(message)
        except LunaError as error:
            await _abort(context, error, request_id)
            raise

    return grpc.unary_stream_rpc_method_handler(serve, response_serializer=lambda message: message.SerializeToString())


def _accepted(context: Context, key: str) -> tuple[dict[str, str], str]:
    """The headers and the id of a call, which its answer will have too."""
    headers = headers_of(context, key)
    request_id = request_id_of(headers.get("luna-request-id"))
    context.set_trailing_metadata((_own(request_id),))
    return headers, request_id


def _own(request_id: str) -> tuple[str, str]:
    return ("luna-request-id", request_id)


async def _abort(context: Context, error: LunaError, request_id: str) -> None:
    status = status_of(error, request_id)
    # with `abort_with_status` the metadata of the status would replace the id
    await context.abort(status.code, status.details, (_own(request_id), *(status.trailing_metadata or ())))


def _parsed(method: Rpc, data: bytes) -> Message:
    """A request of its bytes: gRPC would tell of wrong ones with UNKNOWN and the text of Python's exception.

    Raises:
        InvalidInput: they are no message of the method's.
    """
    try:
        return method.request_type.FromString(data)
    except DecodeError:
        raise InvalidInput(message=f"the bytes are no {method.input.full_name}") from None
