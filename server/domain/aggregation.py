"""Several estimations of one person as one: means of scores, and what most of the bodies have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeVar

from server.domain.vision import (
    Accessories,
    BasicAttributesEstimation,
    BodyBasicAttributes,
    BodyGender,
    DetectedBody,
    DetectedFace,
    DetectedPerson,
    Emotions,
    Estimation,
    ExtractedDescriptor,
    Liveness,
    LowerBody,
    Mask,
    Presence,
    UpperBody,
)

K = TypeVar("K", bound=Hashable)

AGGREGATED = frozenset(
    {
        Estimation.EMOTIONS,
        Estimation.MASK,
        Estimation.LIVENESS,
        Estimation.BASIC_ATTRIBUTES,
        Estimation.DESCRIPTOR,
        *(one for one in Estimation if one.of_body),
    }
)
"""What is aggregated (source: reference document, aggregate_attributes)."""

UNDEFINED = "undefined"
"""The API's word for a colour, a length or a type that cannot be told."""

AggregateDescriptors = Callable[[Sequence[ExtractedDescriptor]], ExtractedDescriptor]


@dataclass(frozen=True, slots=True)
class FaceAggregate:
    """What several faces have in common. What no face had is None."""

    emotions: Emotions | None = None
    mask: Mask | None = None
    liveness: Liveness | None = None
    basic_attributes: BasicAttributesEstimation | None = None
    descriptor: ExtractedDescriptor | None = None


@dataclass(frozen=True, slots=True)
class BodyAggregate:
    """What several bodies have in common. What no body had is None."""

    body_descriptor: ExtractedDescriptor | None = None
    body_basic_attributes: BodyBasicAttributes | None = None
    upper_body: UpperBody | None = None
    lower_body: LowerBody | None = None
    accessories: Accessories | None = None


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One estimation of several images; None where there was no face, or no body."""

    face: FaceAggregate | None = None
    body: BodyAggregate | None = None


def aggregate(persons: Sequence[DetectedPerson], descriptors: AggregateDescriptors) -> Aggregate:
    """One estimation of several persons, who are taken for the same one.

    Args:
        persons: faces and bodies with what was estimated of them.
        descriptors: makes one descriptor of several of one version.
    """
    faces = [one.face for one in persons if one.face is not None]
    bodies = [one.body for one in persons if one.body is not None]
    return Aggregate(
        face=_faces(faces, descriptors) if faces else None, body=_bodies(bodies, descriptors) if bodies else None
    )


def mean_liveness(values: Iterable[Liveness]) -> Liveness | None:
    """The mean of scores and qualities; None of nothing."""
    known = list(values)
    if not known:
        return None
    return Liveness(fmean(one.score for one in known), fmean(one.quality for one in known))


def _faces(faces: Sequence[DetectedFace], descriptors: AggregateDescriptors) -> FaceAggregate:
    emotions = _means([one.emotions.estimations for one in faces if one.emotions is not None])
    masks = _means([one.mask.estimations for one in faces if one.mask is not None])
    extracted = [one.descriptor for one in faces if one.descriptor is not None]
    return FaceAggregate(
        emotions=Emotions(emotions) if emotions else None,
        mask=Mask(masks) if masks else None,
        liveness=mean_liveness(one.liveness for one in faces if one.liveness is not None),
        basic_attributes=mean_basic_attributes(
            [one.basic_attributes for one in faces if one.basic_attributes is not None]
        ),
        descriptor=descriptors(extracted) if extracted else None,
    )


def _bodies(bodies: Sequence[DetectedBody], descriptors: AggregateDescriptors) -> BodyAggregate:
    extracted = [one.body_descriptor for one in bodies if one.body_descriptor is not None]
    basic = [one.body_basic_attributes for one in bodies if one.body_basic_attributes is not None]
    upper = [one.upper_body for one in bodies if one.upper_body is not None]
    lower = [one.lower_body for one in bodies if one.lower_body is not None]
    carried = [one.accessories for one in bodies if one.accessories is not None]
    return BodyAggregate(
        body_descriptor=descriptors(extracted) if extracted else None,
        body_basic_attributes=_body_basic_attributes(basic) if basic else None,
        upper_body=_upper_body(upper) if upper else None,
        lower_body=_lower_body(lower) if lower else None,
        accessories=Accessories(most([one.backpack for one in carried], Presence.UNKNOWN)) if carried else None,
    )


def mean_basic_attributes(values: Sequence[BasicAttributesEstimation]) -> BasicAttributesEstimation | None:
    """The mean of ages and probabilities, each of those that have it; None of nothing."""
    if not values:
        return None
    ages = [one.age for one in values if one.age is not None]
    males = [one.male for one in values if one.male is not None]
    ethnicities = _means([one.ethnicities for one in values if one.ethnicities is not None])
    return BasicAttributesEstimation(
        age=fmean(ages) if ages else None, male=fmean(males) if males else None, ethnicities=ethnicities or None
    )


def _body_basic_attributes(values: Sequence[BodyBasicAttributes]) -> BodyBasicAttributes:
    gender = most([one.gender for one in values], BodyGender.UNKNOWN)
    return BodyBasicAttributes(gender, round(fmean(one.age for one in values)))


def _upper_body(values: Sequence[UpperBody]) -> UpperBody:
    return UpperBody(
        headwear=most([one.headwear for one in values], Presence.UNKNOWN),
        headwear_colour=most([one.headwear_colour for one in values], UNDEFINED),
        sleeve_length=most([one.sleeve_length for one in values], UNDEFINED),
        colours=most([one.colours for one in values], (UNDEFINED,)),
    )


def _lower_body(values: Sequence[LowerBody]) -> LowerBody:
    return LowerBody(
        garment=most([one.garment for one in values], UNDEFINED),
        colours=most([one.colours for one in values], (UNDEFINED,)),
        shoes_colour=most([one.shoes_colour for one in values], UNDEFINED),
    )


def most(values: Sequence[K], unknown: K) -> K:
    """The value that comes most often, of equal ones the first; `unknown` only where nothing else is there."""
    known = Counter(one for one in values if one != unknown)
    return known.most_common(1)[0][0] if known else unknown


def _means(values: Sequence[Mapping[K, float]]) -> dict[K, float]:
    """The mean of each entry; empty of nothing."""
    if not values:
        return {}
    return {key: fmean(one[key] for one in values) for key in values[0]}
