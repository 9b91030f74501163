"""Requests that another program answers: when it is asked, what it is sent, and what becomes of its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import pytest
from google.protobuf.message import Message
from luna.v6 import events_pb2, http_calls_pb2

from gateway.diversion import Diversion
from gateway.endpoints import Endpoint, Forms
from gateway.exchange import Answer, Arrival
from gateway.headers import ESCAPED
from server.errors import (
    Busy,
    Diverted,
    HandlerNotFound,
    LambdaNotRunning,
    LunaError,
    NotAnImage,
    NotJson,
    Unauthenticated,
)
from server.rpc.methods import Method

ID = "2c7e4b3a-6f0d-4a0e-9c4b-0d1e2f3a4b5c"
EVENTS = events_pb2.DESCRIPTOR.services_by_name["Events"]
JPEG = b"\xff\xd8\xff" + bytes(100)


async def nobody(request: object, context: object) -> Message:
    raise AssertionError


def method(name: str) -> Method:
    return Method(EVENTS.methods_by_name[name], nobody)


ASKED, DIVERTED = method("GenerateEvents"), method("CallHandlerLambda")


class Calls:
    """A dispatcher whose methods answer what a test says, and which remembers what they were asked."""

    def __init__(self, first: Message | LunaError, second: Message | LunaError | None = None) -> None:
        self.methods = {one.name: one for one in (ASKED, DIVERTED)}
        self.asked: list[tuple[str, Any]] = []
        self._answers = {ASKED.name: first, DIVERTED.name: second}

    async def call(self, method: Method, request: Message, context: object, **more: Any) -> Message:
        if (fill := more.get("fill")) is not None:
            fill(request)
        self.asked.append((method.name, request))
        answer = self._answers[method.name]
        assert answer is not None, f"{method.name} is not to be asked"
        if isinstance(answer, LunaError):
            raise answer
        return answer


def answered(status: int = 207, body: bytes = b"any", **headers: str) -> events_pb2.CallHandlerLambdaResponse:
    given = [
        http_calls_pb2.HttpHeader(name=name.replace("_", "-"), value=value)
        for name, text in headers.items()
        for value in text.split("|")
    ]
    head = http_calls_pb2.HttpHead(status=status, headers=given)
    return events_pb2.CallHandlerLambdaResponse(answer=http_calls_pb2.HttpAnswer(head=head, body=body))


NOBODY = events_pb2.CallHandlerLambdaResponse()
DIVERT = Diverted(handler_id=ID)


def ask(calls: Calls, data: bytes = JPEG, kind: str = "image/jpeg", headers: Mapping[str, str] | None = None) -> Answer:
    arrival = Arrival({"handler_id": ID}, "source=a%20b&x=1", kind, data, headers or {}, "1,request")
    endpoint = Endpoint(ASKED, Forms(), DIVERTED)
    return asyncio.run(endpoint.answer(arrival, calls, None))  # type: ignore[arg-type] # nothing looks into the context


def test_an_ordinary_request_is_answered_by_its_own_method_alone() -> None:
    calls = Calls(events_pb2.GenerateEventsResponse())
    assert ask(calls).status == 201
    assert [name for name, _ in calls.asked] == [ASKED.name]


def test_a_diverted_request_goes_on_as_it_came() -> None:
    calls = Calls(DIVERT, answered())
    headers = {"content-type": "application/grpc", "content-length": "7", "te": "trailers", "grpc-timeout": "1S"}
    answer = ask(calls, headers={**headers, "x-own": "1", "accept": "text/html"})
    assert (answer.status, answer.data) == (207, b"any")
    name, request = calls.asked[1]
    assert (name, request.handler_id) == (DIVERTED.name, ID)
    sent = request.request
    assert (sent.method, sent.query, sent.body) == ("POST", "source=a%20b&x=1", JPEG)
    assert {one.name: one.value for one in sent.headers} == {
        "content-type": "image/jpeg",
        "x-own": "1",
        "accept": "text/html",
    }


@pytest.mark.parametrize(
    ("data", "kind"), [(b"", ""), (b"anything", "text/odd"), (b"{", "application/json"), (b"[1]", "application/json")]
)
def test_a_body_that_the_method_does_not_know_is_offered_to_the_other_program(data: bytes, kind: str) -> None:
    calls = Calls(events_pb2.GenerateEventsResponse(), answered())
    assert ask(calls, data, kind).status == 207
    assert [name for name, _ in calls.asked] == [DIVERTED.name]
    assert calls.asked[0][1].request.body == data


def test_where_no_other_program_answers_the_first_error_stands() -> None:
    with pytest.raises(NotJson):
        ask(Calls(events_pb2.GenerateEventsResponse(), NOBODY), b"{", "application/json")
    with pytest.raises(NotAnImage):
        ask(Calls(NotAnImage(message="x"), NOBODY))


@pytest.mark.parametrize("error", [Busy(message="x", retry_after=1), HandlerNotFound(handler_id=ID)])
def test_an_error_that_is_not_about_the_request_is_told_at_once(error: LunaError) -> None:
    calls = Calls(error)
    with pytest.raises(type(error)):
        ask(calls)
    assert len(calls.asked) == 1


@pytest.mark.parametrize("error", [LambdaNotRunning(lambda_id=ID, status="waiting"), Unauthenticated(message="who?")])
def test_an_error_of_the_diversion_is_told(error: LunaError) -> None:
    with pytest.raises(type(error)):
        ask(Calls(DIVERT, error))


def told(answer: Answer) -> dict[str, list[str]]:
    return parse_qs(dict(answer.headers)[ESCAPED], strict_parsing=True)


def test_headers_of_the_answer_are_kept_but_for_those_that_have_their_own_ways() -> None:
    answer = ask(
        Calls(
            DIVERT,
            answered(
                content_type="text/odd; x=1",
                content_length="9",
                luna_request_id="forged",
                x_many="a|b",
                x_text="ж & =\r\nx: 1",
            ),
        )
    )
    assert answer.content_type == "text/odd; x=1"
    assert told(answer) == {"x-many": ["a, b"], "x-text": ["ж & =  x: 1"]}
    assert all(value.isascii() and value.isprintable() for _, value in answer.headers)


def test_a_name_that_is_no_name_of_a_header_is_left_out() -> None:
    response = answered()
    for name in (":status", "a b", "x%41", "X-Upper", ""):
        response.answer.head.headers.add(name=name, value="1")
    response.answer.head.headers.add(name="x-good", value="1")
    assert told(ask(Calls(DIVERT, response))) == {"x-good": ["1"]}


@pytest.mark.parametrize("kind", ["a\nb", "ж", ""])
def test_a_content_type_that_cannot_be_one_is_bytes(kind: str) -> None:
    response = answered(**({"content_type": kind} if kind else {}))
    assert ask(Calls(DIVERT, response)).content_type == "application/octet-stream"


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_has_none(status: int) -> None:
    assert ask(Calls(DIVERT, answered(status=status))).data == b""


def test_a_method_that_cannot_be_asked_is_no_diversion() -> None:
    with pytest.raises(TypeError, match="cannot stand in for"):
        Diversion(ASKED, method("GetEvent"))
