"""What checks are held to, and what comes out, against the rules as the contract words them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain import checks
from server.domain.checks import FACE_QUALITY, ISO, Allowed, CheckName, FaceQuality, Range

FLAGS = {CheckName.RED_EYES: 0, CheckName.NATURAL_LIGHT: 1, CheckName.RADIAL_DISTORTION: 1}

bound = st.none() | st.floats(-200, 200)


def quality(**values: float | str) -> FaceQuality:
    return FaceQuality({CheckName(name): value for name, value in values.items()}, {})


@given(bound, bound, st.floats(-250, 250) | st.integers(-250, 250))
def test_a_range_holds_what_lies_between_its_bounds_or_on_them(
    low: float | None, high: float | None, value: float
) -> None:
    below = low is not None and value < low
    above = high is not None and value > high
    assert Range(low, high).holds(value) is (not below and not above)


def test_a_word_is_in_no_range_and_an_unknown_word_is_not_allowed() -> None:
    assert not Range().holds("open")
    assert Allowed(("open", "closed")).holds("closed")
    assert not Allowed(("open",)).holds("occluded")
    assert not Allowed((1,)).holds(0)


def test_a_failed_check_fails_the_whole_and_keeps_its_value_and_threshold() -> None:
    result = checks.iso(quality(head_roll=8.5, head_yaw=-5.0, left_eye="open"))
    assert not result.passed
    by_name = {check.name: check for check in result.checks}
    roll = by_name[CheckName.HEAD_ROLL]
    assert (roll.object_value, roll.threshold, roll.passed) == (8.5, Range(-8, 8), False)
    assert by_name[CheckName.HEAD_YAW].passed
    assert by_name[CheckName.LEFT_EYE].passed
    assert checks.iso(quality(head_roll=8, left_eye="open")).passed


def test_what_could_not_be_measured_is_no_check_and_fails_nothing() -> None:
    measured = FaceQuality({CheckName.HEAD_ROLL: 1.0}, {CheckName.GAZE_YAW: "a model pack for gaze"})
    result = checks.iso(measured)
    assert result.passed
    assert [check.name for check in result.checks] == [CheckName.HEAD_ROLL]
    assert result.unavailable[CheckName.GAZE_YAW] == "a model pack for gaze"
    assert set(result.unavailable) == set(ISO) - {CheckName.HEAD_ROLL}


def test_a_value_of_zero_is_a_value() -> None:
    result = checks.evaluate(quality(red_eyes=0, head_roll=0.0), ISO)
    assert {check.name for check in result.checks} == {CheckName.RED_EYES, CheckName.HEAD_ROLL}
    assert result.passed


@given(st.permutations(list(CheckName)))
def test_checks_come_in_the_order_of_the_contract_however_they_were_measured(order: list[CheckName]) -> None:
    contract = list(CheckName)
    measured = FaceQuality(dict.fromkeys(order[::2], 0), {})
    result = checks.evaluate(measured, dict.fromkeys(order, Range()))
    made = [check.name for check in result.checks]
    assert made == sorted(order[::2], key=contract.index)
    assert list(result.unavailable) == sorted(order[1::2], key=contract.index)


def test_only_checks_with_a_threshold_are_made() -> None:
    result = checks.face_quality(quality(head_roll=90.0, head_yaw=0.0), {CheckName.HEAD_YAW: Range(-1, 1)})
    assert result.passed
    assert [check.name for check in result.checks] == [CheckName.HEAD_YAW]


@pytest.mark.parametrize("table", [ISO, FACE_QUALITY])
def test_flags_are_held_to_their_integer_and_states_to_words(table: dict[CheckName, checks.Threshold]) -> None:
    for name, threshold in table.items():
        if name in FLAGS:
            assert threshold == Allowed((FLAGS[name],))
        elif isinstance(threshold, Allowed):
            assert all(isinstance(word, str) for word in threshold.values)
        else:
            low, high = threshold.min, threshold.max
            assert low is not None or high is not None
            assert low is None or high is None or low < high


def test_the_checks_of_iso_are_those_of_face_quality_without_the_file_and_with_the_light() -> None:
    """Uniform illumination is a check of /6/iso alone; those of the file and the face's rectangle are a policy's."""
    of_the_file = set(list(CheckName)[:11]) - {CheckName.ASPECT_RATIO}
    assert set(ISO) == set(CheckName) - of_the_file
    assert set(FACE_QUALITY) == set(CheckName) - {CheckName.ILLUMINATION_UNIFORMITY}
