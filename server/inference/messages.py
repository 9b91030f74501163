"""What engines take and see (`server.domain.engine`, `server.domain.vision`) as messages of `luna.engine.v1`.

A dataclass and its message have one name and the same fields, so one rule converts all of them, both ways:

    number, text, bytes             as they are
    Enum                            the value of the proto's enum with the member's name
    dataclass                       the message of its name
    Point                           a Point
    tuple, frozenset                a repeated field
    Mapping                         a map; members of enums are keys by their names
    a tuple or Mapping, or None     a message with the one field `items`
    CheckValue                      a CheckValue: an int stays an int, a float a float

A field that the proto lacks is an error of the first conversion, never left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from luna.engine.v1 import engine_pb2 as pb

from server.domain.checks import CheckValue
from server.domain.vision import Estimation, Point

T = TypeVar("T")
M = TypeVar("M", bound=Message)

_COLLECTIONS = (tuple, frozenset, Mapping, dict)


def to_message(value: object, kind: type[M]) -> M:
    """The message of a dataclass; `kind` is the class of its name.

    Raises:
        ValueError: the proto lacks a field or a member of an enum.
    """
    values = {}
    for field in _plan(cast("Any", type(value))):
        given = getattr(value, field.name)
        if given is not None:
            values[field.name] = field.encode(given)
    return kind(**values)


def from_message(kind: type[T], message: Message) -> T:
    """The dataclass of a message.

    Raises:
        ValueError: a value is none of the domain's: the other side has another version.
    """
    values = {}
    for field in _plan(cast("Any", kind)):
        absent = field.optional and not message.HasField(field.name)
        values[field.name] = None if absent else field.decode(getattr(message, field.name))
    return kind(**values)


def to_estimations(estimations: Iterable[Estimation]) -> list[Any]:
    """Estimations for a repeated field."""
    return [pb.Estimation.Value(f"ESTIMATION_{one.name}") for one in estimations]


def from_estimations(numbers: Iterable[int]) -> frozenset[Estimation]:
    """Estimations of a repeated field.

    Raises:
        ValueError: one is not known here.
    """
    return frozenset(_member(Estimation, pb.Estimation.DESCRIPTOR, number) for number in numbers)


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of a dataclass and of its message."""

    name: str
    hint: Any
    optional: bool
    proto: FieldDescriptor

    def encode(self, value: Any) -> Any:
        """A value as the constructor of the message takes it."""
        if self._wrapped:
            return _kind(self.proto)(items=_encode(self.hint, _inner(self.proto, "items"), value))
        return _encode(self.hint, self.proto, value)

    def decode(self, value: Any) -> Any:
        """The value of what the message has."""
        if self._wrapped:
            return _decode(self.hint, _inner(self.proto, "items"), value.items)
        return _decode(self.hint, self.proto, value)

    @property
    def _wrapped(self) -> bool:
        return self.optional and get_origin(self.hint) in _COLLECTIONS


@cache
def _plan(kind: Any) -> tuple[_Field, ...]:
    """The fields of a dataclass with those of its message."""
    descriptor = getattr(pb, kind.__name__).DESCRIPTOR
    hints = get_type_hints(kind)
    planned = []
    for field in fields(kind):
        if field.name not in descriptor.fields_by_name:
            message = f"{descriptor.full_name} lacks the field {field.name} of {kind.__name__}"
            raise ValueError(message)
        hint, optional = hints[field.name], False
        if isinstance(hint, UnionType) and NoneType in get_args(hint):
            (hint,) = (one for one in get_args(hint) if one is not NoneType)
            optional = True
        planned.append(_Field(field.name, hint, optional, descriptor.fields_by_name[field.name]))
    return tuple(planned)


def _encode(hint: Any, field: FieldDescriptor, value: Any) -> Any:
    if hint == CheckValue:
        return _check(value)
    if hint == Point:
        return pb.Point(x=value[0], y=value[1])
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (tuple, frozenset):
        return [_encode(arguments[0], field, one) for one in value]
    if origin in (Mapping, dict):
        inner = _inner(field, "value")
        return {_key(key): _encode(arguments[1], inner, one) for key, one in value.items()}
    if is_dataclass(hint):
        return to_message(value, _kind(field))
    if issubclass(hint, Enum):
        return _number(_enum(field), value)
    return value


def _decode(hint: Any, field: FieldDescriptor, value: Any) -> Any:
    if hint == CheckValue:
        return getattr(value, value.WhichOneof("value") or "number")
    if hint == Point:
        return value.x, value.y
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (tuple, frozenset):
        return origin(_decode(arguments[0], field, one) for one in value)
    if origin in (Mapping, dict):
        kind, inner = arguments[0], _inner(field, "value")
        return {_named(kind, key): _decode(arguments[1], inner, one) for key, one in value.items()}
    if is_dataclass(hint) and isinstance(hint, type):
        return from_message(hint, value)
    if issubclass(hint, Enum):
        return _member(hint, _enum(field), value)
    return value


def _check(value: CheckValue) -> pb.CheckValue:
    if isinstance(value, str):
        return pb.CheckValue(word=value)
    return pb.CheckValue(integer=value) if isinstance(value, int) else pb.CheckValue(number=value)


def _key(key: object) -> object:
    return key.name if isinstance(key, Enum) else key


def _named(kind: Any, key: str) -> Any:
    if not issubclass(kind, Enum):
        return key
    try:
        return kind[key]
    except KeyError:
        message = f"{key!r} is no {kind.__name__}"
        raise ValueError(message) from None


def _number(enum: EnumDescriptor, member: Enum) -> int:
    name = _prefix(enum) + member.name
    if name not in enum.values_by_name:
        message = f"{enum.full_name} lacks {name}"
        raise ValueError(message)
    return enum.values_by_name[name].number


def _member(kind: Any, enum: EnumDescriptor, number: int) -> Any:
    value = enum.values_by_number.get(number)
    return _named(kind, "" if value is None else value.name.removeprefix(_prefix(enum)))


def _kind(field: FieldDescriptor) -> type[Message]:
    return GetMessageClass(cast("Descriptor", field.message_type))


def _inner(field: FieldDescriptor, name: str) -> FieldDescriptor:
    """A field of the message that is in a field."""
    return cast("Descriptor", field.message_type).fields_by_name[name]


def _enum(field: FieldDescriptor) -> EnumDescriptor:
    return cast("EnumDescriptor", field.enum_type)


def _prefix(enum: EnumDescriptor) -> str:
    return enum.values[0].name.removesuffix("UNSPECIFIED")
