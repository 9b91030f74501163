"""JSON and msgpack values as messages, by descriptor and compiled once for each message type.

Checks what cannot be seen in the message afterwards: types, unknown members, nulls, members that are missing and
lists that are given empty. Limits are checked where both protocols pass, by the dispatcher. Nothing is coerced: a
boolean is no number, a number no text, 1.0 no integer.
"""

from __future__ import annotations

import binascii
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import NULL_VALUE, ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from gateway import times
from gateway.forms import (
    WELL_KNOWN,
    RestField,
    RestMessage,
    RestUnion,
    descriptor_of,
    rest_field,
    rest_message,
)
from gateway.refusals import Place, Refusal, extra, joined
from server.errors import BadBase64, BadBody, MissingField

Convert = Callable[[object, str], object]
"""(value, path) -> what the field of a message holds."""
Fill = Callable[[Message, object, str], None]
"""(message, value, path): sets the message, or a field of it, from the value."""

INTEGERS: Mapping[int, tuple[int, int]] = {
    **dict.fromkeys(
        (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_SINT32, FieldDescriptor.TYPE_SFIXED32), (-(2**31), 2**31 - 1)
    ),
    **dict.fromkeys(
        (FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_SINT64, FieldDescriptor.TYPE_SFIXED64), (-(2**63), 2**63 - 1)
    ),
    **dict.fromkeys((FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_FIXED32), (0, 2**32 - 1)),
    **dict.fromkeys((FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_FIXED64), (0, 2**64 - 1)),
}
"""Smallest and largest value of each integer type."""
FLOATS = frozenset({FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT})
EXACT = 2**53
"""Integers beyond it are no longer exact in the doubles of a Struct."""


