"""Bodies of forms: multipart/form-data (RFC 7578) and application/x-www-form-urlencoded."""

from __future__ import annotations

from dataclasses import dataclass, field
from email.message import Message as Headers
from email.utils import collapse_rfc2231_value
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError, MultipartParseError
from python_multipart.multipart import MultipartParser

from .errors import BadRequest

MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"
MOST_PARTS = 1000
"""Most parts or fields of a form."""
TEXT = "text/plain"


@dataclass(frozen=True, slots=True)
class Part:
    """One entry of a form.

    Attributes:
        name: of the entry; several may have the same.
        filename: of a file, empty where it is none.
        content_type: in lower case and without parameters; text/plain where it is not said.
        body: its bytes.
    """

    name: str
    filename: str
    content_type: str
    body: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """The bytes as text in UTF-8.

        Raises:
            BadRequest: they are none.
        """
        try:
            return self.body.decode()
        except UnicodeDecodeError:
            message = f"Part '{self.name}' is no text in UTF-8"
            raise BadRequest(message) from None


def parts_of(body: bytes, content_type: str) -> list[Part]:
    """The entries of a form, in their order; `content_type` is the header as it came.

    Raises:
        BadRequest: the body is no form, or has too many entries.
    """
    media, parameters = header(content_type)
    if media == URLENCODED:
        return _fields(body)
    if media != MULTIPART:
        message = f"The body is '{media}' and no form"
        raise BadRequest(message)
    collector = _Collector(body)
    try:
        parser = MultipartParser(
            parameters.get("boundary", "").encode("latin-1"),
            {
                "on_part_begin": collector.begin,
                "on_header_field": collector.name,
                "on_header_value": collector.value,
                "on_header_end": collector.header,
                "on_part_data": collector.content,
                "on_part_end": collector.end,
                "on_end": collector.close,
            },
        )
        parser.write(body)
    except (MultipartParseError, FormParserError, UnicodeError) as error:
        message = f"The form is broken: {error}"
        raise BadRequest(message) from None
    if not collector.closed:
        message = "The form is broken: its last boundary is missing"
        raise BadRequest(message)
    return collector.parts


def header(text: str) -> tuple[str, dict[str, str]]:
    """A header with parameters (RFC 9110, RFC 2231): its value in lower case, and they by their names."""
    headers = Headers()
    headers["Content-Type"] = text.replace("\r", " ").replace("\n", " ")
    pairs = headers.get_params(failobj=[("", "")])
    parameters = {name.lower(): collapse_rfc2231_value(value) for name, value in pairs[1:]}
    return pairs[0][0].strip().lower(), parameters


def _fields(body: bytes) -> list[Part]:
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_PARTS, errors="strict")
    except ValueError as error:
        message = f"The form is broken: {error}"
        raise BadRequest(message) from None
    return [Part(name, "", TEXT, value.encode()) for name, value in pairs]


class _Collector:
    """Puts parts together from what the parser reports."""

    def __init__(self, body: bytes) -> None:
        self.parts: list[Part] = []
        self.closed = False
        self._body = memoryview(body)
        self._headers: dict[str, str] = {}
        self._name = self._value = b""
        self._pieces: list[memoryview] = []

    def begin(self) -> None:
        if len(self.parts) == MOST_PARTS:
            message = f"The form has more than {MOST_PARTS} parts"
            raise BadRequest(message)
        self._headers, self._pieces = {}, []

    def name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = self._value.decode(errors="replace")
        self._name = self._value = b""

    def content(self, _data: bytes, start: int, end: int) -> None:
        self._pieces.append(self._body[start:end])

    def end(self) -> None:
        kind, parameters = header(self._headers.get("content-disposition", ""))
        if kind != "form-data" or not parameters.get("name"):
            message = "The form is broken: a part has no name"
            raise BadRequest(message)
        media, _ = header(self._headers.get("content-type", TEXT))
        self.parts.append(Part(parameters["name"], parameters.get("filename", ""), media, b"".join(self._pieces)))

    def close(self) -> None:
        self.closed = True
