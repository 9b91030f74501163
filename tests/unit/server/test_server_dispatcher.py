"""The dispatcher: the order of its steps, and what becomes of everything that may go wrong."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import grpc
import pytest
from domain_stores import MemoryAccounts, MemoryFailures, MemoryTokens, MemoryTrail
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from luna.v6 import errors_pb2, faces_pb2, platform_pb2

from server.domain.accounts import AccountType
from server.domain.deadline import remaining
from server.domain.passwords import Passwords
from server.domain.registry import AccountRegistry
from server.domain.tokens import TokenRegistry
from server.errors import BadBody, BadQuery, Busy, DeadlineExceeded, FaceNotFound, Internal, Unauthenticated, catalogue
from server.rpc.authorization import Authorizer
from server.rpc.calls import current
from server.rpc.dispatcher import Context, Dispatcher
from server.rpc.methods import Method, collect
from server.rpc.native import request_id_of
from server.rpc.status import status_of

SECRET = "the password is hunter2"
ID = "00000000-0000-4000-8000-000000000001"
GET_FACE = faces_pb2.DESCRIPTOR.services_by_name["Faces"].methods_by_name["GetFace"]
HEALTH = platform_pb2.DESCRIPTOR.services_by_name["Platform"].methods_by_name["CheckHealth"]
Behaviour = Callable[[Any, Any], Awaitable[Any]]


@dataclass
class Remaining:
    """What the dispatcher asks of a call's context."""

    seconds: float | None = None

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    def time_remaining(self) -> float | None:
        return self.seconds


@dataclass
class Caller:
    """Calls one method of a dispatcher as a known account."""

    dispatcher: Dispatcher
    headers: dict[str, str]

    async def call(
        self, behaviour: Behaviour, *, face_id: str = ID, seconds: float | None = None, known: bool = True
    ) -> object:
        return await self.dispatcher.call(
            Method(GET_FACE, behaviour),
            faces_pb2.GetFaceRequest(face_id=face_id),
            cast("Context", Remaining(seconds)),
            headers=self.headers if known else {},
            request_id="1,abc",
        )


@pytest.fixture(scope="module")
async def caller() -> Caller:
    passwords = Passwords(60)
    registry = AccountRegistry(MemoryAccounts(), passwords, MemoryFailures(), open_registration=True)
    await registry.create(login="a@b.cd", password="pass", account_type=AccountType.USER)
    headers = {"authorization": "Basic YUBiLmNkOnBhc3M="}
    authorizer = Authorizer(registry, TokenRegistry(MemoryTokens(), MemoryAccounts()), account_header=False)
    await authorizer.known(headers, "")
    passwords.close()
    return Caller(Dispatcher({}, authorizer, MemoryTrail()), headers)


@pytest.fixture
def told(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, float]]:
    """What the dispatcher tells of the calls that have ended."""
    told: list[tuple[str, str, float]] = []
    monkeypatch.setattr(caller.dispatcher, "_told", lambda *one: told.append(one))
    return told


