"""Messages of the API as LUNA's JSON has them, read from the options of `luna/options.proto`."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp
from luna import options_pb2

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXACT = 2.0**53
"""Whole numbers of a Struct are written as integers up to here."""


def as_json(message: Message) -> Any:
    """A message as REST writes it, of dictionaries, lists, texts, numbers, booleans and None."""
    descriptor = cast("Descriptor", message.DESCRIPTOR)
    if descriptor.full_name in _WELL_KNOWN:
        return _WELL_KNOWN[descriptor.full_name](message)
    form = descriptor.GetOptions().Extensions[options_pb2.message]
    unions = [one for one in descriptor.oneofs if one.GetOptions().HasExtension(options_pb2.union)]
    united = {field.name for one in unions for field in one.fields}
    fields = [
        field
        for field in descriptor.fields
        if field.name not in united and field.name != form.mask and not _rules(field).hidden
    ]
    if form.tuple:
        return [_value(field, message) for field in fields]
    wanted = _wanted(descriptor, form.mask, message)
    out: dict[str, Any] = {}
    for field in fields:
        name = _rules(field).name or field.name
        if (wanted is None or name in wanted) and _written(field, message, sparse=form.sparse):
            value = _value(field, message) if _present(field, message) else None
            out[name] = None if value == "" and _nullable_text(field) else value
    for one in unions:
        out |= _union(one, message, wanted)
    return out


def _rules(field: FieldDescriptor) -> options_pb2.Field:
    return field.GetOptions().Extensions[options_pb2.field]


def _present(field: FieldDescriptor, message: Message) -> bool:
    return not field.has_presence or message.HasField(field.name)


def _written(field: FieldDescriptor, message: Message, *, sparse: bool) -> bool:
    """Whether an object has the member at all."""
    rules = _rules(field)
    if rules.nullable and not field.is_repeated:
        return True
    single_enum = field.enum_type is not None and not field.is_repeated
    if field.has_presence or single_enum:
        if not _present(field, message):
            return False
        spoken = not single_enum or (rules.null_value and field.has_presence)
        return spoken or _value(field, message) is not None
    return not sparse or bool(getattr(message, field.name))


def _nullable_text(field: FieldDescriptor) -> bool:
    return _rules(field).nullable and field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated


def _wanted(descriptor: Descriptor, mask: str, message: Message) -> set[object] | None:
    """Names of the members that the mask of a message asks for; None where it asks for all."""
    if not mask or not getattr(message, mask):
        return None
    field = descriptor.fields_by_name[mask]
    return {_word(field, number) for number in getattr(message, mask)}


def _union(one: Any, message: Message, wanted: set[object] | None) -> dict[str, Any]:
    form = one.GetOptions().Extensions[options_pb2.union]
    chosen = message.WhichOneof(one.name)
    if chosen is None or (wanted is not None and form.name not in wanted):
        return {}
    field = next(field for field in one.fields if field.name == chosen)
    word, members = _rules(field).name or field.name, _value(field, message)
    if form.beside:
        return {form.by: word, form.name: members}
    return {form.name: {form.by: word, **members} if isinstance(members, dict) else {form.by: word}}


def _value(field: FieldDescriptor, message: Message) -> Any:
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        item = field.message_type.fields_by_name["value"]
        return {str(name): _one(item, one) for name, one in value.items()}
    if not field.is_repeated:
        return _one(field, value)
    items = [_one(field, one) for one in value]
    silent = field.enum_type is not None and not _rules(field).null_value
    return [one for one in items if one is not None] if silent else items


def _one(field: FieldDescriptor, value: Any) -> Any:
    rules = _rules(field)
    if rules.null_value and _is_null(field, value):
        return None
    if field.message_type is not None:
        return as_json(value)
    if field.enum_type is not None:
        return _word(field, value)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return base64.b64encode(value).decode("ascii")
    return int(value) if field.type == FieldDescriptor.TYPE_BOOL and rules.flag else value


def _is_null(field: FieldDescriptor, value: Any) -> bool:
    if isinstance(value, float):
        return math.isnan(value)
    return bool(value == "" if field.type == FieldDescriptor.TYPE_STRING else value == 0)


def _word(field: FieldDescriptor, number: int) -> int | str | None:
    """What an enum's value is called; None where REST does not speak of it."""
    enum = field.enum_type
    value = enum.values_by_number.get(number) if enum is not None else None
    if value is None:
        return None
    options = value.GetOptions().Extensions[options_pb2.value]
    if options.HasField("number") and not (_rules(field).word and options.HasField("word")):
        return options.number
    return options.word if options.HasField("word") else None


def _time(message: Any) -> str:
    when = _EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)
    return when.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def _struct(message: Any) -> dict[str, Any]:
    return {name: _any(value) for name, value in message.fields.items()}


def _list(message: Any) -> list[Any]:
    return [_any(value) for value in message.values]


def _any(message: Any) -> Any:
    match message.WhichOneof("kind"):
        case "number_value":
            number = message.number_value
            if not math.isfinite(number):
                return None
            return int(number) if number.is_integer() and abs(number) <= _EXACT else number
        case "struct_value":
            return _struct(message.struct_value)
        case "list_value":
            return _list(message.list_value)
        case "bool_value" | "string_value" as kind:
            return getattr(message, kind)
        case _:
            return None


_WELL_KNOWN: Mapping[str, Callable[[Any], Any]] = {
    Timestamp.DESCRIPTOR.full_name: _time,
    Struct.DESCRIPTOR.full_name: _struct,
    ListValue.DESCRIPTOR.full_name: _list,
    Value.DESCRIPTOR.full_name: _any,
}
