"""Bodies of several parts, as urllib3 makes them."""

from __future__ import annotations

from urllib3 import encode_multipart_formdata
from urllib3.fields import RequestField

BOUNDARY = "boundary-of-parts"
"""The same in every run and every process: it is in the names of tests."""


def multipart(*parts: tuple[str, str, str, bytes]) -> tuple[str, bytes]:
    """Content type and body of parts: name, file name, type, bytes."""
    fields = []
    for name, filename, kind, data in parts:
        field = RequestField(name, data, filename or None)
        field.make_multipart(content_type=kind or None)
        fields.append(field)
    body, kind = encode_multipart_formdata(fields, boundary=BOUNDARY)
    return kind, body
