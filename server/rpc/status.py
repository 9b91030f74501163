"""Errors as gRPC carries them: a `google.rpc.Status` with ErrorInfo, and BadRequest or RetryInfo where they help."""

from __future__ import annotations

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from server.errors import Busy, LunaError

DOMAIN = "luna"


def status_of(error: LunaError, request_id: str, *more: Message) -> grpc.Status:
    """The status that a call is aborted with; `more` goes to the end of its details."""
    return rpc_status.to_status(message_of(error, request_id, *more))


def message_of(error: LunaError, request_id: str, *more: Message) -> status_pb2.Status:
    """That status as the message that grpc-status-details-bin carries."""
    info = error_details_pb2.ErrorInfo(
        reason=error.reason,
        domain=DOMAIN,
        metadata={"error_code": str(error.code), "desc": error.desc, "request_id": request_id},
    )
    details: list[any_pb2.Any] = [_packed(info)]
    if error.violations:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
            for v in error.violations
        ]
        details.append(_packed(error_details_pb2.BadRequest(field_violations=violations)))
    if isinstance(error, Busy):
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(int(float(error.values["retry_after"]) * 1000))
        details.append(_packed(retry))
    details += map(_packed, more)
    code = code_pb2.Code.Name(code_pb2.Code.ValueType(error.grpc.value))
    return status_pb2.Status(code=code_pb2.Code.Value(code), message=error.detail, details=details)


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
