"""multipart/form-data (RFC 7578) as parts, in linear time and within limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError, MultipartParseError
from python_multipart.multipart import MultipartParser

from gateway.media import MediaType, parse
from server.errors import BadMultipart

MAX_PARTS = 256
"""Most parts of a body."""
MAX_HEADERS = 16
"""Most headers of a part."""
MAX_HEADER_BYTES = 4096
"""Longest header of a part."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part; `filename` is empty where it has none, and `media` is text/plain where it does not say."""

    name: str
    filename: str
    media: MediaType
    data: bytes


def split(data: bytes, boundary: str) -> list[Part]:
    """The parts of a body, in their order.

    Raises:
        BadMultipart: the body is broken or cut off, a part has no name, or a limit is exceeded.
    """
    collector = _Collector(data)
    try:
        parser = MultipartParser(
            boundary.encode("latin-1"),
            {
                "on_part_begin": collector.begin,
                "on_header_field": collector.field,
                "on_header_value": collector.value,
                "on_header_end": collector.header,
                "on_part_data": collector.content,
                "on_part_end": collector.end,
                "on_end": collector.close,
            },
            max_header_count=MAX_HEADERS,
            max_header_size=MAX_HEADER_BYTES,
        )
        parser.write(data)
    except (MultipartParseError, FormParserError, UnicodeError) as error:
        raise BadMultipart(message=error) from error
    if not collector.closed:
        raise BadMultipart(message="the last boundary is missing")
    return collector.parts


class _Collector:
    """Puts parts together from what the parser reports."""

    def __init__(self, data: bytes) -> None:
        self.parts: list[Part] = []
        self.closed = False
        self._data = memoryview(data)
        self._headers: dict[str, str] = {}
        self._name = b""
        self._value = b""
        self._chunks: list[bytes] = []

    def begin(self) -> None:
        if len(self.parts) == MAX_PARTS:
            raise BadMultipart(message=f"more than {MAX_PARTS} parts")
        self._headers, self._chunks = {}, []

    def field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = _header_text(self._value)
        self._name = self._value = b""

    def content(self, data: bytes, start: int, end: int) -> None:
        self._chunks.append(data[start:end])

    def end(self) -> None:
        self.parts.append(_part(self._headers, b"".join(self._chunks)))

    def close(self) -> None:
        self.closed = True


def _header_text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _part(headers: Mapping[str, str], data: bytes) -> Part:
    disposition = parse(headers.get("content-disposition", ""))
    if disposition.name != "form-data" or not disposition.parameters.get("name"):
        raise BadMultipart(message="a part has no name")
    if headers.get("content-transfer-encoding", "binary").lower() not in {"binary", "8bit", "7bit"}:
        raise BadMultipart(message="content-transfer-encoding is not supported")
    return Part(
        name=disposition.parameters["name"],
        filename=disposition.parameters.get("filename", ""),
        media=parse(headers.get("content-type", "text/plain")),
        data=data,
    )
