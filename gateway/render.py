"""Messages as values of JSON and msgpack, by descriptor and compiled once for each message type."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from gateway import times
from gateway.forms import (
    WELL_KNOWN,
    RestField,
    RestMessage,
    RestUnion,
    descriptor_of,
    rest_enum,
    rest_field,
    rest_message,
)

Write = Callable[[Message], object]
"""A message as a value."""
Convert = Callable[[object], object]
"""What a field holds as a value; of a list, one item."""
Step = Callable[[Message, dict[str, object]], None]
"""Adds a field of the message to the object."""

EXACT = 2.0**53
"""Whole numbers of a Struct are written as integers up to here."""


class Renderer:
    """Renders messages. `binary` is msgpack: bytes are bytes; otherwise they are Base64 text."""

    def __init__(self, *, binary: bool) -> None:
        self._binary = binary
        self._objects: dict[str, _Object] = {}

    def render(self, message: Message) -> object:
        """A message as a value of dictionaries, lists, texts, numbers, booleans, None and, in binary, bytes."""
        return self.writer(descriptor_of(message))(message)

    def field(self, descriptor: FieldDescriptor) -> Write:
        """What renders one field of a message; None where it is absent."""
        known = rest_field(descriptor)
        value = self._value(known)
        return lambda message: value(message) if _present(known, message) else None

    def writer(self, descriptor: Descriptor) -> Write:
        """What renders the messages of a type."""
        if descriptor.full_name.startswith(WELL_KNOWN):
            if descriptor.full_name not in _WELL_KNOWN:
                error = f"{descriptor.full_name} has no REST form"
                raise TypeError(error)
            return _WELL_KNOWN[descriptor.full_name]
        form = rest_message(descriptor)
        if form.tuple:
            values = [self._value(known) for known in form.fields]
            return lambda message: [value(message) for value in values]
        return self._object(form).write

    def _object(self, form: RestMessage) -> _Object:
        name = form.descriptor.full_name
        if name in self._objects:
            return self._objects[name]
        made = self._objects[name] = _Object()
        made.steps = [(known.name, self._step(known, sparse=form.sparse)) for known in form.fields]
        made.steps += [(union.name, self._union(union)) for union in form.unions]
        if form.mask is not None and form.mask.enum_type is not None:
            made.mask = form.mask.name
            made.words = rest_enum(form.mask.enum_type).written
        return made

    def _step(self, known: RestField, *, sparse: bool) -> Step:
        name, key, value = known.name, known.key, self._value(known)
        unspoken = _is_enum(known) and not known.repeated
        if known.rules.nullable and not known.descriptor.is_repeated:
            text = known.text

            def nullable(message: Message, out: dict[str, object]) -> None:
                found = value(message) if _present(known, message) else None
                out[name] = None if text and found == "" else found

            return nullable
        if known.descriptor.has_presence or unspoken:
            spoken = not unspoken or (known.rules.null_value and known.descriptor.has_presence)

            def optional(message: Message, out: dict[str, object]) -> None:
                if _present(known, message):
                    found = value(message)
                    if found is not None or spoken:
                        out[name] = found

            return optional
        if sparse:

            def filled(message: Message, out: dict[str, object]) -> None:
                if getattr(message, key):
                    out[name] = value(message)

            return filled

        def always(message: Message, out: dict[str, object]) -> None:
            out[name] = value(message)

        return always

    def _union(self, union: RestUnion) -> Step:
        writers = {known.key: (known.name, self._value(known)) for known in union.fields}
        oneof = union.descriptor.name

        def step(message: Message, out: dict[str, object]) -> None:
            chosen = message.WhichOneof(oneof)
            if chosen is not None:
                word, value = writers[chosen]
                members = value(message)
                if union.beside:
                    out |= {union.by: word, union.name: members}
                    return
                out[union.name] = {union.by: word, **members} if isinstance(members, dict) else {union.by: word}

        return step

    def _value(self, known: RestField) -> Write:
        key = known.key
        if known.map:
            entry = known.message
            if entry is None:
                error = f"{known.descriptor.full_name} is no map"
                raise TypeError(error)
            one = self._converter(rest_field(entry.fields_by_name["value"]))
            return lambda message: {str(name): one(item) for name, item in getattr(message, key).items()}
        convert = self._converter(known)
        if not known.repeated:
            return lambda message: convert(getattr(message, key))
        if _is_enum(known) and not known.rules.null_value:
            return lambda message: [form for item in getattr(message, key) if (form := convert(item)) is not None]
        return lambda message: [convert(item) for item in getattr(message, key)]

    def _converter(self, known: RestField) -> Convert:
        convert, null = self._spoken(known), known.null
        if null is None:
            return convert
        if isinstance(null, float):
            return lambda value: None if isinstance(value, float) and math.isnan(value) else convert(value)
        return lambda value: None if value == null else convert(value)

    def _spoken(self, known: RestField) -> Convert:
        descriptor = known.descriptor
        if known.message is not None:
            writer = self.writer(known.message)
            return lambda value: writer(value) if isinstance(value, Message) else None
        if known.enum is not None:
            written = known.enum.written
            return lambda value: written.get(value) if isinstance(value, int) else None
        if descriptor.type == FieldDescriptor.TYPE_BYTES and not self._binary:
            return lambda value: base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else None
        if descriptor.type == FieldDescriptor.TYPE_BOOL and known.rules.flag:
            return lambda value: 1 if value else 0
        return lambda value: value


@dataclass(slots=True)
class _Object:
    """Renders objects of one message type. It is known before its steps are, so that types may contain themselves."""

    steps: list[tuple[str, Step]] = field(default_factory=list)
    mask: str = ""
    words: Mapping[int, int | str] = field(default_factory=dict)

    def write(self, message: Message) -> object:
        out: dict[str, object] = {}
        asked = getattr(message, self.mask) if self.mask else ()
        if asked:
            names = {self.words.get(number) for number in asked}
            for name, step in self.steps:
                if name in names:
                    step(message, out)
        else:
            for _, step in self.steps:
                step(message, out)
        return out


def _present(known: RestField, message: Message) -> bool:
    return not known.descriptor.has_presence or message.HasField(known.key)


def _is_enum(known: RestField) -> bool:
    return known.descriptor.type == FieldDescriptor.TYPE_ENUM


def _time(message: Message) -> object:
    return times.write(message) if isinstance(message, Timestamp) else None


def _struct(message: Message) -> object:
    return {name: _any(item) for name, item in message.fields.items()} if isinstance(message, Struct) else None


def _list(message: Message) -> object:
    return [_any(item) for item in message.values] if isinstance(message, ListValue) else None


def _any(message: Message) -> object:
    if not isinstance(message, Value):
        return None
    match message.WhichOneof("kind"):
        case "bool_value":
            return message.bool_value
        case "string_value":
            return message.string_value
        case "number_value":
            number = message.number_value
            if not math.isfinite(number):
                return None
            return int(number) if number.is_integer() and abs(number) <= EXACT else number
        case "struct_value":
            return _struct(message.struct_value)
        case "list_value":
            return _list(message.list_value)
        case _:
            return None


_WELL_KNOWN: Mapping[str, Write] = {
    Timestamp.DESCRIPTOR.full_name: _time,
    Struct.DESCRIPTOR.full_name: _struct,
    ListValue.DESCRIPTOR.full_name: _list,
    Value.DESCRIPTOR.full_name: _any,
}
