"""The REST form of messages, fields and enums, read from the options of `luna/options.proto`.

What binds, renders and describes REST values reads the options here, so that they have one meaning.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import cast

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.message import Message
from luna import options_pb2

_NULLS: Mapping[int, int | float | str] = {
    FieldDescriptor.TYPE_ENUM: 0,
    FieldDescriptor.TYPE_STRING: "",
    FieldDescriptor.TYPE_DOUBLE: math.nan,
    FieldDescriptor.TYPE_FLOAT: math.nan,
}
"""What stands for null, by the types that have such a value."""

WELL_KNOWN = "google.protobuf."
"""Messages of this package have REST forms of their own: a time is a text, a Struct an object."""


@dataclass(frozen=True, slots=True)
class RestField:
    """A field that REST knows, under the name it has there."""

    descriptor: FieldDescriptor
    name: str
    rules: options_pb2.Field

    @property
    def key(self) -> str:
        """Name in the proto."""
        return self.descriptor.name

    @property
    def names(self) -> tuple[str, ...]:
        """All names that a request may have it under, its own first."""
        return (self.name, *self.rules.aliases)

    @property
    def null(self) -> int | float | str | None:
        """What stands for null where that is a value of its own, or an item's; None where it is none."""
        return _NULLS[self.descriptor.type] if self.rules.null_value else None

    @property
    def message(self) -> Descriptor | None:
        """Type of the value, where that is a message."""
        return self.descriptor.message_type

    @property
    def repeated(self) -> bool:
        """True for a list."""
        return self.descriptor.is_repeated and not self.map

    @property
    def map(self) -> bool:
        """True for a map."""
        message = self.descriptor.message_type
        return message is not None and bool(message.GetOptions().map_entry)

    @property
    def enum(self) -> RestEnum | None:
        """The REST form of the value, where that is an enum."""
        enum = self.descriptor.enum_type
        return None if enum is None else rest_enum(enum, words=self.rules.word)

    @property
    def text(self) -> bool:
        """True for one text, for which null and empty are the same where it is nullable."""
        return self.descriptor.type == FieldDescriptor.TYPE_STRING and not self.descriptor.is_repeated

    @property
    def filled(self) -> bool:
        """True where a list that is given must have items."""
        return self.rules.min_items >= 1 or self.rules.required


@dataclass(frozen=True, slots=True)
class RestUnion:
    """A oneof that REST writes as one object with a member that tells which field it is.

    With `beside` that member stands beside the object, which may then be absent.
    """

    descriptor: OneofDescriptor
    name: str
    by: str
    default: str
    beside: bool
    fields: tuple[RestField, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Its members of the object that it is part of."""
        return (self.by, self.name) if self.beside else (self.name,)


@dataclass(frozen=True, slots=True)
class RestMessage:
    """The REST form of a message; `fields` are those outside of unions, without mask and hidden ones."""

    descriptor: Descriptor
    fields: tuple[RestField, ...]
    unions: tuple[RestUnion, ...]
    mask: FieldDescriptor | None
    scalar: FieldDescriptor | None
    tuple: bool
    sparse: bool


@dataclass(frozen=True, slots=True)
class RestEnum:
    """The REST form of an enum: what stands for each number, and back; `words` are all forms, to be listed."""

    written: Mapping[int, int | str]
    read: Mapping[int | str, int]
    words: tuple[str, ...]

    def named(self, text: str) -> int | None:
        """Number of the value that a query names; None where there is none."""
        if text in self.read:
            return self.read[text]
        return self.read.get(int(text)) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def descriptor_of(message: Message) -> Descriptor:
    """The descriptor of a message, whichever implementation of protobuf made it."""
    return cast("Descriptor", message.DESCRIPTOR)


def rules_of(field: FieldDescriptor) -> options_pb2.Field:
    """The options of a field."""
    return field.GetOptions().Extensions[options_pb2.field]


def rest_field(field: FieldDescriptor) -> RestField:
    """A field under its REST name."""
    rules = rules_of(field)
    return RestField(field, rules.name or field.name, rules)


@cache
def rest_message(descriptor: Descriptor) -> RestMessage:
    """The REST form of a message.

    Raises:
        ValueError: the options name a field that is not there, or give two members one name.
    """
    options = descriptor.GetOptions().Extensions[options_pb2.message]
    unions = tuple(_unions(descriptor))
    taken = {field.key for union in unions for field in union.fields}
    fields = tuple(
        rest_field(field)
        for field in descriptor.fields
        if field.name not in taken and field.name != options.mask and not rules_of(field).hidden
    )
    names = [name for field in fields for name in field.names] + [name for union in unions for name in union.names]
    if len(set(names)) != len(names):
        message = f"{descriptor.full_name} gives one REST name twice"
        raise ValueError(message)
    return RestMessage(
        descriptor=descriptor,
        fields=fields,
        unions=unions,
        mask=_named(descriptor, options.mask),
        scalar=_named(descriptor, options.scalar),
        tuple=options.tuple,
        sparse=options.sparse,
    )


def _unions(descriptor: Descriptor) -> list[RestUnion]:
    found = []
    for oneof in descriptor.oneofs:
        if not oneof.GetOptions().HasExtension(options_pb2.union):
            continue
        union = oneof.GetOptions().Extensions[options_pb2.union]
        members = tuple(rest_field(field) for field in oneof.fields)
        if any(member.message is None for member in members):
            message = f"{oneof.full_name} is a union and must have messages alone"
            raise ValueError(message)
        found.append(RestUnion(oneof, union.name, union.by, union.default, union.beside, members))
    return found


def _named(descriptor: Descriptor, name: str) -> FieldDescriptor | None:
    if not name:
        return None
    if name not in descriptor.fields_by_name:
        message = f"{descriptor.full_name} has no field {name}, which its options name"
        raise ValueError(message)
    return descriptor.fields_by_name[name]


@cache
def rest_enum(descriptor: EnumDescriptor, *, words: bool = False) -> RestEnum:
    """The REST form of an enum; a value without options has none. Where it has two, `words` chooses the text."""
    written: dict[int, int | str] = {}
    for value in descriptor.values:
        options = value.GetOptions().Extensions[options_pb2.value]
        if options.HasField("number") and not (words and options.HasField("word")):
            written[value.number] = options.number
        elif options.HasField("word"):
            written[value.number] = options.word
    read = {form: number for number, form in written.items()}
    return RestEnum(written, read, tuple(str(form) for form in read))
