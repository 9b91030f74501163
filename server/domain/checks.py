"""The checks of /6/iso and of face_quality: their names, what they are held to, and what comes out.

Source of the names and thresholds: the reference document and ISO/IEC 19794-5 (docs/compatibility.md says which
threshold is whose).
"""

from __future__ import annotations

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
