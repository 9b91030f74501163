"""What is told of settings that are wrong: the variable, what is the matter with it, and what it is for."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from server.settings import PREFIX, Settings

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

ALIKE = 0.8
"""Share of a name that has to be the same for another one to be meant: a letter or two may be wrong."""

LONGEST = 60
"""Characters of a value that are shown."""


def fields(group: type[BaseModel] = Settings, prefix: str = PREFIX) -> Iterator[tuple[str, FieldInfo]]:
    """Every setting by the name of its variable."""
    for name, field in group.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from fields(inner, f"{prefix}{name.upper()}__")
        else:
            yield prefix + name.upper(), field


def unknown(variable: str) -> str:
    """What is told of a variable that names no setting: the one that may be meant, or where all of them are."""
    alike = get_close_matches(variable.upper(), [name for name, _ in fields()], 1, ALIKE)
    hint = f"is {alike[0]} meant?" if alike else "`luna config reference` prints all there are"
    return f"{variable} names no setting: {hint}"


def wrong(error: ValidationError) -> Iterator[str]:
    """A line for each value that is not allowed. Values of secrets are never in it."""
    known = dict(fields())
    for one in error.errors():
        variable = PREFIX + "__".join(str(part) for part in one["loc"]).upper()
        # of something within a setting, such as the second of several names, the setting is told
        setting = next((name for name in _within(variable) if name in known), None)
        if setting is not None:
            yield _told(setting, known[setting], one)
        elif one["type"] in {"extra_forbidden", "model_type"}:
            yield unknown(variable)
        else:  # what two settings have to do with each other names them itself
            yield _sentence(one)


def _within(variable: str) -> Iterator[str]:
    parts = variable.split("__")
    for length in range(len(parts), 0, -1):
        yield "__".join(parts[:length])


def _told(setting: str, field: FieldInfo, one: ErrorDetails) -> str:
    found = one["input"]
    shown = isinstance(found, str) and len(found) <= LONGEST and SecretStr.__name__ not in repr(field.annotation)
    value = f" is {found!r}" if shown else ""
    return f"{setting}{value}: {_sentence(one)}. {field.description or ''}".rstrip()


def _sentence(one: ErrorDetails) -> str:
    return one["msg"].removeprefix("Value error, ")
