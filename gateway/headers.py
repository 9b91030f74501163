"""Headers beyond those that HTTP itself needs: texts of the caller's own, and what makes content safe to look at.

    request    X-Luna-Meta-Camera: north      {"camera": "north"}
    response   the same, back again

gRPC metadata holds printable ASCII alone, and no metadata may end in `-bin`. Headers that need more travel as one entry
in the form of a query, which the script of the edge takes apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from server.errors import InvalidInput

ESCAPED = "x-http-headers"
"""Metadata with headers in the form of a query."""
MAX_ESCAPED = 48 << 10
"""Longest such metadata: Envoy takes headers of 60 KiB."""
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_TOKEN = re.compile(r"[A-Za-z0-9!#$&+.^_`|~-]+")
_HTML = "text/html"
_FRAMED_NOWHERE = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
_INERT = "default-src 'none'; sandbox"


def with_prefix(headers: Mapping[str, str], prefix: str) -> dict[str, str]:
    """The headers whose names begin with a prefix, by the rest of their names; all in lower case."""
    return {name.removeprefix(prefix): value for name, value in headers.items() if name.startswith(prefix)}


def escaped(texts: Mapping[str, str], prefix: str) -> tuple[tuple[str, str], ...]:
    """The metadata for headers with a prefix; none where there are none.

    Raises:
        InvalidInput: they are longer than headers can be.
    """
    if not texts:
        return ()
    pairs = (f"{quote(prefix + name, safe='')}={_value(value)}" for name, value in sorted(texts.items()))
    text = "&".join(pairs)
    if len(text) > MAX_ESCAPED:
        raise InvalidInput(message=f"the headers {prefix}... exceed {MAX_ESCAPED} bytes: ask without them, or by gRPC")
    return ((ESCAPED, text),)


def of_content(content_type: str, filename: str) -> Iterable[tuple[str, str]]:
    """Headers of bytes that are shown or kept as they are, some of which strangers made.

    No browser guesses at their type. A page may be in no frame, and tells itself what it loads; anything else, and
    what is called by a file's name, can do nothing in a browser.
    """
    if filename:
        yield "content-disposition", f"attachment; {_filename(filename)}"
    yield "x-content-type-options", "nosniff"
    page = content_type.partition(";")[0].strip().lower() == _HTML and not filename
    yield "content-security-policy", _FRAMED_NOWHERE if page else _INERT


def _value(text: str) -> str:
    """Every printable character but those of the form itself stays; a line's end would end the header."""
    return quote(_CONTROLS.sub(" ", text), safe=" !\"#$'()*+,/:;<>?@[\\]^`{|}")


def _filename(name: str) -> str:
    """RFC 6266: a name that is no token is percent-encoded."""
    return f"filename={name}" if _TOKEN.fullmatch(name) else f"filename*=UTF-8''{quote(name, safe='')}"
