"""Calls of lambdas over REST, streamed both ways.

    POST /6/lambdas/{lambda_id}/proxy/{path}    any verb: what the lambda answers
    OPTIONS                                     the verbs, for everybody

Who may call is decided as for every call: by `luna.access` of `Lambdas.CallLambda`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import parse_qsl
from uuid import UUID

from aiohttp import StreamReader, web
from luna.v6 import lambdas_pb2 as pb
from multidict import CIMultiDict

from server.domain.access import Scope
from server.domain.http_calls import HttpCall
from server.domain.lambdas import LambdaStore
from server.errors import LambdaNotFound, MethodNotAllowed, PathNotFound, RequestTooLarge
from server.lambdas.calls import METHODS, LambdaCalls
from server.lambdas.headers import sent_on
from server.rpc.authorization import Authorizer, permit
from server.rpc.calls import Call, RestOrigin, enter
from server.rpc.methods import Rpc
from server.rpc.validation import UUID as UUID_PATTERN
from server.rpc.validation import validate

PATH = re.compile(r"/6/lambdas/(?P<lambda_id>[^/]+)/proxy/(?P<path>.*)", re.DOTALL)
"""The paths of that method's HTTP rule."""
METHOD = Rpc(pb.DESCRIPTOR.services_by_name["Lambdas"].methods_by_name["CallLambda"])
PIECE = 64 << 10
"""Bytes that are handed on at a time."""

_IN_PATH = RestOrigin(frozenset({"lambda_id"}))


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request as it came: who sent it, and the first of each header under its lower-case name."""

    request: web.BaseRequest
    request_id: str
    address: str
    headers: dict[str, str]


class Exchange:
    """One request and its answer, of which the head may have been sent."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self._begun = False

    async def send(
        self, status: int, headers: tuple[tuple[str, str], ...], body: AsyncIterator[bytes]
    ) -> web.StreamResponse:
        """Answer with pieces as they come; returns once the last one is on its way."""
        response = web.StreamResponse(status=status, headers=CIMultiDict(headers))
        self._begun = True
        await response.prepare(self._request)
        async for data in body:
            # returns once there is room for it: a slow client slows the lambda down
            await response.write(data)
        await response.write_eof()
        return response

    def broken(self) -> bool:
        """True where an answer has begun, which then ends so that its reader sees that it is not whole."""
        if self._begun and self._request.transport is not None:
            self._request.transport.abort()
        return self._begun


class Proxy:
    """Takes calls of lambdas from the edge.

    Args:
        calls: calls lambdas.
        store: where lambdas are.
        authorizer: tells who calls.
        largest: bytes of the largest body of a call.
    """

    def __init__(self, calls: LambdaCalls, store: LambdaStore, authorizer: Authorizer, largest: int) -> None:
        self._calls = calls
        self._store = store
        self._authorizer = authorizer
        self._largest = largest

    async def answer(self, arrival: Arrival, exchange: Exchange) -> web.StreamResponse:
        """Answer a request.

        Raises:
            LunaError: it is refused, or fails; `exchange` knows whether an answer has begun.
        """
        request = arrival.request
        target, _, query = request.raw_path.partition("?")
        found = PATH.fullmatch(target)
        if found is None:
            raise PathNotFound(path=target)
        if request.method not in METHODS:
            raise MethodNotAllowed(path=target, method=request.method, allowed=", ".join(METHODS))
        if request.method == "OPTIONS":
            return await self._options(found["lambda_id"])
        wanted = pb.CallLambdaRequest(lambda_id=found["lambda_id"])
        access = METHOD.access
        caller = await self._authorizer.caller(arrival.headers, access, arrival.address)
        if caller is None or access is None:
            raise PathNotFound(path=target)
        permit(caller, access, wanted)
        enter(Call(METHOD.name, arrival.request_id, arrival.address, arrival.headers, caller))
        validate(wanted, _IN_PATH)
        one = await self._store.get(caller.reads(_account_of(query)), UUID(wanted.lambda_id))
        if one is None:
            raise LambdaNotFound(lambda_id=wanted.lambda_id)
        if (request.content_length or 0) > self._largest:
            raise RequestTooLarge(limit=self._largest)
        headers = sent_on(
            request.headers.items(),
            ("luna-account-id", str(one.account_id)),
            ("luna-request-id", arrival.request_id),
        )
        call = HttpCall(request.method, found["path"], query, headers, body_of(request))
        async with self._calls.called(one.lambda_id, call) as reply:
            own = ("luna-request-id", arrival.request_id)
            return await exchange.send(reply.status, (*reply.headers, own), reply.body)

    async def _options(self, lambda_id: str) -> web.StreamResponse:
        """What every lambda may be called with, whether or not it has it."""
        wanted = pb.CallLambdaRequest(lambda_id=lambda_id)
        validate(wanted, _IN_PATH)
        if await self._store.get(Scope(None), UUID(wanted.lambda_id)) is None:
            raise LambdaNotFound(lambda_id=lambda_id)
        return web.Response(body=b"{}", content_type="application/json", headers={"allow": ", ".join(METHODS)})


def body_of(request: web.BaseRequest) -> bytes | AsyncIterator[bytes]:
    """The body of a request in pieces; none where it has none."""
    return _pieces(request.content) if request.body_exists else b""


async def _pieces(content: StreamReader) -> AsyncIterator[bytes]:
    async for data in content.iter_chunked(PIECE):
        yield data


def _account_of(query: str) -> UUID | None:
    """The account that a query narrows the call to. The query is the lambda's: what is no UUID is for it alone."""
    with suppress(ValueError):
        given = dict(parse_qsl(query, max_num_fields=1000)).get("account_id", "")
        return UUID(given) if UUID_PATTERN.fullmatch(given) else None
    return None
