"""What follows from policies: single rules by example, and all of them against a slow interpreter of their words."""

from __future__ import annotations

import random
from dataclasses import fields
from itertools import product
from uuid import UUID

import pytest

from server.domain.attributes import Ethnicity, Gender
from server.domain.decisions import (
    CONDITIONS,
    STEPS,
    Known,
    Material,
    Storing,
    Thing,
    comparisons,
    passes,
    storing,
    tags,
)
from server.domain.events import Facts
from server.domain.policies import (
    AttributePolicy,
    ConditionalTag,
    EventPolicy,
    FaceCandidates,
    FacePolicy,
    Filters,
    ImageOriginPolicy,
    LinkToList,
    MatchCondition,
    MatchPolicy,
    NotificationPolicy,
    Policies,
    SamplePolicy,
    StoragePolicy,
)
from server.domain.vision import LivenessState, MaskState

LABELS = ("staff", "guests", "black list")
LISTS = tuple(UUID(int=number) for number in range(4))
ALL_OF_IT = Material(face=True, face_samples=True, body_samples=True, images=True, extracted=True)


def condition(label: str = "staff", least: float = 0.0, most: float = 1.0) -> Filters:
    return Filters(match=(MatchCondition(label, least, most),))


def test_there_is_an_entry_for_each_filter_and_each_thing() -> None:
    assert len(CONDITIONS) == len(fields(Filters))
    assert [one.thing for one in STEPS] == list(Thing)


@pytest.mark.parametrize(
    "filters",
    [
        Filters(gender=Gender.FEMALE),
        Filters(age_gte=0),
        Filters(age_lt=200),
        Filters(ethnicities=frozenset(Ethnicity)),
        Filters(masks=frozenset(MaskState)),
        Filters(liveness=frozenset(LivenessState)),
    ],
)
def test_what_was_not_estimated_does_not_pass(filters: Filters) -> None:
    assert not passes(filters, Known())


def test_no_filter_lets_everything_pass() -> None:
    assert passes(Filters(), Known())


@pytest.mark.parametrize(("age", "passing"), [(19, False), (20, True), (29, True), (30, False)])
def test_the_lower_bound_of_an_age_is_inclusive_and_the_upper_one_is_not(age: int, passing: bool) -> None:
    assert passes(Filters(age_gte=20, age_lt=30), Known(Facts(age=age))) is passing


@pytest.mark.parametrize(
    ("similarity", "passing"), [(0.49, False), (0.5, True), (0.75, True), (0.8, True), (0.81, False)]
)
def test_both_bounds_of_a_similarity_are_inclusive(similarity: float, passing: bool) -> None:
    assert passes(condition(least=0.5, most=0.8), Known(similarities={"staff": similarity})) is passing


def test_nobody_found_counts_as_similarity_0() -> None:
    assert passes(condition(least=0.0, most=0.3), Known())
    assert not passes(condition(least=0.01), Known())


def test_one_of_the_match_conditions_is_enough_but_other_filters_must_hold_too() -> None:
    either = Filters(match=(MatchCondition("staff", 0.9), MatchCondition("guests", 0.9)))
    known = Known(Facts(gender=Gender.MALE), {"guests": 0.95})
    assert passes(either, known)
    assert not passes(Filters(gender=Gender.FEMALE, match=either.match), known)


def test_comparisons_keep_the_order_of_the_policies_and_leave_out_those_whose_filters_do_not_pass() -> None:
    men, women = Filters(gender=Gender.MALE), Filters(gender=Gender.FEMALE)
    made = Policies(
        match=tuple(
            MatchPolicy(label, FaceCandidates(), filters=filters)
            for label, filters in (("c", men), ("b", women), ("a", Filters()))
        )
    )
    assert [one.label for one in comparisons(made, Facts(gender=Gender.MALE))] == ["c", "a"]
    assert [one.label for one in comparisons(made, Facts())] == ["a"]


def test_tags_of_the_caller_stay_and_none_comes_twice() -> None:
    policies = Policies(
        tags=(
            ConditionalTag("man", Filters(gender=Gender.MALE)),
            ConditionalTag("woman", Filters(gender=Gender.FEMALE)),
            ConditionalTag("given", Filters()),
        )
    )
    assert tags(policies, Known(Facts(gender=Gender.MALE)), ("given", "too", "given")) == ("given", "too", "man")


def test_by_default_samples_and_events_are_stored_and_told_and_nothing_else() -> None:
    stored = storing(Policies(), Known(), ALL_OF_IT)
    assert stored == Storing(
        frozenset({Thing.FACE_SAMPLE, Thing.BODY_SAMPLE, Thing.EVENT, Thing.NOTIFICATION}), avatar=False, lists=()
    )


