"""Verification: is the person in a picture one of those that they claim to be?

Every face of every source is compared with everybody who is claimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

from server.domain.access import Principal
from server.domain.attributes import AttributeContent, TemporaryAttribute
from server.domain.claims import Claim, Claimed, Claims
from server.domain.descriptors import Descriptor
from server.domain.detection import sample_of
from server.domain.events import Batch, Candidate, EventStore
from server.domain.extraction import kept
from server.domain.generation.made import FaceExtract
from server.domain.generation.plan import Plan
from server.domain.generation.request import EventSource, GenerationWish
from server.domain.generation.sources import FilteredFace, Looking, Person, SourceOutcome
from server.domain.ids import uuid7
from server.domain.images import Images
from server.domain.matching import Matching
from server.domain.samples import Sample, SampleType
from server.domain.verifiers import VerifierPolicies
from server.domain.vision import BasicAttributesEstimation, DetectedFace
from server.errors import LunaError, MatchVersionMismatch, UnusableRequest

MOST_COMPARISONS = 100_000
"""Pairs that one call compares: each is told with its object."""

TTL_SECONDS = 300
"""How long an attribute lives where the policies do not say."""


@dataclass(frozen=True, slots=True)
class VerificationWish:
    """What a caller gives, and whom it claims to show. Photos are rotated by their EXIF tag where `use_exif`."""

    sources: tuple[EventSource, ...]
    claim: Claim
    use_exif: bool = True


@dataclass(frozen=True, slots=True)
class Verified:
    """One comparison: whether the similarity is above the threshold, and with whom it was made."""

    status: bool
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class VerifiedFace:
    """One face and whom it is.

    Attributes:
        face: what the answer shows of it; None where a descriptor was given.
        sample_id: its sample, stored now or before; None where it is not stored.
        extract: what was extracted of it.
        verifications: one for each who is claimed, in their order.
    """

    face: DetectedFace | None
    sample_id: UUID | None
    extract: FaceExtract
    verifications: tuple[Verified, ...]


@dataclass(frozen=True, slots=True)
class VerifiedSource:
    """What became of one source: its faces, or why it failed."""

    source: EventSource
    faces: tuple[VerifiedFace, ...] = ()
    filtered: tuple[FilteredFace, ...] = ()
    exif: dict[str, str] | None = None
    people_count: int | None = None
    error: LunaError | None = None


class Verification:
    """Compares people with those that they claim to be.

    Args:
        images: looks at pictures.
        matching: compares.
        claims: finds those who are claimed.
        events: keeps what policies store, in one transaction; of events themselves there are none.
    """

    def __init__(self, images: Images, matching: Matching, claims: Claims, events: EventStore) -> None:
        self._images = images
        self._matching = matching
        self._claims = claims
        self._events = events

    async def perform(
        self, principal: Principal, policies: VerifierPolicies, wish: VerificationWish
    ) -> list[VerifiedSource]:
        """Compare every face of every source with everybody who is claimed, and store what the policies say.

        Everything that is looked at belongs to the caller's own account (source: reference document). A source that
        fails is told in its own entry.

        Returns:
            One for each source, in their order. What they name is stored.

        Raises:
            MissingPermission: a token may not compare with one of the kinds, or not store what the policies store.
            FeatureOff: no installed model serves an estimation.
            UnusableRequest: these are too many faces and too many who are claimed.
            LunaError: somebody who is claimed cannot be had (`Claims.resolve`), the only source failed, or the whole
                call cannot be served.
        """
        wish.claim.permit(principal)
        for kind, stored in (("face_sample", policies.sample.store), ("attribute", policies.attribute.store)):
            if stored:
                principal.require(kind, "creation")
        plan = Plan.of(policies.of_faces)
        plan.require(self._images.engine, wish.sources)
        claimed = await self._claims.resolve(principal.writes, wish.claim)
        outcomes = await self._look(principal, policies, plan, wish)
        described = [_described(outcome) for outcome in outcomes]
        rows = iter(await self._compare(policies, [one for each in described for _, one in each], claimed))
        keeping = _Keeping(principal.account_id, policies)
        found = [
            VerifiedSource(
                outcome.source,
                tuple(keeping.face(person, descriptor, next(rows)) for person, descriptor in faces),
                outcome.filtered,
                outcome.exif,
                outcome.people_count,
                outcome.error,
            )
            for outcome, faces in zip(outcomes, described, strict=True)
        ]
        if keeping.samples or keeping.attributes:
            await self._events.keep(keeping.batch())
        return found

    async def _look(
        self, principal: Principal, policies: VerifierPolicies, plan: Plan, wish: VerificationWish
    ) -> list[SourceOutcome]:
        generation = GenerationWish(wish.sources, use_exif=wish.use_exif)
        looking = Looking(self._images, principal.writes, policies.of_faces, plan, generation)
        outcomes = [self._comparable(outcome) for outcome in await looking.all()]
        if len(outcomes) == 1 and outcomes[0].error is not None:
            raise outcomes[0].error
        return outcomes

    def _comparable(self, outcome: SourceOutcome) -> SourceOutcome:
        """A source, or its error where it is a descriptor of another version than those it is compared with."""
        given, needed = outcome.source.descriptor, self._images.engine.descriptor_version
        if given is None or given.version == needed:
            return outcome
        return SourceOutcome(outcome.source, error=MatchVersionMismatch(version=given.version, needed=needed))

    async def _compare(
        self, policies: VerifierPolicies, faces: Sequence[Descriptor], claimed: Sequence[Claimed]
    ) -> list[tuple[Verified, ...]]:
        """Every face (row) with everybody who is claimed."""
        if not faces:
            return []
        check_pairs(len(faces), len(claimed))
        rows = await self._matching.compare(faces, [one.descriptor for one in claimed])
        return [
            tuple(
                Verified(policies.verifies(similarity), replace(one.candidate, similarity=similarity))
                for one, similarity in zip(claimed, row, strict=True)
            )
            for row in rows
        ]


class _Keeping:
    """Gathers what is to be stored of faces, and tells of each what it will be stored as."""

    def __init__(self, account_id: UUID, policies: VerifierPolicies) -> None:
        self._account_id = account_id
        self._policies = policies
        self._now = datetime.now(UTC)
        self.samples: list[tuple[Sample, bytes]] = []
        self.attributes: list[tuple[TemporaryAttribute, int]] = []

    def face(self, person: Person, descriptor: Descriptor, verifications: tuple[Verified, ...]) -> VerifiedFace:
        """A face with its verifications, as it is told."""
        seen = person.face
        basic = None if seen is None else seen.basic_attributes
        sample_id = self._sample(person)
        samples = () if sample_id is None else (sample_id,)
        extract = FaceExtract(
            attribute_id=self._attribute(descriptor, basic, samples),
            basic_attributes=basic,
            score=None if seen is None or seen.descriptor is None else seen.descriptor.score,
            samples=samples,
        )
        return VerifiedFace(person.shown_face, sample_id, extract, verifications)

    def batch(self) -> Batch:
        """Everything that was gathered."""
        return Batch((), samples=tuple(self.samples), attributes=tuple(self.attributes))

    def _sample(self, person: Person) -> UUID | None:
        image = person.source.image
        if image is not None and image.sample_id is not None:
            return image.sample_id
        if person.face is None or not self._policies.sample.store:
            return None
        sample = sample_of(self._account_id, SampleType.FACES, person.face.warp)
        self.samples.append((sample, person.face.warp))
        return sample.sample_id

    def _attribute(
        self, descriptor: Descriptor, basic: BasicAttributesEstimation | None, samples: tuple[UUID, ...]
    ) -> UUID | None:
        policy = self._policies.attribute
        if not policy.store:
            return None
        content = AttributeContent(
            descriptors=(descriptor,),
            descriptor_samples=samples,
            basic_attributes=None if basic is None else kept(basic),
            basic_attributes_samples=samples if basic is not None else (),
        )
        attribute = TemporaryAttribute(uuid7(), self._account_id, self._now, content)
        self.attributes.append((attribute, policy.ttl_seconds or TTL_SECONDS))
        return attribute.attribute_id


def check_pairs(references: int, candidates: int) -> None:
    """Hold a comparison of every reference with every candidate to its bound.

    Raises:
        UnusableRequest: these are too many.
    """
    pairs = references * candidates
    if pairs > MOST_COMPARISONS:
        message = (
            f"{references} x {candidates} are {pairs} comparisons, at most {MOST_COMPARISONS} are made in one call"
        )
        raise UnusableRequest(message=message)


def _described(outcome: SourceOutcome) -> list[tuple[Person, Descriptor]]:
    """The faces of a source with their descriptors: the one that was given, or those that were extracted."""
    if outcome.source.descriptor is not None:
        return [(person, outcome.source.descriptor) for person in outcome.persons]
    return [
        (person, Descriptor(person.face.descriptor.version, person.face.descriptor.data))
        for person in outcome.persons
        if person.face is not None and person.face.descriptor is not None
    ]
