"""JSON Schemas (2020-12) of messages: what the binder takes, and what the renderer writes.

A message that is in requests and in responses has two schemas, since they differ: requests have no unknown members and
leave out what has a default; responses always have most members, and null where a request leaves one out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from itertools import combinations

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.binder import EXACT, FLOATS, INTEGERS
from gateway.comments import comment
from gateway.forms import WELL_KNOWN, RestField, RestMessage, RestUnion, rest_enum, rest_field, rest_message
from server.domain.policies import RELATIVE_TIME
from server.rpc.validation import UUID

Schema = dict[str, object]

COMPONENTS = "#/components/schemas/"
NULL: Schema = {"type": "null"}
BINARY: Schema = {"type": "string", "format": "binary"}
"""Bytes as they are. OpenAPI 3.1 would do with `{}`; what makes clients from descriptions still knows this form."""


class Direction(Enum):
    """Whether a value is read or written."""

    REQUEST = "request"
    RESPONSE = "response"


class Schemas:
    """The schemas of the messages that some requests and responses are made of, under `components`."""

    def __init__(self, inputs: Iterable[Descriptor], outputs: Iterable[Descriptor]) -> None:
        self._both = _reachable(inputs) & _reachable(outputs)
        self._made: dict[str, Schema] = {}

    @property
    def components(self) -> Mapping[str, Schema]:
        """All that have been referred to, by name, in alphabetical order."""
        return dict(sorted(self._made.items()))

    def message(self, descriptor: Descriptor, direction: Direction) -> Schema:
        """A reference to the schema of a message, or the schema itself for those of protobuf."""
        if descriptor.full_name.startswith(WELL_KNOWN):
            return dict(_WELL_KNOWN[descriptor.full_name])
        name = self._name(descriptor, direction)
        if name not in self._made:
            self._made[name] = {}
            self._made[name] = self._message(descriptor, direction)
        return {"$ref": COMPONENTS + name}

    def body(self, descriptor: Descriptor, keys: frozenset[str]) -> Schema:
        """A reference to the schema of the part of a request that its body has; keys are names in the proto."""
        form = rest_message(descriptor)
        fields = tuple(known for known in form.fields if known.key in keys)
        if len(fields) == len(form.fields):
            return self.message(descriptor, Direction.REQUEST)
        name = f"{descriptor.name}Body"
        if name not in self._made:
            self._made[name] = self._object(form, fields, Direction.REQUEST)
        return {"$ref": COMPONENTS + name}

    def field(self, known: RestField, direction: Direction) -> Schema:
        """The schema of one member, null included where it is allowed."""
        schema = self._value(known, direction)
        one = not known.descriptor.is_repeated
        if (known.null is not None and one) or (known.rules.nullable and (direction is Direction.REQUEST or one)):
            schema = nullable(schema)
        default = default_of(known) if direction is Direction.REQUEST else None
        return described(schema if default is None else {**schema, "default": default}, comment(known.descriptor))

    def one(self, known: RestField, direction: Direction) -> Schema:
        """The schema of a value: of one item, where the field is a list."""
        if known.message is not None:
            return self.message(known.message, direction)
        if known.descriptor.enum_type is not None:
            return enumerated(known.descriptor.enum_type, direction, words=known.rules.word)
        return scalar(known, direction)

    def _name(self, descriptor: Descriptor, direction: Direction) -> str:
        inner = direction is Direction.REQUEST and descriptor.full_name in self._both
        return f"{descriptor.name}Input" if inner else str(descriptor.name)

    def _message(self, descriptor: Descriptor, direction: Direction) -> Schema:
        form = rest_message(descriptor)
        if form.tuple:
            items = [self.field(known, direction) for known in form.fields]
            count = len(items)
            made: Schema = {"type": "array", "prefixItems": items, "minItems": count, "maxItems": count}
            return described(made, comment(descriptor))
        made = self._object(form, form.fields, direction)
        if form.scalar is not None and direction is Direction.REQUEST:
            bare = self.field(rest_field(form.scalar), direction)
            return {"anyOf": [bare, made]}
        return made

    def _object(self, form: RestMessage, fields: tuple[RestField, ...], direction: Direction) -> Schema:
        members: Schema = {known.name: self.field(known, direction) for known in fields}
        needed = [known.name for known in fields if _always(form, known, direction)]
        if direction is Direction.REQUEST:
            for known in fields:
                members |= {
                    name: described(self._value(known, direction), f"Another name of `{known.name}`.")
                    for name in known.rules.aliases
                }
        for union in form.unions:
            members |= self._beside(union, direction) if union.beside else {union.name: self._union(union, direction)}
            if direction is Direction.REQUEST and not union.default:
                needed.append(union.names[0])
        schema: Schema = {"type": "object", "properties": members}
        if needed:
            schema["required"] = needed
        rules: list[Schema] = [{"oneOf": self._pairs(union, direction)} for union in form.unions if union.beside]
        if direction is Direction.REQUEST:
            schema["additionalProperties"] = False
            rules += [*_exclusive(form, members), *_under_one_name(fields)]
        if rules:
            schema["allOf"] = rules
        return described(schema, comment(form.descriptor))

    def _union(self, union: RestUnion, direction: Direction) -> Schema:
        return {"oneOf": [self._choice(union, known, direction) for known in union.fields]}

    def _beside(self, union: RestUnion, direction: Direction) -> Schema:
        """The two members of a union whose name stands beside its object; how they belong together, `_pairs` says."""
        by: Schema = {"type": "string", "enum": [known.name for known in union.fields]}
        if union.default and direction is Direction.REQUEST:
            by["default"] = union.default
        return {union.by: by, union.name: {"anyOf": [self.one(known, direction) for known in union.fields]}}

    def _pairs(self, union: RestUnion, direction: Direction) -> list[Schema]:
        return [
            {
                "properties": {union.by: {"const": known.name}, union.name: self.one(known, direction)},
                **({} if union.default == known.name else {"required": [union.by]}),
            }
            for known in union.fields
        ]

    def _choice(self, union: RestUnion, known: RestField, direction: Direction) -> Schema:
        if known.message is None:
            message = f"{known.descriptor.full_name} is no message"
            raise TypeError(message)
        form = rest_message(known.message)
        made = self._object(form, form.fields, direction)
        properties, needed = made["properties"], made.get("required", [])
        if isinstance(properties, dict) and isinstance(needed, list):
            made["properties"] = {union.by: {"const": known.name}, **properties}
            by = [] if direction is Direction.REQUEST and union.default == known.name else [union.by]
            if by or needed:
                made["required"] = [*by, *needed]
        return made

    def _value(self, known: RestField, direction: Direction) -> Schema:
        if known.map and known.message is not None:
            value = rest_field(known.message.fields_by_name["value"])
            return {"type": "object", "additionalProperties": self.one(value, direction)}
        if not known.repeated:
            return self.one(known, direction)
        items = self.one(known, direction)
        schema: Schema = {"type": "array", "items": items if known.null is None else nullable(items)}
        if direction is Direction.REQUEST:
            schema |= list_limits(known)
        return schema


def enumerated(enum: EnumDescriptor, direction: Direction, *, words: bool = False) -> Schema:
    """The schema of an enum: its words or numbers, with what they mean."""
    form = rest_enum(enum, words=words)
    values = list(form.read) if direction is Direction.REQUEST else list(form.written.values())
    kinds = sorted({"integer" if isinstance(value, int) else "string" for value in values})
    schema: Schema = {"type": kinds[0] if len(kinds) == 1 else kinds, "enum": values}
    meanings = [
        f"`{form.written[value.number]}`: {comment(_ValueName(f'{enum.full_name}.{value.name}'))}"
        for value in enum.values
        if value.number in form.written and comment(_ValueName(f"{enum.full_name}.{value.name}"))
    ]
    return described(schema, "\n\n".join((comment(enum), *meanings)).strip() if meanings else "")


def scalar(known: RestField, direction: Direction, *, query: bool = False) -> Schema:
    """The schema of a number, a boolean, a text or bytes, with the limits that hold in requests."""
    kind, limited = known.descriptor.type, direction is Direction.REQUEST
    if kind in INTEGERS:
        return {"type": "integer", **(_range(known, *INTEGERS[kind]) if limited else {})}
    if kind in FLOATS:
        return {"type": "number", **(_range(known) if limited else {})}
    if kind == FieldDescriptor.TYPE_BOOL:
        if not query and known.rules.flag and known.rules.boolean and limited:
            return {"anyOf": [{"type": "integer", "enum": [0, 1]}, {"type": "boolean"}]}
        return {"type": "integer", "enum": [0, 1]} if query or known.rules.flag else {"type": "boolean"}
    if kind == FieldDescriptor.TYPE_BYTES:
        return {"type": "string", "contentEncoding": "base64"}
    return _text(known) if limited else {"type": "string"}


def list_limits(known: RestField) -> Schema:
    """How many items a list of a request may have."""
    limits: Schema = {}
    least = max(known.rules.min_items, 1 if known.filled else 0)
    if least:
        limits["minItems"] = least
    if known.rules.max_items:
        limits["maxItems"] = known.rules.max_items
    if known.rules.unique:
        limits["uniqueItems"] = True
    return limits


def nullable(schema: Schema) -> Schema:
    """The schema of the same, or null."""
    kind = schema.get("type")
    if isinstance(kind, str) and "enum" not in schema:
        return {**schema, "type": [kind, "null"]}
    return {"anyOf": [schema, NULL]}


def described(schema: Schema, text: str) -> Schema:
    """The schema with a description, which stands beside a reference since OpenAPI 3.1."""
    return {**schema, "description": text} if text else schema


def default_of(known: RestField) -> object:
    """The default of a field as a value of JSON; None where it has none."""
    text = known.rules.default
    if not text:
        return None
    if known.descriptor.enum_type is not None:
        return int(text) if text.isdecimal() else text
    if known.descriptor.type in FLOATS:
        return float(text)
    if known.descriptor.type == FieldDescriptor.TYPE_STRING:
        return text
    if known.descriptor.type == FieldDescriptor.TYPE_BOOL and not known.rules.flag:
        return text == "1"
    return int(text)


class _ValueName:
    """An enum's value under the name that comments have it by: protobuf gives values the scope of their enum."""

    def __init__(self, full_name: str) -> None:
        self.full_name = full_name


