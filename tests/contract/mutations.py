"""Values that a field of a body must not have, and values at its limits: what follows from the field's schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from tests.contract.operations import Operation
from tests.contract.schema import Schema

BAD_BODY, MISSING_FIELD, BAD_BASE64 = 12022, 12003, 18001
BAD_AVATAR, UNKNOWN_VERSION = 22009, 12036

PLACES: Mapping[tuple[str, str], tuple[int | None, ...]] = {("match_faces", "candidates"): (0, 1, 2)}
"""Where the valid body of an operation has an item of each alternative of a list; None where it is not served.

Elsewhere the first alternative is the first item, the second one the second.
"""
ONCE: Mapping[str, str] = {
    "create_handler": "policies", "replace_handler": "policies", "replace_verifier": "policies",
    "create_estimator_task": "content.handler",
}  # fmt: skip
"""Members whose own ones are tried in another operation, which takes the same (validate_handler_policies,
create_verifier), or where valid bodies have another alternative."""
LIKE_OTHERS = re.compile(r"policies\.storage_policy\.(?!face_sample_policy).*filters")
"""Objects that are like another one whose members are tried."""
INFERRED = re.compile(r"samples\.(?:face|body)\.detection$")
"""Objects that the contract describes as they are answered, and from hearsay: events are not held to it when saved."""
LONG = {"task_id", "label"}
"""Integers of 64 bits; the others have 32."""
UUID = "5a3f1f0e-6c1b-4a54-8f43-0a4f5d1f6f10"

Step = str | int


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a body: the steps to it from the top, and its schema."""

    steps: tuple[Step, ...]
    schema: Schema

    @property
    def path(self) -> str:
        """The steps with dots; empty for the body itself."""
        return ".".join(map(str, self.steps))


@dataclass(frozen=True, slots=True)
class Wrong:
    """A value that must be refused with one of the codes; `below` is the step under the field that is wrong."""

    value: object
    codes: frozenset[int] = frozenset({BAD_BODY})
    below: str = ""


@dataclass(frozen=True, slots=True)
class Edge:
    """A value at a limit, which must be accepted."""

    value: object
    of: Callable[[object], object] | None = field(default=None)
    """Makes the value from the valid one instead."""


def fields(operation: Operation) -> Iterator[Field]:
    """All fields of an operation's body, nested ones too."""
    if operation.body is not None:
        yield from _fields(operation, (), operation.body)


def _fields(operation: Operation, steps: tuple[Step, ...], schema: Schema) -> Iterator[Field]:
    if steps or schema.kind == "array":
        yield Field(steps, schema)
    path = ".".join(map(str, steps))
    if ONCE.get(operation.id) == path or LIKE_OTHERS.fullmatch(path) or INFERRED.search(path):
        return
    if schema.kind == "object":
        for name, member in schema.fields.items():
            yield from _fields(operation, (*steps, name), member)
    elif schema.kind == "one_of":
        for option in schema.options[:1] if _by_origin(schema) else schema.options:
            if option.kind == "object":
                # what one alternative requires is not required of the others
                members = {name: replace(member, required=False) for name, member in option.fields.items()}
                yield from list(_fields(operation, steps, replace(option, fields=members)))[bool(steps) :]
    elif schema.items is not None and schema.items.kind in {"object", "one_of"}:
        options = schema.items.options or (schema.items,)
        places = PLACES.get((operation.id, ".".join(map(str, steps))), tuple(range(len(options))))
        for place, option in zip(places, options, strict=True):
            if place is not None and option.kind == "object":
                yield from list(_fields(operation, (*steps, place), option))[1:]


def _by_origin(schema: Schema) -> bool:
    """True for alternatives that a member tells apart: valid bodies have the first one."""
    return any(all(name in option.fields for option in schema.options) for name in ("origin", "target"))


def wrong(one: Field) -> Iterator[Wrong]:
    """Values that the field must not have."""
    schema = one.schema
    if not schema.nullable and schema.kind != "any" and one.steps:
        yield Wrong(None)
    if schema.kind == "any":
        yield from map(Wrong, (5, True, []))
    yield from map(Wrong, _OTHERS.get(schema.kind, ()))
    match schema.kind:
        case "string":
            yield from _wrong_texts(one)
        case "integer" | "number":
            yield from _wrong_numbers(one)
        case "array":
            yield from _wrong_lists(schema)
        case "object" if schema.fields or not schema.subset:
            yield Wrong({"nobody_knows": 1}, frozenset({BAD_BODY, MISSING_FIELD}), ".nobody_knows")


