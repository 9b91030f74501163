"""HTTP as values: a call of a program behind this one, and what it answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

Headers = tuple[tuple[str, str], ...]
"""Names in lower case with their values; one may come several times."""


@dataclass(frozen=True, slots=True)
class HttpCall:
    """A request. `path` is below the program's root and percent-encoded, `query` without the question mark."""

    method: str
    path: str
    query: str = ""
    headers: Headers = ()
    body: bytes | AsyncIterator[bytes] = b""


@dataclass(frozen=True, slots=True)
class HttpReply:
    """An answer whose body comes in pieces."""

    status: int
    headers: Headers
    body: AsyncIterator[bytes]
