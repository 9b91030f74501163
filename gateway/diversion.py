"""Requests that another program answers instead of a method (`diversion` in `luna.rest`).

A request for such a method may be anything, because that program alone knows what it takes. So it goes there as it
came, and what comes back is the answer as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from luna.v6.http_calls_pb2 import HttpAnswer, HttpHeader, HttpRequest

from gateway import headers
from gateway.exchange import Answer, Arrival, Dispatcher
from gateway.media import BYTES
from server.rpc.calls import Context, RestOrigin
from server.rpc.methods import Method

REQUEST: Final = "request"
ANSWER: Final = "answer"

_NO_BODY: Final = frozenset({204, 304})
_OWN: Final = frozenset({"content-type", "content-length", "te"})
"""Headers of the call that Envoy made of a request; the first two are made anew."""
_KEPT: Final = frozenset({"content-type", "content-length", "luna-request-id"})
"""Headers of an answer that have their own ways."""
_NAME: Final = re.compile(r"[a-z0-9_.-]+")
_PRINTABLE: Final = re.compile(r"[\x20-\x7e]+")


class Diversion:
    """Asks a method whether another program answers.

    Raises:
        TypeError: the method's request or response has not the fields for it.
    """

    def __init__(self, asked: Method, method: Method) -> None:
        request, response = method.input.fields_by_name, method.output.fields_by_name
        if REQUEST not in request or ANSWER not in response:
            message = f"{method.name} cannot stand in for {asked.name}"
            raise TypeError(message)
        self._verb = (asked.http.WhichOneof("pattern") or "").upper()
        self._method = method
        self._origin = RestOrigin(frozenset(request) - {REQUEST})

    async def answer(self, arrival: Arrival, dispatcher: Dispatcher, context: Context) -> Answer | None:
        """What the other program answers; None where none does.

        Raises:
            LunaError: nobody may call it, or it fails.
        """
        request = self._method.request_type()
        for name, value in arrival.variables.items():
            setattr(request, name, value)
        self._fill(getattr(request, REQUEST), arrival)
        response = await dispatcher.call(
            self._method,
            request,
            context,
            headers=arrival.headers,
            request_id=arrival.request_id,
            rest=self._origin,
        )
        return _whole(getattr(response, ANSWER)) if response.HasField(ANSWER) else None

    def _fill(self, request: HttpRequest, arrival: Arrival) -> None:
        request.method = self._verb
        request.query = arrival.query
        request.body = arrival.data
        if arrival.content_type:
            request.headers.add(name="content-type", value=arrival.content_type)
        request.headers.extend(
            HttpHeader(name=name, value=value)
            for name, value in arrival.headers.items()
            if name not in _OWN and not name.startswith("grpc-")
        )


def _whole(found: HttpAnswer) -> Answer:
    status = found.head.status
    content_type = next((one.value for one in found.head.headers if one.name == "content-type"), "")
    if content_type and not _PRINTABLE.fullmatch(content_type):
        content_type = BYTES
    data = b"" if status in _NO_BODY else found.body
    return Answer(status, data, content_type or BYTES, headers.escaped(dict(_told(found)), ""))


def _told(found: HttpAnswer) -> Iterator[tuple[str, str]]:
    """The headers of an answer, one entry for each name."""
    names = dict.fromkeys(one.name for one in found.head.headers)
    for name in names:
        if name not in _KEPT and _NAME.fullmatch(name):
            yield name, ", ".join(one.value for one in found.head.headers if one.name == name)
