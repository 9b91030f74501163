"""Aggregation against sums that are made by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.aggregation import UNDEFINED, aggregate, mean_liveness, most
from server.domain.attributes import Gender
from server.domain.vision import (
    Accessories,
    BodyBasicAttributes,
    BodyGender,
    DetectedPerson,
    Emotion,
    Liveness,
    LowerBody,
    MaskState,
    Presence,
    UpperBody,
)
from tests.scripted_engine import body, face, mean_of


def test_scores_are_means_and_states_follow_from_them() -> None:
    faces = [
        face(1, mask=MaskState.MISSING, emotion=Emotion.ANGER, age=20.0, male=0.9),
        face(2, mask=MaskState.MISSING, emotion=Emotion.FEAR, age=31.0, male=0.2),
        face(3, mask=MaskState.OCCLUDED, emotion=Emotion.FEAR, age=None, male=0.1),
    ]
    found = aggregate([DetectedPerson(one) for one in faces], mean_of)
    assert found.body is None
    assert found.face is not None
    assert found.face.mask is not None
    assert found.face.mask.estimations == pytest.approx(
        {MaskState.MISSING: 1.55 / 3, MaskState.OCCLUDED: 1.0 / 3, MaskState.MEDICAL_MASK: 0.15}
    )
    assert found.face.mask.predominant is MaskState.MISSING
    assert found.face.emotions is not None
    assert found.face.emotions.predominant is Emotion.FEAR
    assert sum(found.face.emotions.estimations.values()) == pytest.approx(1)
    basic = found.face.basic_attributes
    assert basic is not None
    assert (basic.age, basic.male) == (25.5, pytest.approx(0.4))
    assert basic.gender is Gender.FEMALE


def test_what_no_face_has_is_not_there() -> None:
    found = aggregate([DetectedPerson(face(1, age=None, male=None))], mean_of)
    assert found.face is not None
    assert found.face.basic_attributes is not None
    assert (found.face.basic_attributes.age, found.face.basic_attributes.gender) == (None, None)
    assert aggregate([], mean_of).face is None


def test_bodies_are_what_most_of_them_are_and_those_that_do_not_know_do_not_vote() -> None:
    unknown = body(
        9,
        body_basic_attributes=BodyBasicAttributes(BodyGender.UNKNOWN, 50),
        upper_body=UpperBody(Presence.UNKNOWN, UNDEFINED, UNDEFINED, (UNDEFINED,)),
        lower_body=LowerBody(UNDEFINED, (UNDEFINED,), UNDEFINED),
        accessories=Accessories(Presence.UNKNOWN),
    )
    found = aggregate([DetectedPerson(None, one) for one in (unknown, unknown, body(1))], mean_of).body
    assert found is not None
    assert found.body_basic_attributes == BodyBasicAttributes(BodyGender.MALE, round((50 + 50 + 40) / 3))
    assert (found.upper_body, found.lower_body) == (body(1).upper_body, body(1).lower_body)
    assert found.accessories == Accessories(Presence.ABSENT)
    alone = aggregate([DetectedPerson(None, unknown)], mean_of).body
    assert alone is not None
    assert (alone.upper_body, alone.accessories) == (unknown.upper_body, unknown.accessories)


@given(st.lists(st.sampled_from("abc?"), min_size=1))
def test_the_most_frequent_value_is_that_of_a_slow_count(values: list[str]) -> None:
    known = [one for one in values if one != "?"]
    chosen = most(values, "?")
    assert chosen == ("?" if not known else max(known, key=lambda one: (known.count(one), -known.index(one))))


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1))
def test_liveness_is_the_mean_of_scores_and_qualities(values: list[tuple[float, float]]) -> None:
    found = mean_liveness(Liveness(*one) for one in values)
    assert found is not None
    assert found.score == pytest.approx(sum(score for score, _ in values) / len(values))
    assert found.quality == pytest.approx(sum(quality for _, quality in values) / len(values))


def test_the_liveness_of_nothing_is_none() -> None:
    assert mean_liveness([]) is None
