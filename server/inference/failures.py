"""Errors of an engine on their way to a server: the same class with the same values comes out at the other end."""

from __future__ import annotations

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from luna.engine.v1 import engine_pb2 as pb

from server.errors import DeadlineExceeded, EngineFailure, LunaError, Unavailable, Violation, catalogue
from server.rpc.status import status_of

COMPONENT = "The inference engine"
DETAILS = "grpc-status-details-bin"


def failure_of(error: LunaError, request_id: str) -> grpc.Status:
    """The status that a call of the engine is aborted with."""
    failure = pb.Failure(
        reason=error.reason,
        values=error.values,
        violations=[pb.Violation(field=one.field, description=one.description) for one in error.violations],
    )
    return status_of(error, request_id, failure)


def error_of(failed: grpc.aio.AioRpcError) -> LunaError:
    """The error that a failed call stands for."""
    failure = _failure(failed)
    if failure is not None:
        kind = {one.reason: one for one in catalogue()}.get(failure.reason)
        if kind is not None:
            violations = tuple(Violation(one.field, one.description) for one in failure.violations)
            return kind(violations=violations, **dict(failure.values))
    match failed.code():
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded()
        # a call that the engine gives up although nobody here has: it is being stopped
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED | grpc.StatusCode.UNAUTHENTICATED:
            return Unavailable(component=COMPONENT)
        case _:
            return EngineFailure(message=f"{failed.code().name}: {failed.details()}")


def _failure(failed: grpc.aio.AioRpcError) -> pb.Failure | None:
    for name, value in failed.trailing_metadata() or ():
        if name == DETAILS and isinstance(value, bytes):
            failure = pb.Failure()
            try:
                found = any(one.Unpack(failure) for one in status_pb2.Status.FromString(value).details)
            except DecodeError:
                return None
            return failure if found else None
    return None
