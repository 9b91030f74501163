"""The second notation of the contract, that of `api/operations-workflows.yaml`, as schemas.

{type, format, enum, min, max, minItems, maxItems, maxLength, pattern, required, nullable, properties, items, one_of,
ref} states a value, and any part of it may be {value: ..., source: ...}. A mapping without these is the members of an
object; marks of origin and remarks (source, note, unsure, ...) are none. What is said in words alone stays `any`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar, cast

from tests.contract.schema import ANY, Schema

Notation = Mapping[str, object]
T = TypeVar("T")

STATED = frozenset({"type", "properties", "ref", "enum", "items", "one_of", "format"})
"""Words that make a mapping the description of one value."""
_ABOUT = re.compile(
    r"(?:.*_)?(?:source|note|unsure|warning|rule|evidence)|why|when|null_when|meaning|order|default|see|validation"
    r"|discriminator|needs_licence|not_for|gives|empty_when|relative_to|raw_body_value|sample_rule|effect"
    r"|report_type_or_format|seed_advice|other_query_like_options|filter_object|result|algorithm|.*_spelling"
)
"""Words about what they stand beside."""
_SENTENCES: Mapping[str, Schema] = {
    "0|1": Schema("integer", enum=(0, 1)),
    "0|1|2|null": Schema("integer", enum=(0, 1, 2), nullable=True),
    "integer|null": Schema("integer", nullable=True),
    "array of uuid": Schema("array", items=Schema("string", form="uuid")),
    "integer 0|1": Schema("integer", enum=(0, 1)),
    "base64 string": Schema("string", form="Base64"),
}
"""What is said in a few fixed words."""
_RANGES = re.compile(r"(\d+)\.\.(\d+)")
_FILTERS = {"reference_filters", "complex_filters"}
"""Objects whose members are conditions: there is none where one is absent."""
_SUBSET = {"members appear only when the policy asked for them"}
"""Notes by which every member of an object is optional."""


class Notes:
    """Reads the notation. `named` is the section `schemas`."""

    def __init__(self, named: Notation) -> None:
        self._named = named
        self._open: set[str] = set()

    def read(self, value: object) -> Schema:
        """The schema that a value of the notation stands for."""
        if isinstance(value, str):
            return self._words(value)
        if not isinstance(value, Mapping):
            return ANY
        given = cast("Notation", value)
        numbers = given.get("values", given)
        if isinstance(numbers, Mapping) and numbers and all(isinstance(one, int) for one in numbers):
            return Schema("integer", enum=tuple(numbers))
        stated = STATED & given.keys()
        if "value" in given and all(name == "value" or _ABOUT.fullmatch(str(name)) for name in given):
            return self.read(given["value"])
        # what has an id has a type as a member
        if not stated or {"id", "type"} <= given.keys():
            return _marked(self._object(given), given)
        return _marked(self._stated(given), given)

    def named(self, name: str) -> Schema:
        """One of the named schemas; `any` inside itself, and for what stands elsewhere, such as common headers."""
        if name in self._open or name not in self._named:
            return ANY
        self._open.add(name)
        try:
            found = self.read(self._named[name])
            return replace(found, subset=found.subset or name in _FILTERS)
        finally:
            self._open.discard(name)

    def _stated(self, given: Notation) -> Schema:
        if "ref" in given:
            found = self.named(str(given["ref"]))
            return _without(found, cast("list[str]", given.get("minus", [])))
        if "see" in given:
            first, *rest = str(given["see"]).split(".")
            found = self.named(first)
            for step in rest:
                found = found.fields[step]
            return _nullable_members(found) if given.get("leaves_nullable") is True else found
        if isinstance(choices := given.get("one_of"), list):
            options = (self.named(one) if isinstance(one, str) else self.read(one) for one in choices)
            return Schema("one_of", options=tuple(options))
        kind = str(given.get("type", ""))
        if "properties" in given or kind == "object":
            made = Schema("object", subset=True)
            if isinstance(properties := given.get("properties"), Mapping):
                made = self._object(properties)
            if "extends" in given:
                made = replace(made, fields={**self.named(str(given["extends"])).fields, **made.fields})
            if given.get("nullable_members") is True:
                made = replace(made, fields={name: replace(one, nullable=True) for name, one in made.fields.items()})
            return replace(made, subset=made.subset or given.get("note") in _SUBSET)
        if kind == "array" or "items" in given:
            return self._array(given)
        enum = given.get("enum")
        if not kind and isinstance(enum, list):
            kind = "string" if isinstance(enum[0], str) else "integer"
        words = self._words(kind) if kind else Schema("string")
        return replace(words, form=str(given.get("format", words.form)))

    def _array(self, given: Notation) -> Schema:
        items = given.get("items")
        if isinstance(items, Mapping) and isinstance(enum := items.get("enum"), str):
            return Schema("array", items=Schema("string", enum=tuple(self._path(enum))))
        return Schema("array", items=self.read(items))

    def _path(self, text: str) -> list[object]:
        """What a dotted path of the document leads to: schemas.stored_event.target_enum."""
        found: object = {"schemas": self._named}
        for step in text.split("."):
            found = cast("Notation", found)[step]
        return cast("list[object]", found)

    def _object(self, members: Notation) -> Schema:
        fields = {name: self.read(one) for name, one in members.items() if _is_member(str(name), one)}
        # members that are named in words alone: there may be others
        open_ended = "other_members" in fields
        fields.pop("other_members", None)
        return Schema("object", fields=fields, subset=open_ended)

    def _words(self, text: str) -> Schema:
        if text in self._named:
            return self.named(text)
        if text in _SENTENCES:
            return _SENTENCES[text]
        nullable = bool(re.search(r"\bor null\b", text))
        first = re.split(r"[\s,(]", text, maxsplit=1)[0]
        if found := _RANGES.match(text):
            return Schema("integer", minimum=int(found[1]), maximum=int(found[2]), nullable=nullable)
        if first in {"uuid", "date-time"}:
            return Schema("string", form=first, nullable=nullable)
        if first in {"string", "integer", "number", "boolean"}:
            limit = re.search(r"up to (\d+)", text)
            return Schema(first, nullable=nullable, max_length=int(limit[1]) if limit else None)
        if first.startswith("/6/"):
            return Schema("string", nullable=nullable)
        return Schema("object", subset=True) if first in {"object", "object:"} else ANY


def _is_member(name: str, value: object) -> bool:
    """False for a remark. There are members that are called like one: `source` of an event."""
    stated = isinstance(value, Mapping) and bool(STATED & value.keys())
    return stated or _ABOUT.fullmatch(name) is None


def _marked(schema: Schema, given: Notation) -> Schema:
    """The schema with the limits and marks that stand beside it."""
    enum = given.get("enum")
    listed = schema.kind == "array"
    return replace(
        schema,
        required=schema.required or plain(given.get("required")) is True,
        optional=schema.optional
        or "when" in given
        or given.get("not_shown") is True
        or str(given.get("default", "")).startswith("absent"),
        nullable=schema.nullable or plain(given.get("nullable")) is True or "null_when" in given,
        enum=tuple(one for one in enum if one != "null") if isinstance(enum, list) and not listed else schema.enum,
        pattern=schema.pattern or "pattern" in given,
        minimum=_first(_number(given, "min"), schema.minimum),
        maximum=_first(_number(given, "max"), schema.maximum),
        min_length=_first(_count(given, "minLength"), schema.min_length),
        max_length=_first(_count(given, "maxLength"), schema.max_length),
        min_items=_first(_count(given, "minItems") or _count(given, "length"), schema.min_items),
        max_items=_first(_count(given, "maxItems") or _count(given, "length"), schema.max_items),
    )


def _first(one: T | None, other: T | None) -> T | None:
    return one if one is not None else other


def _without(schema: Schema, names: list[str]) -> Schema:
    """The object without members of some names, to any depth."""
    fields = {name: _without(one, names) for name, one in schema.fields.items() if name not in names}
    return replace(schema, fields=fields)


def _nullable_members(schema: Schema) -> Schema:
    """The object with members that may all be null, to any depth."""
    fields = {
        name: replace(_nullable_members(one), nullable=one.nullable or one.kind not in {"object", "array"})
        for name, one in schema.fields.items()
    }
    return replace(schema, fields=fields)


def plain(value: object) -> object:
    """The value of `{value: ..., source: ...}`, which may also stand bare."""
    return cast("Notation", value)["value"] if isinstance(value, Mapping) and "value" in value else value


def _number(given: Notation, name: str) -> float | None:
    found = plain(given.get(name))
    return found if isinstance(found, int | float) else None


def _count(given: Notation, name: str) -> int | None:
    found = plain(given.get(name))
    return found if isinstance(found, int) else None
