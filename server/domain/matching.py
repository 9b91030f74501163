"""Matching: references are resolved to descriptors, candidates are searched, answers are told in similarities."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias, TypeVar
from uuid import UUID

from server.domain.access import Principal, Scope
from server.domain.attributes import AttributeContent, AttributeStore, TemporaryAttribute
from server.domain.descriptors import BODY_SPECS, LAYOUTS, SPECS, Descriptor, Specs
from server.domain.event_conditions import Column, Condition, Operator
from server.domain.events import EventQuery, EventRecord, EventStore
from server.domain.faces import Face, FaceFilter, FaceStore, Page
from server.domain.narrowing import event_terms, face_terms
from server.domain.search import Comparer, Hit, Index, Query, Where
from server.errors import (
    AttributeNotFound,
    BodyDescriptorNotFound,
    DescriptorNotFound,
    EventExternalIdNotFound,
    EventNotFound,
    EventsOff,
    EventTrackIdNotFound,
    ExternalIdNotFound,
    FaceHasNoAttributes,
    FaceNotFound,
    MatchVersionMismatch,
    MixedDescriptorVersions,
    NoReferenceDescriptor,
)


class ReferenceKind(Enum):
    """Kinds of stored references. The value is the API's word."""

    FACE = "face"
    ATTRIBUTE = "attribute"
    FACE_EXTERNAL_ID = "face_external_id"
    EVENT = "event"
    EVENT_EXTERNAL_ID = "event_external_id"
    EVENT_TRACK_ID = "event_track_id"


@dataclass(frozen=True, slots=True)
class StoredReference:
    """A reference by id: a UUID of a face, an attribute or an event, a text otherwise."""

    kind: ReferenceKind
    id: str


@dataclass(frozen=True, slots=True)
class FaceCandidates:
    """Faces to search in, of one account where `account_id` names it."""

    where: FaceFilter
    account_id: UUID | None
    limit: int
    threshold: float


@dataclass(frozen=True, slots=True)
class AttributeCandidates:
    """Temporary attributes to search in."""

    attribute_ids: tuple[UUID, ...]
    account_id: UUID | None
    limit: int
    threshold: float


@dataclass(frozen=True, slots=True)
class EventCandidates:
    """Events to search in, by the descriptors of their faces or of their bodies, whichever a reference is."""

    conditions: tuple[Condition, ...]
    account_id: UUID | None
    limit: int
    threshold: float


Candidates = FaceCandidates | AttributeCandidates | EventCandidates


@dataclass(frozen=True, slots=True)
class Found:
    """One result: its similarity in [0, 1], and the face, the attribute or the event."""

    similarity: float
    face: Face | None = None
    attribute: TemporaryAttribute | None = None
    event: EventRecord | None = None


FaceIndex: TypeAlias = Index[FaceFilter]
EventIndex: TypeAlias = Index[tuple[Condition, ...]]

_Filter = TypeVar("_Filter")
_Place = tuple[int, int]
"""A descriptor and a set of candidates, by their numbers."""
_BODY_VERSIONS = ", ".join(map(str, BODY_SPECS))


