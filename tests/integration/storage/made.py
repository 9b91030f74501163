"""Values to store: ids that can be read, and things that have them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from server.domain.access import Scope
from server.domain.attributes import AttributeContent, FaceAttribute
from server.domain.descriptors import Descriptor
from server.domain.faces import Face, FaceList

NOW: Final = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
OURS: Final = UUID(int=1)
THEIRS: Final = UUID(int=2)
EVERYONE: Final = Scope(None)


def number(value: int) -> UUID:
    """The id that counts up to a number."""
    return UUID(int=value)


def a_face(value: int, account: UUID = OURS, **fields: object) -> Face:
    """A face made at `NOW`, with other fields where they are given."""
    return Face(**{"face_id": number(value), "account_id": account, "create_time": NOW, **fields})


def a_list(value: int, account: UUID = OURS, **fields: object) -> FaceList:
    """A list made at `NOW`, with other fields where they are given."""
    made = {"list_id": number(value), "account_id": account, "user_data": "", "create_time": NOW}
    return FaceList(**{**made, "last_update_time": NOW, **fields})


def vector(byte: int, version: int = 1001) -> Descriptor:
    """A raw descriptor of one repeated byte."""
    return Descriptor.raw(version, bytes([byte]) * 256)


def an_attribute(*descriptors: Descriptor, attribute_id: UUID | None = None) -> FaceAttribute:
    """An attribute of a face with descriptors and nothing else."""
    return FaceAttribute(NOW, AttributeContent(descriptors=descriptors), attribute_id)
