"""Errors of an engine arrive at a server as what they were."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc.aio import AioRpcError, Metadata
from luna.engine.v1 import engine_pb2 as pb

from server.errors import (
    Busy,
    DeadlineExceeded,
    EngineFailure,
    InvalidInput,
    LunaError,
    Unavailable,
    Violation,
    catalogue,
)
from server.inference.failures import DETAILS, error_of, failure_of
from server.rpc.status import status_of


def received(status: grpc.Status) -> AioRpcError:
    """What a client's call ends with."""
    return AioRpcError(status.code, Metadata(), Metadata(*(status.trailing_metadata or ())), status.details)


@pytest.mark.parametrize("kind", [one for one in catalogue() if one is not LunaError], ids=lambda kind: kind.__name__)
def test_every_error_arrives_as_the_same_class_with_the_same_values(kind: type[LunaError]) -> None:
    names = [part.split("}")[0] for part in kind.template.split("{")[1:]]
    values: dict[str, Any] = {name: f"{number}, {{ä}}" for number, name in enumerate(names)}
    if "retry_after" in values:
        values["retry_after"] = 7
    sent = kind(violations=(Violation("a.b", "is wrong"),), **values)
    again = error_of(received(failure_of(sent, "1,abc")))
    assert type(again) is kind
    assert (again.values, again.violations, again.detail) == (sent.values, sent.violations, sent.detail)


def test_a_full_queue_keeps_its_retry_info_on_the_wire() -> None:
    status = failure_of(Busy(message="9 images wait for the engine", retry_after=4), "1,abc")
    packed = dict(status.trailing_metadata or ())[DETAILS]
    retry = error_details_pb2.RetryInfo()
    assert any(one.Unpack(retry) for one in status_pb2.Status.FromString(packed).details)
    assert retry.retry_delay.seconds == 4


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, Unavailable),
        (grpc.StatusCode.CANCELLED, Unavailable),
        (grpc.StatusCode.UNAUTHENTICATED, Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded),
        (grpc.StatusCode.UNIMPLEMENTED, EngineFailure),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, EngineFailure),
    ],
)
def test_what_gRPC_itself_says_has_an_error_too(code: grpc.StatusCode, kind: type[LunaError]) -> None:  # noqa: N802
    assert type(error_of(AioRpcError(code, Metadata(), Metadata(), "why"))) is kind


@pytest.mark.parametrize("details", [b"\xff\xff", b""])
def test_details_that_nobody_can_read_are_passed_over(details: bytes) -> None:
    failed = AioRpcError(grpc.StatusCode.INTERNAL, Metadata(), Metadata((DETAILS, details)), "broken")
    assert isinstance(error_of(failed), EngineFailure)


def test_an_error_of_a_newer_engine_is_told_by_its_code() -> None:
    status = status_of(InvalidInput(message="x"), "1,abc", pb.Failure(reason="UNHEARD_OF"))
    error = error_of(received(status))
    assert isinstance(error, EngineFailure)
    assert "INVALID_ARGUMENT: x" in error.detail
