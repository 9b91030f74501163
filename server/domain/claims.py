"""Claims: whom a person claims to be, as stored objects with their descriptors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from server.domain.access import Principal, Scope
from server.domain.attributes import AttributeStore
from server.domain.descriptors import Descriptor
from server.domain.events import Candidate, EventStore, MatchedAttribute
from server.domain.faces import FaceFilter, FaceStore, Page
from server.domain.matching import Matching, ReferenceKind, StoredReference
from server.errors import (
    AttributeNotFound,
    BadQuery,
    EventNotFound,
    ExternalIdNotFound,
    FaceNotFound,
    NoneOfQuery,
)

PARAMETERS = "face_ids, event_ids, attribute_ids, external_ids"
"""What a claim is made of, by the API's names."""

MOST = 1000
"""Objects that one call is compared with; one external id may stand for any number of faces."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Ids of those that a person claims to be. An external id stands for every face that has it."""

    face_ids: tuple[UUID, ...] = ()
    event_ids: tuple[UUID, ...] = ()
    attribute_ids: tuple[UUID, ...] = ()
    external_ids: tuple[str, ...] = ()

    def permit(self, principal: Principal) -> None:
        """Hold a claim to what the caller may compare with.

        Raises:
            NoneOfQuery: nobody is named.
            MissingPermission: a token may not compare with one of the kinds.
        """
        named = {
            "face": self.face_ids or self.external_ids,
            "event": self.event_ids,
            "attribute": self.attribute_ids,
        }
        if not any(named.values()):
            raise NoneOfQuery(allowed=PARAMETERS)
        for kind in (kind for kind, ids in named.items() if ids):
            principal.require(kind, "matching")


@dataclass(frozen=True, slots=True)
class Claimed:
    """One of those who are claimed: the object, and its descriptor of the server's version."""

    descriptor: Descriptor
    candidate: Candidate


class Claims:
    """Finds those who are claimed."""

    def __init__(self, matching: Matching, faces: FaceStore, attributes: AttributeStore, events: EventStore) -> None:
        self._matching = matching
        self._faces = faces
        self._attributes = attributes
        self._events = events

    async def resolve(self, owns: Scope, claim: Claim) -> list[Claimed]:
        """Those who are claimed, each once: faces, events, attributes, and faces by external ids.

        Raises:
            BadQuery: they are too many.
            FaceNotFound, EventNotFound, AttributeNotFound, ExternalIdNotFound: one of them is not there.
            FaceHasNoAttributes, NoReferenceDescriptor, DescriptorNotFound: one of them cannot be compared with.
        """
        face_ids, event_ids = dict.fromkeys(claim.face_ids), dict.fromkeys(claim.event_ids)
        attribute_ids = dict.fromkeys(claim.attribute_ids)
        named = [await self._of_external_id(owns, one) for one in dict.fromkeys(claim.external_ids)]
        others = dict.fromkeys(one for ids in named for one in ids if one not in face_ids)
        count = sum(map(len, (face_ids, event_ids, attribute_ids, others)))
        if count > MOST:
            raise BadQuery(field=PARAMETERS, message=f"{count} objects are named, at most {MOST} are compared with")
        return [
            *await self._of_faces(owns, face_ids),
            *[await self._of_event(owns, one) for one in event_ids],
            *[await self._of_attribute(owns, one) for one in attribute_ids],
            *await self._of_faces(owns, others),
        ]

    async def _of_external_id(self, owns: Scope, external_id: str) -> list[UUID]:
        found = await self._faces.by_external_id(owns, external_id)
        if not found:
            raise ExternalIdNotFound(external_id=external_id)
        return found

    async def _of_faces(self, owns: Scope, face_ids: Iterable[UUID]) -> list[Claimed]:
        ids = tuple(face_ids)
        if not ids:
            return []
        descriptors = [await self._descriptor(owns, ReferenceKind.FACE, one) for one in ids]
        found = await self._faces.find(owns, FaceFilter(face_ids=ids), Page(1, len(ids)))
        faces = {face.face_id: face for face in found}
        absent = next((one for one in ids if one not in faces), None)
        if absent is not None:  # it was deleted in between
            raise FaceNotFound(face_id=absent)
        return [Claimed(of, Candidate(0.0, face=faces[one])) for one, of in zip(ids, descriptors, strict=True)]

    async def _of_event(self, owns: Scope, event_id: UUID) -> Claimed:
        descriptor = await self._descriptor(owns, ReferenceKind.EVENT, event_id)
        event = await self._events.get(owns, event_id)
        if event is None:
            raise EventNotFound(event_id=event_id)
        return Claimed(descriptor, Candidate(0.0, event=event))

    async def _of_attribute(self, owns: Scope, attribute_id: UUID) -> Claimed:
        descriptor = await self._descriptor(owns, ReferenceKind.ATTRIBUTE, attribute_id)
        found = await self._attributes.get(owns, [attribute_id])
        if not found:  # its time ended in between
            raise AttributeNotFound(attribute_id=attribute_id)
        attribute = MatchedAttribute(attribute_id, found[0].account_id, found[0].create_time)
        return Claimed(descriptor, Candidate(0.0, attribute=attribute))

    async def _descriptor(self, owns: Scope, kind: ReferenceKind, object_id: UUID) -> Descriptor:
        return await self._matching.resolve(owns, StoredReference(kind, str(object_id)))
