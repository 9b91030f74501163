"""Events as rows: the columns of a record, and a record of its columns.

Enums are kept as LUNA's numbers, colours and types as its words. A list that nothing was estimated for is null. What an
event has several of, its detections and matches, is JSON: it is read with its event, and never searched in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final, TypeVar
from uuid import UUID

from server.domain.attributes import Ethnicity, Gender
from server.domain.events import (
    EMOTION_NUMBERS,
    Candidate,
    EventMatch,
    EventRecord,
    Facts,
    GeoPosition,
    Location,
    MatchedAttribute,
    RecordDetection,
)
from server.domain.faces import Face
from server.domain.filters import MASK_NUMBERS
from server.domain.vision import BodyGender, LivenessState, Presence, Rect
from storage.schema import events

_E = TypeVar("_E", bound=Enum)
_EMOTIONS: Final = {number: emotion for emotion, number in EMOTION_NUMBERS.items()}
_MASKS: Final = {number: mask for mask, number in MASK_NUMBERS.items()}

_SCALARS: Final = (
    "event_id",
    "account_id",
    "handler_id",
    "create_time",
    "end_time",
    "external_id",
    "user_data",
    "source",
    "stream_id",
    "track_id",
    "face_id",
)
"""Fields of a record that are columns as they are."""
_PLACES: Final = ("city", "area", "district", "street", "house_number")
_IDS: Final = frozenset({"event_id", "account_id", "handler_id", "stream_id", "face_id"})
_TIMES: Final = frozenset({"create_time", "end_time"})
_FIRST: Final = datetime.min.replace(microsecond=1, tzinfo=UTC)
_LAST: Final = datetime.max.replace(microsecond=999_998, tzinfo=UTC)
"""The driver takes the very first and the very last moment for infinity, which nothing can be counted by."""


def columns_of(record: EventRecord) -> dict[str, object]:
    """The row of a record, by the names of its columns."""
    values = _brief(record)
    top = record.top_match
    label, best = top if top is not None else (None, None)
    return values | {
        "tags": list(record.tags),
        "attach_result": list(record.attach_result),
        "top_matching_candidates_label": label,
        "top_similar_object_id": None if best is None else best.object_id,
        "top_similar_external_id": None if best is None else best.external_id,
        "top_similar_object_similarity": None if best is None else best.similarity,
        "matches": [_match_form(one) for one in record.matches] or None,
        "face_detections": [_detection_form(one) for one in record.face_detections] or None,
        "body_detections": [_detection_form(one) for one in record.body_detections] or None,
    }


def kept_time(moment: datetime) -> datetime:
    """A time as it is kept."""
    return min(max(moment, _FIRST), _LAST)


def record_of(row: Mapping[str, Any]) -> EventRecord:
    """The record of a row."""
    located = row["longitude"] is not None and row["latitude"] is not None
    return EventRecord(
        **{name: row[name] for name in _SCALARS},
        tags=tuple(row["tags"]),
        location=Location(
            **{name: row[name] for name in _PLACES},
            geo_position=GeoPosition(row["longitude"], row["latitude"]) if located else None,
        ),
        facts=_facts(row),
        matches=tuple(_match(one) for one in row["matches"] or ()),
        face_detections=tuple(_detection(one) for one in row["face_detections"] or ()),
        body_detections=tuple(_detection(one) for one in row["body_detections"] or ()),
        attach_result=tuple(row["attach_result"]),
        meta=row["meta"],
    )


def _brief(record: EventRecord) -> dict[str, object]:
    """A record's columns without what it has several of."""
    position, facts = record.location.geo_position, record.facts
    return {
        **{name: getattr(record, name) for name in _SCALARS},
        **{name: kept_time(getattr(record, name)) for name in _TIMES},
        **{name: getattr(record.location, name) for name in _PLACES},
        "longitude": None if position is None else position.longitude,
        "latitude": None if position is None else position.latitude,
        "gender": _number(facts.gender),
        "age": facts.age,
        "emotion": None if facts.emotion is None else EMOTION_NUMBERS[facts.emotion],
        "mask": None if facts.mask is None else MASK_NUMBERS[facts.mask],
        "ethnic_group": _number(facts.ethnicity),
        "liveness": _number(facts.liveness),
        "apparent_gender": _number(facts.apparent_gender),
        "apparent_age": facts.apparent_age,
        "headwear_state": _number(facts.headwear),
        "headwear_apparent_color": facts.headwear_colour,
        "sleeve_length": facts.sleeve_length,
        "upper_clothing_colors": list(facts.upper_colours) or None,
        "lower_garment_type": facts.garment,
        "lower_garment_colors": list(facts.garment_colours) or None,
        "shoes_apparent_color": facts.shoes_colour,
        "backpack_state": _number(facts.backpack),
        "meta": None if record.meta is None else dict(record.meta),
    }


