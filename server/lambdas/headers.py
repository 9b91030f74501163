"""Which headers of HTTP go on to a lambda, and which of its own come back."""

from __future__ import annotations

from collections.abc import Iterable

from server.domain.http_calls import Headers
from server.rpc.calls import ADDRESS, KEY

VERSION = "lambda-version"
"""Header of an answer: the version of the lambda that gave it."""
FAILED = "luna-lambda-error"
"""Header by which a lambda tells that its own code failed: the name of the exception."""

_OF_ONE_CONNECTION = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "expect"}
)
"""RFC 9110, section 7.6.1, and Expect, which whoever sends on answers by itself."""

_NEVER_SENT = frozenset(
    {
        *("authorization", "proxy-authorization", "cookie", "luna-account-id"),
        *(KEY, ADDRESS, "grpc-timeout", "host"),
    }
)
"""Credentials, and what this service says to itself."""

_NEVER_ANSWERED = frozenset(
    {
        *(FAILED, VERSION, "luna-request-id", "server"),
        # the host's own marks, and what the edge would take for the facade's
        *("luna-lambdas", "x-content-length", "grpc-status", "grpc-message", "grpc-status-details-bin"),
        # what a browser would apply to everything that this service has, and not to the lambda alone
        *("set-cookie", "clear-site-data", "strict-transport-security", "alt-svc", "service-worker-allowed"),
    }
)

_GUARD: Headers = (("x-content-type-options", "nosniff"), ("content-security-policy", "sandbox"))
"""A page that a lambda answers with is none of this service's: a browser runs nothing of it here."""


def sent_on(headers: Iterable[tuple[str, str]], *more: tuple[str, str]) -> Headers:
    """The headers of a call as a lambda gets them; `more` stand in place of those of the same names."""
    kept = _kept(headers, _NEVER_SENT | {name for name, _ in more}, ("x-envoy-", "luna-lambdas-"))
    return (*kept, *more)


def answered(headers: Iterable[tuple[str, str]]) -> Headers:
    """The headers of a lambda's answer as its caller gets them."""
    kept = _kept(headers, _NEVER_ANSWERED | {"x-content-type-options"}, ("x-envoy-", "x-http-"))
    return (*kept, *_GUARD)


def first(headers: Headers, name: str) -> str | None:
    """The first value of a header; None where there is none."""
    return next((value for known, value in headers if known == name), None)


def _kept(headers: Iterable[tuple[str, str]], dropped: frozenset[str] | set[str], prefixes: tuple[str, ...]) -> Headers:
    lower = [(name.lower(), value) for name, value in headers]
    named = {part.strip().lower() for name, value in lower if name == "connection" for part in value.split(",")}
    without = dropped | _OF_ONE_CONNECTION | named
    return tuple((name, value) for name, value in lower if name not in without and not name.startswith(prefixes))
