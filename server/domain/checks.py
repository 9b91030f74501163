"""The checks of /6/iso and of face_quality: their names, what they are held to, and what comes out.

Source of the names and thresholds: the reference document and ISO/IEC 19794-5 (docs/compatibility.md says which
threshold is whose).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

CheckValue = float | int | str
"""What a check measured: a number, or a word."""


class CheckName(Enum):
    """Every check, by the API's word."""

    IMAGE_FORMAT = "image_format"
    IMAGE_SIZE = "image_size"
    IMAGE_WIDTH = "image_width"
    IMAGE_HEIGHT = "image_height"
    ASPECT_RATIO = "aspect_ratio"
    FACE_WIDTH = "face_width"
    FACE_HEIGHT = "face_height"
    INDENT_LEFT = "indent_left"
    INDENT_RIGHT = "indent_right"
    INDENT_UPPER = "indent_upper"
    INDENT_LOWER = "indent_lower"
    ILLUMINATION_QUALITY = "illumination_quality"
    SPECULARITY_QUALITY = "specularity_quality"
    BLURRINESS_QUALITY = "blurriness_quality"
    DARK_QUALITY = "dark_quality"
    LIGHT_QUALITY = "light_quality"
    ILLUMINATION_UNIFORMITY = "illumination_uniformity"
    DYNAMIC_RANGE = "dynamic_range"
    BACKGROUND_LIGHTNESS = "background_lightness"
    BACKGROUND_UNIFORMITY = "background_uniformity"
    HEAD_YAW = "head_yaw"
    HEAD_PITCH = "head_pitch"
    HEAD_ROLL = "head_roll"
    GAZE_YAW = "gaze_yaw"
    GAZE_PITCH = "gaze_pitch"
    HEAD_HORIZONTAL_CENTER = "head_horizontal_center"
    HEAD_VERTICAL_CENTER = "head_vertical_center"
    HEAD_WIDTH = "head_width"
    HEAD_HEIGHT = "head_height"
    EYE_DISTANCE = "eye_distance"
    MOUTH_SMILING = "mouth_smiling"
    MOUTH_OCCLUDED = "mouth_occluded"
    MOUTH_OPEN = "mouth_open"
    SMILE_PROPERTIES = "smile_properties"
    LEFT_EYE = "left_eye"
    RIGHT_EYE = "right_eye"
    RED_EYES = "red_eyes"
    GLASSES = "glasses"
    EYEBROWS_STATE = "eyebrows_state"
    HEADWEAR_TYPE = "headwear_type"
    FACE_COLOR_TYPE = "face_color_type"
    NATURAL_LIGHT = "natural_light"
    RADIAL_DISTORTION = "radial_distortion"
    SHOULDERS_POSITION = "shoulders_position"


