"""Galleries: the objects that a task is about, with their descriptors, read in one piece."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias
from uuid import UUID

from server.domain.access import Scope
from server.domain.task_contents import AttributeSelection, EventSelection, FaceSelection

Gallery: TypeAlias = FaceSelection | EventSelection | AttributeSelection


@dataclass(frozen=True, slots=True)
class Member:
    """One object, its raw descriptor of the version that was asked for, and of events the track it belongs to."""

    object_id: UUID
    descriptor: bytes | None
    track_id: str | None = None


class Galleries(Protocol):
    """Reads the objects of selections. Nothing outside the given scope is seen."""

    def members(
        self, scope: Scope, gallery: Gallery, version: int, now: datetime
    ) -> AsyncGenerator[Sequence[Member], None]:
        """All objects of a selection, each once, in batches and in any order, of one moment.

        Those without a descriptor of the version are among them. Relative times count from `now`.
        """
        ...

    async def body_version(self, scope: Scope, events: EventSelection, now: datetime) -> int | None:
        """The version of most body descriptors of events, the highest of several; None where there is none."""
        ...
