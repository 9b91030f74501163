"""Which of the forms that can be written a client wants: the Accept header (RFC 9110, section 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence

_QUALITY = re.compile(r"[01](?:\.\d{0,3})?", re.ASCII)


def choose(accept: str, offered: Sequence[str]) -> str | None:
    """The media type to answer with: the one wanted most, the first of `offered` where several are.

    Without an Accept header that is the first; None where the header rules all of them out.
    """
    ranges = [parsed for part in accept.split(",") if (parsed := _range(part)) is not None]
    if not ranges:
        return offered[0]
    qualities = [_quality(media, ranges) for media in offered]
    best = max(qualities)
    return offered[qualities.index(best)] if best > 0 else None


def _range(part: str) -> tuple[str, float] | None:
    media, *parameters = (piece.strip().lower() for piece in part.split(";"))
    if not media:
        return None
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            quality = min(float(value), 1.0) if _QUALITY.fullmatch(value.strip()) else 0.0
    return media, quality


def _quality(media: str, ranges: list[tuple[str, float]]) -> float:
    kind = media.partition("/")[0]
    for pattern in (media, f"{kind}/*", "*/*"):
        found = [quality for wanted, quality in ranges if wanted == pattern]
        if found:
            return max(found)
    return 0.0