def _text(known: RestField) -> Schema:
    rules = known.rules
    schema: Schema = {"type": "string"}
    if rules.time:
        return {**schema, "anyOf": [{"format": "date-time"}, {"pattern": f"^{RELATIVE_TIME.pattern}$"}]}
    if rules.uuid:
        # an empty text is taken for an absent one in places, which nobody needs to know
        return {**schema, "format": "uuid", "pattern": f"^{UUID.pattern}$"}
    least = max(rules.min_length, 1 if rules.required and not known.repeated else 0)
    if least and not (rules.nullable and not rules.min_length):
        schema["minLength"] = least
    if rules.HasField("max_length"):
        schema["maxLength"] = rules.max_length
    if rules.pattern:
        schema["pattern"] = f"^(?:{rules.pattern})$"
    return schema


def _range(known: RestField, least: float | None = None, most: float | None = None) -> Schema:
    """The limits that the protos state; those of the type itself say little, and are left out for 32 and 64 bits."""
    rules, whole = known.rules, least is not None
    low = rules.min if rules.HasField("min") else 0 if least == 0 else None
    high = rules.max if rules.HasField("max") else None
    limits: Schema = {}
    if whole and most is not None:
        limits["format"] = "int32" if most < EXACT else "int64"
    if low is not None:
        limits["minimum"] = int(low) if whole else low
    if high is not None:
        limits["maximum"] = int(high) if whole else high
    return limits


