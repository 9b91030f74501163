"""What endpoints work with: a request that has arrived, its answer, and what calls methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from google.protobuf.message import Message

from server.rpc.calls import Context, RestOrigin
from server.rpc.methods import Method


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
        fill: Callable[[Message], None] | None = None,
    ) -> Message:
        """Serve one call, its request read by `fill` once it is known who calls; raises nothing but `LunaError`."""


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
