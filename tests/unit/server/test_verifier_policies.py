"""Policies of verifiers: the messages are parts of those of handlers, and what is read comes back."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.unknown_fields import UnknownFieldSet
from luna import options_pb2
from luna.v6 import policies_pb2
from luna.v6 import verifiers_pb2 as pb

from server.domain.checks import FACE_QUALITY, CheckName, Range
from server.domain.images import MultifacePolicy
from server.domain.liveness import LivenessThresholds
from server.domain.policies import AttributePolicy, SamplePolicy
from server.domain.verifiers import VerifierPolicies
from server.domain.vision import Estimation, LivenessState, MaskState
from server.rpc.validation import complete
from server.services.verifier_policies import ProtoVerifierPolicyForm, verifier_policies, verifier_policies_from

THRESHOLDS = LivenessThresholds(0.6, 0.4)


def policies(**given: Any) -> VerifierPolicies:
    message = pb.VerifierPolicies(**given)
    complete(message)
    return verifier_policies_from(message, THRESHOLDS)


@pytest.mark.parametrize(
    ("part", "whole"),
    [
        (pb.VerifierDetectPolicy, policies_pb2.DetectPolicy),
        (pb.VerifierExtractPolicy, policies_pb2.ExtractPolicy),
    ],
)
def test_each_field_is_the_handlers_with_its_number_and_its_rules(part: Any, whole: Any) -> None:
    others = {field.name: field for field in whole.DESCRIPTOR.fields}
    for field in part.DESCRIPTOR.fields:
        other = others.pop(field.name)
        assert (field.number, field.type, field.is_repeated) == (other.number, other.type, other.is_repeated)
        assert field.message_type is other.message_type
        assert field.enum_type is other.enum_type
        rules = [one.GetOptions().Extensions[options_pb2.field] for one in (field, other)]
        assert rules[0] == rules[1], field.name
    bodies_and_choices = {"detect_face", "detect_body", "multiface_policy", "body_attributes"}
    assert others.keys() <= bodies_and_choices | {"extract_face_descriptor", "extract_body_descriptor"}


def test_empty_policies_look_for_every_face_and_store_nothing() -> None:
    found = policies()
    assert found.threshold == 0.9
    assert (found.detect.faces, found.detect.bodies, found.detect.multiface) == (True, False, MultifacePolicy.ALLOWED)
    assert (found.extract.face_descriptor, found.extract.body_descriptor) == (True, False)
    assert found.sample == SamplePolicy(store=False)
    assert found.attribute == AttributePolicy(store=False, ttl_seconds=None)
    assert found.detect.estimations == frozenset()
    assert (found.detect.liveness.threshold, found.detect.liveness.quality_threshold) == (0.6, 0.4)
    storage = found.of_faces.storage
    assert not any(one.store for one in (storage.body_sample, storage.image_origin, storage.face, storage.event))
    assert not storage.notification.send


def test_what_is_given_is_read() -> None:
    found = policies(
        verification_threshold=0.5,
        detect_policy=pb.VerifierDetectPolicy(
            estimate_mask=True,
            detect_landmarks68=True,
            yaw_threshold=30,
            mask_states=[1, 3],
            liveness_states=[2],
            estimate_liveness=policies_pb2.LivenessPolicy(estimate=True, liveness_threshold=0.125),
            face_quality=policies_pb2.FaceQualityPolicy(
                estimate=True,
                checks=policies_pb2.FaceQualityChecks(
                    head_yaw=policies_pb2.RangeCheck(threshold=policies_pb2.RangeThreshold(max=9))
                ),
            ),
        ),
        extract_policy=pb.VerifierExtractPolicy(extract_basic_attributes=True, fd_score_threshold=0.25),
        storage_policy=pb.VerifierStoragePolicy(
            face_sample_policy=pb.VerifierSamplePolicy(store_sample=True),
            attribute_policy=pb.VerifierAttributePolicy(store_attribute=True, ttl=60),
        ),
    )
    assert found.threshold == 0.5
    assert found.detect.estimations == {Estimation.MASK, Estimation.LANDMARKS68}
    assert (found.detect.limits.yaw, found.detect.limits.pitch) == (30, None)
    assert found.detect.limits.masks == {MaskState.MISSING, MaskState.OCCLUDED}
    assert found.detect.limits.liveness == {LivenessState.REAL}
    assert (found.detect.liveness.threshold, found.detect.liveness.quality_threshold) == (0.125, 0.4)
    assert found.detect.face_quality.thresholds == {**FACE_QUALITY, CheckName.HEAD_YAW: Range(None, 9)}
    assert (found.extract.basic_attributes, found.extract.score_threshold) == (True, 0.25)
    assert found.sample.store
    assert found.attribute == AttributePolicy(store=True, ttl_seconds=60)
    form = ProtoVerifierPolicyForm(LivenessThresholds())
    assert form.read(form.write(found)) == found


def test_the_answer_shows_every_default() -> None:
    message = verifier_policies(policies())
    detect = message.detect_policy
    for field in detect.DESCRIPTOR.fields:
        if field.name not in {"pitch_threshold", "roll_threshold", "yaw_threshold"} and not field.is_repeated:
            assert detect.HasField(field.name), field.name
    assert detect.face_quality.checks.head_yaw.threshold.max == 5
    assert message.extract_policy == pb.VerifierExtractPolicy(extract_basic_attributes=False, fd_score_threshold=0)
    assert message.storage_policy.face_sample_policy.HasField("store_sample")
    assert message.storage_policy.attribute_policy.HasField("store_attribute")
    # what handlers have besides does not travel along
    assert len(UnknownFieldSet(detect)) == len(UnknownFieldSet(message.extract_policy)) == 0


def test_a_similarity_must_be_above_the_threshold() -> None:
    strict = VerifierPolicies(threshold=0.5)
    assert strict.verifies(0.5000001)
    assert not strict.verifies(0.5)
    assert not VerifierPolicies(threshold=1.0).verifies(1.0)
    assert VerifierPolicies(threshold=0.0).verifies(1e-9)
