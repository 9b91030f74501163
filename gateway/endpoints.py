"""One method of a service as REST has it: binds requests, calls, renders responses; compiled once for each method."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

from google.protobuf.message import Message

from gateway.accept import choose
from gateway.binder import Binder
from gateway.body import Body
from gateway.documents import write_json, write_msgpack
from gateway.forms import rules_of
from gateway.media import JSON, MSGPACK
from gateway.query import Parameters
from gateway.render import Renderer
from gateway.templates import rules, template
from server.errors import NotAcceptable
from server.rpc.calls import Context, RestOrigin
from server.rpc.methods import Method

NO_CONTENT = 204
_FIELD = re.compile(r"\{([a-z0-9_]+)\}")


class Dispatcher(Protocol):
    """Calls the methods of the services; `server.rpc.dispatcher` has it."""

    @property
    def methods(self) -> Mapping[str, Method]:
        """All methods by their full names."""

    async def call(
        self,
        method: Method,
        request: Message,
        context: Context,
        *,
        headers: Mapping[str, str],
        request_id: str,
        rest: RestOrigin | None = None,
    ) -> Message:
        """Serve one call; raises nothing but `LunaError`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response."""

    status: int
    data: bytes = b""
    content_type: str = ""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Arrival:
    """An HTTP request that has found its method. `query` is as it was sent; `headers` have lower-case names."""

    variables: Mapping[str, str]
    query: str
    content_type: str
    data: bytes
    headers: Mapping[str, str]
    request_id: str


class Forms:
    """Binders and renderers that all endpoints share, by media type."""

    def __init__(self) -> None:
        self.binders = {JSON: Binder(binary=False), MSGPACK: Binder(binary=True)}
        self.renderers = {JSON: Renderer(binary=False), MSGPACK: Renderer(binary=True)}


class Endpoint:
    """One method in REST."""

    def __init__(self, method: Method, forms: Forms) -> None:
        self._method = method
        self._rest = method.rest
        outside = _outside(method)
        self._origin = RestOrigin(outside)
        self._parameters = Parameters(method.input, outside)
        self._body = Body(method, outside, forms.binders) if method.http.body else None
        offered = (JSON, MSGPACK) if method.rest.msgpack else (JSON,)
        part = method.output.fields_by_name[method.http.response_body] if method.http.response_body else None
        self._writers = {
            media: forms.renderers[media].field(part) if part else forms.renderers[media].writer(method.output)
            for media in offered
        }

    async def answer(self, arrival: Arrival, dispatcher: Dispatcher, context: Context) -> Answer:
        """Serve a request.

        Raises:
            LunaError: the request is wrong, or the method failed.
        """
        media = self._negotiated(arrival.headers.get("accept", ""))
        request = self._method.request_type()
        self._parameters.bind(request, arrival.variables, arrival.query)
        if self._body is not None:
            self._body.read(request, arrival.content_type, arrival.data)
        response = await dispatcher.call(
            self._method,
            request,
            context,
            headers=arrival.headers,
            request_id=arrival.request_id,
            rest=self._origin,
        )
        return self._rendered(response, media)

    def _negotiated(self, accept: str) -> str:
        if not self._rest.msgpack:
            return JSON
        media = choose(accept, (JSON, MSGPACK))
        if media is None:
            raise NotAcceptable(content_type=accept, allowed=f"{JSON}, {MSGPACK}")
        return media

    def _rendered(self, response: Message, media: str) -> Answer:
        status = self._rest.status or 200
        headers = _location(self._rest.location, response)
        if status == NO_CONTENT:
            return Answer(status, headers=headers)
        if self._rest.content:
            data, content_type = getattr(response, "data", b""), getattr(response, "content_type", "")
            return Answer(status, data, content_type, headers)
        value = self._writers[media](response)
        return Answer(status, write_msgpack(value) if media == MSGPACK else write_json(value), media, headers)


def _outside(method: Method) -> frozenset[str]:
    """Fields of a request that REST has in the path or the query, by their names in the proto."""
    body = method.http.body
    if body != "*":
        return frozenset(field.name for field in method.input.fields if field.name != body)
    in_path = {name for _, path in rules(method.http) for name in template(path).variables.values()}
    return frozenset(in_path | {field.name for field in method.input.fields if rules_of(field).query})


def _location(pattern: str, response: Message) -> tuple[tuple[str, str], ...]:
    """The Location header, filled from the response; none where what it is filled with is empty."""
    values = {name: str(getattr(response, name)) for name in _FIELD.findall(pattern)}
    if not pattern or not all(values.values()):
        return ()
    filled = _FIELD.sub(lambda match: quote(values[match[1]], safe="/:?&=,;@!$'()*+~%"), pattern)
    return (("location", filled),)