def _always(form: RestMessage, known: RestField, direction: Direction) -> bool:
    """Tells whether an object always has a member."""
    if direction is Direction.REQUEST:
        return (known.rules.required or known.rules.present) and not known.rules.aliases
    if form.mask is not None:
        return False
    if known.rules.nullable and not known.descriptor.is_repeated:
        return True
    unspoken = known.descriptor.enum_type is not None and not known.repeated
    return not (known.descriptor.has_presence or unspoken or form.sparse)


def _exclusive(form: RestMessage, members: Schema) -> Iterator[Schema]:
    """For each oneof that is no union: no two of its members."""
    united = {union.descriptor.name for union in form.unions}
    for oneof in form.descriptor.oneofs:
        if oneof.name in united:
            continue
        names = [rest_field(one).name for one in oneof.fields if rest_field(one).name in members]
        for position, name in enumerate(names):
            for other in names[position + 1 :]:
                yield {"not": {"required": [name, other]}}


def _under_one_name(fields: Iterable[RestField]) -> Iterator[Schema]:
    """For each field with several names: no two of them, and one of them where the field is needed."""
    for known in fields:
        for pair in combinations(known.names, 2):
            yield {"not": {"required": list(pair)}}
        if known.rules.aliases and (known.rules.required or known.rules.present):
            yield {"anyOf": [{"required": [name]} for name in known.names]}


def _reachable(descriptors: Iterable[Descriptor]) -> set[str]:
    """Full names of the messages that some messages are made of, themselves included."""
    found: set[str] = set()
    waiting = list(descriptors)
    while waiting:
        one = waiting.pop()
        if one.full_name not in found:
            found.add(one.full_name)
            waiting += [field.message_type for field in one.fields if field.message_type is not None]
    return found


_WELL_KNOWN: Mapping[str, Schema] = {
    Timestamp.DESCRIPTOR.full_name: {"type": "string", "format": "date-time"},
    Struct.DESCRIPTOR.full_name: {"type": "object"},
    ListValue.DESCRIPTOR.full_name: {"type": "array"},
    Value.DESCRIPTOR.full_name: {},
}
