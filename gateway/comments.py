"""The comments of the protos, by the full names of what they stand above."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Protocol

_ERRORS = re.compile(r"(?:^|\s)Errors: ([^.]*(?:\([^)]*\)[^.]*)*)\.")
_REASON = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b|\bBUSY\b")
_MEDIA = re.compile(r"\b(?:application|image|text)/[a-z0-9.+-]*[a-z0-9]")


class Named(Protocol):
    """A descriptor of any kind."""

    @property
    def full_name(self) -> str:
        """luna.v6.Faces.GetFace."""


def comment(element: Named) -> str:
    """The comment above an element; empty where there is none. A paragraph is one line."""
    return _comments().get(element.full_name.removeprefix("luna."), "")


def prose(element: Named) -> str:
    """The comment without its list of errors."""
    return _ERRORS.sub("", comment(element)).strip()


def reasons(element: Named) -> Iterator[str]:
    """The reasons of errors that a method's comment lists: "Errors: FACE_NOT_FOUND, BUSY after too many logins."."""
    for listed in _ERRORS.findall(comment(element)):
        yield from _REASON.findall(listed)


def media_types(*elements: Named) -> tuple[str, ...]:
    """The media types that the comments name, each once."""
    return tuple(dict.fromkeys(name for one in elements for name in _MEDIA.findall(comment(one))))


@cache
def _comments() -> Mapping[str, str]:
    text = files("luna").joinpath("comments.json").read_text(encoding="utf-8")
    return {str(name): str(value) for name, value in json.loads(text).items()}