@dataclass(frozen=True, slots=True)
class FaceQuality:
    """What was measured of one face, before it is held to any threshold.

    A check whose value cannot be measured is in `unavailable`, with what would have to be installed or changed.
    """

    values: Mapping[CheckName, CheckValue]
    unavailable: Mapping[CheckName, str]


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `min` to `max`, both included; None is no bound."""

    min: float | None = None
    max: float | None = None

    def holds(self, value: CheckValue) -> bool:
        """True for a number in the range."""
        if isinstance(value, str):
            return False
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


@dataclass(frozen=True, slots=True)
class Allowed:
    """Words, or the numbers of a flag, that pass."""

    values: tuple[str | int, ...]

    def holds(self, value: CheckValue) -> bool:
        """True for one of the values."""
        return value in self.values


Threshold = Range | Allowed


@dataclass(frozen=True, slots=True)
class Check:
    """One check that was made: what was measured, what it was held to, and whether it passed."""

    name: CheckName
    object_value: CheckValue
    threshold: Threshold
    passed: bool


@dataclass(frozen=True, slots=True)
class ChecksResult:
    """The checks of one face.

    Attributes:
        passed: every check that was made passed. It says nothing of those in `unavailable`.
        checks: those that were made, in the order of `CheckName`.
        unavailable: those that could not be made, in the same order, and why.
    """

    passed: bool
    checks: tuple[Check, ...]
    unavailable: Mapping[CheckName, str]


ISO: Mapping[CheckName, Threshold] = {
    CheckName.ASPECT_RATIO: Range(0.74, 0.8),
    CheckName.ILLUMINATION_QUALITY: Range(0.3),
    CheckName.SPECULARITY_QUALITY: Range(0.3),
    CheckName.BLURRINESS_QUALITY: Range(0.61),
    CheckName.DARK_QUALITY: Range(0.5),
    CheckName.LIGHT_QUALITY: Range(0.57),
    CheckName.ILLUMINATION_UNIFORMITY: Range(0.3),
    CheckName.DYNAMIC_RANGE: Range(0.5),
    CheckName.BACKGROUND_LIGHTNESS: Range(0.2),
    CheckName.BACKGROUND_UNIFORMITY: Range(0.5),
    CheckName.HEAD_YAW: Range(-5, 5),
    CheckName.HEAD_PITCH: Range(-5, 5),
    CheckName.HEAD_ROLL: Range(-8, 8),
    CheckName.GAZE_YAW: Range(-5, 5),
    CheckName.GAZE_PITCH: Range(-5, 5),
    CheckName.HEAD_HORIZONTAL_CENTER: Range(0.45, 0.55),
    CheckName.HEAD_VERTICAL_CENTER: Range(0.3, 0.5),
    CheckName.HEAD_WIDTH: Range(0.5, 0.75),
    CheckName.HEAD_HEIGHT: Range(0.6, 0.9),
    CheckName.EYE_DISTANCE: Range(90),
    CheckName.MOUTH_SMILING: Range(max=0.5),
    CheckName.MOUTH_OCCLUDED: Range(max=0.5),
    CheckName.MOUTH_OPEN: Range(max=0.5),
    CheckName.SMILE_PROPERTIES: Allowed(("none",)),
    CheckName.LEFT_EYE: Allowed(("open",)),
    CheckName.RIGHT_EYE: Allowed(("open",)),
    CheckName.RED_EYES: Allowed((0,)),
    CheckName.GLASSES: Allowed(("no_glasses", "eyeglasses")),
    CheckName.EYEBROWS_STATE: Allowed(("neutral",)),
    CheckName.HEADWEAR_TYPE: Allowed(("none",)),
    CheckName.FACE_COLOR_TYPE: Allowed(("color",)),
    CheckName.NATURAL_LIGHT: Allowed((1,)),
    CheckName.RADIAL_DISTORTION: Allowed((1,)),
    CheckName.SHOULDERS_POSITION: Allowed(("parallel",)),
}
"""What /6/iso holds a face to."""

FACE_QUALITY: Mapping[CheckName, Threshold] = {
    CheckName.IMAGE_FORMAT: Allowed(("JPEG", "JPEG2000", "PNG")),
    CheckName.IMAGE_SIZE: Range(5120, 2097152),
    CheckName.IMAGE_WIDTH: Range(180, 1920),
    CheckName.IMAGE_HEIGHT: Range(180, 1080),
    CheckName.ASPECT_RATIO: Range(0.74, 0.8),
    CheckName.FACE_WIDTH: Range(180, 1920),
    CheckName.FACE_HEIGHT: Range(180, 1080),
    CheckName.INDENT_LEFT: Range(20),
    CheckName.INDENT_RIGHT: Range(20),
    CheckName.INDENT_UPPER: Range(20),
    CheckName.INDENT_LOWER: Range(20),
    CheckName.ILLUMINATION_QUALITY: Range(0.3, 1),
    CheckName.SPECULARITY_QUALITY: Range(0.3, 1),
    CheckName.BLURRINESS_QUALITY: Range(0.61, 1),
    CheckName.DARK_QUALITY: Range(0.5, 1),
    CheckName.LIGHT_QUALITY: Range(0.57, 1),
    CheckName.DYNAMIC_RANGE: Range(0.5, 1),
    CheckName.BACKGROUND_LIGHTNESS: Range(0.2, 1),
    CheckName.BACKGROUND_UNIFORMITY: Range(0.5, 1),
    CheckName.HEAD_YAW: Range(-5, 5),
    CheckName.HEAD_PITCH: Range(-5, 5),
    CheckName.HEAD_ROLL: Range(-8, 8),
    CheckName.GAZE_YAW: Range(-5, 5),
    CheckName.GAZE_PITCH: Range(-5, 5),
    CheckName.HEAD_HORIZONTAL_CENTER: Range(0.45, 0.55),
    CheckName.HEAD_VERTICAL_CENTER: Range(0.3, 0.5),
    CheckName.HEAD_WIDTH: Range(0.5, 0.75),
    CheckName.HEAD_HEIGHT: Range(0.6, 0.9),
    CheckName.EYE_DISTANCE: Range(90),
    CheckName.MOUTH_SMILING: Range(0, 0.5),
    CheckName.MOUTH_OCCLUDED: Range(0, 0.5),
    CheckName.MOUTH_OPEN: Range(0, 0.5),
    CheckName.SMILE_PROPERTIES: Allowed(("none", "smile_lips")),
    CheckName.LEFT_EYE: Allowed(("open",)),
    CheckName.RIGHT_EYE: Allowed(("open",)),
    CheckName.RED_EYES: Allowed((0,)),
    CheckName.GLASSES: Allowed(("no_glasses", "eyeglasses")),
    CheckName.EYEBROWS_STATE: Allowed(("neutral",)),
    CheckName.HEADWEAR_TYPE: Allowed(("none",)),
    CheckName.FACE_COLOR_TYPE: Allowed(("color",)),
    CheckName.NATURAL_LIGHT: Allowed((1,)),
    CheckName.RADIAL_DISTORTION: Allowed((1,)),
    CheckName.SHOULDERS_POSITION: Allowed(("parallel",)),
}
"""What face_quality holds a face to where a policy says nothing else."""


def evaluate(quality: FaceQuality, thresholds: Mapping[CheckName, Threshold]) -> ChecksResult:
    """Hold what was measured to thresholds. Only the checks that have one are made."""
    asked = [name for name in CheckName if name in thresholds]
    checks = tuple(
        Check(name, value, thresholds[name], thresholds[name].holds(value))
        for name in asked
        if (value := quality.values.get(name)) is not None
    )
    unavailable = {
        name: quality.unavailable.get(name, "it was not measured") for name in asked if name not in quality.values
    }
    return ChecksResult(all(check.passed for check in checks), checks, unavailable)


def iso(quality: FaceQuality) -> ChecksResult:
    """The checks of /6/iso."""
    return evaluate(quality, ISO)


def face_quality(quality: FaceQuality, thresholds: Mapping[CheckName, Threshold] = FACE_QUALITY) -> ChecksResult:
    """The checks of face_quality, by the thresholds of a policy."""
    return evaluate(quality, thresholds)
