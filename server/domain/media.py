"""Images and objects: bytes that a caller wants to be kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Protocol
from uuid import UUID

from server.domain.access import Scope


class MediaKind(Enum):
    """What is kept. The value is the word in its path."""

    IMAGES = "images"
    OBJECTS = "objects"


@dataclass(frozen=True, slots=True)
class Media:
    """The row of something that is kept. `size` is in bytes; `meta` are texts of the caller's own."""

    media_id: UUID
    account_id: UUID
    kind: MediaKind
    content_type: str
    size: int
    sha256: bytes
    create_time: datetime
    meta: Mapping[str, str] = field(default_factory=dict)


class MediaStore(Protocol):
    """Where images and objects are kept: their rows and their bytes."""

    async def add(self, media: Media, data: bytes) -> None:
        """Keep something new: its bytes first, then its row, so that a row never lacks its bytes."""
        ...

    async def get(self, scope: Scope, kind: MediaKind, media_id: UUID) -> Media | None:
        """The row of something inside the scope."""
        ...

    async def read(self, media: Media) -> bytes | None:
        """The bytes of something; None where it has been deleted since."""
        ...

    async def remove(self, scope: Scope, kind: MediaKind, media_id: UUID) -> bool:
        """Delete something: its row first, then its bytes. False where there was none."""
        ...
