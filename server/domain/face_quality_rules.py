"""What a policy may set the checks of face_quality to.

Source of the bounds and words: the reference document (docs/compatibility.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from server.domain.checks import FACE_QUALITY, Allowed, CheckName, Range, Threshold

DEGREES = (-180.0, 180.0)
SHARE = (0.0, 1.0)
POSITIVE = (0.0, math.inf)

BOUNDS: Mapping[CheckName, tuple[float, float]] = {
    CheckName.IMAGE_SIZE: POSITIVE,
    CheckName.IMAGE_WIDTH: POSITIVE,
    CheckName.IMAGE_HEIGHT: POSITIVE,
    CheckName.ASPECT_RATIO: POSITIVE,
    CheckName.FACE_WIDTH: POSITIVE,
    CheckName.FACE_HEIGHT: POSITIVE,
    CheckName.INDENT_LEFT: POSITIVE,
    CheckName.INDENT_RIGHT: POSITIVE,
    CheckName.INDENT_UPPER: POSITIVE,
    CheckName.INDENT_LOWER: POSITIVE,
    CheckName.ILLUMINATION_QUALITY: SHARE,
    CheckName.SPECULARITY_QUALITY: SHARE,
    CheckName.BLURRINESS_QUALITY: SHARE,
    CheckName.DARK_QUALITY: SHARE,
    CheckName.LIGHT_QUALITY: SHARE,
    CheckName.DYNAMIC_RANGE: SHARE,
    CheckName.BACKGROUND_LIGHTNESS: SHARE,
    CheckName.BACKGROUND_UNIFORMITY: SHARE,
    CheckName.HEAD_YAW: DEGREES,
    CheckName.HEAD_PITCH: DEGREES,
    CheckName.HEAD_ROLL: DEGREES,
    CheckName.GAZE_YAW: DEGREES,
    CheckName.GAZE_PITCH: DEGREES,
    CheckName.HEAD_HORIZONTAL_CENTER: SHARE,
    CheckName.HEAD_VERTICAL_CENTER: SHARE,
    CheckName.HEAD_WIDTH: SHARE,
    CheckName.HEAD_HEIGHT: SHARE,
    CheckName.EYE_DISTANCE: POSITIVE,
    CheckName.MOUTH_SMILING: SHARE,
    CheckName.MOUTH_OCCLUDED: SHARE,
    CheckName.MOUTH_OPEN: SHARE,
}
"""Where the bounds of a range may be."""

MINIMUM_ONLY = frozenset(
    {
        CheckName.EYE_DISTANCE,
        CheckName.INDENT_LEFT,
        CheckName.INDENT_RIGHT,
        CheckName.INDENT_UPPER,
        CheckName.INDENT_LOWER,
    }
)
"""Checks that have no upper bound."""

_EYE = ("open", "occluded", "closed")
WORDS: Mapping[CheckName, tuple[str, ...]] = {
    CheckName.IMAGE_FORMAT: ("JPEG", "JPEG2000", "PNG"),
    CheckName.SMILE_PROPERTIES: ("none", "smile_lips", "smile_teeth"),
    CheckName.GLASSES: ("no_glasses", "eyeglasses", "sunglasses"),
    CheckName.LEFT_EYE: _EYE,
    CheckName.RIGHT_EYE: _EYE,
    CheckName.EYEBROWS_STATE: ("neutral", "raised", "squinting", "frowning"),
    CheckName.HEADWEAR_TYPE: (
        "none",
        "baseball_cap",
        "beanie",
        "peaked_cap",
        "shawl",
        "hat_with_ear_flaps",
        "helmet",
        "hood",
        "hat",
        "other",
    ),
    CheckName.FACE_COLOR_TYPE: ("color", "grayscale", "infrared"),
    CheckName.SHOULDERS_POSITION: ("parallel", "non_parallel", "hidden"),
}
"""The words that a choice may name."""


def refusal(name: CheckName, threshold: Threshold) -> tuple[str, str] | None:
    """Why a check cannot be held to a threshold: the member of the threshold and a sentence. None where it can."""
    match threshold:
        case Range():
            return _range_refusal(name, threshold)
        case Allowed():
            return _words_refusal(name, threshold)


def _range_refusal(name: CheckName, threshold: Range) -> tuple[str, str] | None:
    if name not in BOUNDS:
        return "", "this check has no range"
    if threshold.max is not None and name in MINIMUM_ONLY:
        return "max", "this check has a minimum alone"
    low, high = BOUNDS[name]
    for member, bound in (("min", threshold.min), ("max", threshold.max)):
        if bound is not None and not low <= bound <= high:
            return member, f"{bound:g} is not " + (f"in [{low:g}, {high:g}]" if high < math.inf else f"{low:g} or more")
    if threshold.min is not None and threshold.max is not None and threshold.min > threshold.max:
        return "min", f"{threshold.min:g} is above the maximum, {threshold.max:g}"
    return None


def _words_refusal(name: CheckName, threshold: Allowed) -> tuple[str, str] | None:
    if name not in WORDS:
        return None if threshold == FACE_QUALITY[name] else ("", "this check has no threshold")
    for position, word in enumerate(threshold.values):
        if word not in WORDS[name]:
            return str(position), f"'{str(word)[:64]}' is not allowed, allowed are: {', '.join(WORDS[name])}"
    return None