_OTHERS: Mapping[str, tuple[object, ...]] = {
    "string": (5, 1.5, True, [], {}),
    "integer": ("1", 1.5, True, [], {}),
    "number": ("1", True, [], {}),
    "array": ({}, "x", 5, True),
    "object": ([], "x", 5, True),
    "one_of": ([], 5, True),
}
"""Values of other types."""


def _wrong_texts(one: Field) -> Iterator[Wrong]:
    schema = one.schema
    if schema.enum:
        yield from map(Wrong, ("nobody", "", str(schema.enum[0]).upper()))
    if schema.min_length:
        yield Wrong("x" * (schema.min_length - 1))
    if schema.max_length:
        yield Wrong("x" * (schema.max_length + 1))
    if schema.form == "uuid":
        yield from map(Wrong, ("nobody", UUID.upper(), UUID.replace("-", ""), f" {UUID}"))
    if schema.form == "date-time":
        yield from map(Wrong, ("yesterday", "2020-01-01", "2020-01-01T00:00:00", "2020-13-01T00:00:00Z"))
    if schema.form == "Base64":
        yield from (Wrong(text, frozenset({BAD_BASE64})) for text in ("***", "AAA", "AAAA\n"))
    if schema.form == "uri-reference":
        yield from (Wrong(text, frozenset({BAD_AVATAR})) for text in ("a b", "<x>", "http://[", "\N{SNOWMAN}"))
    if one.steps[-1] == "login" and schema.pattern:
        yield from map(Wrong, ("nobody", "Upper@example.com", "a@b.co.uk", "a@b1.com", "a@b.c", "@example.com"))


def _wrong_numbers(one: Field) -> Iterator[Wrong]:
    schema = one.schema
    codes = frozenset({UNKNOWN_VERSION if one.steps[-1] == "version" else BAD_BODY})
    numbers = [value for value in schema.enum if isinstance(value, int | float)]
    low = min(numbers) if numbers else schema.minimum
    high = max(numbers) if numbers else schema.maximum
    step = 1 if schema.kind == "integer" else 0.001
    yield from (Wrong(low - step, codes) for low in (low,) if low is not None)
    yield from (Wrong(high + step, codes) for high in (high,) if high is not None)
    if high is not None or schema.kind == "integer":
        yield Wrong(2**63 if one.steps[-1] in LONG else 2**40)


def _wrong_lists(schema: Schema) -> Iterator[Wrong]:
    if schema.min_items:
        yield Wrong([])
    items = schema.items
    if items is None or items.kind == "any":
        return
    yield Wrong([5], below=".0")
    yield Wrong([None], below=".0")
    if items.form == "uuid":
        yield Wrong(["nobody"], below=".0")
        if schema.max_items:
            yield Wrong([UUID] * (schema.max_items + 1))
        if schema.unique:
            yield Wrong([UUID, UUID])
    elif items.enum:
        yield Wrong(["nobody"], below=".0")


def edges(one: Field) -> Iterator[Edge]:
    """Values at the limits of the field, which it may have."""
    schema = one.schema
    if schema.nullable:
        yield Edge(None)
    if schema.kind == "string" and schema.form != "uuid" and one.steps[-1] != "login":
        lengths = {schema.min_length or (0 if schema.max_length else None), schema.max_length} - {None}
        letter = "x" if schema.form == "uri-reference" else "\N{CYRILLIC SMALL LETTER YU}"
        yield from (Edge(letter * length) for length in lengths if length is not None)
    if schema.kind in {"string", "integer"}:
        yield from (Edge(value) for value in schema.enum if one.steps[-1] not in {"type", "version", "origin"})
    if schema.kind in {"integer", "number"}:
        yield from (Edge(_whole(value)) for value in (schema.minimum, schema.maximum) if value is not None)
    if schema.kind == "array" and schema.min_items == 0:
        yield Edge([])
    if schema.kind == "array" and schema.max_items:
        yield Edge(None, _repeated(schema.max_items))
    if schema.kind == "array" and schema.items is not None and schema.items.enum:
        yield Edge(list(schema.items.enum))
    if schema.form == "date-time":
        yield from map(Edge, ("2018-08-11T09:11:41.674Z", "2021-08-11T14:57:18.416928+03:00", "2020-02-29t00:00:00z"))


def _whole(value: float) -> float:
    return int(value) if value == int(value) else value


def _repeated(count: int) -> Callable[[object], object]:
    def repeat(valid: object) -> object:
        assert isinstance(valid, list)
        return (valid * count)[:count]

    return repeat
