"""Path variables and query parameters as fields of a request, by descriptor and compiled once for each method.

Unknown parameters are ignored. A path variable cannot be overridden: fields in the path are no parameters.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote_plus

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from gateway import times
from gateway.binder import FLOATS, INTEGERS
from gateway.forms import RestField, rest_message
from gateway.refusals import Place, Refusal
from server.errors import BadQuery

Read = Callable[[str, str], object]
"""(text, parameter) -> what the field holds; of a list, one item."""

NULL = "null"
"""The word for null, where that is a value."""
MAX_PARAMETERS = 1000
"""Most parameters in one query."""
_INTEGER = re.compile(r"-?\d{1,20}", re.ASCII)
_NUMBER = re.compile(r"-?\d{1,32}(?:\.\d{1,32})?(?:[eE][+-]?\d{1,3})?", re.ASCII)
_LOST_PLUS = re.compile(r" (?=\d\d:\d\d$)", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Parameter:
    """A field that a path or a query can give. `within` are the messages that it is in, by their fields."""

    known: RestField
    read: Read
    within: tuple[str, ...] = ()

    def set(self, request: Message, texts: list[str]) -> None:
        holder = request
        for key in self.within:
            holder = getattr(holder, key)
        key, name = self.known.key, self.known.name
        if self.known.repeated:
            getattr(holder, key).extend(self.read(text, name) for text in _items(self.known, texts))
            return
        value = self.read(_only(texts, name), name)
        if isinstance(value, Timestamp):
            getattr(holder, key).CopyFrom(value)
        else:
            setattr(holder, key, value)


@dataclass(frozen=True, slots=True)
class _Prefix:
    """A map of texts that takes every parameter whose name begins with `text`."""

    text: str
    key: str
    within: tuple[str, ...]

    def set(self, request: Message, name: str, texts: list[str]) -> None:
        holder = request
        for key in self.within:
            holder = getattr(holder, key)
        getattr(holder, self.key)[name.removeprefix(self.text)] = _only(texts, name)


class Parameters:
    """The fields of one request type that stand in its path or its query, by their names in the proto.

    Raises:
        ValueError: two fields would be one parameter.
    """

    def __init__(self, descriptor: Descriptor, query: Iterable[str], path: Iterable[str] = ()) -> None:
        in_query, in_path = frozenset(query), frozenset(path)
        self._variables = {one.known.key: one for one in _parameters(descriptor, in_path)}
        self._named: dict[str, _Parameter] = {}
        for one in _parameters(descriptor, in_query):
            for name in one.known.names:
                if name in self._named:
                    message = f"{descriptor.full_name} has the parameter {name} twice"
                    raise ValueError(message)
                self._named[name] = one
        self._prefixes = tuple(_prefixes(descriptor, in_query))

    def bind(self, message: Message, variables: Mapping[str, str], query: str) -> None:
        """Set fields from decoded path variables, by their names in the proto, and from a query as it was sent.

        Raises:
            BadQuery: a value has the wrong form, a parameter that is no list has several values, or one field is given
                under two names.
        """
        for key, text in variables.items():
            if key in self._variables:
                self._variables[key].set(message, [text])
        if not query:
            return
        asked = self._asked(query)
        for name, texts in asked.items():
            one = self._named.get(name)
            if one is not None:
                _one_name(one.known, asked)
                one.set(message, texts)
                continue
            for prefix in self._prefixes:
                if name.startswith(prefix.text):
                    prefix.set(message, name, texts)

    def _asked(self, query: str) -> dict[str, list[str]]:
        """The texts of the parameters that are known, by their names."""
        if query.count("&") >= MAX_PARAMETERS:
            raise BadQuery(field="", message=f"more than {MAX_PARAMETERS} parameters")
        asked: dict[str, list[str]] = {}
        for pair in query.split("&"):
            raw, _, value = pair.partition("=")
            name = unquote_plus(raw)
            if name in self._named or any(name.startswith(prefix.text) for prefix in self._prefixes):
                asked.setdefault(name, []).append(_decoded(value, name))
        return asked


def _parameters(descriptor: Descriptor, keys: frozenset[str], within: tuple[str, ...] = ()) -> Iterator[_Parameter]:
    """The parameters that some fields are; those of a message that is inline are its fields."""
    for known in rest_message(descriptor).fields:
        if known.key not in keys:
            continue
        if known.rules.inline and known.message is not None:
            yield from _parameters(known.message, _keys(known.message), (*within, known.key))
        elif (read := _reader(known)) is not None:
            yield _Parameter(known, read, within)


def _prefixes(descriptor: Descriptor, keys: frozenset[str], within: tuple[str, ...] = ()) -> Iterator[_Prefix]:
    for known in rest_message(descriptor).fields:
        if known.key not in keys:
            continue
        if known.rules.prefix:
            yield _Prefix(known.rules.prefix, known.key, within)
        elif known.rules.inline and known.message is not None:
            yield from _prefixes(known.message, _keys(known.message), (*within, known.key))


def _keys(descriptor: Descriptor) -> frozenset[str]:
    return frozenset(field.name for field in descriptor.fields)


def _one_name(known: RestField, asked: Mapping[str, list[str]]) -> None:
    given = [name for name in known.names if name in asked]
    if len(given) > 1:
        raise BadQuery(field=known.name, message=f"only one is allowed of {', '.join(sorted(given))}")


def _only(texts: list[str], name: str) -> str:
    if len(set(texts)) > 1:
        raise BadQuery(field=name, message="given several times with different values")
    return texts[0]


def _items(known: RestField, texts: list[str]) -> list[str]:
    if not known.rules.csv:
        return texts
    items = [item.strip() for text in texts if text.strip() for item in text.split(",")]
    if "" in items:
        raise BadQuery(field=known.name, message="a list has an empty item")
    if not items and known.filled:
        raise BadQuery(field=known.name, message="at least 1 item expected")
    return items


def _reader(known: RestField) -> Read | None:
    """What reads a field; None where its type cannot stand in a query."""
    read, null = _plain_reader(known), known.null
    if read is None or null is None:
        return read
    plain = read
    return lambda text, name: null if text == NULL else plain(text, name)


def _plain_reader(known: RestField) -> Read | None:
    descriptor, refuse = known.descriptor, Refusal(Place.QUERY, known.rules.reason)
    if known.message is not None:
        return _time if known.message.full_name == Timestamp.DESCRIPTOR.full_name and not known.repeated else None
    if descriptor.type in INTEGERS:
        return _integer(*INTEGERS[descriptor.type], refuse)
    if descriptor.type in FLOATS:
        return _number(refuse)
    if descriptor.type == FieldDescriptor.TYPE_BOOL:
        return _flag(refuse)
    if descriptor.type == FieldDescriptor.TYPE_ENUM:
        return _enum(known, refuse)
    if descriptor.type == FieldDescriptor.TYPE_STRING:
        return _time_text if known.rules.time else _text
    return None


def _text(text: str, _name: str) -> object:
    return text


def _time_text(text: str, name: str) -> object:
    if not text:
        raise BadQuery(field=name, message="a time is needed")
    return _LOST_PLUS.sub("+", text)


def _time(text: str, name: str) -> object:
    try:
        return times.parse(_LOST_PLUS.sub("+", text))
    except ValueError as error:
        raise BadQuery(field=name, message=error) from error


def _integer(least: int, most: int, refuse: Refusal) -> Read:
    def read(text: str, name: str) -> object:
        if not _INTEGER.fullmatch(text):
            raise refuse.form(name, "integer expected")
        if not least <= int(text) <= most:
            raise refuse.form(name, f"integer from {least} to {most} expected")
        return int(text)

    return read


def _number(refuse: Refusal) -> Read:
    def read(text: str, name: str) -> object:
        if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
            raise refuse.form(name, "number expected")
        return float(text)

    return read


def _flag(refuse: Refusal) -> Read:
    def read(text: str, name: str) -> object:
        if text not in {"0", "1"}:
            raise refuse.form(name, "0 or 1 expected")
        return text == "1"

    return read


def _enum(known: RestField, refuse: Refusal) -> Read:
    form = known.enum
    if form is None:
        error = f"{known.descriptor.full_name} is no enum"
        raise TypeError(error)

    def read(text: str, name: str) -> object:
        number = form.named(text)
        if number is None:
            raise refuse.value(name, text, form.words)
        return number

    return read


def _decoded(text: str, name: str) -> str:
    try:
        return unquote_plus(text, errors="strict")
    except UnicodeDecodeError as error:
        raise BadQuery(field=name, message="not UTF-8") from error
