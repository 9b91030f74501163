"""Media types of bodies, and the image types among them."""

from __future__ import annotations

from dataclasses import dataclass, field
from email.message import Message as Headers

JSON = "application/json"
MSGPACK = "application/msgpack"
MULTIPART = "multipart/form-data"
BYTES = "application/octet-stream"
TEXT = "text/plain"

IMAGES = ("image/jpeg", "image/png", "image/bmp", "image/x-portable-pixmap", "image/tiff")
"""Images as they are."""
BASE64_IMAGES = tuple(f"image/{name}-base64" for name in ("x-jpeg", "x-png", "x-bmp", "x-tiff", "x-portable-pixmap"))
"""The same as Base64 text."""
SDK_DESCRIPTORS = ("application/x-sdk-descriptor", "application/x-sdk-descriptor-base64")
"""Descriptors as they are, and as Base64 text."""
XPK_FILES = ("application/x-vl-xpk", "application/x-vl-xpk-base64", "applicaition/x-vl-xpk-base64")
"""Files of descriptors; the last name is how the reference document writes it."""
DESCRIPTORS = (*SDK_DESCRIPTORS, *XPK_FILES)
"""Everything that holds descriptors."""


@dataclass(frozen=True, slots=True)
class MediaType:
    """A parsed header with parameters: a content type or a content disposition. `header` is it as it was sent."""

    name: str
    parameters: dict[str, str] = field(default_factory=dict)
    header: str = ""

    @property
    def utf8(self) -> bool:
        """True where no other charset than UTF-8 is named."""
        return self.parameters.get("charset", "utf-8").lower() in {"utf-8", "utf8", "us-ascii"}


def parse(header: str) -> MediaType:
    """Parse a header with parameters (RFC 9110, RFC 2231); the name is lower case, empty where there is none."""
    headers = Headers()
    headers["Content-Type"] = header.replace("\r", " ").replace("\n", " ")
    pairs = headers.get_params(failobj=[("", "")]) or [("", "")]
    parameters: dict[str, str] = {}
    for name, value in pairs[1:]:
        parameters.setdefault(name.lower(), _text(value))
    return MediaType(pairs[0][0].strip().lower(), parameters, header)


def _text(value: str | tuple[str | None, str | None, str]) -> str:
    if isinstance(value, str):
        return value
    charset, _, text = value
    return text.encode("latin-1", "replace").decode(charset if charset in {"utf-8", "UTF-8"} else "latin-1", "replace")