def test_of_a_body_alone_no_face_is_made() -> None:
    policies = Policies(storage=StoragePolicy(face=FacePolicy(store=True), attribute=AttributePolicy(store=True)))
    stored = storing(policies, Known(), Material(body_samples=True, images=True))
    assert stored.things == {Thing.BODY_SAMPLE, Thing.EVENT, Thing.NOTIFICATION}


def test_a_face_is_made_without_attributes_where_nothing_was_extracted() -> None:
    policies = Policies(storage=StoragePolicy(face=FacePolicy(store=True), attribute=AttributePolicy(store=True)))
    stored = storing(policies, Known(), Material(face=True, face_samples=True))
    assert Thing.FACE in stored.things
    assert Thing.ATTRIBUTE not in stored.things


@pytest.mark.parametrize(
    ("wanted", "sample", "material", "avatar"),
    [
        (True, SamplePolicy(), Material(face=True, face_samples=True), True),
        (False, SamplePolicy(), Material(face=True, face_samples=True), False),
        (True, SamplePolicy(store=False), Material(face=True, face_samples=True), False),
        (True, SamplePolicy(filters=Filters(age_gte=18)), Material(face=True, face_samples=True), False),
        (True, SamplePolicy(store=False), Material(face=True, stored_face_samples=True), True),
        (True, SamplePolicy(), Material(face=True, extracted=True), False),
    ],
)
def test_a_face_has_an_avatar_only_where_its_sample_is_stored(
    wanted: bool, sample: SamplePolicy, material: Material, avatar: bool
) -> None:
    policies = Policies(storage=StoragePolicy(face_sample=sample, face=FacePolicy(store=True, avatar=wanted)))
    assert storing(policies, Known(), material).avatar is avatar


def test_a_face_is_put_only_into_the_lists_whose_filters_pass_and_into_none_where_it_is_not_made() -> None:
    links = (
        LinkToList(LISTS[2], Filters(gender=Gender.MALE)),
        LinkToList(LISTS[1], Filters(gender=Gender.FEMALE)),
        LinkToList(LISTS[0]),
        LinkToList(LISTS[2]),
    )
    known = Known(Facts(gender=Gender.MALE))
    linked = Policies(storage=StoragePolicy(face=FacePolicy(store=True, lists=links)))
    assert storing(linked, known, ALL_OF_IT).lists == (LISTS[2], LISTS[0])
    kept_out = FacePolicy(store=True, lists=links, filters=Filters(age_gte=18))
    assert storing(Policies(storage=StoragePolicy(face=kept_out)), known, ALL_OF_IT).lists == ()


# what follows reads the words of the contract anew, one question at a time, and shares nothing with the tables


def slow_passes(filters: Filters, facts: Facts, similarities: dict[str, float]) -> bool:
    if filters.gender is not None and (facts.gender is None or facts.gender != filters.gender):
        return False
    if filters.age_gte is not None and (facts.age is None or facts.age < filters.age_gte):
        return False
    if filters.age_lt is not None and (facts.age is None or facts.age >= filters.age_lt):
        return False
    for wanted, value in (
        (filters.ethnicities, facts.ethnicity),
        (filters.masks, facts.mask),
        (filters.liveness, facts.liveness),
    ):
        if len(wanted) > 0 and (value is None or value not in set(wanted)):
            return False
    if len(filters.match) == 0:
        return True
    for one in filters.match:
        best = similarities.get(one.label)
        if best is None:
            best = 0.0
        if best >= one.least and best <= one.most:
            return True
    return False


def slow_storing(policy: StoragePolicy, facts: Facts, similarities: dict[str, float], material: Material) -> Storing:
    things = set()
    if (
        policy.face_sample.store
        and material.face_samples
        and slow_passes(policy.face_sample.filters, facts, similarities)
    ):
        things.add(Thing.FACE_SAMPLE)
    if (
        policy.body_sample.store
        and material.body_samples
        and slow_passes(policy.body_sample.filters, facts, similarities)
    ):
        things.add(Thing.BODY_SAMPLE)
    if policy.image_origin.store and material.images and slow_passes(policy.image_origin.filters, facts, similarities):
        things.add(Thing.IMAGE_ORIGIN)
    if policy.attribute.store and material.extracted and slow_passes(policy.attribute.filters, facts, similarities):
        things.add(Thing.ATTRIBUTE)
    avatar, lists = False, []
    if policy.face.store and material.face and slow_passes(policy.face.filters, facts, similarities):
        things.add(Thing.FACE)
        if policy.face.avatar:
            avatar = Thing.FACE_SAMPLE in things or material.stored_face_samples
        for link in policy.face.lists:
            if link.list_id not in lists and slow_passes(link.filters, facts, similarities):
                lists.append(link.list_id)
    if policy.event.store and slow_passes(policy.event.filters, facts, similarities):
        things.add(Thing.EVENT)
    if policy.notification.send and slow_passes(policy.notification.filters, facts, similarities):
        things.add(Thing.NOTIFICATION)
    return Storing(frozenset(things), avatar, tuple(lists))


