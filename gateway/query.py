"""Path variables and query parameters as fields of a request, by descriptor and compiled once for each method.

Unknown parameters are ignored. A path variable cannot be overridden: fields in the path are no parameters.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
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

MAX_PARAMETERS = 1000
"""Most parameters in one query."""
_INTEGER = re.compile(r"-?\d{1,20}", re.ASCII)
_NUMBER = re.compile(r"-?\d{1,32}(?:\.\d{1,32})?(?:[eE][+-]?\d{1,3})?", re.ASCII)
_LOST_PLUS = re.compile(r" (?=\d\d:\d\d$)", re.ASCII)


class Parameters:
    """The fields of one request type that stand in its path or its query, by their names in the proto."""

    def __init__(self, descriptor: Descriptor, query: Iterable[str], path: Iterable[str] = ()) -> None:
        asked = frozenset(query)
        chosen = asked | frozenset(path)
        fields = [known for known in rest_message(descriptor).fields if known.key in chosen]
        self._readers = {known.key: (known, read) for known in fields if (read := _reader(known)) is not None}
        self._names = {known.name: known.key for known, _ in self._readers.values() if known.key in asked}

    def bind(self, message: Message, variables: Mapping[str, str], query: str) -> None:
        """Set fields from decoded path variables, by their names in the proto, and from a query as it was sent.

        Raises:
            BadQuery: a value has the wrong form, or a parameter that is no list has several values.
        """
        for key, text in variables.items():
            if key in self._readers:
                self._set(message, key, [text])
        if query:
            for key, texts in self._asked(query).items():
                self._set(message, key, texts)

    def _asked(self, query: str) -> dict[str, list[str]]:
        if query.count("&") >= MAX_PARAMETERS:
            raise BadQuery(field="", message=f"more than {MAX_PARAMETERS} parameters")
        asked: dict[str, list[str]] = {}
        for pair in query.split("&"):
            name, _, value = pair.partition("=")
            key = self._names.get(unquote_plus(name))
            if key is not None:
                asked.setdefault(key, []).append(_decoded(value, name))
        return asked

    def _set(self, message: Message, key: str, texts: list[str]) -> None:
        known, read = self._readers[key]
        if known.repeated:
            getattr(message, key).extend(read(text, known.name) for text in _items(known, texts))
            return
        if len(set(texts)) > 1:
            raise BadQuery(field=known.name, message="given several times with different values")
        value = read(texts[0], known.name)
        if isinstance(value, Timestamp):
            getattr(message, key).CopyFrom(value)
        else:
            setattr(message, key, value)


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
    return _text if descriptor.type == FieldDescriptor.TYPE_STRING else None


def _text(text: str, _name: str) -> object:
    return text


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
