"""JSON and msgpack as Python values, read strictly and in linear time; and values as JSON, msgpack and lines of text.

A document is refused where two readers could understand it differently (a member given twice, NaN, bytes after the
end), where its size in memory would not follow from its length (deep nesting, lengths that are only claimed), and
where it has so many values that reading it would hold up everybody else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgpack
import orjson

from server.errors import NotJson

MAX_DEPTH = 32
"""Deepest nesting. A Struct needs three messages for each level, and protobuf reads no more than 100."""
MAX_ITEMS = 100_000
"""Longest array and largest map of msgpack: their memory is taken before their items are seen."""

MAX_VALUES = 1_000_000
"""Most values in a document. The longest body has room for fewer ids, but for ten times as many of `[]`."""
MAX_CONTAINERS = 200_000
"""Most arrays and objects in a document: each of them costs what many other values cost."""

_TOO_MANY = f"more than {MAX_VALUES} values, or {MAX_CONTAINERS} arrays and objects"
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
"""A string of JSON, or one that does not end: to try again behind each of its quotes would take for ever."""


def read_json(data: bytes) -> object:
    """The value of a JSON text (RFC 8259).

    Integers outside 64 bits come as floats. Raises:
        NotJson: the text is no JSON, has more than `MAX_VALUES` values or `MAX_CONTAINERS` arrays and objects, nests
            deeper than `MAX_DEPTH`, or has a member twice.
    """
    if _has_too_many(data):
        raise NotJson(format="JSON", message=_TOO_MANY)
    try:
        value: object = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise NotJson(format="JSON", message=error) from error
    members = _members(value, "JSON")
    if members and _STRING.sub(b"", data).count(b":") != members:
        raise NotJson(format="JSON", message="an object has a member twice")
    return value


def read_msgpack(data: bytes) -> object:
    """The value of a msgpack document; bin is `bytes`, str is `str`.

    Raises:
        NotJson: the document is broken, too large for its length, has more than `MAX_VALUES` values or `MAX_CONTAINERS`
            arrays and maps, nests deeper than `MAX_DEPTH`, has a member twice, names members otherwise than by text, or
            has extension types.
    """
    values, containers = MAX_VALUES, MAX_CONTAINERS

    def counted(items: list[object] | dict[str, object]) -> list[object] | dict[str, object]:
        nonlocal values, containers
        values, containers = values - len(items), containers - 1
        if min(values, containers) < 0:
            raise ValueError(_TOO_MANY)
        return items

    try:
        value: object = msgpack.unpackb(
            data,
            raw=False,
            object_pairs_hook=lambda pairs: counted(_once(pairs)),
            list_hook=counted,
            ext_hook=_no_extension,
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_ITEMS,
            max_ext_len=0,
        )
    except msgpack.ExtraData as error:
        raise NotJson(format="msgpack", message="bytes follow the document") from error
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise NotJson(format="msgpack", message=str(error) or type(error).__name__) from error
    _members(value, "msgpack")
    return value


def write_json(value: object) -> bytes:
    """A value as JSON text. Floats are written with the digits that give them back; NaN is written as null."""
    return orjson.dumps(value)


def write_msgpack(value: object) -> bytes:
    """A value as msgpack."""
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def write_text(value: object) -> bytes:
    """An object as a line for each value in it: NAME.key = value. Texts are as they are, other values are JSON."""
    return "".join(f"{line}\n" for line in _lines(value, "")).encode()


def _lines(value: object, path: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _lines(item, f"{path}.{name}" if path else str(name))
    else:
        text = value if isinstance(value, str) and value.isprintable() else orjson.dumps(value).decode()
        yield f"{path} = {text}".rstrip()


def _has_too_many(text: bytes) -> bool:
    """True where JSON has too many strings, or commas or brackets outside of them."""
    if not _has_too_many_marks(text):
        return False
    bare, strings = _STRING.subn(b"", text, MAX_VALUES)
    return strings == MAX_VALUES or _has_too_many_marks(bare)


def _has_too_many_marks(text: bytes) -> bool:
    return text.count(b",") > MAX_VALUES or text.count(b"[") + text.count(b"{") > MAX_CONTAINERS


def _members(value: object, form: str) -> int:
    """How many members all objects of a value have."""
    count = 0
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                count += len(item)
                below += [child for child in item.values() if isinstance(child, dict | list)]
            elif isinstance(item, list):
                below += [child for child in item if isinstance(child, dict | list)]
        if not below:
            return count
        level = below
    raise NotJson(format=form, message=f"values nest deeper than {MAX_DEPTH} levels")


def _once(pairs: Iterable[tuple[object, object]]) -> dict[str, object]:
    members: dict[str, object] = {}
    for name, value in pairs:
        if not isinstance(name, str):
            message = "a member's name is no text"
            raise ValueError(message)
        if name in members:
            message = f"member '{name}' is given twice"
            raise ValueError(message)
        members[name] = value
    return members


def _no_extension(code: int, _data: bytes) -> object:
    message = f"extension type {code} is not allowed"
    raise ValueError(message)
