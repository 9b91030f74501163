"""The operations of the contract as objects, whichever of its notations they are written in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tests.contract.schema import Schema

NOT_SERVED: Mapping[str, str] = {
    "ws_handshake": "it is the WebSocket of a stream",
    **dict.fromkeys(
        ("proxy_post_to_lambda", "proxy_options_to_lambda"), "another process answers, whatever the lambda says"
    ),
}
"""Operations, or tags of them, that are not served, and why."""
LACKING = {"predict_liveness": 11054}
"""Operations that need a pack that is not installed here, and the code that says so: their valid calls are 403."""
FREE = {"get_config": "its members are the settings of the server: the contract names one as an example"}
"""Operations whose response the contract leaves open, and why."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter. `default` is None where the contract names no value; `place` is query, path or header.

    `repeated` tells that a list is given by repeating the key alone.
    """

    name: str
    place: str
    schema: Schema
    default: int | float | None = None
    all_by_default: bool = False
    repeated: bool = False
    required: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """An error that the contract names. `code` is 0 where it names none."""

    status: int
    code: int


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. `auth` is empty for those that are open; `body` and `response` are None where there is none.

    `content_type` is empty where the contract does not name one, and `content` tells that the answer is bytes.
    """

    id: str
    tag: str
    method: str
    path: str
    auth: frozenset[str]
    parameters: tuple[Parameter, ...]
    content_types: tuple[str, ...]
    body: Schema | None
    body_optional: bool
    status: int
    content_type: str
    location: bool
    content: bool
    response: Schema | None
    failures: tuple[Failure, ...]

    @property
    def served(self) -> bool:
        """False where the service does not have it."""
        return not {self.id, self.tag} & NOT_SERVED.keys()

    @property
    def here(self) -> int:
        """The status of a valid call with the packs of the tests."""
        return 403 if self.id in LACKING else self.status

    @property
    def open(self) -> bool:
        """True where no authorization is needed."""
        return not self.auth

    @property
    def query(self) -> tuple[Parameter, ...]:
        """The query parameters."""
        return tuple(one for one in self.parameters if one.place == "query")

    @property
    def ids(self) -> tuple[str, ...]:
        """The path variables that are ids, the innermost last."""
        return tuple(re.findall(r"\{(\w+_id)\}", self.path))

    def numbered(self, name: str) -> bool:
        """True for an id that is a number, and no uuid."""
        return any(one.name == name and one.place == "path" and one.schema.kind == "integer" for one in self.parameters)

    @property
    def json(self) -> bool:
        """True where the request is JSON and nothing else but msgpack or multipart."""
        return "application/json" in self.content_types and "image/jpeg" not in self.content_types

    def codes(self, status: int) -> frozenset[int]:
        """The error codes that the contract names for a status."""
        return frozenset(one.code for one in self.failures if one.status == status)
