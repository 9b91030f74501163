"""Samples: stored warps of faces and bodies."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol
from uuid import UUID

from server.domain.access import Scope


class SampleType(Enum):
    """What a sample shows. The value is the word in its path."""

    FACES = "faces"
    BODIES = "bodies"


@dataclass(frozen=True, slots=True)
class Sample:
    """A stored sample without its bytes. `size` is in bytes, `sha256` of the stored JPEG."""

    sample_id: UUID
    account_id: UUID
    sample_type: SampleType
    size: int
    sha256: bytes
    create_time: datetime


class SampleStore(Protocol):
    """Where samples are kept: their rows and their bytes."""

    async def add(self, sample: Sample, data: bytes) -> None:
        """Keep a new sample: its bytes first, then its row, so that a row never lacks its bytes."""
        ...

    async def add_all(self, kept: Sequence[tuple[Sample, bytes]]) -> None:
        """Keep several new samples, all of them or none. Each has its bytes first, then its row."""
        ...

    async def get(self, scope: Scope, sample_type: SampleType, sample_id: UUID) -> Sample | None:
        """The row of a sample inside the scope."""
        ...

    async def read(self, scope: Scope, sample_type: SampleType, sample_id: UUID) -> bytes | None:
        """The JPEG bytes of a sample inside the scope."""
        ...

    async def missing(self, scope: Scope, sample_type: SampleType, sample_ids: Collection[UUID]) -> set[UUID]:
        """Those of the ids that name no sample inside the scope."""
        ...

    async def remove(self, scope: Scope, sample_type: SampleType, sample_id: UUID) -> bool:
        """Delete a sample: its row first, then its bytes. False where there was none."""
        ...
