"""Galleries: the objects that a task is about, with their descriptors, read in one piece."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias
from uuid import UUID

from server.domain.access import Scope
from server.domain.faces import FaceFilter
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


def face_filter(faces: FaceSelection, now: datetime) -> FaceFilter:
    """The conditions of a selection of faces, at a moment; `no_list` is none that a filter has."""
    return FaceFilter(
        face_ids=faces.face_ids,
        external_ids=faces.external_ids,
        list_id=faces.list_id,
        user_data=faces.user_data,
        create_time_gte=None if faces.create_time_gte is None else faces.create_time_gte.at(now),
        create_time_lt=None if faces.create_time_lt is None else faces.create_time_lt.at(now),
        face_id_gte=faces.face_id_gte,
        face_id_lt=faces.face_id_lt,
    )
