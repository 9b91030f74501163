"""What follows from policies for one event: which comparisons are made, which tags it gets, what is stored of it.

Pure: what is known goes in, decisions come out. Both kinds of steps are tables. A new filter is one more entry of
`CONDITIONS`, something new to store one more of `STEPS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from uuid import UUID

from server.domain.events import NO_FACTS, Facts
from server.domain.policies import Filters, MatchPolicy, Policies, StoragePolicy


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an event at a step.

    Attributes:
        facts: what was estimated.
        similarities: of the best candidate, in [0, 1], by the label of the comparison; labels without a candidate,
            and those that were not compared, are not in it.
    """

    facts: Facts = NO_FACTS
    similarities: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FilterRule:
    """One filter: whether policies set it, and whether what is known passes it."""

    name: str
    is_set: Callable[[Filters], bool]
    holds: Callable[[Filters, Known], bool]


def _older(filters: Filters, known: Known) -> bool:
    age = known.facts.age
    return age is not None and filters.age_gte is not None and age >= filters.age_gte


def _younger(filters: Filters, known: Known) -> bool:
    age = known.facts.age
    return age is not None and filters.age_lt is not None and age < filters.age_lt


def _compared(filters: Filters, known: Known) -> bool:
    """One of the conditions is enough; nobody found counts as 0."""
    return any(one.least <= known.similarities.get(one.label, 0.0) <= one.most for one in filters.match)


CONDITIONS: tuple[FilterRule, ...] = (
    FilterRule("gender", lambda f: f.gender is not None, lambda f, known: known.facts.gender is f.gender),
    FilterRule("age__gte", lambda f: f.age_gte is not None, _older),
    FilterRule("age__lt", lambda f: f.age_lt is not None, _younger),
    FilterRule("ethnic_group", lambda f: bool(f.ethnicities), lambda f, known: known.facts.ethnicity in f.ethnicities),
    FilterRule("mask", lambda f: bool(f.masks), lambda f, known: known.facts.mask in f.masks),
    FilterRule("liveness", lambda f: bool(f.liveness), lambda f, known: known.facts.liveness in f.liveness),
    FilterRule("match", lambda f: bool(f.match), _compared),
)
"""Every filter of policies, by the API's name. What was not estimated is None, which none of them holds for."""


def passes(filters: Filters, known: Known) -> bool:
    """True where every filter that is set holds."""
    return all(one.holds(filters, known) for one in CONDITIONS if one.is_set(filters))


def comparisons(policies: Policies, facts: Facts) -> tuple[MatchPolicy, ...]:
    """The comparisons that are to be made, in the order of the policies. Nothing has been compared before them."""
    known = Known(facts)
    return tuple(one for one in policies.match if passes(one.filters, known))


def tags(policies: Policies, known: Known, given: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The tags of an event: those that the caller gave, then those whose filters it passes, each once."""
    added = (one.tag for one in policies.tags if passes(one.filters, known))
    return tuple(dict.fromkeys((*given, *added)))


class Thing(Enum):
    """What can be stored of an event, or done with it."""

    FACE_SAMPLE = auto()
    BODY_SAMPLE = auto()
    IMAGE_ORIGIN = auto()
    ATTRIBUTE = auto()
    FACE = auto()
    EVENT = auto()
    NOTIFICATION = auto()


@dataclass(frozen=True, slots=True)
class Material:
    """What there is of an event to be stored.

    Attributes:
        face: a face was seen, or its descriptor was given.
        face_samples: pictures of the face that are not stored yet.
        stored_face_samples: the sources were stored samples of the face.
        body_samples: pictures of the body that are not stored yet.
        images: images that it came from, or their addresses.
        extracted: a descriptor or basic attributes of the face.
    """

    face: bool = False
    face_samples: bool = False
    stored_face_samples: bool = False
    body_samples: bool = False
    images: bool = False
    extracted: bool = False


@dataclass(frozen=True, slots=True)
class StorageStep:
    """One step of storing: whether policies ask for it, for which events, and what must be there for it."""

    thing: Thing
    wanted: Callable[[StoragePolicy], bool]
    filters: Callable[[StoragePolicy], Filters]
    possible: Callable[[Material], bool]


def _always(_: Material) -> bool:
    return True


STEPS: tuple[StorageStep, ...] = (
    StorageStep(
        Thing.FACE_SAMPLE, lambda p: p.face_sample.store, lambda p: p.face_sample.filters, lambda m: m.face_samples
    ),
    StorageStep(
        Thing.BODY_SAMPLE, lambda p: p.body_sample.store, lambda p: p.body_sample.filters, lambda m: m.body_samples
    ),
    StorageStep(
        Thing.IMAGE_ORIGIN, lambda p: p.image_origin.store, lambda p: p.image_origin.filters, lambda m: m.images
    ),
    StorageStep(Thing.ATTRIBUTE, lambda p: p.attribute.store, lambda p: p.attribute.filters, lambda m: m.extracted),
    StorageStep(Thing.FACE, lambda p: p.face.store, lambda p: p.face.filters, lambda m: m.face),
    StorageStep(Thing.EVENT, lambda p: p.event.store, lambda p: p.event.filters, _always),
    StorageStep(Thing.NOTIFICATION, lambda p: p.notification.send, lambda p: p.notification.filters, _always),
)
"""Every step of storage_policy, in the order of the API."""


@dataclass(frozen=True, slots=True)
class Storing:
    """What is stored of an event.

    Attributes:
        things: what is stored or done.
        avatar: the face has its sample as its picture.
        lists: the face is put into these, each once.
    """

    things: frozenset[Thing] = frozenset()
    avatar: bool = False
    lists: tuple[UUID, ...] = ()


def storing(policies: Policies, known: Known, material: Material) -> Storing:
    """What is to be stored. A face without anything extracted is one without attributes, as the API allows it."""
    policy = policies.storage
    things = frozenset(
        one.thing
        for one in STEPS
        if one.wanted(policy) and one.possible(material) and passes(one.filters(policy), known)
    )
    if Thing.FACE not in things:
        return Storing(things)
    lists = (one.list_id for one in policy.face.lists if passes(one.filters, known))
    return Storing(
        things,
        avatar=policy.face.avatar and (material.stored_face_samples or Thing.FACE_SAMPLE in things),
        lists=tuple(dict.fromkeys(lists)),
    )
