"""What Envoy's gRPC listener is rendered from: which calls go where, and what Envoy answers by itself.

Native calls pass as they are. Those of methods with images are bounded by a circuit breaker: what is too much is
refused before a server has any work with it; streams have a cluster of their own. Services that are not named here are
answered UNIMPLEMENTED, those of the facade and of the engine among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.rpc import error_details_pb2, status_pb2

from server.errors import (
    Busy,
    DeadlineExceeded,
    GrpcCode,
    Internal,
    LunaError,
    MalformedRequest,
    RequestTooLarge,
    Unavailable,
)
from server.rpc.admission import RETRY_AFTER, takes_images
from server.rpc.options import METADATA_BYTES
from server.rpc.status import message_of
from server.settings import Settings

PLACEHOLDER = "REQUEST_ID"
"""What the script puts the id of the request in place of."""

METADATA_KB = 4 * METADATA_BYTES >> 10
"""Metadata that Envoy takes: more than a server, which says what is wrong where Envoy would only reset the stream."""

MOST_HEADERS = 4096
"""Entries of metadata; gRPC bounds their bytes alone."""

FRAME_BYTES = 5
"""What gRPC puts before a message."""

REQUEST_TIMEOUT = "300s"
"""How long a request may take to arrive: 32 MiB at one megabit a second."""

FLUSH_TIMEOUT = "60s"
"""How long it is waited for a client that takes nothing of a whole answer: until then Envoy keeps it in memory."""

HEALTH, REFLECTION = "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"


@dataclass(frozen=True, slots=True)
class GrpcListener:
    """The values of `grpc_listener.yaml.j2`.

    Attributes:
        host: address that is listened on.
        port: port that is listened on.
        images: paths of methods that take images.
        streams: paths of methods that stream to whom they know.
        watches: paths of methods that stream to everybody.
        services: full names of the services that are passed on.
        replies: statuses of Envoy's own answers that stand for an error of their own.
        metadata_kb: the most metadata of a call or an answer.
        most_headers: its entries.
        max_request_bytes: the most of a request.
        request_timeout: how long it may take to arrive.
        flush_timeout: how long it is waited for a client to take more of its answer.
        script: the file of `grpc.lua`.
    """

    host: str
    port: int
    images: tuple[str, ...]
    streams: tuple[str, ...]
    watches: tuple[str, ...]
    services: tuple[str, ...]
    replies: tuple[int, ...]
    max_request_bytes: int
    script: str
    flush_timeout: str
    request_timeout: str = REQUEST_TIMEOUT
    metadata_kb: int = METADATA_KB
    most_headers: int = MOST_HEADERS


def listener(settings: Settings, services: Iterable[ServiceDescriptor], host: str, script: str) -> GrpcListener:
    """The listener of some services.

    Args:
        settings: port, and the largest message.
        services: the services of `luna.v6` that the servers have.
        host: address to listen on.
        script: the file that `grpc.lua` is rendered to.
    """
    services = tuple(services)
    methods = [method for service in services for method in service.methods]
    return GrpcListener(
        host=host,
        port=settings.grpc.port,
        images=tuple(_path(method) for method in methods if takes_images(method.input_type)),
        streams=tuple(map(_path, filter(_streams, methods))),
        watches=(f"/{HEALTH}/Watch", f"/{REFLECTION}/ServerReflectionInfo"),
        services=(*(service.full_name for service in services), HEALTH),
        max_request_bytes=settings.grpc.max_message_bytes + FRAME_BYTES,
        replies=tuple(_errors(settings.grpc.max_message_bytes)),
        script=script,
        flush_timeout=FLUSH_TIMEOUT,
    )


def lua_replies(max_message_bytes: int) -> str:
    """The table of `grpc.lua`: what stands for each of Envoy's own answers, by the name that the listener gives it."""
    rows = {
        "busy": _row(Busy(message="too many calls are in progress", retry_after=RETRY_AFTER)),
        **{str(when): _row(error) for when, error in _errors(max_message_bytes).items() if error is not None},
        # gRPC's own answer for what nobody serves, which has no details
        "404": {"code": str(GrpcCode.UNIMPLEMENTED.value), "message": _text(b"Method not found!")},
        "other": _row(Internal(request_id=PLACEHOLDER)),
    }
    return "{" + ", ".join(f'["{name}"]={_table(row)}' for name, row in rows.items()) + "}"


def _errors(max_message_bytes: int) -> Mapping[int, LunaError | None]:
    """Errors for the HTTP statuses that Envoy's own answers to gRPC calls come from."""
    unavailable = Unavailable(component="the server")
    return {
        400: MalformedRequest(message="it is no call of gRPC"),
        404: None,
        408: DeadlineExceeded(),
        413: RequestTooLarge(limit=max_message_bytes),
        502: unavailable,
        503: unavailable,
        504: DeadlineExceeded(),
    }


def _row(error: LunaError) -> dict[str, str]:
    """An error as the script builds it: everything of its status that does not depend on the request's id."""
    status = message_of(error, "")
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    del info.metadata["request_id"]
    return {
        "code": str(status.code),
        "message": _text(status.message.encode()),
        "type": _text(status.details[0].type_url.encode()),
        "info": _text(info.SerializeToString(deterministic=True)),
        "more": _text(status_pb2.Status(details=status.details[1:]).SerializeToString(deterministic=True)),
    }


def _table(row: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{name}={value}" for name, value in row.items()) + "}"


def _text(data: bytes) -> str:
    """A string of Lua, whatever the bytes are."""
    return (
        '"' + "".join(chr(one) if 32 <= one < 127 and chr(one) not in '"\\' else f"\\{one:03d}" for one in data) + '"'
    )


def _streams(method: MethodDescriptor) -> bool:
    return bool(method.client_streaming or method.server_streaming)


def _path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"
