"""Attributes: descriptors and basic attributes, temporary on their own or bound to a face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol
from uuid import UUID

from server.domain.access import Scope
from server.domain.descriptors import Descriptor


class Gender(Enum):
    """Gender as LUNA numbers it."""

    FEMALE = 0
    MALE = 1


class Ethnicity(Enum):
    """Ethnic group as LUNA numbers it."""

    AFRICAN_AMERICAN = 1
    INDIAN = 2
    ASIAN = 3
    CAUCASIAN = 4


@dataclass(frozen=True, slots=True)
class BasicAttributes:
    """What a person looks like; None where it is not known. Age in years, in [0, 100]."""

    age: int | None = None
    gender: Gender | None = None
    ethnicity: Ethnicity | None = None


@dataclass(frozen=True, slots=True)
class AttributeContent:
    """Descriptors (at most one of a version), basic attributes, and the samples that each came from."""

    descriptors: tuple[Descriptor, ...] = ()
    descriptor_samples: tuple[UUID, ...] = ()
    basic_attributes: BasicAttributes | None = None
    basic_attributes_samples: tuple[UUID, ...] = ()

    def descriptor(self, version: int) -> Descriptor | None:
        """The descriptor of a version."""
        return next((d for d in self.descriptors if d.version == version), None)

    @property
    def samples(self) -> tuple[UUID, ...]:
        """All samples, each once, descriptors' first."""
        return tuple(dict.fromkeys((*self.descriptor_samples, *self.basic_attributes_samples)))


@dataclass(frozen=True, slots=True)
class TemporaryAttribute:
    """An attribute that ends by itself unless a face takes it."""

    attribute_id: UUID
    account_id: UUID
    create_time: datetime
    content: AttributeContent


@dataclass(frozen=True, slots=True)
class FaceAttribute:
    """The attribute of a face. `attribute_id` is the temporary attribute that it came from, if any."""

    create_time: datetime
    content: AttributeContent
    attribute_id: UUID | None = None


class AttributeStore(Protocol):
    """Where temporary attributes are kept until their time ends."""

    async def add(self, attribute: TemporaryAttribute, ttl_seconds: int) -> None:
        """Keep a new attribute for a time."""
        ...

    async def get(self, scope: Scope, attribute_ids: Sequence[UUID]) -> list[TemporaryAttribute]:
        """Those of the attributes that are there and inside the scope, in the order of the ids."""
        ...

    async def remove(self, scope: Scope, attribute_id: UUID) -> bool:
        """Delete an attribute. False where there was none."""
        ...
