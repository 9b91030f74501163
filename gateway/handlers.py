"""The facade's handlers: what Envoy sends as gRPC becomes an HTTP request again, and is answered with HTTP in gRPC.

Envoy gives the verb and the path as they were sent in `x-envoy-original-method` and `x-envoy-original-path`. Status
and headers of the response travel as initial metadata, `x-http-status` among them, and its bytes as `HttpBody`. An
error is an ordinary answer: no call of the facade is aborted. A native client that calls the facade gains nothing,
because every request passes the same checks, whatever it says its path is; through Envoy it does not get here.
"""

from __future__ import annotations

import logging
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping

import grpc
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.message import DecodeError

from gateway.documents import write_json
from gateway.endpoints import Endpoint, Forms
from gateway.exchange import Answer, Arrival, Dispatcher
from gateway.facade import ENVELOPE_BYTES, FALLBACK, FALLBACK_METHOD, PACKAGE
from gateway.media import JSON
from gateway.routes import Routes
from server.errors import Busy, Internal, InvalidInput, LunaError, MalformedRequest, MethodNotAllowed, Unauthenticated
from server.rpc.calls import Context, headers_of
from server.rpc.native import request_id_of

log = logging.getLogger(__name__)

ORIGINAL_PATH = "x-envoy-original-path"
ORIGINAL_METHOD = "x-envoy-original-method"
STATUS = "x-http-status"
LENGTH = "x-content-length"
"""Length of the body. HEAD is not sent one, since Envoy would pass it on; for others Envoy sees whether it is whole."""
REQUEST_ID = "luna-request-id"
FOUND = 302
_KEPT = re.compile(r"[\x21-\x7e]{1,47}")
"""Ids that are echoed. The documented form, ten digits, a comma and a UUID, has 47 characters."""

Elsewhere = Mapping[str, Callable[[], LunaError]]
"""Regular expressions of paths, and what is raised for them."""


