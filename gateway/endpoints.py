"""One method of a service as REST has it: binds requests, calls, renders responses; compiled once for each method."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import quote

from google.protobuf.message import Message
from luna import options_pb2

from gateway import headers
from gateway.binder import Binder
from gateway.body import Body
from gateway.diversion import Diversion
from gateway.documents import write_json, write_msgpack, write_text
from gateway.exchange import Answer, Arrival, Dispatcher
from gateway.forms import rest_field
from gateway.media import BYTES, JSON, MSGPACK, TEXT
from gateway.places import META, places_of
from gateway.query import Parameters
from gateway.render import Renderer
from server.errors import BadBody, InvalidInput, MissingField, NotAcceptable
from server.rpc.accept import choose
from server.rpc.calls import Context, RestOrigin
from server.rpc.methods import Method

ACCEPTED = 202
NO_CONTENT = 204
_FIELD = re.compile(r"\{([a-z0-9_]+)\}")
_PRINTABLE = re.compile(r"[\x20-\x7e]+")


class Forms:
    """Binders and renderers that all endpoints share, by media type."""

    def __init__(self) -> None:
        self.binders = {JSON: Binder(binary=False), MSGPACK: Binder(binary=True)}
        self.renderers = {JSON: Renderer(binary=False), MSGPACK: Renderer(binary=True)}


class Endpoint:
    """One method in REST. `diversion` is the method that another program answers by in its stead, if there is one."""

    def __init__(self, method: Method, forms: Forms, diversion: Method | None = None) -> None:
        self._method = method
        self._rest = method.rest
        places = places_of(method.descriptor)
        self._origin = RestOrigin(places.outside)
        self._parameters = Parameters(method.input, places.query, places.path)
        self._body = Body(method, places, forms.binders) if method.http.body else None
        self._whole = _whole(method)
        self._meta_in = method.rest.header_prefix if META in places.headers else ""
        self._meta_out = method.rest.header_prefix if META in method.output.fields_by_name else ""
        part = method.output.fields_by_name[method.http.response_body] if method.http.response_body else None
        self._writers = {
            media: forms.renderers[media].field(part) if part else forms.renderers[media].writer(method.output)
            for media in (JSON, MSGPACK)
        }
        self._offered = tuple(offered(method.rest))
        self._diversion = None if diversion is None else Diversion(method, diversion)

    async def answer(self, arrival: Arrival, dispatcher: Dispatcher, context: Context) -> Answer:
        """Serve a request.

        Raises:
            LunaError: the request is wrong, or the method failed.
        """
        try:
            return await self._answer(arrival, dispatcher, context)
        except InvalidInput as error:
            # a request that is wrong here may be right for the program that answers instead
            diverted = None if self._diversion is None else await self._diversion.answer(arrival, dispatcher, context)
            if diverted is None:
                raise self._told(error) from error.__cause__
            return diverted

    def _told(self, error: InvalidInput) -> InvalidInput:
        """An error with paths as in the body: where one field is the whole body, its name does not stand there."""
        field = error.values.get("field", "")
        if not self._whole or not field.startswith(f"{self._whole}.") or not isinstance(error, BadBody | MissingField):
            return error
        values = {**error.values, "field": field.removeprefix(f"{self._whole}.")}
        return type(error)(violations=error.violations, **values)

    async def _answer(self, arrival: Arrival, dispatcher: Dispatcher, context: Context) -> Answer:
        media = self._negotiated(arrival.headers.get("accept", ""))
        response = await dispatcher.call(
            self._method,
            self._method.request_type(),
            context,
            headers=arrival.headers,
            request_id=arrival.request_id,
            rest=self._origin,
            fill=lambda request: self._fill(request, arrival),
        )
        return self._rendered(response, media)

    def _fill(self, request: Message, arrival: Arrival) -> None:
        """Read a request from what arrived."""
        self._parameters.bind(request, arrival.variables, arrival.query)
        if self._meta_in:
            getattr(request, META).update(headers.with_prefix(arrival.headers, self._meta_in))
        if self._body is not None:
            self._body.read(request, arrival.content_type, arrival.data)

    def _negotiated(self, accept: str) -> str:
        if len(self._offered) == 1:
            return JSON
        media = choose(accept, self._offered)
        if media is None:
            raise NotAcceptable(content_type=accept, allowed=", ".join(self._offered))
        return media

    def _rendered(self, response: Message, media: str) -> Answer:
        later = bool(self._rest.accepted) and bool(getattr(response, self._rest.accepted))
        status = ACCEPTED if later else self._rest.status or 200
        extra = () if later else _location(self._rest.location, response)
        if self._meta_out:
            extra += headers.escaped(getattr(response, META), self._meta_out)
        if status == NO_CONTENT:
            return Answer(status, headers=extra)
        if self._rest.content:
            return _content(status, response, extra)
        write, content_type = _FORMS[media]
        return Answer(
            status, write(self._writers[MSGPACK if media == MSGPACK else JSON](response)), content_type, extra
        )


_FORMS: Mapping[str, tuple[Callable[[object], bytes], str]] = {
    JSON: (write_json, JSON),
    MSGPACK: (write_msgpack, MSGPACK),
    TEXT: (write_text, f"{TEXT}; charset=utf-8"),
}
"""What writes a value in each form, and the form's content type."""


def _whole(method: Method) -> str:
    """Name in REST of the field that a JSON body is; empty where the body has fields by name, or is no JSON."""
    name = method.http.body
    forms = set(method.rest.forms) - {options_pb2.BODY_FORM_JSON, options_pb2.BODY_FORM_MSGPACK}
    return rest_field(method.input.fields_by_name[name]).name if name not in {"", "*"} and not forms else ""


def offered(rest: options_pb2.Rest) -> Iterator[str]:
    """The forms that a method's answers have; the first one where nothing is asked for."""
    yield JSON
    if rest.msgpack:
        yield MSGPACK
    if rest.text:
        yield TEXT


def _content(status: int, response: Message, extra: tuple[tuple[str, str], ...]) -> Answer:
    """Bytes as they are. Their type is a caller's word in places, and no header may end early because of it."""
    content_type = str(getattr(response, "content_type", ""))
    if not _PRINTABLE.fullmatch(content_type):
        content_type = BYTES
    own = headers.of_content(content_type, str(getattr(response, "filename", "")))
    return Answer(status, getattr(response, "data", b""), content_type, (*extra, *own))


def _location(pattern: str, response: Message) -> tuple[tuple[str, str], ...]:
    """The Location header, filled from the response; none where what it is filled with is empty."""
    values = {name: str(getattr(response, name)) for name in _FIELD.findall(pattern)}
    if not pattern or not all(values.values()):
        return ()
    filled = _FIELD.sub(lambda match: quote(values[match[1]], safe="/:?&=,;@!$'()*+~%"), pattern)
    return (("location", filled),)
