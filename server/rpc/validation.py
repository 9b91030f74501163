"""Defaults and limits of requests, as `luna.field` states them; the same for native gRPC and for REST.

Compiled once for each message type. Nothing here knows a resource.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from luna import options_pb2

from server.domain.policies import TimeBound
from server.errors import BadBody, BadQuery, LunaError, MissingField, MissingQuery, Violation
from server.rpc.calls import RestOrigin

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIMESTAMP = "google.protobuf.Timestamp"
_STRUCTS = frozenset(f"google.protobuf.{name}" for name in ("Struct", "ListValue", "Value"))
_FIRST_SECOND, _LAST_SECOND = -62135596800, 253402300799  # years 1 and 9999, the range of RFC 3339
_SHOWN = 64  # characters of a wrong value that a message repeats

Naming = Callable[[FieldDescriptor], tuple[str, ...]]
Check = Callable[[Any], str | None]


@dataclass(frozen=True, slots=True)
class Problem:
    """One wrong field: its path from the request's top, what is wrong, and whether it is missing altogether."""

    path: tuple[str, ...]
    description: str
    missing: bool = False

    @property
    def name(self) -> str:
        """The path with dots."""
        return ".".join(self.path)


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds for one field of a message."""

    field: FieldDescriptor
    options: options_pb2.Field
    default: object | None
    checks: tuple[Check, ...]
    nested: bool
    filled: bool


def proto_name(field: FieldDescriptor) -> tuple[str, ...]:
    """The name of a field in gRPC."""
    return (field.name,)


def rest_name(field: FieldDescriptor) -> tuple[str, ...]:
    """The name of a field in REST."""
    if field.containing_oneof is not None:
        union = field.containing_oneof.GetOptions().Extensions[options_pb2.union]
        if union.name:
            return (union.name,)
    return (field.GetOptions().Extensions[options_pb2.field].name or field.name,)


def complete(message: Message) -> None:
    """Set the fields that are absent and have a default, nested ones too, and the messages that are always there.

    The unspecified value of an enum that has a default stands for it.
    """
    for rule in _rules(message.DESCRIPTOR):
        field = rule.field
        if rule.default is not None:
            if not message.HasField(field.name) or (field.enum_type is not None and not getattr(message, field.name)):
                setattr(message, field.name, rule.default)
        elif rule.nested:
            if rule.filled and not message.HasField(field.name):
                getattr(message, field.name).SetInParent()
            for item in _items(message, field):
                complete(item)


def problems(message: Message, naming: Naming = proto_name) -> Iterator[Problem]:
    """Everything that is wrong with a message, in the order of its fields."""
    for rule in _rules(message.DESCRIPTOR):
        field = rule.field
        name = naming(field)
        if _is_map(field):
            yield from _map_problems(message, field, name, rule.checks)
            continue
        values = _items(message, field)
        if not values:
            if rule.options.required:
                yield Problem(name, "it is required", missing=True)
            continue
        if (
            rule.options.required
            and not field.is_repeated
            and field.type == FieldDescriptor.TYPE_STRING
            and not values[0]
        ):
            yield Problem(name, "it must not be empty", missing=True)
            continue
        if field.is_repeated:
            yield from (Problem(name, text) for text in _list_problems(values, rule.options))
        for position, value in enumerate(values):
            path = (*name, str(position)) if field.is_repeated else name
            yield from (Problem(path, text) for check in rule.checks if (text := check(value)) is not None)
            if rule.nested:
                for inner in problems(value, naming):
                    yield Problem((*path, *inner.path), inner.description, inner.missing)


def error_of(found: Sequence[Problem], origin: RestOrigin | None, request: Message) -> LunaError:
    """The error that tells of some problems: LUNA's code for the first one, and all of them as violations."""
    first = found[0]
    violations = tuple(Violation(p.name, p.description) for p in found)
    top = _top_of(first.path[0] if first.path else "", request, origin)
    if origin is not None and top in origin.query_fields:
        if first.missing:
            return MissingQuery(field=first.name, violations=violations)
        return BadQuery(field=first.name, message=first.description, violations=violations)
    if first.missing:
        return MissingField(field=first.name, violations=violations)
    return BadBody(field=first.name, message=first.description, violations=violations)


