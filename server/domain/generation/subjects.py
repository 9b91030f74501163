"""From persons to the subjects of events: one person each, or one person of all sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from server.domain.aggregation import Aggregate, BodyAggregate, FaceAggregate, aggregate
from server.domain.descriptors import Descriptor
from server.domain.engine import Engine
from server.domain.events import Facts
from server.domain.extraction import kept
from server.domain.generation.request import EventData
from server.domain.generation.sources import Origin, Person, SourceOutcome
from server.domain.liveness import LivenessThresholds
from server.domain.policies import DescriptorKind
from server.domain.vision import DetectedBody, DetectedFace, DetectedPerson, ExtractedDescriptor
from server.errors import VersionNotEstimated

GIVEN = 1.0
"""Weight of a descriptor that was given, whose score nobody knows, among others."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom one event is about.

    Attributes:
        data: what the caller says of it.
        persons: the same person in each source, with the image that each came from.
        face, body: what is known of the face and the body; None where there is none.
        score: of the face's descriptor; None where there is none, or it was given.
        facts: what policies judge by and events keep.
        aggregate: the answer has estimations of all sources as one.
    """

    data: EventData
    persons: tuple[tuple[Person, Origin | None], ...]
    face: DetectedFace | FaceAggregate | None
    body: DetectedBody | BodyAggregate | None
    score: float | None
    facts: Facts
    aggregate: Aggregate | None = None

    def descriptor(self, kind: DescriptorKind) -> Descriptor | None:
        """The descriptor of the face or the body."""
        if kind is DescriptorKind.FACE:
            found = None if self.face is None else self.face.descriptor
        else:
            found = None if self.body is None else self.body.body_descriptor
        return None if found is None else Descriptor(found.version, found.data)


def each(outcomes: Sequence[SourceOutcome], data: EventData, thresholds: LivenessThresholds) -> list[Subject]:
    """One subject of each person, those of one source together."""
    return [
        _single(outcome, person, outcome.source.data or data, thresholds)
        for outcome in outcomes
        for person in outcome.persons
    ]


def together(
    outcomes: Sequence[SourceOutcome], data: EventData, thresholds: LivenessThresholds, engine: Engine
) -> list[Subject]:
    """One subject of all persons; none where nobody was seen.

    Raises:
        VersionNotEstimated: several descriptors cannot be put together: one is of a version that is not the server's.
    """
    persons = tuple((person, outcome.origin) for outcome in outcomes for person in outcome.persons)
    if not persons:
        return []
    seen = [DetectedPerson(one.face, one.body) for one, _ in persons if one.face or one.body]
    found = aggregate(seen, engine.aggregate)
    face, score = _described(found.face, [one for one, _ in persons], engine)
    facts = facts_of(face, found.body, thresholds)
    return [Subject(data, persons, face, found.body, score, facts, replace(found, face=face))]


def facts_of(
    face: DetectedFace | FaceAggregate | None,
    body: DetectedBody | BodyAggregate | None,
    thresholds: LivenessThresholds,
) -> Facts:
    """What is kept of estimations."""
    facts = Facts()
    if face is not None:
        basic = None if face.basic_attributes is None else kept(face.basic_attributes)
        facts = replace(
            facts,
            gender=None if basic is None else basic.gender,
            age=None if basic is None else basic.age,
            ethnicity=None if basic is None else basic.ethnicity,
            emotion=None if face.emotions is None else face.emotions.predominant,
            mask=None if face.mask is None else face.mask.predominant,
            liveness=None if face.liveness is None else thresholds.state(face.liveness),
        )
    return facts if body is None else _with_body(facts, body)


def _with_body(facts: Facts, body: DetectedBody | BodyAggregate) -> Facts:
    if (basic := body.body_basic_attributes) is not None:
        facts = replace(facts, apparent_gender=basic.gender, apparent_age=basic.age)
    if (upper := body.upper_body) is not None:
        facts = replace(
            facts,
            headwear=upper.headwear,
            headwear_colour=upper.headwear_colour,
            sleeve_length=upper.sleeve_length,
            upper_colours=upper.colours,
        )
    if (lower := body.lower_body) is not None:
        facts = replace(facts, garment=lower.garment, garment_colours=lower.colours, shoes_colour=lower.shoes_colour)
    return facts if body.accessories is None else replace(facts, backpack=body.accessories.backpack)


def _single(outcome: SourceOutcome, person: Person, data: EventData, thresholds: LivenessThresholds) -> Subject:
    face: DetectedFace | FaceAggregate | None = person.face
    score = None if person.face is None or person.face.descriptor is None else person.face.descriptor.score
    if (given := person.source.descriptor) is not None:
        face = FaceAggregate(descriptor=ExtractedDescriptor(given.version, given.data, GIVEN))
    facts = facts_of(face, person.body, thresholds)
    return Subject(data, ((person, outcome.origin),), face, person.body, score, facts)


def _described(
    face: FaceAggregate | None, persons: Sequence[Person], engine: Engine
) -> tuple[FaceAggregate | None, float | None]:
    """A face with one descriptor of those that were extracted and those that were given, and its score.

    The score is that of the descriptors that were extracted.
    """
    score = None if face is None or face.descriptor is None else face.descriptor.score
    given = [
        ExtractedDescriptor(one.source.descriptor.version, one.source.descriptor.data, GIVEN)
        for one in persons
        if one.source.descriptor is not None
    ]
    if not given:
        return face, score
    extracted = [one.face.descriptor for one in persons if one.face is not None and one.face.descriptor is not None]
    descriptors = [*extracted, *given]
    for one in descriptors if len(descriptors) > 1 else ():
        if one.version != engine.descriptor_version:
            # the layout of foreign versions is not known well enough to average them
            raise VersionNotEstimated(version=one.version)
    descriptor = engine.aggregate(descriptors) if len(descriptors) > 1 else descriptors[0]
    return replace(face or FaceAggregate(), descriptor=descriptor), score
