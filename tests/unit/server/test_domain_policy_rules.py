"""What policies may not say: every rule with what breaks it, what satisfies it, and the field that the error names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.access import Principal, Scope
from server.domain.accounts import AccountType
from server.domain.attributes import Ethnicity, Gender
from server.domain.checks import FACE_QUALITY, Allowed, CheckName, Range
from server.domain.face_quality_rules import BOUNDS, MINIMUM_ONLY, WORDS, refusal
from server.domain.filters import FaceLimits
from server.domain.policies import (
    AttributeCandidates,
    AttributePolicy,
    ConditionalTag,
    DescriptorKind,
    DetectPolicy,
    EventCandidates,
    EventPolicy,
    ExtractPolicy,
    FaceCandidates,
    FacePolicy,
    FaceQualityPolicy,
    Filters,
    ImageOriginPolicy,
    LinkToList,
    LivenessPolicy,
    MatchCondition,
    MatchPolicy,
    NotificationPolicy,
    Policies,
    PolicyCheck,
    SamplePolicy,
    StoragePolicy,
)
from server.domain.policy_rules import CONDITIONS, check, contradictions, lists_of
from server.domain.vision import Estimation, LivenessState, MaskState
from server.errors import BadBody

LIST = UUID(int=7)
FACES = FaceCandidates()
EVERYTHING = Policies(
    detect=DetectPolicy(
        faces=True, bodies=True, estimations=frozenset({Estimation.MASK}), liveness=LivenessPolicy(estimate=True)
    ),
    extract=ExtractPolicy(face_descriptor=True, body_descriptor=True, basic_attributes=True),
    match=(MatchPolicy("known", FACES),),
)
"""Policies that estimate everything that filters ask for, with one comparison."""

MEMBERS: Mapping[str, Filters] = {
    "gender": Filters(gender=Gender.FEMALE),
    "age__gte": Filters(age_gte=0),
    "age__lt": Filters(age_lt=90),
    "ethnic_group": Filters(ethnicities=frozenset({Ethnicity.ASIAN})),
    "mask": Filters(masks=frozenset({MaskState.MISSING})),
    "liveness": Filters(liveness=frozenset({LivenessState.SPOOF})),
}
"""A filter with each of the conditions that depend on an estimation."""


def stored(policies: Policies, **parts: object) -> Policies:
    return replace(policies, storage=StoragePolicy(**parts))  # type: ignore[arg-type] # each part is of its field's type


PLACES: Mapping[str, Callable[[Policies, Filters], Policies]] = {
    "conditional_tags_policy.1.filters": lambda policies, filters: replace(
        policies, tags=(ConditionalTag("a", Filters()), ConditionalTag("b", filters))
    ),
    "storage_policy.face_sample_policy.filters": lambda policies, filters: stored(
        policies, face_sample=SamplePolicy(filters=filters)
    ),
    "storage_policy.body_sample_policy.filters": lambda policies, filters: stored(
        policies, body_sample=SamplePolicy(filters=filters)
    ),
    "storage_policy.image_origin_policy.filters": lambda policies, filters: stored(
        policies, image_origin=ImageOriginPolicy(filters=filters)
    ),
    "storage_policy.attribute_policy.filters": lambda policies, filters: stored(
        policies, attribute=AttributePolicy(filters=filters)
    ),
    "storage_policy.face_policy.filters": lambda policies, filters: stored(policies, face=FacePolicy(filters=filters)),
    "storage_policy.face_policy.link_to_lists_policy.0.filters": lambda policies, filters: stored(
        policies, face=FacePolicy(lists=(LinkToList(LIST, filters),))
    ),
    "storage_policy.event_policy.filters": lambda policies, filters: stored(
        policies, event=EventPolicy(filters=filters)
    ),
    "storage_policy.notification_policy.filters": lambda policies, filters: stored(
        policies, notification=NotificationPolicy(filters=filters)
    ),
}
"""Every place that filters stand in, but for those of comparisons."""


def fields(policies: Policies) -> list[str]:
    return [one.field for one in contradictions(policies)]


def compared(*matches: MatchPolicy) -> Policies:
    return replace(EVERYTHING, match=matches)


def test_the_default_policies_contradict_nothing() -> None:
    assert fields(Policies()) == []
    assert fields(EVERYTHING) == []


def test_every_condition_is_tested_here() -> None:
    assert [one.member for one in CONDITIONS] == list(MEMBERS)


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("place", PLACES)
def test_a_filter_on_what_is_never_estimated_is_refused_wherever_it_stands(place: str, member: str) -> None:
    put = PLACES[place]
    assert fields(put(EVERYTHING, MEMBERS[member])) == []
    assert fields(put(Policies(), MEMBERS[member])) == [f"{place}.{member}"]


@pytest.mark.parametrize("member", MEMBERS)
def test_a_filter_of_a_comparison_is_held_to_the_same(member: str) -> None:
    filtered = MatchPolicy("known", FACES, filters=MEMBERS[member])
    assert fields(compared(filtered)) == []
    assert fields(Policies(match=(filtered,))) == [f"match_policy.0.filters.{member}"]


@pytest.mark.parametrize("member", MEMBERS)
def test_a_filter_on_a_face_needs_faces_to_be_looked_for(member: str) -> None:
    blind = replace(EVERYTHING, detect=replace(EVERYTHING.detect, faces=False), match=())
    put = PLACES["storage_policy.event_policy.filters"]
    assert fields(put(blind, MEMBERS[member])) == [f"storage_policy.event_policy.filters.{member}"]


def test_what_leaves_out_faces_estimates_it_too() -> None:
    limits = FaceLimits(masks=frozenset({MaskState.MISSING}), liveness=frozenset({LivenessState.REAL}))
    limited = Policies(detect=DetectPolicy(limits=limits))
    for member in ("mask", "liveness"):
        assert fields(PLACES["conditional_tags_policy.1.filters"](limited, MEMBERS[member])) == []


@pytest.mark.parametrize("place", PLACES)
def test_a_filter_on_a_comparison_names_one_of_the_same_policies(place: str) -> None:
    known, unknown = MatchCondition("known"), MatchCondition("nobody")
    put = PLACES[place]
    assert fields(put(EVERYTHING, Filters(match=(known,)))) == []
    assert fields(put(EVERYTHING, Filters(match=(known, unknown)))) == [f"{place}.match.1.label"]


def test_a_comparison_cannot_depend_on_comparisons() -> None:
    second = MatchPolicy("second", FACES, filters=Filters(match=(MatchCondition("known"),)))
    assert fields(compared(*EVERYTHING.match, second)) == ["match_policy.1.filters.match"]


def test_labels_are_unique() -> None:
    assert fields(compared(MatchPolicy("a", FACES), MatchPolicy("b", FACES), MatchPolicy("a", FACES))) == [
        "match_policy.2.label"
    ]


@pytest.mark.parametrize("candidates", [FACES, EventCandidates(), AttributeCandidates((LIST,))])
def test_bodies_are_compared_with_events_alone(
    candidates: FaceCandidates | EventCandidates | AttributeCandidates,
) -> None:
    bodies = compared(MatchPolicy("a", candidates, descriptor=DescriptorKind.BODY))
    expected = [] if isinstance(candidates, EventCandidates) else ["match_policy.0.descriptor_type"]
    assert fields(bodies) == expected


@pytest.mark.parametrize(
    ("kind", "detect", "extract"),
    [
        (DescriptorKind.FACE, DetectPolicy(faces=False), ExtractPolicy(face_descriptor=True)),
        (DescriptorKind.FACE, DetectPolicy(faces=True), ExtractPolicy(face_descriptor=False)),
        (DescriptorKind.BODY, DetectPolicy(bodies=False), ExtractPolicy(body_descriptor=True)),
        (DescriptorKind.BODY, DetectPolicy(bodies=True), ExtractPolicy(body_descriptor=False)),
    ],
)
def test_what_is_compared_must_be_extracted(kind: DescriptorKind, detect: DetectPolicy, extract: ExtractPolicy) -> None:
    one = MatchPolicy("a", EventCandidates(), descriptor=kind)
    assert fields(compared(one)) == []
    assert fields(Policies(detect, extract, (one,))) == ["match_policy.0.descriptor_type"]


@pytest.mark.parametrize(
    ("candidates", "allowed", "refused"),
    [
        (FACES, ("face_id", "similarity", "lists"), "tags"),
        (EventCandidates(), ("event_id", "similarity", "meta", "location"), "match_result"),
        (AttributeCandidates((LIST,)), ("attribute_id", "create_time"), "face_id"),
    ],
)
def test_targets_are_fields_of_the_candidates(
    candidates: FaceCandidates | EventCandidates | AttributeCandidates, allowed: tuple[str, ...], refused: str
) -> None:
    assert fields(compared(MatchPolicy("a", candidates, targets=allowed))) == []
    assert fields(compared(MatchPolicy("a", candidates, targets=(*allowed, refused)))) == [
        f"match_policy.0.targets.{len(allowed)}"
    ]


def test_the_error_names_the_first_field_and_tells_of_all() -> None:
    policies = compared(MatchPolicy("a", FACES, targets=("x",)), MatchPolicy("a", FACES))
    with pytest.raises(BadBody) as caught:
        check(policies, "content.policies")
    assert caught.value.values["field"] == "content.policies.match_policy.0.targets.0"
    assert [one.field for one in caught.value.violations] == [
        "content.policies.match_policy.0.targets.0",
        "content.policies.match_policy.1.label",
    ]


def held(name: CheckName, threshold: Range | Allowed) -> Policies:
    """Policies that hold one check to a threshold."""
    checks = {**FaceQualityPolicy().checks, name: PolicyCheck(threshold=threshold)}
    return Policies(detect=DetectPolicy(face_quality=FaceQualityPolicy(checks=checks)))


@pytest.mark.parametrize(
    ("name", "threshold", "member"),
    [
        (CheckName.HEAD_YAW, Range(-180, 180), None),
        (CheckName.HEAD_YAW, Range(-180.5, 0), "min"),
        (CheckName.HEAD_YAW, Range(0, 181), "max"),
        (CheckName.HEAD_YAW, Range(5, -5), "min"),
        (CheckName.HEAD_YAW, Range(5, 5), None),
        (CheckName.HEAD_YAW, Range(), None),
        (CheckName.DARK_QUALITY, Range(max=1.01), "max"),
        (CheckName.DARK_QUALITY, Range(0.6, 0.5), "min"),
        (CheckName.IMAGE_SIZE, Range(0, 1e9), None),
        (CheckName.IMAGE_SIZE, Range(-1), "min"),
        (CheckName.EYE_DISTANCE, Range(90), None),
        (CheckName.EYE_DISTANCE, Range(90, 100), "max"),
        (CheckName.INDENT_LOWER, Range(max=3), "max"),
        (CheckName.GLASSES, Allowed(("sunglasses", "no_glasses")), None),
        (CheckName.GLASSES, Allowed(("no_glasses", "monocle")), "1"),
        (CheckName.LEFT_EYE, Allowed(("OPEN",)), "0"),
    ],
)
def test_a_threshold_of_a_check_is_one_that_the_check_can_have(
    name: CheckName, threshold: Range | Allowed, member: str | None
) -> None:
    field = f"detect_policy.face_quality.checks.{name.value}.threshold.{member}"
    assert fields(held(name, threshold)) == ([] if member is None else [field])


def test_every_check_has_a_rule_and_its_own_default_satisfies_it() -> None:
    for name, threshold in FACE_QUALITY.items():
        assert refusal(name, threshold) is None, name
        match threshold:
            case Range():
                assert name in BOUNDS, name
                assert name not in WORDS, name
            case Allowed() if isinstance(threshold.values[0], str):
                assert set(threshold.values) <= set(WORDS[name]), name
            case Allowed():
                assert name not in {*BOUNDS, *WORDS}, name
    assert set(BOUNDS) | set(WORDS) <= set(FACE_QUALITY)
    assert set(BOUNDS) >= MINIMUM_ONLY


@given(st.sampled_from(sorted(BOUNDS, key=str)), st.floats(-400, 400) | st.none(), st.floats(-400, 400) | st.none())
def test_a_range_passes_where_it_can_hold_and_is_within_the_bounds(
    name: CheckName, least: float | None, most: float | None
) -> None:
    low, high = BOUNDS[name]
    given_bounds = [one for one in (least, most) if one is not None]
    passes = all(low <= one <= high for one in given_bounds) and given_bounds == sorted(given_bounds)
    passes = passes and not (name in MINIMUM_ONLY and most is not None)
    assert (refusal(name, Range(least, most)) is None) is passes


def test_lists_of_links_are_the_callers_own_and_those_of_candidates_of_their_account() -> None:
    own, other = uuid4(), uuid4()
    linked, ours, theirs = uuid4(), uuid4(), uuid4()
    policies = Policies(
        match=(
            MatchPolicy("a", FaceCandidates(list_id=ours)),
            MatchPolicy("b", FaceCandidates(account_id=other, list_id=theirs)),
            MatchPolicy("c", EventCandidates()),
        ),
        storage=StoragePolicy(face=FacePolicy(lists=(LinkToList(linked),))),
    )
    admin, user = Principal(own, AccountType.ADMIN), Principal(own, AccountType.USER)
    assert lists_of(policies, admin) == {Scope(own): [linked, ours], Scope(other): [theirs]}
    assert lists_of(policies, user) == {Scope(own): [linked, ours, theirs]}
