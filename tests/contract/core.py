"""The first notation of the contract, that of `api/operations-core.yaml`, as operations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from tests.contract.notation import plain
from tests.contract.operations import FREE, Failure, Operation, Parameter
from tests.contract.schema import ANY, Reader, Schema

Notation = Mapping[str, object]


class Core:
    """The operations of a document."""

    def __init__(self, document: Mapping[str, object]) -> None:
        self._shared = cast("dict[str, dict[str, Notation]]", document["shared"])
        self._reader = Reader(cast("Notation", document["schemas"]))
        self.operations = [self._operation(one) for one in cast("list[Notation]", document["operations"])]

    def failures(self, name: str) -> tuple[Failure, ...]:
        """Errors that operations share."""
        return tuple(self._failures([{"use": name}]))

    def _operation(self, one: Mapping[str, object]) -> Operation:
        success = cast("Notation", one["success"])
        request = cast("Notation", one.get("request", {}))
        auth = one.get("auth", "none")
        content_type = str(plain(success.get("content_type", "")))
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
            default = plain(known.get("default"))
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
