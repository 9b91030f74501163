"""JSON and msgpack as Python values, read strictly and in linear time; and values as JSON, msgpack and lines of text.

A document is refused where two readers could understand it differently (a member given twice, NaN, bytes after the
end) and where its size in memory would not follow from its length (deep nesting, lengths that are only claimed).
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

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"')


def read_json(data: bytes) -> object:
    """The value of a JSON text (RFC 8259).

    Integers outside 64 bits come as floats. Raises:
        NotJson: the text is no JSON, nests deeper than `MAX_DEPTH`, or names a member twice.
    """
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
        NotJson: the document is broken, too large for its length, nests deeper than `MAX_DEPTH`, has a member twice,
            names members otherwise than by text, or has extension types.
    """
    try:
        value: object = msgpack.unpackb(
            data,
            raw=False,
            object_pairs_hook=_once,
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
