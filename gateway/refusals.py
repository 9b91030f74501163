"""Errors of a REST value that is not allowed: which one it is depends on where the value stood, and on its field."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from functools import cache
from string import Formatter

from server.errors import BadBody, BadQuery, LunaError, catalogue

LONGEST_ECHO = 64
"""Characters of a bad value that its error repeats."""


_ALIKE = 0.8
"""Share of a name that has to be the same for another one to be meant."""


class Place(Enum):
    """Where a value stood in the request."""

    BODY = "body"
    QUERY = "query"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Makes the errors of one field's values. `reason` is that of `luna.field`; empty for the common errors."""

    place: Place
    reason: str = ""

    def value(self, path: str, found: object, allowed: Collection[str]) -> LunaError:
        """The value is none of those that are allowed."""
        listed = ", ".join(allowed)
        if not self.reason:
            return self.form(path, f"value is not one of {listed}")
        error = _by_reason()[self.reason]
        known = {"field": path, "allowed": listed, "message": f"value is not one of {listed}"}
        names = [name for _, name, _, _ in Formatter().parse(error.template) if name]
        return error(violations=(), **{name: known.get(name, shortened(found)) for name in names})

    def form(self, path: str, message: str) -> LunaError:
        """The value has the wrong type or form."""
        return (
            BadQuery(field=path, message=message) if self.place is Place.QUERY else BadBody(field=path, message=message)
        )


@cache
def _by_reason() -> dict[str, type[LunaError]]:
    return {error.reason: error for error in catalogue()}


def shortened(found: object) -> str:
    """A bad value as text that is short enough to be repeated to its sender."""
    text = str(found)
    return text if len(text) <= LONGEST_ECHO else text[:LONGEST_ECHO] + "..."


def extra(name: str, known: Collection[str]) -> str:
    """What is said of a member that there is not; of a short name also which one may be meant."""
    alike = get_close_matches(name, list(known), 1, _ALIKE) if len(name) <= LONGEST_ECHO else []
    return "extra fields not permitted" + (f"; is '{alike[0]}' meant?" if alike else "")


def joined(path: str, member: str | int) -> str:
    """The dotted path of a member: references.0.type."""
    return f"{path}.{member}" if path else str(member)