class Dice:
    """Seeded random policies and facts; small ranges, so that bounds are met exactly and often."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def maybe(self, value: object) -> object:
        return value if self._random.random() < 0.5 else None

    def yes(self) -> bool:
        return self._random.random() < 0.6

    def some(self, members: type) -> frozenset:  # type: ignore[type-arg]
        if self._random.random() < 0.6:
            return frozenset()
        return frozenset(one for one in members if self._random.random() < 0.6)  # type: ignore[attr-defined]

    def similarity(self) -> float:
        return self._random.choice((0.0, 0.25, 0.5, 0.75, 1.0))

    def filters(self) -> Filters:
        return Filters(
            gender=self.maybe(self._random.choice(list(Gender))) if self.yes() else None,  # type: ignore[arg-type]
            age_gte=self.maybe(self._random.randint(0, 6)) if self.yes() else None,  # type: ignore[arg-type]
            age_lt=self.maybe(self._random.randint(0, 6)) if self.yes() else None,  # type: ignore[arg-type]
            ethnicities=self.some(Ethnicity),
            masks=self.some(MaskState),
            liveness=self.some(LivenessState),
            match=tuple(
                MatchCondition(self._random.choice(LABELS), self.similarity(), self.similarity())
                for _ in range(self._random.choice((0, 0, 1, 2)))
            ),
        )

    def facts(self) -> Facts:
        return Facts(
            gender=self.maybe(self._random.choice(list(Gender))),  # type: ignore[arg-type]
            age=self.maybe(self._random.randint(0, 6)),  # type: ignore[arg-type]
            ethnicity=self.maybe(self._random.choice(list(Ethnicity))),  # type: ignore[arg-type]
            mask=self.maybe(self._random.choice(list(MaskState))),  # type: ignore[arg-type]
            liveness=self.maybe(self._random.choice(list(LivenessState))),  # type: ignore[arg-type]
        )

    def policies(self) -> Policies:
        return Policies(
            match=tuple(MatchPolicy(label, FaceCandidates(), filters=self.filters()) for label in LABELS),
            tags=tuple(ConditionalTag(f"tag {number}", self.filters()) for number in range(3)),
            storage=StoragePolicy(
                face_sample=SamplePolicy(self.yes(), self.filters()),
                body_sample=SamplePolicy(self.yes(), self.filters()),
                image_origin=ImageOriginPolicy(self.yes(), self.yes(), self.filters()),
                attribute=AttributePolicy(self.yes(), None, self.filters()),
                face=FacePolicy(
                    self.yes(),
                    self.yes(),
                    tuple(LinkToList(self._random.choice(LISTS), self.filters()) for _ in range(3)),
                    self.filters(),
                ),
                event=EventPolicy(self.yes(), True, self.filters()),
                notification=NotificationPolicy(self.yes(), self.filters()),
            ),
        )

    def similarities(self) -> dict[str, float]:
        return {label: self.similarity() for label in LABELS if self.yes()}

    def material(self) -> Material:
        return Material(*(self.yes() for _ in fields(Material)))


@pytest.mark.parametrize("seed", range(20))
def test_the_tables_decide_as_a_slow_interpreter_does(seed: int) -> None:
    dice = Dice(seed)
    seen = {True: 0, False: 0}
    for _ in range(200):
        policies, facts, similarities = dice.policies(), dice.facts(), dice.similarities()
        material = dice.material()
        known = Known(facts, similarities)
        assert [one.label for one in comparisons(policies, facts)] == [
            one.label for one in policies.match if slow_passes(one.filters, facts, {})
        ]
        expected = [one.tag for one in policies.tags if slow_passes(one.filters, facts, similarities)]
        assert list(tags(policies, known)) == expected
        assert storing(policies, known, material) == slow_storing(policies.storage, facts, similarities, material)
        for one in policies.tags:
            seen[one.tag in expected] += 1
    assert min(seen.values()) > 20  # both answers come up


def test_what_is_decided_does_not_depend_on_what_is_not_filtered_by() -> None:
    """A filter looks at its own fact and at nothing else."""
    for gender, age, mask in product((None, *Gender), (None, 20, 40), (None, *MaskState)):
        facts = Facts(gender=gender, age=age, mask=mask)
        assert passes(Filters(age_gte=30), Known(facts)) is (age == 40)
