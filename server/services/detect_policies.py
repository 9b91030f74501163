"""Policies of detection, extraction and of the checks of faces' pictures: messages to values and back.

A message that is read is complete: its defaults are filled in (`server.rpc.validation.complete`).
"""

from __future__ import annotations

from collections.abc import Mapping

from luna.v6 import policies_pb2 as pb
from luna.v6 import samples_pb2

from server.domain.checks import FACE_QUALITY, Allowed, CheckName, Range, Threshold
from server.domain.filters import FaceLimits
from server.domain.images import MultifacePolicy
from server.domain.liveness import LivenessThresholds
from server.domain.policies import DetectPolicy, ExtractPolicy, FaceQualityPolicy, LivenessPolicy, PolicyCheck
from server.domain.vision import Estimation
from server.services.estimations import LIVENESS_STATES, MASK_STATES

MULTIFACE = {
    samples_pb2.MULTIFACE_POLICY_NOT_ALLOWED: MultifacePolicy.NOT_ALLOWED,
    samples_pb2.MULTIFACE_POLICY_ALLOWED: MultifacePolicy.ALLOWED,
    samples_pb2.MULTIFACE_POLICY_BEST: MultifacePolicy.BEST,
}
SWITCHES: Mapping[str, Estimation] = {
    "estimate_head_pose": Estimation.HEAD_POSE,
    "estimate_emotions": Estimation.EMOTIONS,
    "estimate_mask": Estimation.MASK,
    "estimate_quality": Estimation.QUALITY,
    "estimate_gaze": Estimation.GAZE,
    "estimate_eyes_attributes": Estimation.EYES,
    "estimate_mouth_attributes": Estimation.MOUTH,
    "estimate_glasses": Estimation.GLASSES,
    "detect_landmarks68": Estimation.LANDMARKS68,
    "estimate_people_count": Estimation.PEOPLE_COUNT,
}
"""The fields of a detect policy that ask for an estimation."""
BODY_SWITCHES: Mapping[str, Estimation] = {
    "estimate_basic_attributes": Estimation.BODY_BASIC_ATTRIBUTES,
    "estimate_upper_body": Estimation.UPPER_BODY,
    "estimate_lower_body": Estimation.LOWER_BODY,
    "estimate_accessories": Estimation.ACCESSORIES,
}
"""The fields of `body_attributes`."""
MASK_OF = {number: state for state, number in MASK_STATES.items()}
LIVENESS_OF = {number: state for state, number in LIVENESS_STATES.items()}
_MULTIFACE_OF = {value: key for key, value in MULTIFACE.items()}


def detect_policy_from(message: pb.DetectPolicy, liveness: LivenessThresholds) -> DetectPolicy:
    """What is looked for and estimated. `liveness` is what absent thresholds of liveness are."""
    return DetectPolicy(
        faces=message.detect_face,
        bodies=message.detect_body,
        multiface=MULTIFACE[message.multiface_policy],
        estimations=frozenset(
            {one for name, one in SWITCHES.items() if getattr(message, name)}
            | {one for name, one in BODY_SWITCHES.items() if getattr(message.body_attributes, name)}
        ),
        extract_exif=message.extract_exif,
        limits=face_limits_from(message),
        liveness=liveness_policy_from(message.estimate_liveness, liveness),
        face_quality=face_quality_policy_from(message.face_quality),
    )


def detect_policy(value: DetectPolicy) -> pb.DetectPolicy:
    """The same as a message."""
    message = pb.DetectPolicy(
        detect_face=value.faces,
        detect_body=value.bodies,
        multiface_policy=_MULTIFACE_OF[value.multiface],
        extract_exif=value.extract_exif,
        mask_states=sorted(MASK_STATES[one] for one in value.limits.masks),
        liveness_states=sorted(LIVENESS_STATES[one] for one in value.limits.liveness),
        estimate_liveness=liveness_policy(value.liveness),
        body_attributes=pb.BodyAttributesPolicy(
            **{name: one in value.estimations for name, one in BODY_SWITCHES.items()}
        ),
        face_quality=face_quality_policy(value.face_quality),
        **{name: one in value.estimations for name, one in SWITCHES.items()},
    )
    for axis in ("pitch", "roll", "yaw"):
        if (limit := getattr(value.limits, axis)) is not None:
            setattr(message, f"{axis}_threshold", limit)
    return message