def _top_of(name: str, request: Message, origin: RestOrigin | None) -> str:
    """The request's own field that a problem is in, by the first name of the problem's path."""
    tops: dict[str, str] = {}
    for field in fields_of(request):
        if field.message_type is not None and _in_line(field, origin):
            tops |= {rest_name(inner)[0]: field.name for inner in field.message_type.fields}
        tops.setdefault(rest_name(field)[0], field.name)
    return tops.get(name, name)


def _in_line(field: FieldDescriptor, origin: RestOrigin | None) -> bool:
    """True for a message whose fields are parameters of the query that the request came with."""
    inline = field.GetOptions().Extensions[options_pb2.field].inline
    return origin is not None and inline and field.name in origin.query_fields


def validate(message: Message, origin: RestOrigin | None) -> None:
    """Fill the defaults of a request and hold it to its limits.

    Raises:
        BadQuery, MissingQuery, BadBody, MissingField: a limit is broken; the error names the field.
    """
    complete(message)
    top = message.DESCRIPTOR

    def naming(field: FieldDescriptor) -> tuple[str, ...]:
        if origin is None:
            return proto_name(field)
        return () if field.containing_type is top and _in_line(field, origin) else rest_name(field)

    found = list(problems(message, naming))
    if found:
        raise error_of(found, origin, message)


def fields_of(message: Message) -> Sequence[FieldDescriptor]:
    """The fields of a message. The type stubs name two classes of descriptors, the runtime has one."""
    return cast("Sequence[FieldDescriptor]", message.DESCRIPTOR.fields)


def _items(message: Message, field: FieldDescriptor) -> Sequence[Any]:
    """The values of a field: all of a list, or the one that is there."""
    if field.is_repeated:
        return list(getattr(message, field.name))
    if field.has_presence:
        return [getattr(message, field.name)] if message.HasField(field.name) else []
    value = getattr(message, field.name)
    # a number that cannot be absent is held to its limits when it is 0, too
    return [value] if value or field.GetOptions().Extensions[options_pb2.field].HasField("min") else []


def _list_problems(values: Sequence[Any], options: options_pb2.Field) -> Iterator[str]:
    if options.HasField("min_items") and len(values) < options.min_items:
        yield f"{len(values)} items, at least {options.min_items} are needed"
    if options.HasField("max_items") and len(values) > options.max_items:
        yield f"{len(values)} items, at most {options.max_items} are allowed"
    if options.unique and len(set(values)) < len(values):
        yield "an item comes twice"


@cache
def _rules(descriptor: Descriptor) -> tuple[Rule, ...]:
    return tuple(_rule(field) for field in descriptor.fields)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _map_problems(
    message: Message, field: FieldDescriptor, name: tuple[str, ...], checks: Sequence[Check]
) -> Iterator[Problem]:
    """What is wrong with the keys and the values of a map; the only rule there is is that of texts."""
    for key, value in getattr(message, field.name).items():
        for part in (key, value):
            if isinstance(part, str):
                yield from (Problem(name, text) for check in checks if (text := check(part)) is not None)


def _rule(field: FieldDescriptor) -> Rule:
    options = field.GetOptions().Extensions[options_pb2.field]
    if _is_map(field):
        return Rule(field, options, None, (_text,), nested=False, filled=False)
    nested = field.message_type is not None and not field.message_type.full_name.startswith("google.protobuf.")
    default = _default(field, options.default) if options.default else None
    checks = tuple(_or_null(check, field) if options.null_value else check for check in _checks(field, options))
    return Rule(field, options, default, checks, nested, filled=nested and options.filled)