class Binder:
    """Binds values to messages. `binary` is msgpack: bytes are bytes; otherwise they are Base64 text."""

    def __init__(self, *, binary: bool) -> None:
        self._binary = binary
        self._objects: dict[str, _Object] = {}

    def bind(self, message: Message, value: object, path: str = "") -> None:
        """Set the fields of a message from a value.

        Raises:
            BadBody: a value has the wrong type, an unknown member, a null or an empty list where none is allowed.
            MissingField: a member that must be there is not.
            BadBase64: a text is no Base64.
        """
        self.filler(descriptor_of(message))(message, value, path)

    def field(self, descriptor: FieldDescriptor) -> Fill:
        """What sets one field of a message from a value, whose path begins with the field's name in REST."""
        known = rest_field(descriptor)
        member = self._member(known)
        return lambda message, value, _path: member(message, value, known.name)

    def member(self, descriptor: FieldDescriptor) -> Fill:
        """What sets one field of a message from a value at any path."""
        return self._member(rest_field(descriptor))

    def members(self, descriptor: Descriptor, without: frozenset[str]) -> Fill:
        """What sets a message from an object that may not have some of its fields, by their names in the proto."""
        form = rest_message(descriptor)
        kept = tuple(known for known in form.fields if known.key not in without)
        return self._object(form, kept, cached=False).fill

    def filler(self, descriptor: Descriptor) -> Fill:
        """What sets a message of a type from a value."""
        if descriptor.full_name.startswith(WELL_KNOWN):
            if descriptor.full_name not in _WELL_KNOWN:
                error = f"{descriptor.full_name} has no REST form"
                raise TypeError(error)
            return _WELL_KNOWN[descriptor.full_name]
        form = rest_message(descriptor)
        return self._tuple(form) if form.tuple else self._object(form, form.fields).fill

    def converter(self, known: RestField) -> Convert:
        """What turns a value into what a field holds that is no message: one item of it, where it is a list."""
        descriptor, refuse = known.descriptor, Refusal(Place.BODY, known.rules.reason)
        if descriptor.type in INTEGERS:
            return _integer(*INTEGERS[descriptor.type], refuse)
        if descriptor.type in FLOATS:
            return _number(refuse)
        if descriptor.type == FieldDescriptor.TYPE_BOOL:
            return _flag(refuse, also=known.rules.boolean) if known.rules.flag else _boolean(refuse)
        if descriptor.type == FieldDescriptor.TYPE_ENUM:
            return _enum(known, refuse)
        if descriptor.type == FieldDescriptor.TYPE_BYTES:
            return _bytes(refuse) if self._binary else _base64(refuse)
        return _text(refuse)

    def _object(self, form: RestMessage, fields: tuple[RestField, ...], *, cached: bool = True) -> _Object:
        name = form.descriptor.full_name
        if cached and name in self._objects:
            return self._objects[name]
        made = _Object()
        if cached:
            self._objects[name] = made
        for known in fields:
            made.members |= dict.fromkeys(known.names, self._member(known))
            if known.rules.required or known.rules.present:
                made.needed.append(known.names)
            if len(known.names) > 1:
                made.exclusive.append(frozenset(known.names))
        for union in form.unions:
            if union.beside:
                made.members |= dict.fromkeys(union.names, _later)
                made.after.append(self._beside(union))
            else:
                made.members[union.name] = self._union(union)
            if not union.default:
                made.needed.append((union.names[0],))
        united = {union.descriptor.name for union in form.unions}
        for oneof in form.descriptor.oneofs:
            if oneof.name in united:
                continue
            among = [known for one in oneof.fields if (known := rest_field(one)).name in made.members]
            if len(among) > 1:
                made.exclusive.append(frozenset(name for known in among for name in known.names))
        if form.scalar is not None:
            made.scalar = self._member(rest_field(form.scalar))
        return made

    def _tuple(self, form: RestMessage) -> Fill:
        members = [self._member(known) for known in form.fields]

        def fill(message: Message, value: object, path: str) -> None:
            if not isinstance(value, list) or len(value) != len(members):
                raise BadBody(field=path, message=f"array of {len(members)} items expected")
            for index, (member, item) in enumerate(zip(members, value, strict=True)):
                member(message, item, joined(path, index))

        return fill

    def _union(self, union: RestUnion) -> Fill:
        fillers = {known.name: (known.key, self.filler(_message(known))) for known in union.fields}

        def fill(message: Message, value: object, path: str) -> None:
            if not isinstance(value, dict):
                raise BadBody(field=path, message="object expected")
            if union.by not in value and not union.default:
                raise MissingField(field=joined(path, union.by))
            word = value.get(union.by, union.default)
            if not isinstance(word, str) or word not in fillers:
                raise Refusal(Place.BODY).value(joined(path, union.by), word, fillers)
            key, inner = fillers[word]
            part: Message = getattr(message, key)
            part.SetInParent()
            inner(part, {name: item for name, item in value.items() if name != union.by}, path)

        return fill

    def _beside(self, union: RestUnion) -> Fill:
        """What sets a oneof from the object that both of its members stand in."""
        fillers = {known.name: (known.key, self.filler(_message(known))) for known in union.fields}

        def fill(message: Message, value: object, path: str) -> None:
            if not isinstance(value, dict):
                return
            word = value.get(union.by, union.default)
            if not isinstance(word, str) or word not in fillers:
                raise Refusal(Place.BODY).value(joined(path, union.by), word, fillers)
            key, inner = fillers[word]
            part: Message = getattr(message, key)
            part.SetInParent()
            inner(part, value.get(union.name, {}), joined(path, union.name))

        return fill

    def _member(self, known: RestField) -> Fill:
        fill = self._map(known) if known.map else self._list(known) if known.repeated else self._one(known)
        nullable, key, text = known.rules.nullable, known.key, known.text
        null = None if known.repeated else known.null
        if known.message is not None and known.message.full_name == Value.DESCRIPTOR.full_name and not known.repeated:
            return fill

        def fill_or_null(message: Message, value: object, path: str) -> None:
            if value is not None:
                fill(message, value, path)
            elif null is not None:
                setattr(message, key, null)
            elif not nullable:
                raise BadBody(field=path, message="null is not allowed")
            elif text:
                setattr(message, key, "")

        return fill_or_null

    def _one(self, known: RestField) -> Fill:
        key = known.key
        if known.message is not None:
            inner = self.filler(known.message)

            def fill_message(message: Message, value: object, path: str) -> None:
                part: Message = getattr(message, key)
                part.SetInParent()
                inner(part, value, path)

            return fill_message
        convert, needed = self.converter(known), known.rules.required and known.text

        def fill(message: Message, value: object, path: str) -> None:
            if needed and value == "":
                raise BadBody(field=path, message="text must not be empty")
            setattr(message, key, convert(value, path))

        return fill

    def _list(self, known: RestField) -> Fill:
        key, filled, null = known.key, known.filled, known.null
        inner = self.filler(known.message) if known.message is not None else None
        convert = self.converter(known) if known.message is None else None

        def fill(message: Message, value: object, path: str) -> None:
            if not isinstance(value, list):
                raise BadBody(field=path, message="array expected")
            if filled and not value:
                raise BadBody(field=path, message="at least 1 item expected")
            items = getattr(message, key)
            for index, item in enumerate(value):
                if inner is not None:
                    inner(items.add(), item, f"{path}.{index}")
                elif item is None and null is not None:
                    items.append(null)
                elif convert is not None:
                    items.append(convert(item, f"{path}.{index}"))

        return fill

    def _map(self, known: RestField) -> Fill:
        entry, key = _message(known), known.key
        named, valued = entry.fields_by_name["key"], rest_field(entry.fields_by_name["value"])
        if named.type != FieldDescriptor.TYPE_STRING:
            error = f"{known.descriptor.full_name} must have texts as keys"
            raise TypeError(error)
        inner = self.filler(valued.message) if valued.message is not None else None
        convert = self.converter(valued) if valued.message is None else None

        def fill(message: Message, value: object, path: str) -> None:
            if not isinstance(value, dict):
                raise BadBody(field=path, message="object expected")
            items = getattr(message, key)
            for name, item in value.items():
                if inner is not None:
                    inner(items[name], item, joined(path, name))
                elif convert is not None:
                    items[name] = convert(item, joined(path, name))

        return fill


