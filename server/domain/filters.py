"""Filters of faces: which faces are left out, and why. One entry each in `FILTERS`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from server.domain.images import NOT_OF_SAMPLES
from server.domain.liveness import LivenessThresholds
from server.domain.vision import DetectedFace, Estimation, HeadPose, LivenessState, MaskState

NO_ANGLE = 180
"""This limit of an angle, in degrees, is none."""

MASK_NUMBERS = {MaskState.MISSING: 1, MaskState.MEDICAL_MASK: 2, MaskState.OCCLUDED: 3}
"""The states of a mask as LUNA numbers them."""


@dataclass(frozen=True, slots=True)
class FaceLimits:
    """What a face must be like; by default any face is kept.

    Attributes:
        pitch, roll, yaw: largest absolute angles in degrees; None and 180 are no limit, 0 leaves out every face.
        score: lowest score of the descriptor, in [0, 1].
        masks: states of the mask that are kept; all where it is empty.
        liveness: predictions of liveness that are kept; all where it is empty.
    """

    pitch: int | None = None
    roll: int | None = None
    yaw: int | None = None
    score: float = 0.0
    masks: frozenset[MaskState] = frozenset()
    liveness: frozenset[LivenessState] = frozenset()


ANY_FACE = FaceLimits()
"""Every face is kept."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a face was left out.

    Attributes:
        parameter: what it did not pass.
        description: the same in words.
        value: what was measured, a state by its number; None where it could not be measured.
        threshold: what was asked for; states by their numbers.
    """

    parameter: str
    description: str
    value: float | None
    threshold: float | tuple[int, ...]


class FaceFilter(Protocol):
    """One filter."""

    @property
    def parameter(self) -> str:
        """The parameter that sets it."""
        ...

    @property
    def needs(self) -> Estimation:
        """The estimation that it judges by."""
        ...

    def is_set(self, limits: FaceLimits) -> bool:
        """Tells whether it leaves out anything."""
        ...

    def reason(self, face: DetectedFace, limits: FaceLimits, thresholds: LivenessThresholds) -> Reason | None:
        """Why a face does not pass; None where it does. What was not estimated does not pass."""
        ...


@dataclass(frozen=True, slots=True)
class AngleFilter:
    """Leaves out faces that are turned too far."""

    parameter: str
    limit: Callable[[FaceLimits], int | None]
    angle: Callable[[HeadPose], float]
    needs: Estimation = Estimation.HEAD_POSE

    def is_set(self, limits: FaceLimits) -> bool:
        """True below 180 degrees."""
        limit = self.limit(limits)
        return limit is not None and limit < NO_ANGLE

    def reason(self, face: DetectedFace, limits: FaceLimits, thresholds: LivenessThresholds) -> Reason | None:  # noqa: ARG002
        """The absolute angle must not be above the limit."""
        limit = self.limit(limits) or 0
        angle = None if face.head_pose is None else self.angle(face.head_pose)
        # 0 leaves out everything: no measured angle is exactly 0 (reference document, note on 0)
        if angle is not None and limit > 0 and abs(angle) <= limit:
            return None
        return Reason(self.parameter, f"the angle is above {limit} degrees", angle, float(limit))


@dataclass(frozen=True, slots=True)
class ScoreFilter:
    """Leaves out faces whose descriptor is not good enough."""

    parameter: str = "score_threshold"
    needs: Estimation = Estimation.DESCRIPTOR

    def is_set(self, limits: FaceLimits) -> bool:
        """True above 0."""
        return limits.score > 0

    def reason(self, face: DetectedFace, limits: FaceLimits, thresholds: LivenessThresholds) -> Reason | None:  # noqa: ARG002
        """The score must not be below the limit."""
        score = None if face.descriptor is None else face.descriptor.score
        if score is not None and score >= limits.score:
            return None
        return Reason(self.parameter, f"the score of the descriptor is below {limits.score:g}", score, limits.score)


@dataclass(frozen=True, slots=True)
class MaskFilter:
    """Leaves out faces by what covers them."""

    parameter: str = "mask_states"
    needs: Estimation = Estimation.MASK

    def is_set(self, limits: FaceLimits) -> bool:
        """True where states are named."""
        return bool(limits.masks)

    def reason(self, face: DetectedFace, limits: FaceLimits, thresholds: LivenessThresholds) -> Reason | None:  # noqa: ARG002
        """The predominant state must be one of those that are named."""
        state = None if face.mask is None else face.mask.predominant
        if state in limits.masks:
            return None
        allowed = tuple(sorted(MASK_NUMBERS[one] for one in limits.masks))
        value = None if state is None else MASK_NUMBERS[state]
        return Reason(self.parameter, "the state of the mask is another one", value, allowed)


@dataclass(frozen=True, slots=True)
class LivenessFilter:
    """Leaves out faces by the prediction of their liveness."""

    parameter: str = "liveness_states"
    needs: Estimation = Estimation.LIVENESS

    def is_set(self, limits: FaceLimits) -> bool:
        """True where states are named."""
        return bool(limits.liveness)

    def reason(self, face: DetectedFace, limits: FaceLimits, thresholds: LivenessThresholds) -> Reason | None:
        """The prediction must be one of those that are named."""
        state = None if face.liveness is None else thresholds.state(face.liveness)
        if state in limits.liveness:
            return None
        allowed = tuple(sorted(one.value for one in limits.liveness))
        value = None if state is None else state.value
        return Reason(self.parameter, "the prediction of liveness is another one", value, allowed)


FILTERS: tuple[FaceFilter, ...] = (
    AngleFilter("pitch_threshold", lambda limits: limits.pitch, lambda pose: pose.pitch),
    AngleFilter("roll_threshold", lambda limits: limits.roll, lambda pose: pose.roll),
    AngleFilter("yaw_threshold", lambda limits: limits.yaw, lambda pose: pose.yaw),
    ScoreFilter(),
    MaskFilter(),
    LivenessFilter(),
)
"""Every filter, in the order that reasons are told in."""


def needed(limits: FaceLimits) -> frozenset[Estimation]:
    """The estimations that limits are judged by."""
    return frozenset(one.needs for one in FILTERS if one.is_set(limits))


def reasons(
    face: DetectedFace, limits: FaceLimits, thresholds: LivenessThresholds, *, sample: bool = False
) -> tuple[Reason, ...]:
    """Every reason to leave a face out; of a sample only by what is estimated of samples."""
    return tuple(_reasons(face, limits, thresholds, sample=sample))


def _reasons(
    face: DetectedFace, limits: FaceLimits, thresholds: LivenessThresholds, *, sample: bool
) -> Iterator[Reason]:
    for one in FILTERS:
        if one.is_set(limits) and not (sample and one.needs in NOT_OF_SAMPLES):
            found = one.reason(face, limits, thresholds)
            if found is not None:
                yield found