def _facts(row: Mapping[str, Any]) -> Facts:
    return Facts(
        gender=_member(Gender, row["gender"]),
        age=row["age"],
        ethnicity=_member(Ethnicity, row["ethnic_group"]),
        emotion=None if row["emotion"] is None else _EMOTIONS[row["emotion"]],
        mask=None if row["mask"] is None else _MASKS[row["mask"]],
        liveness=_member(LivenessState, row["liveness"]),
        apparent_gender=_member(BodyGender, row["apparent_gender"]),
        apparent_age=row["apparent_age"],
        headwear=_member(Presence, row["headwear_state"]),
        headwear_colour=row["headwear_apparent_color"],
        sleeve_length=row["sleeve_length"],
        upper_colours=tuple(row["upper_clothing_colors"] or ()),
        garment=row["lower_garment_type"],
        garment_colours=tuple(row["lower_garment_colors"] or ()),
        shoes_colour=row["shoes_apparent_color"],
        backpack=_member(Presence, row["backpack_state"]),
    )


def _number(value: Enum | None) -> int | None:
    return None if value is None else int(value.value)


def _member(enum: type[_E], number: int | None) -> _E | None:
    return None if number is None else enum(number)


def _detection_form(detection: RecordDetection) -> dict[str, object]:
    rect = detection.rect
    return {
        "detect_time": detection.detect_time.isoformat(),
        "detect_ts": detection.detect_ts,
        "sample_id": _text(detection.sample_id),
        "image_origin": detection.image_origin,
        "rect": None if rect is None else [rect.x, rect.y, rect.width, rect.height],
    }


def _detection(form: Mapping[str, Any]) -> RecordDetection:
    return RecordDetection(
        detect_time=datetime.fromisoformat(form["detect_time"]),
        detect_ts=form["detect_ts"],
        sample_id=_id(form["sample_id"]),
        image_origin=form["image_origin"],
        rect=None if form["rect"] is None else Rect(*form["rect"]),
    )


def _match_form(match: EventMatch) -> dict[str, object]:
    candidates = [_candidate_form(one) for one in match.candidates]
    return {"label": match.label, "targets": list(match.targets), "candidates": candidates}


def _match(form: Mapping[str, Any]) -> EventMatch:
    return EventMatch(form["label"], tuple(_candidate(one) for one in form["candidates"]), tuple(form["targets"]))


def _candidate_form(candidate: Candidate) -> dict[str, object]:
    form: dict[str, object] = {"similarity": candidate.similarity}
    if (face := candidate.face) is not None:
        form["face"] = {
            "face_id": str(face.face_id),
            "account_id": str(face.account_id),
            "create_time": face.create_time.isoformat(),
            "event_id": _text(face.event_id),
            "user_data": face.user_data,
            "external_id": face.external_id,
            "avatar": face.avatar,
            "lists": _texts(face.lists),
        }
    if candidate.event is not None:
        form["event"] = _event_form(candidate.event)
    if (attribute := candidate.attribute) is not None:
        form["attribute"] = {
            "attribute_id": str(attribute.attribute_id),
            "account_id": _text(attribute.account_id),
            "create_time": None if attribute.create_time is None else attribute.create_time.isoformat(),
        }
    return form


def _candidate(form: Mapping[str, Any]) -> Candidate:
    face, event, attribute = form.get("face"), form.get("event"), form.get("attribute")
    return Candidate(
        similarity=form["similarity"],
        face=None if face is None else _face(face),
        event=None if event is None else _event(event),
        attribute=None if attribute is None else _attribute(attribute),
    )


def _face(form: Mapping[str, Any]) -> Face:
    return Face(
        face_id=UUID(form["face_id"]),
        account_id=UUID(form["account_id"]),
        create_time=datetime.fromisoformat(form["create_time"]),
        event_id=_id(form["event_id"]),
        user_data=form["user_data"],
        external_id=form["external_id"],
        avatar=form["avatar"],
        lists=_ids(form["lists"]),
    )


def _attribute(form: Mapping[str, Any]) -> MatchedAttribute:
    created = form["create_time"]
    return MatchedAttribute(
        attribute_id=UUID(form["attribute_id"]),
        account_id=_id(form["account_id"]),
        create_time=None if created is None else datetime.fromisoformat(created),
    )


def _event_form(record: EventRecord) -> dict[str, object]:
    """An event that was found, without its own matches and detections, and without the columns that are null."""
    form: dict[str, object] = {"tags": list(record.tags), "attach_result": _texts(record.attach_result)}
    for name, value in _brief(record).items():
        if isinstance(value, UUID):
            form[name] = str(value)
        elif isinstance(value, datetime):
            form[name] = value.isoformat()
        elif value is not None:
            form[name] = value
    return form


def _event(form: Mapping[str, Any]) -> EventRecord:
    row: dict[str, Any] = dict.fromkeys(events.c.keys())
    for name, value in form.items():
        if name in _IDS:
            row[name] = UUID(value)
        elif name in _TIMES:
            row[name] = datetime.fromisoformat(value)
        else:
            row[name] = value
    return record_of(row | {"attach_result": _ids(form["attach_result"])})


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)


def _texts(values: Iterable[UUID]) -> list[str]:
    return [str(one) for one in values]


def _id(text: str | None) -> UUID | None:
    return None if text is None else UUID(text)


def _ids(texts: Sequence[str]) -> tuple[UUID, ...]:
    return tuple(UUID(one) for one in texts)
