"""The columns that reports and exports may have (docs 5.22.0), by the kind of objects."""

from __future__ import annotations

from typing import Final

FACE_COLUMNS: Final = ("user_data", "create_time", "lists", "external_id", "avatar", "event_id")
EVENT_COLUMNS: Final = (
    "create_time",
    "external_id",
    "handler_id",
    "source",
    "stream_id",
    "top_match",
    "match_result",
    "face_detections",
    "face_id",
    "attach_result",
    "gender",
    "age",
    "emotion",
    "ethnic_group",
    "tags",
    "user_data",
    "city",
    "area",
    "district",
    "street",
    "house_number",
    "latitude",
    "longitude",
    "mask",
    "track_id",
    "liveness",
)
FACE_EXPORT_COLUMNS: Final = ("face_id", *FACE_COLUMNS)
EVENT_EXPORT_COLUMNS: Final = (
    "event_id",
    *EVENT_COLUMNS,
    "body_detections",
    "apparent_gender",
    "apparent_age",
    "headwear_state",
    "headwear_apparent_color",
    "sleeve_length",
    "upper_clothing_colors",
    "lower_garment_type",
    "lower_garment_colors",
    "shoes_apparent_color",
    "backpack_state",
)