@dataclass(slots=True)
class _Object:
    """Binds objects of one message type. It is known before its members are, so that types may contain themselves."""

    members: dict[str, Fill] = field(default_factory=dict)
    needed: list[tuple[str, ...]] = field(default_factory=list)
    exclusive: list[frozenset[str]] = field(default_factory=list)
    after: list[Fill] = field(default_factory=list)
    scalar: Fill | None = None

    def fill(self, message: Message, value: object, path: str) -> None:
        if not isinstance(value, dict):
            if self.scalar is None or isinstance(value, list):
                raise BadBody(field=path, message="object expected")
            self.scalar(message, value, path)
            return
        for name, item in value.items():
            member = self.members.get(name)
            if member is None:
                raise BadBody(field=joined(path, name), message=extra(name, self.members))
            member(message, item, joined(path, name))
        for either in self.needed:
            if value.keys().isdisjoint(either):
                raise MissingField(field=joined(path, either[0]))
        for names in self.exclusive:
            if len(names & value.keys()) > 1:
                raise BadBody(field=path, message=f"only one is allowed of {', '.join(sorted(names))}")
        for rest in self.after:
            rest(message, value, path)


def _later(message: Message, value: object, path: str) -> None:
    """A member that means something only together with another one: both are looked at when all are known."""


def _message(known: RestField) -> Descriptor:
    if known.message is None:
        error = f"{known.descriptor.full_name} is no message"
        raise TypeError(error)
    return known.message


def _text(refuse: Refusal) -> Convert:
    def convert(value: object, path: str) -> object:
        if not isinstance(value, str):
            raise refuse.form(path, "text expected")
        return value

    return convert


def _integer(least: int, most: int, refuse: Refusal) -> Convert:
    def convert(value: object, path: str) -> object:
        if not isinstance(value, int) or isinstance(value, bool):
            raise refuse.form(path, "integer expected")
        if not least <= value <= most:
            raise refuse.form(path, f"integer from {least} to {most} expected")
        return value

    return convert


