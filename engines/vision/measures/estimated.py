"""Checks of what has been estimated of a face already."""

from __future__ import annotations

from collections.abc import Callable

from engines.vision.measures.measure import Measures, Missing
from server.domain.checks import CheckName, CheckValue
from server.domain.vision import DetectedFace, Estimation, MaskState

Needs = Callable[[Estimation], str | None]
"""What must be installed or switched on for an estimation; None where it is served."""

_SMILES, _LIPS_APART = 0.5, 0.15

_NEVER: Measures = {
    CheckName.EYEBROWS_STATE: Missing("a model for eyebrows"),
    CheckName.HEADWEAR_TYPE: Missing("a model for headwear"),
    CheckName.RADIAL_DISTORTION: Missing("a calibrated camera: one picture does not tell a lens's distortion"),
    CheckName.SHOULDERS_POSITION: Missing("a model for shoulders"),
}
"""What no classical method tells honestly. Eyebrows: the 68 points follow an average face so closely that of the 40
faces with the highest brows among 1,581 press photos only about half raise them; frowning and squinting less still."""


def measured(face: DetectedFace, needs: Needs) -> Measures:
    """The checks that are held to estimations, with the values and units of those.

    head_yaw, head_pitch, head_roll, gaze_yaw, gaze_pitch: degrees. The five qualities, mouth_smiling, mouth_open: in
    [0, 1]. mouth_occluded: the probability of a mask or another occluder, in [0, 1]. left_eye, right_eye, glasses: the
    API's words. smile_properties: `none` where mouth_smiling is below .5, else `smile_open` where the lips are apart
    (mouth_open of .15 or more) and `smile_lips` where they are not.

    Args:
        face: with everything that is served of what these checks need.
        needs: says what is missing for the rest.
    """
    return {
        **_pose(face, needs),
        **_quality(face, needs),
        **_gaze(face, needs),
        **_eyes(face, needs),
        **_mouth(face, needs),
        **_covered(face, needs),
        **_NEVER,
    }


def _pose(face: DetectedFace, needs: Needs) -> Measures:
    names = CheckName.HEAD_YAW, CheckName.HEAD_PITCH, CheckName.HEAD_ROLL
    if face.head_pose is None:
        return _missing(names, needs(Estimation.HEAD_POSE))
    return dict(zip(names, (face.head_pose.yaw, face.head_pose.pitch, face.head_pose.roll), strict=True))


def _quality(face: DetectedFace, needs: Needs) -> Measures:
    names = (
        CheckName.ILLUMINATION_QUALITY,
        CheckName.SPECULARITY_QUALITY,
        CheckName.BLURRINESS_QUALITY,
        CheckName.DARK_QUALITY,
        CheckName.LIGHT_QUALITY,
    )
    quality = face.quality
    if quality is None:
        return _missing(names, needs(Estimation.QUALITY))
    values = quality.illumination, quality.specularity, quality.blurriness, quality.dark, quality.light
    return dict(zip(names, values, strict=True))


def _gaze(face: DetectedFace, needs: Needs) -> Measures:
    if face.gaze is None:
        return _missing((CheckName.GAZE_YAW, CheckName.GAZE_PITCH), needs(Estimation.GAZE))
    return {CheckName.GAZE_YAW: face.gaze.yaw, CheckName.GAZE_PITCH: face.gaze.pitch}


def _eyes(face: DetectedFace, needs: Needs) -> Measures:
    if face.eyes is None:
        return _missing((CheckName.LEFT_EYE, CheckName.RIGHT_EYE), needs(Estimation.EYES))
    return {CheckName.LEFT_EYE: face.eyes.left.state.value, CheckName.RIGHT_EYE: face.eyes.right.state.value}


def _mouth(face: DetectedFace, needs: Needs) -> Measures:
    mouth = face.mouth
    if mouth is None:
        names = CheckName.MOUTH_SMILING, CheckName.MOUTH_OPEN, CheckName.SMILE_PROPERTIES
        return _missing(names, needs(Estimation.MOUTH))
    smile = "none"
    if mouth.smile >= _SMILES:
        smile = "smile_open" if mouth.opened >= _LIPS_APART else "smile_lips"
    return {
        CheckName.MOUTH_SMILING: mouth.smile,
        CheckName.MOUTH_OPEN: mouth.opened,
        CheckName.SMILE_PROPERTIES: smile,
    }


def _covered(face: DetectedFace, needs: Needs) -> Measures:
    mask: CheckValue | Missing = Missing(needs(Estimation.MASK) or _NOT_MADE)
    if face.mask is not None:
        mask = 1 - face.mask.estimations[MaskState.MISSING]
    glasses: CheckValue | Missing = Missing(needs(Estimation.GLASSES) or _NOT_MADE)
    if face.glasses is not None:
        glasses = face.glasses.value
    return {CheckName.MOUTH_OCCLUDED: mask, CheckName.GLASSES: glasses}


def _missing(names: tuple[CheckName, ...], reason: str | None) -> Measures:
    return dict.fromkeys(names, Missing(reason or _NOT_MADE))


_NOT_MADE = "an estimation that was not made"