def face_limits_from(message: pb.DetectPolicy) -> FaceLimits:
    """Which faces are left out."""
    return FaceLimits(
        pitch=message.pitch_threshold if message.HasField("pitch_threshold") else None,
        roll=message.roll_threshold if message.HasField("roll_threshold") else None,
        yaw=message.yaw_threshold if message.HasField("yaw_threshold") else None,
        masks=frozenset(MASK_OF[number] for number in message.mask_states if number in MASK_OF),
        liveness=frozenset(LIVENESS_OF[number] for number in message.liveness_states if number in LIVENESS_OF),
    )


def liveness_policy_from(message: pb.LivenessPolicy, default: LivenessThresholds) -> LivenessPolicy:
    """Whether liveness is estimated, and with which thresholds."""
    return LivenessPolicy(
        message.estimate,
        message.liveness_threshold if message.HasField("liveness_threshold") else default.score,
        message.quality_threshold if message.HasField("quality_threshold") else default.quality,
    )


def liveness_policy(value: LivenessPolicy) -> pb.LivenessPolicy:
    """The same as a message."""
    return pb.LivenessPolicy(
        estimate=value.estimate, liveness_threshold=value.threshold, quality_threshold=value.quality_threshold
    )


def face_quality_policy_from(message: pb.FaceQualityPolicy) -> FaceQualityPolicy:
    """Which checks of faces' pictures are made, and what they are held to."""
    checks = {name: _check_from(getattr(message.checks, name.value), default) for name, default in FACE_QUALITY.items()}
    return FaceQualityPolicy(message.estimate, message.filter, checks)


def face_quality_policy(value: FaceQualityPolicy) -> pb.FaceQualityPolicy:
    """The same as a message."""
    message = pb.FaceQualityPolicy(estimate=value.estimate, filter=value.filter)
    for name, check in value.checks.items():
        _write_check(getattr(message.checks, name.value), name, check)
    return message


def _check_from(message: pb.RangeCheck | pb.ChoiceCheck | pb.FlagCheck, default: Threshold) -> PolicyCheck:
    threshold = default
    if isinstance(message, pb.RangeCheck) and message.HasField("threshold"):
        given = message.threshold
        threshold = Range(
            given.min if given.HasField("min") else None,
            given.max if given.HasField("max") else None,
        )
    elif isinstance(message, pb.ChoiceCheck) and message.threshold:
        threshold = Allowed(tuple(message.threshold))
    return PolicyCheck(message.estimate, threshold)


def _write_check(message: pb.RangeCheck | pb.ChoiceCheck | pb.FlagCheck, name: CheckName, check: PolicyCheck) -> None:
    message.estimate = check.estimate
    threshold = check.threshold or FACE_QUALITY[name]
    if isinstance(message, pb.RangeCheck) and isinstance(threshold, Range):
        message.threshold.SetInParent()
        if threshold.min is not None:
            message.threshold.min = threshold.min
        if threshold.max is not None:
            message.threshold.max = threshold.max
    elif isinstance(message, pb.ChoiceCheck) and isinstance(threshold, Allowed):
        message.threshold.extend(str(one) for one in threshold.values)


def extract_policy_from(message: pb.ExtractPolicy) -> ExtractPolicy:
    """What is extracted."""
    return ExtractPolicy(
        message.extract_face_descriptor,
        message.extract_body_descriptor,
        message.extract_basic_attributes,
        message.fd_score_threshold,
    )


def extract_policy(value: ExtractPolicy) -> pb.ExtractPolicy:
    """The same as a message."""
    return pb.ExtractPolicy(
        extract_face_descriptor=value.face_descriptor,
        extract_body_descriptor=value.body_descriptor,
        extract_basic_attributes=value.basic_attributes,
        fd_score_threshold=value.score_threshold,
    )