class Matching:
    """Searches and compares.

    Args:
        index: of faces.
        comparer: compares temporary attributes.
        faces: where faces are kept.
        attributes: where temporary attributes are kept.
        events: where events are kept; None where they are switched off.
        event_index: of events; None where they are not searched.
        descriptor_version: of the faces that are searched.
        specs: what cosines mean, for faces and for bodies.
    """

    def __init__(
        self,
        index: FaceIndex,
        comparer: Comparer,
        faces: FaceStore,
        attributes: AttributeStore,
        events: EventStore | None,
        event_index: EventIndex | None,
        *,
        descriptor_version: int,
        specs: Specs = LAYOUTS,
    ) -> None:
        self._index = index
        self._comparer = comparer
        self._faces = faces
        self._attributes = attributes
        self._events = events
        self._event_index = event_index
        self._version = descriptor_version
        self._specs = specs

    async def match(
        self,
        principal: Principal,
        references: Sequence[StoredReference | Descriptor],
        candidates: Sequence[Candidates],
        account_id: UUID | None = None,
    ) -> list[list[list[Found]]]:
        """Search each set of candidates for each reference.

        Args:
            principal: who asks.
            references: whom to look for.
            candidates: where to look.
            account_id: narrows everything to one account.

        Returns:
            For each reference, for each set of candidates, what was found: best first.

        Raises:
            LunaError: a reference is not there, has no descriptor, or one of another version (see `Matcher`).
        """
        descriptors = [await self.resolve(principal.reads(account_id), one) for one in references]
        return await self.search(principal, descriptors, candidates, account_id)

    async def resolve(self, reads: Scope, reference: StoredReference | Descriptor) -> Descriptor:
        """The descriptor of a reference, in the server's version.

        Raises:
            LunaError: as for `match`.
        """
        descriptor = await self._descriptor(reads, reference)
        if descriptor.version != self._version:
            raise MatchVersionMismatch(version=descriptor.version, needed=self._version)
        return descriptor

    async def match_bodies(
        self,
        principal: Principal,
        references: Sequence[StoredReference | Descriptor],
        candidates: Sequence[EventCandidates],
        account_id: UUID | None = None,
    ) -> list[list[list[Found]]]:
        """Search events for the body of each reference, among bodies of its version; the rest is as for `match`."""
        descriptors = [await self._body(principal.reads(account_id), one) for one in references]
        for descriptor in descriptors:
            if descriptor.version not in BODY_SPECS:
                raise MatchVersionMismatch(version=descriptor.version, needed=_BODY_VERSIONS)
        return await self.search(principal, descriptors, candidates, account_id)

    async def compare(self, references: Sequence[Descriptor], candidates: Sequence[Descriptor]) -> list[list[float]]:
        """Similarities in [0, 1] of every reference (row) with every candidate (column).

        Raises:
            MixedDescriptorVersions: not all descriptors have one version.
        """
        similarity = self._specs[check_versions([*references, *candidates])].similarity
        cosines = await self._comparer.cosines(references, candidates)
        return [[similarity(cosine) for cosine in row] for row in cosines]

    async def search(
        self,
        principal: Principal,
        descriptors: Sequence[Descriptor],
        candidates: Sequence[Candidates],
        account_id: UUID | None = None,
    ) -> list[list[list[Found]]]:
        """Search each set of candidates for each descriptor, of a face or of a body; the rest is as for `match`.

        Bodies are found among events alone: elsewhere nothing is found for them.
        """
        if self._event_index is None and any(isinstance(block, EventCandidates) for block in candidates):
            raise EventsOff
        answers: list[list[list[Found]]] = [[[] for _ in candidates] for _ in descriptors]
        faces = {row: one for row, one in enumerate(descriptors) if one.version in SPECS}
        of_faces: dict[_Place, Query[FaceFilter]] = {}
        of_events: dict[_Place, Query[tuple[Condition, ...]]] = {}
        for column, block in enumerate(candidates):
            scope = principal.reads(block.account_id or account_id)
            if block.account_id is not None and account_id is not None and block.account_id != account_id:
                continue
            match block:
                case FaceCandidates():
                    of_faces |= self._queries(faces, column, scope, block, face_terms(block.where))
                case EventCandidates():
                    every = dict(enumerate(descriptors))
                    of_events |= self._queries(every, column, scope, block, event_terms(block.conditions))
                case AttributeCandidates():
                    stored = await self._attributes.get(scope, block.attribute_ids)
                    similar = await self._among(list(faces.values()), stored, block)
                    for row, found in zip(faces, similar, strict=True):
                        answers[row][column] = found
        near = await _hits(self._index, of_faces)
        faces_now = await self._faces_now(principal, _ids(near))
        for (row, column), hits in near.items():
            similarity = self._specs[descriptors[row].version].similarity
            answers[row][column] = [
                Found(similarity(hit.cosine), face=faces_now[hit.object_id])
                for hit in hits
                if hit.object_id in faces_now
            ]
        near = {} if self._event_index is None else await _hits(self._event_index, of_events)
        events_now = await self._events_now(principal, _ids(near))
        for (row, column), hits in near.items():
            similarity = self._specs[descriptors[row].version].similarity
            answers[row][column] = [
                Found(similarity(hit.cosine), event=events_now[hit.object_id])
                for hit in hits
                if hit.object_id in events_now
            ]
        return answers

    def _queries(
        self,
        descriptors: Mapping[int, Descriptor],
        column: int,
        scope: Scope,
        block: FaceCandidates | EventCandidates,
        terms: tuple[Where, _Filter | None],
    ) -> dict[_Place, Query[_Filter]]:
        """The questions that one set of candidates is asked."""
        where, filters = terms
        return {
            (row, column): Query(
                one, scope, where, block.limit, self._specs[one.version].cosine(block.threshold), filters
            )
            for row, one in descriptors.items()
        }

    async def _among(
        self, descriptors: Sequence[Descriptor], stored: Sequence[TemporaryAttribute], block: AttributeCandidates
    ) -> list[list[Found]]:
        known = [(one, other) for one in stored if (other := one.content.descriptor(self._version)) is not None]
        if not known:
            return [[] for _ in descriptors]
        rows = await self.compare(descriptors, [other for _, other in known])
        answers = []
        for row in rows:
            pairs = [(similarity, one) for (one, _), similarity in zip(known, row, strict=True)]
            pairs.sort(key=lambda pair: (-pair[0], pair[1].attribute_id))
            kept = [Found(similarity, attribute=one) for similarity, one in pairs if similarity >= block.threshold]
            answers.append(kept[: block.limit])
        return answers

    async def _faces_now(self, principal: Principal, face_ids: Collection[UUID]) -> dict[UUID, Face]:
        """The faces as the database has them now: one that was deleted while the search ran is not told of."""
        if not face_ids:
            return {}
        where = FaceFilter(face_ids=tuple(face_ids))
        return {face.face_id: face for face in await self._faces.find(principal.reads(), where, Page(1, len(face_ids)))}

    async def _events_now(self, principal: Principal, event_ids: Collection[UUID]) -> dict[UUID, EventRecord]:
        """The events likewise."""
        if not event_ids:
            return {}
        query = EventQuery((Condition(Column.EVENT_ID, Operator.IN, tuple(event_ids)),))
        found = await self._kept.find(principal.reads(), query, Page(1, len(event_ids)))
        return {event.event_id: event for event in found}

    async def _descriptor(self, reads: Scope, reference: StoredReference | Descriptor) -> Descriptor:
        if isinstance(reference, Descriptor):
            return reference
        match reference.kind:
            case ReferenceKind.FACE:
                return await self._of_face(reads, UUID(reference.id))
            case ReferenceKind.FACE_EXTERNAL_ID:
                found = await self._faces.by_external_id(reads, reference.id)
                if not found:
                    raise ExternalIdNotFound(external_id=reference.id)
                return await self._of_face(reads, found[0])
            case ReferenceKind.ATTRIBUTE:
                attribute_id = UUID(reference.id)
                stored = await self._attributes.get(reads, [attribute_id])
                if not stored:
                    raise AttributeNotFound(attribute_id=attribute_id)
                return self._chosen(stored[0].content, "attribute", attribute_id)
            case _:
                return await self._of_event(reads, await self._event(reads, reference))

    async def _of_face(self, reads: Scope, face_id: UUID) -> Descriptor:
        attribute = await self._faces.attribute(reads, face_id)
        if attribute is None:
            if await self._faces.get(reads, face_id) is None:
                raise FaceNotFound(face_id=face_id)
            raise FaceHasNoAttributes(face_id=face_id)
        return self._chosen(attribute.content, "face", face_id)

    @property
    def _kept(self) -> EventStore:
        if self._events is None:
            raise EventsOff
        return self._events

    async def _event(self, reads: Scope, reference: StoredReference) -> UUID:
        """The event that a reference names: the newest one, where it is not by event_id."""
        match reference.kind:
            case ReferenceKind.EVENT_EXTERNAL_ID:
                found = await self._kept.newest_by_external_id(reads, reference.id)
                if found is None:
                    raise EventExternalIdNotFound(external_id=reference.id)
            case ReferenceKind.EVENT_TRACK_ID:
                found = await self._kept.newest_by_track_id(reads, reference.id)
                if found is None:
                    raise EventTrackIdNotFound(track_id=reference.id)
            case _:
                return UUID(reference.id)
        return found

    async def _of_event(self, reads: Scope, event_id: UUID) -> Descriptor:
        """The face of an event."""
        descriptor = await self._kept.descriptor(reads, event_id, self._version)
        if descriptor is None:
            if not SPECS.keys() & await self._versions(reads, event_id):
                raise NoReferenceDescriptor(kind="event", id=event_id)
            raise DescriptorNotFound(id=event_id, version=self._version)
        return descriptor

    async def _body(self, reads: Scope, reference: StoredReference | Descriptor) -> Descriptor:
        """The body of an event, by its newest version."""
        if isinstance(reference, Descriptor):
            return reference
        event_id = await self._event(reads, reference)
        versions = BODY_SPECS.keys() & await self._versions(reads, event_id)
        descriptor = await self._kept.descriptor(reads, event_id, max(versions)) if versions else None
        if descriptor is None:
            raise BodyDescriptorNotFound(id=event_id, version=_BODY_VERSIONS)
        return descriptor

    async def _versions(self, reads: Scope, event_id: UUID) -> tuple[int, ...]:
        versions = await self._kept.descriptor_versions(reads, event_id)
        if not versions and await self._kept.get(reads, event_id) is None:
            raise EventNotFound(event_id=event_id)
        return versions

    def _chosen(self, content: AttributeContent, kind: str, object_id: UUID) -> Descriptor:
        if not content.descriptors:
            raise NoReferenceDescriptor(kind=kind, id=object_id)
        descriptor = content.descriptor(self._version)
        if descriptor is None:
            raise DescriptorNotFound(id=object_id, version=self._version)
        return descriptor


async def _hits(index: Index[_Filter], queries: Mapping[_Place, Query[_Filter]]) -> dict[_Place, list[Hit]]:
    found = await index.search(list(queries.values())) if queries else []
    return dict(zip(queries, found, strict=True))


def _ids(near: Mapping[_Place, Sequence[Hit]]) -> set[UUID]:
    return {hit.object_id for hits in near.values() for hit in hits}


def check_versions(descriptors: Sequence[Descriptor]) -> int:
    """The one version that all descriptors have.

    Raises:
        MixedDescriptorVersions: they have several.
    """
    versions = sorted({descriptor.version for descriptor in descriptors})
    if len(versions) > 1:
        raise MixedDescriptorVersions(versions=", ".join(map(str, versions)))
    return versions[0]
