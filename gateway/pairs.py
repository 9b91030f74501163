"""Objects in a query, as one text of alternating keys and values.

    geo_position=origin_longitude,36.6,origin_latitude,55.7

This is how OpenAPI has objects in a query (style form, explode false).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import parse_qsl, quote_plus

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from gateway.forms import WELL_KNOWN, RestField, rest_message
from gateway.query import Parameters
from server.errors import BadQuery


class Pairs:
    """The fields of a request that are such objects, those of its inline messages too."""

    def __init__(self, descriptor: Descriptor, keys: Iterable[str]) -> None:
        self._objects = {known.name: (known, within) for known, within in _objects(descriptor, frozenset(keys))}
        self._members = {name: _Members(known) for name, (known, _) in self._objects.items()}

    def bind(self, request: Message, query: str) -> None:
        """Set the fields that a query gives.

        Raises:
            BadQuery: keys and values do not alternate, a key is unknown, or a value has the wrong form.
        """
        given: dict[str, str] = {}
        for name, text in parse_qsl(query, keep_blank_values=True):
            if name in self._objects and given.setdefault(name, text) != text:
                raise BadQuery(field=name, message="given several times with different values")
        for name, text in given.items():
            known, within = self._objects[name]
            holder = request
            for key in within:
                holder = getattr(holder, key)
            self._members[name].bind(getattr(holder, known.key), text)


class _Members:
    """The members of one object."""

    def __init__(self, known: RestField) -> None:
        if known.message is None:
            message = f"{known.descriptor.full_name} is no object"
            raise TypeError(message)
        self._name = known.name
        self._names = [one.name for one in rest_message(known.message).fields]
        self._parameters = Parameters(known.message, [one.key for one in rest_message(known.message).fields])

    def bind(self, message: Message, text: str) -> None:
        items = [item.strip() for item in text.split(",")]
        keys, values = items[::2], items[1::2]
        if len(keys) != len(values):
            raise BadQuery(field=self._name, message="keys and values by turns expected")
        for key in keys:
            if key not in self._names:
                raise BadQuery(field=self._name, message=f"'{key[:64]}' is none of {', '.join(self._names)}")
        message.SetInParent()
        pairs = zip(keys, values, strict=True)
        self._parameters.bind(message, {}, "&".join(f"{key}={quote_plus(value)}" for key, value in pairs))


def _objects(
    descriptor: Descriptor, keys: frozenset[str], within: tuple[str, ...] = ()
) -> Iterator[tuple[RestField, tuple[str, ...]]]:
    for known in rest_message(descriptor).fields:
        message = known.message
        if known.key not in keys or message is None or known.map or known.repeated:
            continue
        if known.rules.inline:
            every = frozenset(field.name for field in message.fields)
            yield from _objects(message, every, (*within, known.key))
        elif not message.full_name.startswith(WELL_KNOWN):
            yield known, within
