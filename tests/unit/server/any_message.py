"""Any message that keeps its own limits, made from its descriptor and its options alone."""

from __future__ import annotations

from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st
from luna import options_pb2

M = TypeVar("M", bound=Message)

TIMES = ("2018-08-11T09:11:41.674Z", "2026-01-01T00:00:00+03:00", "now-3h", "now-1M", "now-0s", "now-999999y")
META = {"a__gt:integer": "5", "a.b": "x", "c__in:numeric": "1.5,2", "d__neq": "null"}
MOST_ITEMS = 3


@st.composite
def messages(draw: st.DrawFn, kind: type[M]) -> M:
    """A message whose fields are there or not, each within its limits; those that are required are there."""
    message = kind()
    fill(draw, message)
    return message


def fill(draw: st.DrawFn, message: Message) -> None:
    """Set fields of a message, and of the messages in it."""
    descriptor: Any = message.DESCRIPTOR
    chosen = {
        one.name: draw(st.sampled_from([field.name for field in one.fields]))
        for one in descriptor.oneofs
        if len(one.fields) > 1
    }
    for field in descriptor.fields:
        union = field.containing_oneof
        if union is not None and union.name in chosen:
            if chosen[union.name] == field.name:
                _set(draw, message, field)
        elif field.GetOptions().Extensions[options_pb2.field].required or draw(st.booleans()):
            _set(draw, message, field)
    _keep_positions_whole(message)


def _set(draw: st.DrawFn, message: Message, field: FieldDescriptor) -> None:
    options = field.GetOptions().Extensions[options_pb2.field]
    target = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        target.update(draw(st.dictionaries(st.sampled_from(sorted(META)), st.just(""), max_size=MOST_ITEMS)))
        for key in list(target):  # a map of protobuf that is changed while it is gone through skips entries
            target[key] = META[key]
    elif field.message_type is not None and field.is_repeated:
        for _ in range(draw(st.integers(0, MOST_ITEMS))):
            fill(draw, target.add())
    elif field.message_type is not None:
        target.SetInParent()
        fill(draw, target)
    elif field.is_repeated:
        one = _scalars(field, options)
        target.extend(draw(st.lists(one, min_size=1, max_size=MOST_ITEMS, unique=options.unique)))
    else:
        setattr(message, field.name, draw(_scalars(field, options)))


def _scalars(field: FieldDescriptor, options: options_pb2.Field) -> st.SearchStrategy[Any]:
    if field.enum_type is not None:
        known = [value.number for value in field.enum_type.values if value.number or options.null_value]
        return st.sampled_from(known)
    if options.uuid:
        return st.uuids().map(str)
    if options.time:
        return st.sampled_from(TIMES)
    if options.pattern:
        return st.from_regex(options.pattern, fullmatch=True)
    low = options.min if options.HasField("min") else None
    high = options.max if options.HasField("max") else None
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_BOOL:
            return st.booleans()
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return st.floats(low, high, allow_nan=False, allow_infinity=False)
        case FieldDescriptor.CPPTYPE_INT32:
            return st.integers(int(low or 0), int(1000 if high is None else high))
        case _:
            letters = st.characters(exclude_categories=("Cs",), exclude_characters="\0")
            return st.text(letters, min_size=1, max_size=options.max_length or 8)


def _keep_positions_whole(message: Message) -> None:
    """Half a position is no filter: what rules of more than one field forbid, no option says."""
    names = {"origin_longitude", "origin_latitude", "longitude_delta", "latitude_delta"}
    if message.DESCRIPTOR.name == "EventFilters" and not (
        message.HasField("origin_longitude") and message.HasField("origin_latitude")
    ):
        for name in names:
            message.ClearField(name)
