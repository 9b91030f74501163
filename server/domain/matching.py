"""Matching: references are resolved to descriptors, candidates are searched, answers are told in similarities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from uuid import UUID

from server.domain.access import Principal, Scope
from server.domain.attributes import AttributeContent, AttributeStore, TemporaryAttribute
from server.domain.descriptors import SPECS, Descriptor, Specs
from server.domain.event_conditions import Condition
from server.domain.events import EventRecord
from server.domain.faces import Face, FaceFilter, FaceStore, Page
from server.domain.search import Comparer, FaceIndex, FaceQuery
from server.errors import (
    AttributeNotFound,
    BadBody,
    DescriptorNotFound,
    EventsOff,
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
    """A reference by id."""

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


class Matching:
    """Searches and compares."""

    def __init__(
        self,
        index: FaceIndex,
        comparer: Comparer,
        faces: FaceStore,
        attributes: AttributeStore,
        *,
        descriptor_version: int,
        specs: Specs = SPECS,
    ) -> None:
        self._index = index
        self._comparer = comparer
        self._faces = faces
        self._attributes = attributes
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
        """Search each set of candidates for each descriptor of the server's version; the rest is as for `match`."""
        answers: list[list[list[Found]]] = [[[] for _ in candidates] for _ in descriptors]
        places: list[tuple[int, int]] = []
        queries: list[FaceQuery] = []
        for column, block in enumerate(candidates):
            scope = principal.reads(block.account_id or account_id)
            if block.account_id is not None and account_id is not None and block.account_id != account_id:
                continue
            if isinstance(block, AttributeCandidates):
                stored = await self._attributes.get(scope, block.attribute_ids)
                for row, similar in enumerate(await self._among(descriptors, stored, block)):
                    answers[row][column] = similar
                continue
            if isinstance(block, EventCandidates):
                raise EventsOff
            least = self._specs[self._version].cosine(block.threshold)
            for row, descriptor in enumerate(descriptors):
                places.append((row, column))
                queries.append(FaceQuery(descriptor, scope, block.where, block.limit, least))
        if queries:
            hits = await self._index.search(queries)
            shown = await self._shown(principal, {hit.face_id for near in hits for hit in near})
            similarity = self._specs[self._version].similarity
            for (row, column), near in zip(places, hits, strict=True):
                answers[row][column] = [
                    Found(similarity(hit.cosine), face=shown[hit.face_id]) for hit in near if hit.face_id in shown
                ]
        return answers

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

    async def _shown(self, principal: Principal, face_ids: set[UUID]) -> dict[UUID, Face]:
        """The faces as the database has them now: one that was deleted while the search ran is not told of."""
        if not face_ids:
            return {}
        where = FaceFilter(face_ids=tuple(face_ids))
        return {face.face_id: face for face in await self._faces.find(principal.reads(), where, Page(1, len(face_ids)))}

    async def _descriptor(self, reads: Scope, reference: StoredReference | Descriptor) -> Descriptor:
        if isinstance(reference, Descriptor):
            return reference
        match reference.kind:
            case ReferenceKind.FACE:
                return await self._of_face(reads, _uuid(reference.id))
            case ReferenceKind.FACE_EXTERNAL_ID:
                found = await self._faces.by_external_id(reads, reference.id)
                if not found:
                    raise ExternalIdNotFound(external_id=reference.id)
                return await self._of_face(reads, found[0])
            case ReferenceKind.ATTRIBUTE:
                attribute_id = _uuid(reference.id)
                stored = await self._attributes.get(reads, [attribute_id])
                if not stored:
                    raise AttributeNotFound(attribute_id=attribute_id)
                return self._chosen(stored[0].content, "attribute", attribute_id)
            case _:
                raise EventsOff

    async def _of_face(self, reads: Scope, face_id: UUID) -> Descriptor:
        attribute = await self._faces.attribute(reads, face_id)
        if attribute is None:
            if await self._faces.get(reads, face_id) is None:
                raise FaceNotFound(face_id=face_id)
            raise FaceHasNoAttributes(face_id=face_id)
        return self._chosen(attribute.content, "face", face_id)

    def _chosen(self, content: AttributeContent, kind: str, object_id: UUID) -> Descriptor:
        if not content.descriptors:
            raise NoReferenceDescriptor(kind=kind, id=object_id)
        descriptor = content.descriptor(self._version)
        if descriptor is None:
            raise DescriptorNotFound(id=object_id, version=self._version)
        return descriptor


def check_versions(descriptors: Sequence[Descriptor]) -> int:
    """The one version that all descriptors have.

    Raises:
        MixedDescriptorVersions: they have several.
    """
    versions = sorted({descriptor.version for descriptor in descriptors})
    if len(versions) > 1:
        raise MixedDescriptorVersions(versions=", ".join(map(str, versions)))
    return versions[0]


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadBody(field="references.id", message=f"'{text[:64]}' is not a uuid") from None