class Facade:
    """The REST form of a dispatcher's methods. `max_message_bytes` is what the server sends at most; 0 is no limit.

    `key` is the one that Envoy has; without one no call is taken for Envoy's. `sockets` are paths of WebSockets, which
    Envoy leads elsewhere: here they have OPTIONS alone. `elsewhere` are regular expressions of paths that another
    process serves, with the error where Envoy has none to lead them to.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        max_message_bytes: int = 0,
        key: str = "",
        sockets: Iterable[str] = (),
        elsewhere: Elsewhere | None = None,
    ) -> None:
        served = [method for method in dispatcher.methods.values() if method.http.WhichOneof("pattern")]
        forms = Forms()
        self._dispatcher = dispatcher
        self._routes = Routes(served)
        self._endpoints = {
            method.name: Endpoint(method, forms, dispatcher.methods.get(method.rest.diversion)) for method in served
        }
        self._served = served
        self._sockets = frozenset(sockets)
        self._elsewhere = [(re.compile(pattern, re.DOTALL), error) for pattern, error in (elsewhere or {}).items()]
        self._key = key
        self._largest = max_message_bytes - ENVELOPE_BYTES if max_message_bytes else sys.maxsize

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """A handler for each service of the facade, to be added to a server."""
        handler: grpc.RpcMethodHandler[bytes, HttpBody] = grpc.unary_unary_rpc_method_handler(
            self._serve,  # without a deserializer, a request is its bytes
            response_serializer=lambda body: body.SerializeToString(),
        )
        services: dict[str, dict[str, grpc.RpcMethodHandler[bytes, HttpBody]]] = {
            f"{PACKAGE}.{FALLBACK}": {FALLBACK_METHOD: handler}
        }
        for method in self._served:
            name = f"{PACKAGE}.{method.descriptor.containing_service.name}"
            services.setdefault(name, {})[method.descriptor.name] = handler
        return [grpc.method_handlers_generic_handler(name, methods) for name, methods in services.items()]

    async def _serve(self, data: bytes, context: Context) -> HttpBody:
        headers = headers_of(context, self._key)
        sent = headers.get(REQUEST_ID, "")
        request_id = sent if _KEPT.fullmatch(sent) else request_id_of(None)
        verb = headers.pop(ORIGINAL_METHOD, "")
        target = headers.pop(ORIGINAL_PATH, "")
        try:
            answer = await self._answer(verb, target, _body(data), headers, request_id, context)
        except LunaError as error:
            answer = refused(error, headers)
        except Exception:
            log.exception("request %s failed in the gateway", request_id)
            answer = refused(Internal(request_id=request_id), headers)
        if len(answer.data) > self._largest:
            answer = refused(InvalidInput(message=f"the response exceeds {self._largest} bytes: ask for less"), headers)
        metadata = ((STATUS, str(answer.status)), (REQUEST_ID, request_id), (LENGTH, str(len(answer.data))))
        await context.send_initial_metadata((*metadata, *answer.headers))
        return HttpBody(content_type=answer.content_type, data=b"" if verb == "HEAD" else answer.data)

    async def _answer(
        self, verb: str, target: str, body: HttpBody, headers: Mapping[str, str], request_id: str, context: Context
    ) -> Answer:
        path, _, query = target.partition("?")
        for pattern, error in self._elsewhere:
            if pattern.fullmatch(path):
                raise error()
        if path in self._sockets:
            return self._of_socket(verb, path)
        if verb == "OPTIONS":
            return self._options(path)
        found = self._routes.find(verb, path)
        if found.location:
            return _redirect(found.location, query)
        arrival = Arrival(found.variables, query, body.content_type, body.data, headers, request_id)
        return await self._endpoints[found.method.name].answer(arrival, self._dispatcher, context)

    def _of_socket(self, verb: str, path: str) -> Answer:
        allowed = "GET, OPTIONS"
        if verb == "OPTIONS":
            return Answer(200, write_json({}), JSON, (("allow", allowed),))
        if verb == "GET":
            raise MalformedRequest(message="the handshake of a WebSocket (RFC 6455) is expected")
        raise MethodNotAllowed(path=path, method=verb, allowed=allowed)

    def _options(self, path: str) -> Answer:
        """What a path serves, for everyone; one that redirects too: many clients would turn OPTIONS into GET."""
        allowed = self._routes.allowed(path)
        return Answer(200, write_json({}), JSON, (("allow", ", ".join(allowed)),))


def rest_handlers(
    dispatcher: Dispatcher,
    max_message_bytes: int = 0,
    key: str = "",
    sockets: Iterable[str] = (),
    elsewhere: Elsewhere | None = None,
) -> Iterable[grpc.GenericRpcHandler]:
    """The handlers of the REST form of a dispatcher's methods, to be added to a server.

    Args:
        dispatcher: calls the methods.
        max_message_bytes: largest message that the server sends; larger answers become an error. 0 is no limit.
        key: the key that Envoy has; without one the address of a client is that of its connection.
        sockets: paths of WebSockets.
        elsewhere: regular expressions of paths that another process serves, and the error where there is none.
    """
    return Facade(dispatcher, max_message_bytes, key, sockets, elsewhere).handlers()


def refused(error: LunaError, headers: Mapping[str, str]) -> Answer:
    """The answer that an error is, with the headers that its status asks for."""
    extra: list[tuple[str, str]] = []
    if isinstance(error, Unauthenticated):
        bearer = headers.get("authorization", "").lower().startswith("bearer")
        extra.append(("www-authenticate", f'{"Bearer" if bearer else "Basic"} realm="luna"'))
    if isinstance(error, Busy):
        extra.append(("retry-after", str(max(1, math.ceil(float(error.values["retry_after"]))))))
    if isinstance(error, MethodNotAllowed):
        extra.append(("allow", error.values["allowed"]))
    return Answer(error.status, write_json(error.body()), JSON, tuple(extra))


def _body(data: bytes) -> HttpBody:
    """The body of a request, of the message that Envoy made of it.

    Raises:
        MalformedRequest: it is none, because Envoy passes the bytes of Content-Type on as they are.
    """
    try:
        return HttpBody.FromString(data)
    except DecodeError:
        raise MalformedRequest(message="Content-Type is not UTF-8") from None


def _redirect(location: str, query: str) -> Answer:
    return Answer(FOUND, headers=(("location", f"{location}?{query}" if query else location),))
