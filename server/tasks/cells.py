"""Cells of the tables of reports and exports, by the API's names of columns.

Enums are the API's numbers, times RFC 3339 in UTC; what a column has several of is JSON, with the members that the API
gives it; what is not known is empty.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Final, TypeAlias
from uuid import UUID

from server.domain.events import EMOTION_NUMBERS, Candidate, EventMatch, EventRecord, RecordDetection
from server.domain.faces import Face
from server.domain.filters import MASK_NUMBERS
from server.domain.populations import StoredFace
from server.tasks.results import rfc3339

Value: TypeAlias = object
"""What a cell is made of: a text, a number, a time, an id, None, or something of JSON."""

FACE_CELLS: Final[Mapping[str, Callable[[StoredFace], Value]]] = {
    "face_id": lambda one: one.face.face_id,
    "user_data": lambda one: one.face.user_data,
    "create_time": lambda one: one.face.create_time,
    "lists": lambda one: _texts(one.face.lists),
    "external_id": lambda one: one.face.external_id,
    "avatar": lambda one: one.face.avatar,
    "event_id": lambda one: one.face.event_id,
}

EVENT_CELLS: Final[Mapping[str, Callable[[EventRecord], Value]]] = {
    "event_id": lambda one: one.event_id,
    "create_time": lambda one: one.create_time,
    "external_id": lambda one: one.external_id,
    "handler_id": lambda one: one.handler_id,
    "source": lambda one: one.source,
    "stream_id": lambda one: one.stream_id,
    "top_match": lambda one: _top_match(one),
    "match_result": lambda one: [_match(match) for match in one.matches],
    "face_detections": lambda one: [_detection(each) for each in one.face_detections],
    "face_id": lambda one: one.face_id,
    "attach_result": lambda one: _texts(one.attach_result),
    "gender": lambda one: _number(one.facts.gender),
    "age": lambda one: one.facts.age,
    "emotion": lambda one: None if one.facts.emotion is None else EMOTION_NUMBERS[one.facts.emotion],
    "ethnic_group": lambda one: _number(one.facts.ethnicity),
    "tags": lambda one: list(one.tags),
    "user_data": lambda one: one.user_data,
    "city": lambda one: one.location.city,
    "area": lambda one: one.location.area,
    "district": lambda one: one.location.district,
    "street": lambda one: one.location.street,
    "house_number": lambda one: one.location.house_number,
    "latitude": lambda one: None if one.location.geo_position is None else one.location.geo_position.latitude,
    "longitude": lambda one: None if one.location.geo_position is None else one.location.geo_position.longitude,
    "mask": lambda one: None if one.facts.mask is None else MASK_NUMBERS[one.facts.mask],
    "track_id": lambda one: one.track_id,
    "liveness": lambda one: _number(one.facts.liveness),
    "body_detections": lambda one: [_detection(each) for each in one.body_detections],
    "apparent_gender": lambda one: _number(one.facts.apparent_gender),
    "apparent_age": lambda one: one.facts.apparent_age,
    "headwear_state": lambda one: _number(one.facts.headwear),
    "headwear_apparent_color": lambda one: one.facts.headwear_colour,
    "sleeve_length": lambda one: one.facts.sleeve_length,
    "upper_clothing_colors": lambda one: list(one.facts.upper_colours),
    "lower_garment_type": lambda one: one.facts.garment,
    "lower_garment_colors": lambda one: list(one.facts.garment_colours),
    "shoes_apparent_color": lambda one: one.facts.shoes_colour,
    "backpack_state": lambda one: _number(one.facts.backpack),
}


def cells(found: StoredFace | EventRecord, columns: Sequence[str]) -> list[str]:
    """The cells of an object."""
    if isinstance(found, StoredFace):
        return [_cell(FACE_CELLS[name](found)) for name in columns]
    return [_cell(EVENT_CELLS[name](found)) for name in columns]


def _cell(value: Value) -> str:
    match value:
        case None:
            return ""
        case datetime():
            return rfc3339(value)
        case list() | dict():
            return json.dumps(value, ensure_ascii=False, separators=(",", ":")) if value else ""
        case _:
            return str(value)


def _number(value: Enum | None) -> int | None:
    return None if value is None else int(value.value)


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)


def _texts(values: Iterable[UUID]) -> list[str]:
    return [str(one) for one in values]


def _top_match(record: EventRecord) -> dict[str, object] | None:
    if record.top_match is None:
        return None
    label, best = record.top_match
    return {
        "label": label,
        "similarity": best.similarity,
        "face_id": None if best.face is None else str(best.face.face_id),
        "event_id": None if best.event is None else str(best.event.event_id),
        "external_id": best.external_id,
    }


def _match(match: EventMatch) -> dict[str, object]:
    return {"label": match.label, "candidates": [_candidate(one, match.targets) for one in match.candidates]}


def _candidate(candidate: Candidate, targets: Sequence[str]) -> dict[str, object]:
    form: dict[str, object] = {"similarity": candidate.similarity}
    if candidate.face is not None:
        form["face"] = _told(_face(candidate.face), targets)
    if candidate.event is not None:
        form["event"] = _told(_event(candidate.event), targets)
    if candidate.attribute is not None:
        form["attribute"] = _told({"attribute_id": str(candidate.attribute.attribute_id)}, targets)
    return form


def _told(members: dict[str, object], targets: Sequence[str]) -> dict[str, object]:
    return {name: value for name, value in members.items() if not targets or name in targets}


def _face(face: Face) -> dict[str, object]:
    return {
        "face_id": str(face.face_id),
        "external_id": face.external_id,
        "user_data": face.user_data,
        "create_time": rfc3339(face.create_time),
        "event_id": _text(face.event_id),
        "lists": _texts(face.lists),
        "avatar": face.avatar,
    }


def _event(event: EventRecord) -> dict[str, object]:
    return {
        "event_id": str(event.event_id),
        "external_id": event.external_id,
        "user_data": event.user_data,
        "create_time": rfc3339(event.create_time),
        "handler_id": str(event.handler_id),
        "source": event.source,
        "stream_id": _text(event.stream_id),
        "track_id": event.track_id,
        "face_id": _text(event.face_id),
        "tags": list(event.tags),
    }


def _detection(detection: RecordDetection) -> dict[str, object]:
    rect = detection.rect
    box = None if rect is None else {"x": rect.x, "y": rect.y, "width": rect.width, "height": rect.height}
    return {
        "sample_id": _text(detection.sample_id),
        "image_origin": detection.image_origin,
        "detect_time": rfc3339(detection.detect_time),
        "detect_ts": detection.detect_ts,
        "detection": {"rect": box},
    }
