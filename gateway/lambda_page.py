"""The description of a lambda as a page for people.

The description is a stranger's, and the page is this service's own. So no more of it is read than the names of its
operations, by a reader that follows no references and ends early, and everything of it is shown as text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import yaml

from gateway import markup

LARGEST: Final = 256 << 10
"""Characters of a description that is read; a longer one is shown as it is."""
MOST_EVENTS: Final = 50_000
DEEPEST: Final = 64
VERBS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")

_OPENS: Final = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_CLOSES: Final = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


@dataclass(frozen=True, slots=True)
class Section:
    """An operation as the page shows it."""

    id: str
    verb: str
    path: str
    summary: str
    text: str


class _Unreadable(Exception):
    """A description is not read, and shown as it is."""


def lambda_page(lambda_id: str, text: str) -> bytes:
    """The page of a lambda's description in YAML, whatever stands in it. Takes a moment, and is for a thread."""
    try:
        document = _read(text)
    except _Unreadable:
        document = {}
    info = _object(document.get("info"))
    return markup.page(
        "lambda.html.j2",
        lambda_id=lambda_id,
        title=_text(info.get("title")) or "Lambda",
        about=_text(info.get("description")),
        operations=tuple(_operations(document)),
        source=text,
    )


def _read(text: str) -> Mapping[object, object]:
    """A description as an object.

    Raises:
        _Unreadable: it is too large, too deep, refers to itself, or is none.
    """
    if len(text) > LARGEST:
        raise _Unreadable
    depth = 0
    try:
        for count, event in enumerate(yaml.parse(text, Loader=yaml.CSafeLoader)):
            depth += isinstance(event, _OPENS) - isinstance(event, _CLOSES)
            if count > MOST_EVENTS or depth > DEEPEST or isinstance(event, yaml.AliasEvent):
                raise _Unreadable
        return _object(yaml.load(text, Loader=yaml.CSafeLoader))
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError):
        # the reader makes times and numbers of what looks like them, and not all of it is any
        raise _Unreadable from None


def _operations(document: Mapping[object, object]) -> Iterator[Section]:
    number = 0
    for path, item in _object(document.get("paths")).items():
        for verb, operation in _object(item).items():
            if isinstance(path, str) and verb in VERBS:
                number += 1
                one = _object(operation)
                yield Section(
                    id=f"operation-{number}",
                    verb=str(verb),
                    path=path,
                    summary=_text(one.get("summary")) or path,
                    text=_text(one.get("description")),
                )


def _object(value: object) -> Mapping[object, object]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
