"""From values of the domain to rows."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def columns_of(value: DataclassInstance) -> dict[str, object]:
    """The fields of a dataclass by their names, as they are: `asdict` would copy whatever is in them."""
    return {field.name: getattr(value, field.name) for field in fields(value)}