def _number(refuse: Refusal) -> Convert:
    def convert(value: object, path: str) -> object:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise refuse.form(path, "number expected")
        return float(value)

    return convert


def _boolean(refuse: Refusal) -> Convert:
    def convert(value: object, path: str) -> object:
        if not isinstance(value, bool):
            raise refuse.form(path, "true or false expected")
        return value

    return convert


def _flag(refuse: Refusal, *, also: bool) -> Convert:
    """0 and 1; true and false also where the field says so."""

    def convert(value: object, path: str) -> object:
        if also and isinstance(value, bool):
            return value
        if isinstance(value, bool) or not isinstance(value, int) or value not in {0, 1}:
            raise refuse.form(path, "0 or 1 expected")
        return value == 1

    return convert


def _enum(known: RestField, refuse: Refusal) -> Convert:
    form = known.enum
    if form is None:
        error = f"{known.descriptor.full_name} is no enum"
        raise TypeError(error)

    def convert(value: object, path: str) -> object:
        if isinstance(value, bool) or not isinstance(value, int | str) or value not in form.read:
            raise refuse.value(path, value, form.words)
        return form.read[value]

    return convert


def _bytes(refuse: Refusal) -> Convert:
    def convert(value: object, path: str) -> object:
        if not isinstance(value, bytes):
            raise refuse.form(path, "bytes expected")
        return value

    return convert


def _base64(refuse: Refusal) -> Convert:
    def convert(value: object, path: str) -> object:
        if not isinstance(value, str):
            raise refuse.form(path, "Base64 text expected")
        return from_base64(value, path)

    return convert


def from_base64(text: str | bytes, path: str = "") -> bytes:
    """The bytes of a Base64 text (RFC 4648, section 4), which must be padded and have no other characters.

    Raises:
        BadBase64: the text is something else.
    """
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:
        raise BadBase64(message=f"{path}: {error}" if path else error) from error


def _fill_time(message: Message, value: object, path: str) -> None:
    if not isinstance(value, str):
        raise BadBody(field=path, message="text with date and time expected")
    try:
        message.MergeFrom(times.parse(value))
    except ValueError as error:
        raise BadBody(field=path, message=error) from error


def _fill_struct(message: Message, value: object, path: str) -> None:
    if not isinstance(value, dict):
        raise BadBody(field=path, message="object expected")
    members = getattr(message, "fields")  # noqa: B009 Message has no such attribute, Struct does
    for name, item in value.items():
        _fill_value(members[name], item, joined(path, name))


def _fill_list(message: Message, value: object, path: str) -> None:
    if not isinstance(value, list):
        raise BadBody(field=path, message="array expected")
    items = getattr(message, "values")  # noqa: B009 Message has no such attribute, ListValue does
    for index, item in enumerate(value):
        _fill_value(items.add(), item, joined(path, index))


def _fill_value(message: Message, value: object, path: str) -> None:
    if not isinstance(message, Value):
        error = f"{message.DESCRIPTOR.full_name} is no Value"
        raise TypeError(error)
    match value:
        case None:
            message.null_value = NULL_VALUE
        case bool():
            message.bool_value = value
        case int() | float():
            if not math.isfinite(value) or (isinstance(value, int) and abs(value) > EXACT):
                raise BadBody(field=path, message=f"number from {-EXACT} to {EXACT} expected")
            message.number_value = value
        case str():
            message.string_value = value
        case dict():
            message.struct_value.SetInParent()
            _fill_struct(message.struct_value, value, path)
        case list():
            message.list_value.SetInParent()
            _fill_list(message.list_value, value, path)
        case _:
            raise BadBody(field=path, message="value of JSON expected")


_WELL_KNOWN: Mapping[str, Fill] = {
    Timestamp.DESCRIPTOR.full_name: _fill_time,
    Struct.DESCRIPTOR.full_name: _fill_struct,
    ListValue.DESCRIPTOR.full_name: _fill_list,
    Value.DESCRIPTOR.full_name: _fill_value,
}
