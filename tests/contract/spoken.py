"""Messages from bodies of JSON, for those that are too large to be put into gRPC by hand.

Reads the names and the values that the options of the protos give; nothing of the gateway is used.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, TypeVar

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from luna import options_pb2

M = TypeVar("M", bound=Message)


def into(message: M, body: Mapping[str, Any]) -> M:
    """Set the fields of a message from an object of JSON, and return it."""
    known = {_rules(field).name or field.name: field for field in message.DESCRIPTOR.fields}
    unions = {
        one.GetOptions().Extensions[options_pb2.union].name: one
        for one in message.DESCRIPTOR.oneofs
        if one.GetOptions().HasExtension(options_pb2.union)
    }
    beside = {_union(one).by: one for one in unions.values() if _union(one).beside}
    for name, value in body.items():
        if value is None:
            continue
        if name in beside:
            _choose(message, beside[name], value, body.get(_union(beside[name]).name, {}))
        elif name in unions:
            by = _union(unions[name]).by
            if not _union(unions[name]).beside:
                _choose(message, unions[name], value[by], {key: item for key, item in value.items() if key != by})
        else:
            _set(message, known[name], value)
    return message


def _union(oneof: OneofDescriptor) -> options_pb2.Union:
    union: options_pb2.Union = oneof.GetOptions().Extensions[options_pb2.union]
    return union


def _choose(message: Message, oneof: OneofDescriptor, word: str, members: Mapping[str, Any]) -> None:
    """Set the field of a oneof that a word stands for."""
    (chosen,) = (one for one in oneof.fields if (_rules(one).name or one.name) == word)
    part = getattr(message, chosen.name)
    part.SetInParent()
    into(part, members)


def _rules(field: FieldDescriptor) -> options_pb2.Field:
    rules: options_pb2.Field = field.GetOptions().Extensions[options_pb2.field]
    return rules


def _set(message: Message, field: FieldDescriptor, value: Any) -> None:
    if field.message_type is not None:
        items = value if field.is_repeated else [value]
        for item in items:
            part = getattr(message, field.name)
            _fill(part.add() if field.is_repeated else part, item)
    elif field.is_repeated:
        getattr(message, field.name).extend(_scalar(field, item) for item in value)
    else:
        setattr(message, field.name, _scalar(field, value))


def _fill(part: Message, value: Any) -> None:
    part.SetInParent()
    if part.DESCRIPTOR.full_name.startswith("google.protobuf."):
        ParseDict(value, part)
    elif isinstance(value, Mapping):
        into(part, value)
    elif isinstance(value, list):
        for field, item in zip(part.DESCRIPTOR.fields, value, strict=True):
            _set(part, field, item)
    else:
        scalar = part.DESCRIPTOR.GetOptions().Extensions[options_pb2.message].scalar
        _set(part, part.DESCRIPTOR.fields_by_name[scalar], value)


def _scalar(field: FieldDescriptor, value: Any) -> Any:
    if field.enum_type is not None:
        return _number(field.enum_type, value)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return bool(value)
    return base64.b64decode(value) if field.type == FieldDescriptor.TYPE_BYTES else value


def _number(enum: EnumDescriptor, value: object) -> int:
    for one in enum.values:
        form = one.GetOptions().Extensions[options_pb2.value]
        if (form.HasField("number") and form.number == value) or (form.HasField("word") and form.word == value):
            return int(one.number)
    raise LookupError(f"{enum.full_name} has no {value!r}")