def _checks(field: FieldDescriptor, options: options_pb2.Field) -> Iterator[Check]:
    if field.message_type is not None and field.message_type.full_name == _TIMESTAMP:
        yield _timestamp
    if field.enum_type is not None:
        # the unspecified value stands for an absent field, and an item cannot be absent
        yield _known(field.enum_type, zero=not field.is_repeated)
    if options.HasField("min") or options.HasField("max"):
        low = options.min if options.HasField("min") else float("-inf")
        high = options.max if options.HasField("max") else float("inf")
        yield _between(low, high)
    elif field.cpp_type in {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}:
        yield _between(float("-inf"), float("inf"))
    if options.HasField("min_length") or options.HasField("max_length"):
        least = options.min_length if options.HasField("min_length") else 0
        most = options.max_length if options.HasField("max_length") else 2**31
        yield _length(least, most)
    if options.uuid:
        yield _uuid(empty=options.nullable)
    if options.pattern:
        yield _pattern(re.compile(options.pattern))
    if field.type == FieldDescriptor.TYPE_STRING:
        yield _text
    if options.time:
        yield _time
    if field.message_type is not None and field.message_type.full_name in _STRUCTS:
        yield _struct


def _or_null(check: Check, field: FieldDescriptor) -> Check:
    """The check, which what stands for null passes: NaN, an empty text or the unspecified value of an enum."""
    if field.cpp_type in {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}:
        return lambda value: None if math.isnan(value) else check(value)
    return lambda value: check(value) if value else None


def _between(low: float, high: float) -> Check:
    def check(value: float) -> str | None:
        if low <= value <= high and value not in {float("inf"), float("-inf")}:
            return None
        if low == float("-inf"):
            return f"{value} is too large, at most {high:g} is allowed" if value > high else f"{value} is not a number"
        if high == float("inf"):
            return f"{value} is too small, at least {low:g} is needed"
        return f"{value} is not between {low:g} and {high:g}"

    return check


def _length(least: int, most: int) -> Check:
    def check(value: str) -> str | None:
        if len(value) < least:
            return f"{len(value)} characters, at least {least} are needed"
        if len(value) > most:
            return f"{len(value)} characters, at most {most} are allowed"
        return None

    return check


def _uuid(*, empty: bool) -> Check:
    def check(value: str) -> str | None:
        if UUID.fullmatch(value) or (empty and not value):
            return None
        return f"'{value[:_SHOWN]}' is not a uuid (lower case, with dashes)"

    return check


def _pattern(pattern: re.Pattern[str]) -> Check:
    def check(value: str) -> str | None:
        return None if pattern.fullmatch(value) else f"it does not match {pattern.pattern}"

    return check


def _known(enum: EnumDescriptor, *, zero: bool) -> Check:
    def check(value: int) -> str | None:
        known = value in enum.values_by_number and (zero or value != 0)
        return None if known else f"{value} is not a value of {enum.name}"

    return check


def _text(value: str) -> str | None:
    # PostgreSQL cannot keep the character U+0000 in a text
    return "the character U+0000 is not allowed" if "\x00" in value else None


def _time(value: str) -> str | None:
    if not value:
        return None
    try:
        TimeBound(value)
    except ValueError as error:
        return str(error)
    return None


def _struct(value: Any) -> str | None:
    """The same for the texts inside free JSON."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        match one.DESCRIPTOR.name:
            case "Struct":
                if any("\x00" in name for name in one.fields):
                    return _text("\x00")
                waiting += one.fields.values()
            case "ListValue":
                waiting += one.values
            case _:
                if "\x00" in one.string_value:
                    return _text("\x00")
                waiting += [one.struct_value] if one.HasField("struct_value") else []
                waiting += [one.list_value] if one.HasField("list_value") else []
    return None


def _timestamp(value: Any) -> str | None:
    if _FIRST_SECOND <= value.seconds <= _LAST_SECOND and 0 <= value.nanos < 10**9:
        return None
    return "the time is outside the years 1 to 9999"


def _default(field: FieldDescriptor, text: str) -> object:
    if field.enum_type is not None:
        for value in field.enum_type.values:
            named = value.GetOptions().Extensions[options_pb2.value]
            if (named.HasField("number") and str(named.number) == text) or named.word == text:
                return value.number
        message = f"{field.full_name}: {text} is no value of {field.enum_type.name}"
        raise ValueError(message)
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_BOOL:
            return text == "1"
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return float(text)
        case FieldDescriptor.CPPTYPE_STRING:
            return text
        case _:
            return int(text)
