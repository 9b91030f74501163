"""Faces and lists: who is known, and how they are grouped."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Literal, Protocol
from uuid import UUID

from server.domain.access import Scope
from server.domain.attributes import FaceAttribute


@dataclass(frozen=True, slots=True)
class Face:
    """A face. Empty texts mean that nothing was given. `lists` are the lists it is in, ordered by id."""

    face_id: UUID
    account_id: UUID
    create_time: datetime
    event_id: UUID | None = None
    user_data: str = ""
    external_id: str = ""
    avatar: str = ""
    lists: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class FaceFilter:
    """Which faces: every condition that is given must hold. An empty collection selects nothing, None everything.

    `user_data` is a substring, matched as it is written. Lower bounds are inclusive, upper ones exclusive.
    """

    face_ids: tuple[UUID, ...] | None = None
    external_ids: tuple[str, ...] | None = None
    event_id: UUID | None = None
    list_id: UUID | None = None
    user_data: str | None = None
    create_time_gte: datetime | None = None
    create_time_lt: datetime | None = None
    face_id_gte: UUID | None = None
    face_id_lt: UUID | None = None

    @property
    def ordered_by_id(self) -> bool:
        """True where a bound on face_id asks for the order of ids (reference document, face_id__lt)."""
        return self.face_id_gte is not None or self.face_id_lt is not None


class Keep(Enum):
    """Marks a field that a change leaves as it is, where None is a value of its own."""

    KEEP = 0


@dataclass(frozen=True, slots=True)
class FaceChanges:
    """What to change of a face; None (KEEP for event_id) leaves a field as it is."""

    external_id: str | None = None
    user_data: str | None = None
    avatar: str | None = None
    event_id: UUID | Literal[Keep.KEEP] | None = Keep.KEEP


@dataclass(frozen=True, slots=True)
class NewFace:
    """A face to create with everything that comes with it, in one transaction."""

    face: Face
    attribute: FaceAttribute | None = None
    list_ids: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class FaceList:
    """A list of faces."""

    list_id: UUID
    account_id: UUID
    user_data: str
    create_time: datetime
    last_update_time: datetime


@dataclass(frozen=True, slots=True)
class ListFilter:
    """Which lists, by the same rules as `FaceFilter`. `user_data` is a substring, `user_data_eq` the whole text."""

    list_ids: tuple[UUID, ...] | None = None
    user_data: str | None = None
    user_data_eq: str | None = None
    create_time_gte: datetime | None = None
    create_time_lt: datetime | None = None
    last_update_time_gte: datetime | None = None
    last_update_time_lt: datetime | None = None
    list_id_gte: UUID | None = None
    list_id_lt: UUID | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a long answer, counted from 1."""

    number: int = 1
    size: int = 10

    @property
    def offset(self) -> int:
        """Items before this page."""
        return (self.number - 1) * self.size


class FaceStore(Protocol):
    """Where faces and their attributes are kept. Nothing outside the given scope is seen or changed."""

    async def create(self, new: NewFace) -> None:
        """Keep a new face with its attribute and lists.

        Raises:
            ListsNotFound: a list is not there or belongs to another account.
            AttributeBound: another face has taken the same temporary attribute.
        """
        ...

    async def get(self, scope: Scope, face_id: UUID) -> Face | None:
        """One face."""
        ...

    async def find(self, scope: Scope, where: FaceFilter, page: Page) -> list[Face]:
        """A page of faces: newest first, or by ascending id where the filter bounds the id. Ties go by id."""
        ...

    async def count(self, scope: Scope, where: FaceFilter) -> int:
        """How many faces."""
        ...

    async def count_with_attributes(self, scope: Scope) -> int:
        """How many faces have an attribute."""
        ...

    async def change(self, scope: Scope, face_id: UUID, changes: FaceChanges) -> bool:
        """Change a face. False where there is none."""
        ...

    async def remove(self, scope: Scope, face_ids: Collection[UUID], *, ignore_missing: bool) -> None:
        """Delete faces with their attributes, all or none.

        Raises:
            FacesNotFound: a face is not there, unless that is to be ignored.
        """
        ...

    async def attribute(self, scope: Scope, face_id: UUID) -> FaceAttribute | None:
        """The attribute of a face, or None where the face or its attribute is not there."""
        ...

    async def set_attribute(self, scope: Scope, face_id: UUID, attribute: FaceAttribute) -> bool:
        """Replace everything that is stored for a face. False where there is no face.

        Raises:
            AttributeBound: another face has taken the same temporary attribute.
        """
        ...

    async def clear_attribute(self, scope: Scope, face_id: UUID) -> bool:
        """Delete the attribute of a face. False where there is no face; a face without attribute is fine."""
        ...

    async def by_external_id(self, scope: Scope, external_id: str) -> list[UUID]:
        """Ids of the faces with an external id, oldest first."""
        ...


class ListStore(Protocol):
    """Where lists are kept. Nothing outside the given scope is seen or changed."""

    async def create(self, new: FaceList) -> None:
        """Keep a new list."""
        ...

    async def get(self, scope: Scope, list_id: UUID) -> FaceList | None:
        """One list."""
        ...

    async def find(self, scope: Scope, where: ListFilter, page: Page) -> list[FaceList]:
        """A page of lists: newest first, or by ascending id where the filter bounds the id. Ties go by id."""
        ...

    async def count(self, scope: Scope, where: ListFilter) -> int:
        """How many lists."""
        ...

    async def change(self, scope: Scope, list_id: UUID, user_data: str | None, now: datetime) -> bool:
        """Change a list and its last_update_time. False where there is none."""
        ...

    async def remove(self, scope: Scope, list_ids: Collection[UUID], *, with_faces: bool) -> None:
        """Delete lists, and with them their faces where asked for, all or none.

        Raises:
            ListsNotFound: a list is not there.
        """
        ...

    async def attach(self, scope: Scope, list_id: UUID, face_ids: Sequence[UUID], now: datetime) -> None:
        """Put faces into a list; a face that is in it already is fine. All or none.

        Raises:
            ListNotFound, FacesNotFound: the list or a face is not there or belongs to another account.
        """
        ...

    async def detach(self, scope: Scope, list_id: UUID, face_ids: Sequence[UUID], now: datetime) -> None:
        """Take faces out of a list; a face that is not in it is fine. All or none.

        Raises:
            ListNotFound, FacesNotFound: as for `attach`.
        """
        ...
