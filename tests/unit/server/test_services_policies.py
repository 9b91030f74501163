"""Policies as messages and as values: nothing is lost on the way, everything is filled in, and what is kept is read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from any_message import messages
from google.protobuf.message import Message
from hypothesis import given, settings
from luna.v6 import event_filters_pb2, images_pb2
from luna.v6 import policies_pb2 as pb

from server.domain import policy_rules
from server.domain.checks import FACE_QUALITY, Allowed, CheckName, Range
from server.domain.event_conditions import Column, Condition, Operator
from server.domain.liveness import LivenessThresholds
from server.domain.policies import EventCandidates, FaceCandidates, Policies, TimeBound
from server.domain.vision import Estimation
from server.errors import BadBody, MissingField
from server.rpc.validation import complete, problems
from server.services.detect_policies import BODY_SWITCHES, SWITCHES
from server.services.matcher import FACE_TARGETS
from server.services.messages import word_of
from server.services.policies import ProtoPolicyForm, policies_from, policies_message

LIVENESS = LivenessThresholds(0.5, 0.25)
FORM = ProtoPolicyForm(LIVENESS)
ID = "00000000-0000-4000-8000-000000000001"


def filled(**members: Any) -> pb.Policies:
    """Policies as a request has them by the time that a service sees them."""
    message = pb.Policies(**members)
    complete(message)
    return message


def values(**members: Any) -> Policies:
    return policies_from(filled(**members), LIVENESS)


def events(**members: Any) -> EventCandidates:
    """The candidates of a comparison with events."""
    filters = event_filters_pb2.EventFilters(**members)
    found = values(match_policy=[pb.MatchPolicy(label="a", events=filters)]).match[0].candidates
    assert isinstance(found, EventCandidates)
    return found


def leaves(message: Message, path: str = "") -> Iterator[tuple[str, object]]:
    """Everything that is set in a message; the words and states of a list are a set."""
    for field, value in message.ListFields():
        name = f"{path}.{field.name}"
        if field.message_type is None:
            yield name, frozenset(value) if field.is_repeated and field.enum_type is not None else repr(value)
        elif field.message_type.GetOptions().map_entry:
            yield name, dict(value)
        elif field.is_repeated:
            for position, item in enumerate(value):
                yield f"{name}.{position}", None
                yield from leaves(item, f"{name}.{position}")
        else:
            yield name, None
            yield from leaves(value, name)


@given(messages(pb.Policies))
@settings(max_examples=150, deadline=None)
def test_what_a_caller_gives_comes_back_with_every_default(given_message: pb.Policies) -> None:
    complete(given_message)
    policies = policies_from(given_message, LIVENESS)
    told = policies_message(policies)
    given_leaves, told_leaves = dict(leaves(given_message)), dict(leaves(told))
    assert {name: told_leaves.get(name) for name in given_leaves} == given_leaves
    again = pb.Policies.FromString(told.SerializeToString())
    complete(again)
    assert again == told
    assert list(problems(told)) == []
    assert policies_from(told, LivenessThresholds()) == policies
    assert policies_message(policies_from(told, LivenessThresholds())) == told


@given(messages(pb.Policies))
@settings(max_examples=100, deadline=None)
def test_what_is_kept_is_json_and_is_read_as_it_was(message: pb.Policies) -> None:
    complete(message)
    policies = policies_from(message, LIVENESS)
    kept = json.loads(json.dumps(FORM.write(policies), allow_nan=False))
    assert ProtoPolicyForm(LivenessThresholds()).read(kept) == policies


def test_empty_policies_are_the_defaults_of_the_domain() -> None:
    assert policies_from(filled(), LivenessThresholds()) == Policies()
    assert FORM.read({}) == values()


def test_thresholds_of_liveness_are_told_as_numbers() -> None:
    told = policies_message(values()).detect_policy.estimate_liveness
    assert (told.liveness_threshold, told.quality_threshold) == (0.5, 0.25)
    detect = pb.DetectPolicy(estimate_liveness=pb.LivenessPolicy(liveness_threshold=0.0))
    assert values(detect_policy=detect).detect.liveness.threshold == 0.0


def test_every_check_is_told_with_what_it_is_held_to() -> None:
    checks = policies_message(values()).detect_policy.face_quality.checks
    assert {one.name for one in pb.FaceQualityChecks.DESCRIPTOR.fields} == {name.value for name in FACE_QUALITY}
    for name, threshold in FACE_QUALITY.items():
        check = getattr(checks, name.value)
        assert check.estimate, name
        match threshold:
            case Range():
                low = check.threshold.min if check.threshold.HasField("min") else None
                high = check.threshold.max if check.threshold.HasField("max") else None
                assert (low, high) == (threshold.min, threshold.max), name
            case Allowed() if isinstance(threshold.values[0], str):
                assert tuple(check.threshold) == threshold.values, name
            case Allowed():
                assert isinstance(check, pb.FlagCheck), name


def test_a_threshold_that_is_given_replaces_that_of_the_check() -> None:
    checks = pb.FaceQualityChecks(
        head_yaw=pb.RangeCheck(threshold=pb.RangeThreshold(max=20)),
        glasses=pb.ChoiceCheck(threshold=["sunglasses"]),
        red_eyes=pb.FlagCheck(estimate=False),
    )
    detect = pb.DetectPolicy(face_quality=pb.FaceQualityPolicy(checks=checks))
    found = values(detect_policy=detect).detect.face_quality
    assert found.checks[CheckName.HEAD_YAW].threshold == Range(None, 20)
    assert found.checks[CheckName.GLASSES].threshold == Allowed(("sunglasses",))
    assert CheckName.RED_EYES not in found.thresholds
    assert found.thresholds[CheckName.HEAD_PITCH] == FACE_QUALITY[CheckName.HEAD_PITCH]


def test_every_switch_of_an_estimation_has_its_field() -> None:
    detect = {one.name for one in pb.DetectPolicy.DESCRIPTOR.fields}
    assert {name for name in detect if name.startswith("estimate_") or name == "detect_landmarks68"} == {
        *SWITCHES,
        "estimate_liveness",
    }
    assert {one.name for one in pb.BodyAttributesPolicy.DESCRIPTOR.fields} == {*BODY_SWITCHES}
    for name, estimation in SWITCHES.items():
        assert values(detect_policy=pb.DetectPolicy(**{name: True})).detect.estimations == {estimation}
    body = pb.BodyAttributesPolicy(estimate_upper_body=True)
    assert values(detect_policy=pb.DetectPolicy(body_attributes=body)).detect.estimations == {Estimation.UPPER_BODY}


def test_relative_times_of_candidates_stay_relative() -> None:
    faces = pb.PolicyFaceCandidates(create_time_gte="now-3h", list_id=ID)
    found = values(match_policy=[pb.MatchPolicy(label="a", faces=faces)]).match[0].candidates
    assert found == FaceCandidates(list_id=UUID(ID), create_time_gte=TimeBound("now-3h"))
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    candidates = events(create_time_gte="now-3h", end_time_lt="2026-01-01T00:00:00Z", sources=["door", ""])
    assert set(candidates.at(noon)) == {
        Condition(Column.CREATE_TIME, Operator.GTE, datetime(2026, 3, 1, 9, tzinfo=UTC)),
        Condition(Column.END_TIME, Operator.LT, datetime(2026, 1, 1, tzinfo=UTC)),
        Condition(Column.SOURCE, Operator.IN, ("door", None)),
    }


def test_an_account_of_event_candidates_is_a_condition_and_does_not_widen_anything() -> None:
    assert events(account_id=ID).conditions == (Condition(Column.ACCOUNT_ID, Operator.EQ, UUID(ID)),)


def test_events_without_a_position_can_be_kept_and_read() -> None:
    nowhere = event_filters_pb2.EventFilters(origin_longitude=float("nan"), origin_latitude=float("nan"))
    policies = values(match_policy=[pb.MatchPolicy(label="a", events=nowhere)])
    kept = json.loads(json.dumps(FORM.write(policies), allow_nan=False))
    assert FORM.read(kept) == policies
    found = policies.match[0].candidates
    assert isinstance(found, EventCandidates)
    assert found.conditions == (Condition(Column.GEO_POSITION, Operator.EQ, None),)


def test_what_is_wrong_with_candidates_is_told_with_its_place() -> None:
    with pytest.raises(MissingField) as missing:
        values(match_policy=[pb.MatchPolicy(label="a")])
    assert missing.value.values["field"] == "policies.match_policy.0.candidates"
    half = event_filters_pb2.EventFilters(origin_longitude=1)
    with pytest.raises(BadBody) as bad:
        values(match_policy=[pb.MatchPolicy(label="a", events=half)])
    assert bad.value.values["field"] == "policies.match_policy.0.candidates.origin_latitude"


def test_what_a_newer_release_wrote_is_read_as_far_as_it_is_known() -> None:
    kept: dict[str, Any] = json.loads(json.dumps(FORM.write(values())))
    kept["deepfake_policy"] = {"on": True}
    kept["detect_policy"]["estimate_deepfake"] = True
    kept["detect_policy"]["mask_states"] = ["MASK_STATE_OCCLUDED"]
    kept["storage_policy"]["notification_policy"]["callbacks"] = [{"url": "x"}]
    found = FORM.read(kept)
    assert policies_message(found).detect_policy.mask_states == [images_pb2.MASK_STATE_OCCLUDED]


@pytest.mark.parametrize(
    "kept",
    [
        {"detect_policy": 1},
        {"detect_policy": {"pitch_threshold": "x"}},
        {"detect_policy": {"pitch_threshold": 181}},
        {"match_policy": [{"label": "a"}]},
        {"match_policy": [{"label": "a", "faces": {"list_id": "no id"}}]},
        {"match_policy": [{"label": "a", "faces": {"create_time_gte": "yesterday"}}]},
        {"match_policy": [{"label": "a", "events": {"meta": {"a:wrong": "1"}}}]},
    ],
)
def test_what_is_no_policies_is_a_value_error(kept: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        FORM.read(kept)


def test_the_targets_of_comparisons_are_fields_of_what_is_told() -> None:
    from luna.v6 import attributes_pb2, events_pb2

    def words(enum: Any) -> set[str]:
        return {word_of(enum, value.number) for value in enum.values if value.number}

    assert set(FACE_TARGETS) | {"similarity"} == policy_rules.FACE_TARGETS
    not_told = {"top_match", "match_result", "face_detections", "body_detections"}
    event_words = words(events_pb2.DESCRIPTOR.enum_types_by_name["EventField"])
    assert (event_words - not_told) | {"similarity"} == policy_rules.EVENT_TARGETS
    attribute_words = words(attributes_pb2.DESCRIPTOR.enum_types_by_name["AttributeField"])
    assert policy_rules.ATTRIBUTE_TARGETS - {"similarity"} <= attribute_words
