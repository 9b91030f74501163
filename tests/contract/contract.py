"""The contract as objects: the operations of `api/operations-core.yaml`, with all that they refer to resolved."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

import pytest
import yaml

from tests.contract.schema import ANY, Reader, Schema

FILE = Path(__file__).resolve().parents[3] / "shared" / "api" / "operations-core.yaml"
NOT_SERVED = {
    "match_bodies": "bodies are searched among events, which come with the workflows",
    "ws_handshake": "events come with the workflows",
}
"""Operations that are not served, and why."""
LACKING = {"predict_liveness": 11054}
"""Operations that need a pack that is not installed here, and the code that says so: their valid calls are 403."""
FREE = {"get_config": "its members are the settings of the server: the contract names one as an example"}
"""Operations whose response the contract leaves open, and why."""

Notation = Mapping[str, object]


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
        """The path variables that are uuids, the innermost last."""
        return tuple(re.findall(r"\{(\w+_id)\}", self.path))

    @property
    def json(self) -> bool:
        """True where the request is JSON and nothing else but msgpack or multipart."""
        return "application/json" in self.content_types and "image/jpeg" not in self.content_types

    def codes(self, status: int) -> frozenset[int]:
        """The error codes that the contract names for a status."""
        return frozenset(one.code for one in self.failures if one.status == status)


class Contract:
    """The whole contract, read from its file."""

    def __init__(self, file: Path) -> None:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        self._shared = document["shared"]
        self._reader = Reader(document["schemas"])
        every = [self._operation(one) for one in document["operations"]]
        served = [one for one in every if one.id not in NOT_SERVED]
        self.operations: Mapping[str, Operation] = {one.id: one for one in served}
        self.not_served = tuple(one for one in every if one.id in NOT_SERVED)
        with_options = document["paths_with_options"]["paths"]
        self.paths = tuple(path for path in with_options if path in {one.path for one in served})
        """Paths of the served operations that answer OPTIONS."""

    def __iter__(self) -> Iterator[Operation]:
        return iter(self.operations.values())

    def verbs(self, path: str) -> frozenset[str]:
        """The methods that the contract has for a path, and for those that cannot be told from it.

        /6/samples/{samples_type} and the deprecated /6/samples/{sample_id} are one address to a router.
        """
        return frozenset(one.method for one in self if _shape(one.path) == _shape(path))

    def _operation(self, one: Mapping[str, object]) -> Operation:
        success = cast("Notation", one["success"])
        request = cast("Notation", one.get("request", {}))
        auth = one.get("auth", "none")
        content_type = str(_plain(success.get("content_type", "")))
        return Operation(
            id=str(one["id"]),
            tag=str(one["tag"]),
            method=str(one["method"]),
            path=str(one["path"]),
            auth=frozenset() if auth == "none" else frozenset(cast("list[str]", auth)),
            parameters=tuple(self._parameters(cast("list[Notation]", one.get("parameters", [])))),
            content_types=tuple(cast("list[str]", request.get("content_types", []))),
            body=self._body(request) if request else None,
            body_optional=request.get("body_optional") is True,
            status=cast("int", success["status"]),
            content_type=content_type if "/" in content_type else "",
            location="Location" in cast("Notation", success.get("headers", {})),
            content=success.get("body", "none") != "none",
            response=self._response(one),
            failures=tuple(self._failures(cast("list[Notation]", one.get("errors", [])))),
        )

    def _response(self, one: Notation) -> Schema | None:
        if one["id"] in FREE:
            return Schema("object", subset=True)
        return self._reader.read(one["response"]) if "response" in one else None

    def _body(self, request: Notation) -> Schema:
        if "fields" in request or "one_of" in request:
            return self._reader.read({name: request[name] for name in ("fields", "one_of") if name in request})
        if "schema" in request:
            return self._reader.read({"schema": request["schema"]})
        return self._reader.read(request["body"]) if isinstance(request.get("body"), Mapping) else ANY

    def _parameters(self, given: list[Notation]) -> Iterator[Parameter]:
        for one in given:
            known = self._shared["parameters"][one["use"]] if "use" in one else one
            default = _plain(known.get("default"))
            yield Parameter(
                name=str(known["name"]),
                place=str(known["in"]),
                schema=self._reader.read(known),
                default=default if isinstance(default, int | float) else None,
                all_by_default=isinstance(default, str) and default.startswith("all"),
                repeated=known.get("style") == "multi",
                required=known.get("required") is True,
            )

    def _failures(self, given: list[Notation]) -> Iterator[Failure]:
        for one in given:
            if "use" in one:
                yield from self._failures(self._shared["errors"][one["use"]])
            elif "status" in one:
                yield Failure(cast("int", one["status"]), cast("int", one.get("error_code", 0)))


def _shape(path: str) -> str:
    """A path without the names of its variables."""
    return re.sub(r"\{\w+\}", "{}", path)


def _plain(value: object) -> object:
    """The value of `{value: ..., source: ...}`, which may also stand bare."""
    return value["value"] if isinstance(value, Mapping) and "value" in value else value


@cache
def _read() -> Contract:
    return Contract(FILE)


def contract() -> Contract:
    """The contract. A test module that asks for it where it is not there is skipped."""
    if not FILE.is_file():
        pytest.skip("the contract, shared/api/operations-core.yaml, is not there", allow_module_level=True)
    return _read()
