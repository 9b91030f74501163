"""`luna config`: the settings as they are, and the reference of all there are."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, SecretStr
from rich.console import Console
from rich.table import Table

from server.settings import PREFIX, Settings


def run(settings: Settings) -> None:
    """Print the settings. Secrets print as stars, which is what their type does."""
    table = Table("setting", "value")
    for name, value in values(settings):
        table.add_row(name, _text(value))
    Console().print(table)


def values(group: BaseModel, prefix: str = PREFIX) -> Iterator[tuple[str, object]]:
    """Every setting by the name of its environment variable."""
    for name in type(group).model_fields:
        value = getattr(group, name)
        if isinstance(value, BaseModel):
            yield from values(value, f"{prefix}{name.upper()}__")
        else:
            yield prefix + name.upper(), value


def reference() -> str:
    """The table of all settings in Markdown."""
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    lines += [f"| `{name}` | {default} | {meaning} |" for name, default, meaning in _described(Settings, PREFIX)]
    return "\n".join(lines)


def _described(group: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in group.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel) and not issubclass(inner, SecretStr):
            yield from _described(inner, f"{prefix}{name.upper()}__")
            continue
        default = field.get_default(call_default_factory=True)
        shown = getattr(default, "value", default)
        yield (
            prefix + name.upper(),
            "" if shown is None or shown == () else f"`{_text(shown)}`",
            field.description or "",
        )


def _text(value: object) -> str:
    """A value as it is written into the environment."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
