"""The call in progress: who calls, under which id, and where its request came from."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from urllib.parse import unquote

import grpc
from google.protobuf.message import Message

from server.domain.access import Principal
from server.errors import Unauthenticated


@dataclass(frozen=True, slots=True)
class RestOrigin:
    """Tells that a request came from REST, and which of its top-level fields stood in the path or the query.

    Names are those of the proto. Errors then carry the codes and the names that REST has for them.
    """

    query_fields: frozenset[str]


@dataclass(frozen=True, slots=True)
class Call:
    """A call in progress. `headers` have lower-case names: gRPC metadata or HTTP headers, `-bin` entries left out.

    `address` is the client's, without its port.
    """

    method: str
    request_id: str
    address: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    caller: Principal | None = None

    @property
    def principal(self) -> Principal:
        """The account that the call acts for.

        Raises:
            Unauthenticated: the call is an open one.
        """
        if self.caller is None:
            raise Unauthenticated(message="authorization is required")
        return self.caller


Context = grpc.aio.ServicerContext[Message, Message]
"""What gRPC tells of a call."""

ADDRESS = "luna-client-address"
"""Header that Envoy writes over whatever a client sent, and that is believed of Envoy alone (`headers_of`). The last
entry of x-forwarded-for would not do: for a client on loopback Envoy puts another address of the machine there."""

KEY = "luna-edge-key"
"""Header with the key that Envoy and the servers share; Envoy adds it to every call."""

_current: ContextVar[Call] = ContextVar("luna_call")


def headers_of(context: Context, key: str) -> dict[str, str]:
    """The metadata of a call as text, the first of each name and what is believed; binary entries are left out."""
    headers: dict[str, str] = {}
    for name, value in context.invocation_metadata() or ():
        if isinstance(value, str):
            headers.setdefault(name, value)
    keep_believed(headers, key)
    return headers


def keep_believed(headers: dict[str, str], key: str) -> None:
    """Take the key out of headers, and what only Envoy may say where the key is not right.

    Without a key of its own a server takes nothing for Envoy's.
    """
    sent = headers.pop(KEY, "")
    if not key or not hmac.compare_digest(sent.encode(errors="surrogatepass"), key.encode()):
        headers.pop(ADDRESS, None)


def address_of(context: Context, headers: Mapping[str, str]) -> str:
    """The client's address without its port: the one that Envoy saw where the call is Envoy's, else the connection's.

    `headers` are those of `headers_of`.
    """
    if ADDRESS in headers:
        return headers[ADDRESS]
    transport, _, peer = unquote(context.peer() or "").partition(":")
    return peer.rpartition(":")[0].strip("[]") if transport in {"ipv4", "ipv6"} else peer


def current() -> Call:
    """The call that this task works on."""
    return _current.get()


def known() -> Call | None:
    """The call that this task works on; None outside of calls."""
    return _current.get(None)


def enter(call: Call) -> None:
    """Make a call the current one of this task."""
    _current.set(call)
