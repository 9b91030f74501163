"""Answers of lambdas."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

JSON_TYPE = "application/json"
BYTES_TYPE = "application/octet-stream"
TEXT_TYPE = "text/plain; charset=utf-8"
OK = 200
STATUSES = range(200, 600)
NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""Name of a header (RFC 9110, section 5.1)."""
VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
"""Its value, without control characters, among them the ends of lines."""

Body = bytes | AsyncIterator[bytes]


class Response:
    """An answer with a status and headers of its own.

    Args:
        body: bytes, or an asynchronous iterator of bytes that are sent as they come. A text is sent in UTF-8; anything
            else is written as JSON.
        status: 200 to 599.
        headers: names with values; of pairs a name may come several times.
        content_type: empty is that of the body: application/octet-stream, text/plain or application/json.

    Raises:
        TypeError: the body can not be written as JSON.
        ValueError: a number in it is not finite, or status or headers are none of HTTP.
    """

    def __init__(
        self,
        body: object = b"",
        *,
        status: int = OK,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        content_type: str = "",
    ) -> None:
        self.status = status
        self.headers = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        self.body, own_type = encoded(body)
        if self.body and not any(name.lower() == "content-type" for name, _ in self.headers):
            self.headers.append(("Content-Type", content_type or own_type))
        if status not in STATUSES:
            message = f"{status} is no status of an answer"
            raise ValueError(message)
        for name, value in self.headers:
            if NAME.fullmatch(name) is None or VALUE.fullmatch(value) is None:
                message = f"{name!r}: {value!r} is no header"
                raise ValueError(message)

    @classmethod
    def json(cls, value: object, *, status: int = OK) -> Response:
        """Any value as JSON, a text too."""
        return cls(written(value), status=status, content_type=JSON_TYPE)


def encoded(value: object) -> tuple[Body, str]:
    """A body and its MIME type.

    Raises:
        TypeError: the value can not be written as JSON.
        ValueError: a number in it is not finite.
    """
    match value:
        case bytes() | bytearray() | memoryview():
            return bytes(value), BYTES_TYPE
        case str():
            return value.encode(), TEXT_TYPE
        case AsyncIterator():
            return value, BYTES_TYPE
        case _:
            return written(value), JSON_TYPE


def written(value: object) -> bytes:
    """A value as JSON. Messages of the API have LUNA's form, arrays and numbers of numpy are lists and numbers.

    Raises:
        TypeError: the value can not be written as JSON.
        ValueError: a number in it is not finite.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
    return text.encode()


def _plain(value: Any) -> object:
    if hasattr(value, "DESCRIPTOR"):
        from .rest_form import as_json

        return as_json(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    message = f"{type(value).__name__} can not be written as JSON"
    raise TypeError(message)
