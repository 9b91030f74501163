"""HTTP in messages: calls of lambdas that come by gRPC, and what the lambdas answer."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from uuid import UUID

from google.protobuf.message import Message
from luna.v6 import http_calls_pb2 as pb
from luna.v6 import lambdas_pb2

from server.domain.http_calls import HttpCall, HttpReply
from server.errors import BadBody, LambdaFailed

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""The verbs that lambdas are called with."""
MOST_HEADERS = 100
HEADER_BYTES = 60 << 10
"""Most headers, and most bytes of them all: what Envoy takes from clients of REST."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_PATH = re.compile(r"[!-~]*")
_REPLACED = frozenset({"luna-account-id", "luna-request-id", "content-length"})


def call_from(request: pb.HttpRequest, account_id: UUID, request_id: str, path: str | None = None) -> HttpCall:
    """A call of a lambda that belongs to an account. `path` stands in place of the request's.

    Raises:
        BadBody: it cannot be said in HTTP.
    """
    method = request.method or "POST"
    if method not in METHODS:
        raise BadBody(field="request.method", message=f"one of {', '.join(sorted(METHODS))} expected")
    for name, text, forbidden in (("path", request.path, "?#"), ("query", request.query, "#")):
        if not _PATH.fullmatch(text) or any(character in text for character in forbidden):
            raise BadBody(field=f"request.{name}", message="percent-encoding expected")
    _check_headers(request)
    sent = tuple((one.name.lower(), one.value) for one in request.headers)
    headers = (
        *(pair for pair in sent if pair[0] not in _REPLACED),
        ("luna-account-id", str(account_id)),
        ("luna-request-id", request_id),
    )
    return HttpCall(method, request.path.lstrip("/") if path is None else path, request.query, headers, request.body)


async def answer_from(reply: HttpReply, most: int) -> pb.HttpAnswer:
    """A whole answer.

    Raises:
        LambdaFailed: it has more than so many bytes.
    """
    body = bytearray()
    async for data in reply.body:
        body += data
        if len(body) > most:
            raise LambdaFailed(message=f"its answer has more than {most} bytes")
    return pb.HttpAnswer(head=_head(reply), body=bytes(body))


async def pieces_from(reply: HttpReply) -> AsyncGenerator[Message, None]:
    """An answer as a stream has it: its head, then its body in pieces."""
    yield lambdas_pb2.CallLambdaResponse(head=_head(reply))
    async for data in reply.body:
        yield lambdas_pb2.CallLambdaResponse(data=data)


def _head(reply: HttpReply) -> pb.HttpHead:
    # a value may have bytes that are no UTF-8, and a message may not
    headers = [
        pb.HttpHeader(name=name, value=value.encode(errors="surrogateescape").decode(errors="replace"))
        for name, value in reply.headers
    ]
    return pb.HttpHead(status=reply.status, headers=headers)


def _check_headers(request: pb.HttpRequest) -> None:
    if len(request.headers) > MOST_HEADERS:
        raise BadBody(field="request.headers", message=f"at most {MOST_HEADERS} headers expected")
    if sum(len(one.name) + len(one.value) for one in request.headers) > HEADER_BYTES:
        raise BadBody(field="request.headers", message=f"at most {HEADER_BYTES} bytes expected")
    for position, one in enumerate(request.headers):
        if not _NAME.fullmatch(one.name):
            raise BadBody(field=f"request.headers.{position}.name", message="a name of a header expected")
        if not _VALUE.fullmatch(one.value):
            raise BadBody(
                field=f"request.headers.{position}.value", message="a text without control characters expected"
            )
