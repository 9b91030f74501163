"""Schemas of the contract, read from its short notation, and the check of a value against one.

The notation is for people: `{type: string, max_length: 36}`, `{schema: Face}`, `items: uuid`, `face: "Face with the
requested targets | absent"`. What it says in words alone stays `any`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import yaml

UUID = re.compile(r"[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")

_KINDS = {"string", "integer", "number", "boolean", "object", "array"}
_ABOUT = {"note", "source", "unsure", "trap", "extra", "required"}
"""Members of a mapping of fields without `fields` around it that talk about it."""
_ANY_SUBSET = {
    "BasicAttributesStored": "treat them as optional",
    "BodyAttributesEstimation": "as for faces",
    "FaceAttributesEstimation": "a field appears only when its estimation was requested",
}
"""Schemas whose note makes every field optional, and the words that do."""


@dataclass(frozen=True, slots=True)
class Schema:
    """What a value may be. `kind` is a type of JSON, `one_of` or `any`; a limit that is not stated is None."""

    kind: str
    form: str = ""
    pattern: bool = False
    fields: Mapping[str, Schema] = field(default_factory=dict)
    items: Schema | None = None
    options: tuple[Schema, ...] = ()
    enum: tuple[object, ...] = ()
    required: bool = False
    optional: bool = False
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    min_items: int | None = None
    max_items: int | None = None
    unique: bool = False
    subset: bool = False


ANY = Schema("any")


class Reader:
    """Reads the notation. `named` is the section `schemas`."""

    def __init__(self, named: Mapping[str, object]) -> None:
        self._named = named

    def read(self, value: object) -> Schema:
        """The schema that a value of the notation stands for."""
        if isinstance(value, str):
            return self._words(value)
        if not isinstance(value, Mapping):
            return ANY
        if "schema" in value:
            return _limited(self.read(value["schema"]), value)
        if isinstance(options := value.get("one_of"), list):
            return _limited(Schema("one_of", options=tuple(map(self.read, options))), value)
        if "const" in value:
            return _limited(Schema("string", enum=(value["const"],)), value)
        kind = value.get("type", "object" if "fields" in value else None)
        if isinstance(kind, str):
            return _limited(self._typed(kind, value), value)
        if {"sdk_descriptor", "raw_descriptor"} <= value.keys():
            return _limited(ANY, value)  # what it is depends on the member `type` beside it
        return self._object({name: one for name, one in value.items() if name not in _ABOUT})

    def _typed(self, kind: str, value: Mapping[str, object]) -> Schema:
        if kind == "array":
            items = self.read(value.get("items"))
            # those that the items may be stand at the list itself
            words = value.get("enum", value.get("actions", value.get("values")))
            if isinstance(words, list):
                items = Schema("string", enum=tuple(words))
            return Schema("array", items=items, unique=value.get("unique") is True)
        if kind == "one_of":
            if "fields" in value:
                return self._object(value["fields"])
            options = value.get("options")
            return Schema("one_of", options=tuple(map(self.read, options if isinstance(options, list) else [])))
        if kind == "object":
            return self._object(value["fields"]) if "fields" in value else Schema("object", subset=True)
        return replace(self._words(kind), form=str(value.get("format", self._words(kind).form)))

    def _object(self, fields: object) -> Schema:
        if not isinstance(fields, Mapping):
            return Schema("object", subset=True)
        return Schema("object", fields={name: self.read(one) for name, one in fields.items()})

    def _words(self, text: str) -> Schema:
        """A bare text: the name of a schema or of a type, or a sentence that begins with one."""
        choice = re.fullmatch(r"one_of \[(.*)\]", text)
        if choice:
            names = re.findall(r"\b[A-Z]\w+", choice[1])
            return Schema("one_of", options=tuple(self.read(name) for name in names))
        if text.startswith("{") and "..." not in text:
            return self.read(yaml.safe_load(text))
        first = text.split()[0].rstrip(",") if text.split() else ""
        optional, required = "absent" in text, "(required)" in text
        if first in self._named:
            found = self.read(self._named[first])
            subset = found.subset or first in _ANY_SUBSET or "requested" in text
            return replace(found, subset=subset, optional=optional)
        if first in {"uuid", "date-time", "handler_id"}:
            form = "uuid" if first == "handler_id" else first
            return Schema("string", form=form, required=required)
        return Schema(text, optional=optional) if text in _KINDS else Schema("any", optional=optional)


def _limited(schema: Schema, value: Mapping[str, object]) -> Schema:
    note = str(value.get("note", ""))
    enum = value.get("enum")
    return replace(
        schema,
        required=schema.required or value.get("required") is True,
        optional=schema.optional or value.get("optional") is True or note.startswith("only with"),
        nullable=schema.nullable or value.get("nullable") is True,
        enum=tuple(enum) if isinstance(enum, list) and schema.kind != "array" else schema.enum,
        pattern="pattern" in value,
        minimum=_number(value, "min"),
        maximum=_number(value, "max"),
        min_length=_count(value, "min_length"),
        max_length=_count(value, "max_length"),
        min_items=_count(value, "min_items") or _count(value, "length"),
        max_items=_count(value, "max_items") or _count(value, "length"),
    )


def _number(value: Mapping[str, object], name: str) -> float | None:
    found = value.get(name)
    return found if isinstance(found, int | float) else None


def _count(value: Mapping[str, object], name: str) -> int | None:
    found = value.get(name)
    return found if isinstance(found, int) else None


def problems(schema: Schema, value: object, path: str = "") -> Iterator[str]:
    """How a value of an answer breaks its schema: wrong types and limits, members that lack or are not known."""
    if value is None:
        if not schema.nullable and schema.kind != "any":
            yield f"{path}: null"
        return
    match schema.kind:
        case "any":
            return
        case "one_of":
            if all(any(problems(option, value, path)) for option in schema.options):
                yield f"{path}: none of the alternatives"
        case "object":
            yield from _object_problems(schema, value, path)
        case "array":
            yield from _array_problems(schema, value, path)
        case _:
            yield from _scalar_problems(schema, value, path)


def _object_problems(schema: Schema, value: object, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: {value!r} is no object"
        return
    for name, member in schema.fields.items():
        if name in value:
            yield from problems(member, value[name], f"{path}.{name}")
        elif not (schema.subset or member.optional):
            yield f"{path}.{name}: missing"
    if schema.fields:
        yield from (f"{path}.{name}: not in the contract" for name in value if name not in schema.fields)


def _array_problems(schema: Schema, value: object, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path}: {value!r} is no array"
        return
    if schema.unique and len({str(item) for item in value}) < len(value):
        yield f"{path}: an item comes twice"
    if not (schema.min_items or 0) <= len(value) <= (schema.max_items or len(value)):
        yield f"{path}: {len(value)} items"
    for position, item in enumerate(value):
        yield from problems(schema.items or ANY, item, f"{path}.{position}")


def _scalar_problems(schema: Schema, value: object, path: str) -> Iterator[str]:
    if not _is(schema.kind, value):
        yield f"{path}: {value!r} is no {schema.kind}"
        return
    if schema.enum and value not in schema.enum:
        yield f"{path}: {value!r} is none of {schema.enum}"
    if isinstance(value, int | float):
        low, high = schema.minimum, schema.maximum
        if (low is not None and value < low) or (high is not None and value > high):
            yield f"{path}: {value!r} is outside of {low} to {high}"
    if isinstance(value, str) and not _formed(schema.form, value):
        yield f"{path}: {value!r} is no {schema.form}"


def _is(kind: str, value: object) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case _:
            return isinstance(value, bool)


def _formed(form: str, text: str) -> bool:
    match form:
        case "uuid":
            return UUID.fullmatch(text) is not None
        case "date-time":
            return TIME.fullmatch(text) is not None
        case "Base64":
            try:
                base64.b64decode(text, validate=True)
            except binascii.Error:
                return False
            return True
        case _:
            return True