async def test_an_unknown_exception_becomes_internal_and_tells_only_the_request_id(
    caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(request: object, context: object) -> None:
        raise RuntimeError(SECRET)

    with caplog.at_level(logging.ERROR), pytest.raises(Internal) as caught:
        await caller.call(fails)
    assert caught.value.detail == "Internal server error, request 1,abc"
    status = status_of(caught.value, "1,abc")
    assert SECRET not in f"{caught.value.body()}{status.details}{status.trailing_metadata}"
    assert SECRET in caplog.text
    assert "1,abc" in caplog.text


async def test_an_error_of_the_tree_passes_as_it_is(caller: Caller) -> None:
    async def fails(request: object, context: object) -> None:
        raise FaceNotFound(face_id=ID)

    with pytest.raises(FaceNotFound):
        await caller.call(fails)


async def test_a_call_is_ended_at_its_deadline(caller: Caller) -> None:
    ended = asyncio.Event()

    async def sleeps(request: object, context: object) -> None:
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    with pytest.raises(DeadlineExceeded):
        await caller.call(sleeps, seconds=0.02)
    assert ended.is_set()


async def test_cancellation_is_not_turned_into_an_error(caller: Caller) -> None:
    began = asyncio.Event()

    async def sleeps(request: object, context: object) -> None:
        began.set()
        await asyncio.sleep(30)

    task = asyncio.create_task(caller.call(sleeps))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_end_of_every_call_is_told_with_its_code_and_seconds(
    caller: Caller, told: list[tuple[str, str, float]]
) -> None:
    async def answers(request: object, context: object) -> faces_pb2.Face:
        await asyncio.sleep(0.05)
        return faces_pb2.Face()

    async def fails(request: object, context: object) -> None:
        raise FaceNotFound(face_id=ID)

    async def breaks(request: object, context: object) -> None:
        raise RuntimeError(SECRET)

    await caller.call(answers)
    with pytest.raises(FaceNotFound):
        await caller.call(fails)
    with pytest.raises(Internal):
        await caller.call(breaks)
    with pytest.raises(DeadlineExceeded):
        await caller.call(answers, seconds=0.01)
    with pytest.raises(Unauthenticated):
        await caller.call(answers, known=False)
    task = asyncio.create_task(caller.call(answers))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [code for _, code, _ in told] == [
        "OK",
        "NOT_FOUND",
        "INTERNAL",
        "DEADLINE_EXCEEDED",
        "UNAUTHENTICATED",
        "CANCELLED",
    ]
    assert {method for method, _, _ in told} == {"luna.v6.Faces.GetFace"}
    assert told[0][2] >= 0.05 > told[1][2]


async def test_a_servicer_knows_how_much_time_its_call_has_left(caller: Caller) -> None:
    async def tells(request: object, context: object) -> faces_pb2.Face:
        assert remaining() == pytest.approx(5, abs=1)
        return faces_pb2.Face()

    await caller.call(tells, seconds=5)


async def test_a_stranger_is_refused_before_the_request_is_looked_at(caller: Caller) -> None:
    async def never(request: object, context: object) -> None:
        raise AssertionError

    with pytest.raises(Unauthenticated):
        await caller.call(never, face_id="not a uuid", known=False)
    with pytest.raises(BadBody):
        await caller.call(never, face_id="not a uuid")


async def test_a_request_is_read_once_it_is_known_who_calls(caller: Caller) -> None:
    read: list[Message] = []

    def fill(request: Message) -> None:
        read.append(request)
        raise BadQuery(field="a", message="b")

    async def call(headers: Mapping[str, str]) -> None:
        method, request = Method(GET_FACE, never), faces_pb2.GetFaceRequest()
        context = cast("Context", Remaining())
        await caller.dispatcher.call(method, request, context, headers=headers, request_id="1", fill=fill)

    async def never(request: object, context: object) -> None:
        raise AssertionError

    with pytest.raises(Unauthenticated):
        await call({})
    assert read == []
    with pytest.raises(BadQuery):
        await call(caller.headers)
    assert read == [faces_pb2.GetFaceRequest()]


async def test_a_servicer_sees_its_call(caller: Caller) -> None:
    async def tells(request: object, context: object) -> faces_pb2.Face:
        call = current()
        assert (call.method, call.request_id) == ("luna.v6.Faces.GetFace", "1,abc")
        return faces_pb2.Face(account_id=str(call.principal.account_id))

    answer = await caller.call(tells)
    assert isinstance(answer, faces_pb2.Face)
    assert answer.account_id


async def test_an_open_method_has_no_account(caller: Caller) -> None:
    async def tells(request: object, context: object) -> platform_pb2.CheckHealthResponse:
        assert current().caller is None
        raise AssertionError(current().principal)

    with pytest.raises(Unauthenticated):
        await caller.dispatcher.call(
            Method(HEALTH, tells),
            platform_pb2.CheckHealthRequest(),
            cast("Context", Remaining()),
            headers={},
            request_id="1",
        )


def test_a_servicer_that_lacks_a_method_is_refused_at_the_start() -> None:
    with pytest.raises(TypeError, match=r"object lacks luna\.v6\.Faces\.CreateFace"):
        collect({faces_pb2.DESCRIPTOR.services_by_name["Faces"]: object()})


def test_every_error_of_the_tree_becomes_a_status_with_a_reason_of_the_protos() -> None:
    reasons = {name.removeprefix("ERROR_REASON_") for name in errors_pb2.ErrorReason.keys()}  # noqa: SIM118
    for kind in catalogue():
        names = [part.split("}")[0] for part in kind.template.split("{")[1:]]
        error = kind(violations=(), **dict.fromkeys(names, "1"))
        status = status_of(error, "7,id")
        assert isinstance(status.code, grpc.StatusCode)
        assert status.code.value[0] == error.grpc.value
        packed = dict(status.trailing_metadata)["grpc-status-details-bin"]
        found = status_pb2.Status.FromString(packed)
        info = _detail(found.details, error_details_pb2.ErrorInfo)
        assert info is not None
        assert (info.domain, dict(info.metadata)) == (
            "luna",
            {"error_code": str(kind.code), "desc": kind.desc, "request_id": "7,id"},
        )
        assert kind.__name__ == "LunaError" or info.reason in reasons
        assert (_detail(found.details, error_details_pb2.RetryInfo) is not None) == issubclass(kind, Busy)


def _detail(details: Any, kind: type[Any]) -> Any:
    for one in details:
        message = kind()
        if isinstance(one, any_pb2.Any) and one.Unpack(message):
            return message
    return None


@pytest.mark.parametrize("sent", ["x", "1536751345,8b8b5937-2e9c-4e8b-a7a7-5caf86621b5a", "~" * 46])
def test_a_request_id_that_may_be_printed_is_kept(sent: str) -> None:
    assert request_id_of(sent) == sent


@pytest.mark.parametrize("sent", [None, "", "a b", "\t", "é", "x" * 48, "a\nb"])
def test_any_other_request_id_is_replaced_by_seconds_and_a_uuid(sent: str | None) -> None:
    seconds, _, unique = request_id_of(sent).partition(",")
    assert len(seconds) == 10
    assert seconds.isdigit()
    assert len(unique) == 36
