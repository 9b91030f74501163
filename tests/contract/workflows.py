"""The operations of `api/operations-workflows.yaml`, the second file of the contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import cast

from tests.contract.notation import Notation, Notes, plain
from tests.contract.operations import Failure, Operation, Parameter
from tests.contract.schema import ANY, Schema

AUTH = {"BasicAuth": "basic", "BearerAuth": "bearer", "LunaAccountIdAuth": "account_id"}
PREFIX = "prefix"
"""Place of a parameter that stands for all whose names begin alike."""


class Workflows:
    """The operations of a document.

    Args:
        document: the file.
        auth: the errors of authorization, which every closed operation has and this file leaves to the first one.
        query: those of parameters, likewise.
    """

    def __init__(self, document: Mapping[str, object], auth: Sequence[Failure], query: Sequence[Failure]) -> None:
        self._auth, self._query = tuple(auth), tuple(query)
        self._notes = Notes(_with_checks(cast("dict[str, Notation]", document["schemas"])))
        self.operations = [self._operation(one) for one in cast("list[Notation]", document["operations"])]

    def _operation(self, one: Notation) -> Operation:
        success = cast("Notation", one["success"])
        if "by_wait_saving" in success:
            success = {**success, **cast("dict[int, Notation]", success["by_wait_saving"])[1]}
        method, status = str(one["method"]), cast("int", success["status"])
        given = cast("list[Notation]", one.get("params", []))
        headers = cast("Notation", success.get("headers", {}))
        # HEAD answers what GET does, with the type of it
        content_type = str(plain(success.get("content_type", "")))
        return Operation(
            id=str(one["id"]),
            tag=str(one["tag"]),
            method=method,
            path=str(one["path"]),
            auth=frozenset(AUTH[name] for name in cast("list[str]", one.get("auth", []))),
            parameters=tuple(self._parameters(given)),
            content_types=_content_types(one, given),
            body=self._body(cast("Notation", one["request_body"])) if "request_body" in one else None,
            body_optional=False,
            status=status,
            content_type=content_type,
            location="Location" in headers,
            content="variants" in success or content_type.startswith("as asked"),
            response=self._response(one.get("response_body")),
            failures=(*self._auth, *self._query, *_failures(cast("list[Notation]", one.get("errors", [])))),
        )

    def _response(self, given: object) -> Schema | None:
        if given is None or (isinstance(given, Mapping) and "empty" in given):
            return None
        return self._notes.read(given)

    def _body(self, given: Notation) -> Schema:
        if "variants" in given:
            return ANY
        entity = given.get("descriptor_entity")
        schema = self._notes.read({name: part for name, part in given.items() if name != "descriptor_entity"})
        if not isinstance(entity, Mapping):
            return schema
        # the same entity as in the raw matcher, where all of it is needed; what `data` is depends on `type`
        members = {**self._notes.read(entity).fields, "data": ANY}
        item = Schema("object", fields={name: replace(one, required=True) for name, one in members.items()})
        return replace(schema, fields={name: replace(one, items=item) for name, one in schema.fields.items()})

    def _parameters(self, given: list[Notation]) -> Iterator[Parameter]:
        inner = {one["name"] for one in given if one["in"] == "path"}
        for one in given:
            name = str(one["name"])
            if name in inner and one["in"] == "query":
                continue  # it is declared twice, and the path rules
            default = plain(one.get("default"))
            schema = self._schema(one)
            words = schema.items is not None and bool(schema.items.enum)
            yield Parameter(
                name=name,
                place=PREFIX if "<" in name else str(one["in"]),
                schema=schema,
                default=default if isinstance(default, int | float) else None,
                all_by_default=words or (isinstance(default, str) and default.startswith("all")),
                required=one.get("required") is True,
            )

    def _schema(self, one: Notation) -> Schema:
        read = self._notes.read({name: part for name, part in one.items() if name != "in"})
        if one.get("form") != "comma separated" or read.kind == "array":
            return read
        items = self._notes.read(one["items"])
        return Schema("array", items=Schema("string") if items is ANY else items)


def _content_types(one: Notation, given: list[Notation]) -> tuple[str, ...]:
    """Those of the list, and those of the header: the reference has misspelt one, which is taken both ways."""
    header = next((one for one in given if one["name"] == "Content-Type"), {})
    listed = [*cast("list[str]", one.get("request_content_types", [])), *cast("list[str]", header.get("enum", []))]
    return tuple(dict.fromkeys(listed))


def _failures(given: list[Notation]) -> Iterator[Failure]:
    for one in given:
        code = one.get("error_code")
        yield Failure(cast("int", one["status"]), code if isinstance(code, int) else 0)


def _with_checks(schemas: dict[str, Notation]) -> Notation:
    """The schemas with the checks of face_quality as properties, which the file has in a table of its own."""
    policy = cast("dict[str, Notation]", schemas["face_quality_policy"])
    forms: Mapping[str, Notation] = {
        "range": {"threshold": {"type": "object"}},
        "minimum_only": {"threshold": {"type": "object"}},
        "choice": {"threshold": {"type": "array", "minItems": 1, "items": "string"}},
        "flag": {},
    }
    checks = {
        name: {"type": "object", "properties": {"estimate": {"ref": "int01"}, **forms[str(one["form"])]}}
        for name, one in cast("dict[str, Notation]", policy["checks"]).items()
        if isinstance(one, Mapping)
    }
    properties = {**policy["properties"], "checks": {"type": "object", "properties": checks}}
    return {**schemas, "face_quality_policy": {"type": "object", "properties": properties}}
