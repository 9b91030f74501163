"""Faces and what is known of them: the rules over the places where they are kept."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit
from uuid import UUID

from server.domain.access import Principal, Scope
from server.domain.attributes import AttributeContent, AttributeStore, FaceAttribute
from server.domain.faces import Face, FaceChanges, FaceStore, NewFace
from server.domain.ids import uuid7
from server.errors import (
    AttributeNotFound,
    BadAvatar,
    BadBody,
    DescriptorNotFound,
    EmptyAttribute,
    FaceHasNoAttributes,
    FaceNotFound,
)

_URI_REFERENCE = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]*")
"""The characters of a URI reference (RFC 3986, appendix A)."""


@dataclass(frozen=True, slots=True)
class AttributeInput:
    """The attribute for a face: the id of a temporary one, or its content."""

    attribute_id: UUID | None = None
    content: AttributeContent | None = None


class People:
    """Creates and changes faces."""

    def __init__(self, faces: FaceStore, attributes: AttributeStore) -> None:
        self._faces = faces
        self._attributes = attributes

    async def create(
        self,
        principal: Principal,
        *,
        attribute: AttributeInput | None = None,
        external_id: str = "",
        user_data: str = "",
        avatar: str = "",
        event_id: UUID | None = None,
        list_ids: tuple[UUID, ...] = (),
    ) -> Face:
        """Create a face with everything that comes with it.

        Raises:
            BadAvatar: the avatar is no URI reference.
            AttributeNotFound, AttributeBound, EmptyAttribute: the attribute cannot be had.
            ListsNotFound: a list is not there.
        """
        check_avatar(avatar)
        bound = None if attribute is None else await self._resolve(principal, attribute)
        lists = tuple(sorted(set(list_ids)))
        face = Face(
            face_id=uuid7(),
            account_id=principal.account_id,
            create_time=datetime.now(UTC),
            event_id=event_id,
            user_data=user_data,
            external_id=external_id,
            avatar=avatar,
            lists=lists,
        )
        await self._faces.create(NewFace(face, bound, lists))
        return face

    async def get(self, reads: Scope, face_id: UUID) -> Face:
        """One face.

        Raises:
            FaceNotFound: it is not there.
        """
        face = await self._faces.get(reads, face_id)
        if face is None:
            raise FaceNotFound(face_id=face_id)
        return face

    async def change(self, principal: Principal, face_id: UUID, changes: FaceChanges) -> None:
        """Change a face.

        Raises:
            FaceNotFound: it is not there.
            BadAvatar: the avatar is no URI reference.
        """
        if changes.avatar is not None:
            check_avatar(changes.avatar)
        if not await self._faces.change(principal.writes, face_id, changes):
            raise FaceNotFound(face_id=face_id)

    async def set_attribute(self, principal: Principal, face_id: UUID, attribute: AttributeInput) -> None:
        """Replace the attribute of a face.

        Raises:
            FaceNotFound: there is no face.
            AttributeNotFound, AttributeBound, EmptyAttribute: the attribute cannot be had.
        """
        await self.get(principal.writes, face_id)
        bound = await self._resolve(principal, attribute)
        if not await self._faces.set_attribute(principal.writes, face_id, bound):
            raise FaceNotFound(face_id=face_id)

    async def attribute(self, reads: Scope, face_id: UUID) -> FaceAttribute:
        """The attribute of a face.

        Raises:
            FaceNotFound: there is no face.
            FaceHasNoAttributes: the face has none.
        """
        found = await self._faces.attribute(reads, face_id)
        if found is None:
            await self.get(reads, face_id)
            raise FaceHasNoAttributes(face_id=face_id)
        return found

    async def samples(self, reads: Scope, face_id: UUID) -> tuple[UUID, ...]:
        """The samples that a face's attribute came from; none where it has no attribute.

        Raises:
            FaceNotFound: there is no face.
        """
        found = await self._faces.attribute(reads, face_id)
        if found is None:
            await self.get(reads, face_id)
            return ()
        return found.content.samples

    async def clear_attribute(self, principal: Principal, face_id: UUID) -> None:
        """Delete the attribute of a face.

        Raises:
            FaceNotFound: there is no face.
        """
        if not await self._faces.clear_attribute(principal.writes, face_id):
            raise FaceNotFound(face_id=face_id)

    async def _resolve(self, principal: Principal, attribute: AttributeInput) -> FaceAttribute:
        """The attribute to bind. A temporary one stays where it is until its time ends: only its content is taken."""
        if attribute.attribute_id is not None:
            found = await self._attributes.get(principal.writes, [attribute.attribute_id])
            if not found:
                raise AttributeNotFound(attribute_id=attribute.attribute_id)
            return FaceAttribute(found[0].create_time, found[0].content, found[0].attribute_id)
        content = attribute.content or AttributeContent()
        check_content(content)
        return FaceAttribute(datetime.now(UTC), content)


def check_content(content: AttributeContent) -> None:
    """Hold the content of an attribute to its rules.

    Raises:
        EmptyAttribute: it has neither descriptors nor basic attributes.
        BadBody: a descriptor's version comes twice.
    """
    if not content.descriptors and content.basic_attributes is None:
        raise EmptyAttribute
    versions = [descriptor.version for descriptor in content.descriptors]
    if len(set(versions)) < len(versions):
        raise BadBody(field="face_descriptors", message="a descriptor version comes twice")


def check_avatar(avatar: str) -> None:
    """Hold an avatar to the form of a URI reference.

    Raises:
        BadAvatar: it is none.
    """
    try:
        urlsplit(avatar)
    except ValueError:
        raise BadAvatar(avatar=avatar) from None
    if not _URI_REFERENCE.fullmatch(avatar):
        raise BadAvatar(avatar=avatar)


def check_version(content: AttributeContent, version: int | None, default: int, object_id: UUID) -> int:
    """The descriptor version to answer with: the one asked for, or the server's own.

    Raises:
        DescriptorNotFound: a version was asked for by name, and the object lacks it.
    """
    if version is not None and content.descriptor(version) is None:
        raise DescriptorNotFound(id=object_id, version=version)
    return version or default
