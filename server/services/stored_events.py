"""Events as they are kept, and whom they were compared with, as messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast
from uuid import UUID

from google.protobuf.struct_pb2 import Struct
from luna.v6 import attributes_pb2, bodies_pb2
from luna.v6 import events_pb2 as pb

from server.domain.events import Candidate, EventMatch, EventRecord, Facts, Location, MatchedAttribute, RecordDetection
from server.services.estimations import BODY_GENDERS, EMOTIONS, LIVENESS_STATES, MASK_STATES, PRESENCES, rect
from server.services.match_targets import ATTRIBUTE_TARGETS, FACE_TARGETS
from server.services.messages import ETHNICITIES, GENDER_OF, face, keep_targets, texts, timestamp, word_of

T = TypeVar("T")

_ETHNICITY_OF = {member: number for number, member in ETHNICITIES.items()}
EVENT_TARGETS: dict[str, pb.EventField.ValueType] = {
    word_of(pb.EventField.DESCRIPTOR, number): pb.EventField.ValueType(number)
    for number in pb.EventField.values()
    if number
}
"""The fields of events by the API's words."""
_NOT_OF_CANDIDATES = frozenset({"top_match", "match_result", "face_detections", "body_detections"})
CANDIDATE_TARGETS = {word: number for word, number in EVENT_TARGETS.items() if word not in _NOT_OF_CANDIDATES}
"""Those of an event that was found: its own matches and detections are not told."""


def stored_event(record: EventRecord, targets: Sequence[pb.EventField.ValueType] = ()) -> pb.StoredEvent:
    """An event with the fields that were asked for; all where none is named."""
    facts = record.facts
    message = pb.StoredEvent(
        event_id=str(record.event_id),
        account_id=str(record.account_id),
        handler_id=str(record.handler_id),
        create_time=timestamp(record.create_time),
        end_time=timestamp(record.end_time),
        external_id=record.external_id,
        user_data=record.user_data,
        source=record.source or "",
        stream_id=_text(record.stream_id),
        track_id=record.track_id or "",
        face_id=_text(record.face_id),
        tags=record.tags,
        location=location(record.location),
        gender=None if facts.gender is None else GENDER_OF[facts.gender],
        age=facts.age,
        emotion=None if facts.emotion is None else EMOTIONS[facts.emotion],
        mask=None if facts.mask is None else MASK_STATES[facts.mask],
        ethnic_group=None if facts.ethnicity is None else _ETHNICITY_OF[facts.ethnicity],
        liveness=None if facts.liveness is None else LIVENESS_STATES[facts.liveness],
        top_match=_top_match(record),
        match_result=[event_match(one) for one in record.matches],
        face_detections=[_detection(one) for one in record.face_detections],
        body_detections=[_detection(one) for one in record.body_detections],
        attach_result=texts(record.attach_result),
        meta=None if record.meta is None else struct(record.meta),
        targets=targets,
    )
    _fill_body(message, facts)
    keep_targets(message)
    return message


def event_match(match: EventMatch) -> pb.EventMatch:
    """What came of one comparison, with the fields that its policy tells."""
    return pb.EventMatch(
        label=match.label, candidates=[event_candidate(one, frozenset(match.targets)) for one in match.candidates]
    )


def location(value: Location) -> pb.Location:
    """Where something happened."""
    message = pb.Location(
        city=value.city, area=value.area, district=value.district, street=value.street, house_number=value.house_number
    )
    if (position := value.geo_position) is not None:
        message.geo_position.CopyFrom(pb.GeoPosition(longitude=position.longitude, latitude=position.latitude))
    return message


def struct(members: Mapping[str, object]) -> Struct:
    """An object of JSON."""
    message = Struct()
    message.update(cast("dict[str, Any]", dict(members)))
    return message


def event_candidate(candidate: Candidate, targets: frozenset[str] = frozenset()) -> pb.EventCandidate:
    """One who was found. The similarity is told whatever the targets are (source: contract, event_match_candidate)."""
    message = pb.EventCandidate(similarity=candidate.similarity)
    if candidate.face is not None and (wanted := _chosen(FACE_TARGETS, targets)):
        message.face.CopyFrom(face(candidate.face, wanted))
    if candidate.event is not None and (fields := _chosen(CANDIDATE_TARGETS, targets)):
        message.event.CopyFrom(stored_event(candidate.event, fields))
    if candidate.attribute is not None and (named := _chosen(ATTRIBUTE_TARGETS, targets)):
        message.attribute.CopyFrom(_attribute(candidate.attribute, named))
    return message


def _chosen(fields: Mapping[str, T], targets: frozenset[str]) -> list[T]:
    """The fields that are told; without targets all of them."""
    return [number for word, number in fields.items() if not targets or word in targets]


def _text(value: UUID | None) -> str:
    return "" if value is None else str(value)


def _attribute(
    found: MatchedAttribute, targets: Sequence[attributes_pb2.AttributeField.ValueType]
) -> attributes_pb2.Attribute:
    message = attributes_pb2.Attribute(
        attribute_id=str(found.attribute_id),
        account_id=_text(found.account_id),
        create_time=None if found.create_time is None else timestamp(found.create_time),
        targets=targets,
    )
    keep_targets(message)
    return message


def _top_match(record: EventRecord) -> pb.TopMatch | None:
    if record.top_match is None:
        return None
    label, best = record.top_match
    return pb.TopMatch(
        label=label,
        similarity=best.similarity,
        face_id=_text(None if best.face is None else best.face.face_id),
        external_id=best.external_id,
        event_id=_text(None if best.event is None else best.event.event_id),
    )


def _detection(detection: RecordDetection) -> pb.StoredDetection:
    return pb.StoredDetection(
        sample_id=_text(detection.sample_id),
        image_origin=detection.image_origin or "",
        detect_time=timestamp(detection.detect_time),
        detect_ts=detection.detect_ts,
        detection=pb.StoredRect(rect=None if detection.rect is None else rect(detection.rect)),
    )


def _fill_body(message: pb.StoredEvent, facts: Facts) -> None:
    """What is kept of a body. The parts are there even where nothing is known of them."""
    message.body_basic_attributes.CopyFrom(
        pb.StoredBodyAttributes(
            apparent_gender=None if facts.apparent_gender is None else BODY_GENDERS[facts.apparent_gender],
            apparent_age=facts.apparent_age,
        )
    )
    message.upper_body.CopyFrom(
        pb.StoredUpperBody(
            headwear=pb.StoredHeadwear(
                state=None if facts.headwear is None else PRESENCES[facts.headwear],
                apparent_color=facts.headwear_colour or "",
            ),
            sleeve=pb.StoredSleeve(length=facts.sleeve_length or ""),
            upper_clothing=bodies_pb2.UpperClothing(colors=facts.upper_colours),
        )
    )
    message.lower_body.CopyFrom(
        pb.StoredLowerBody(
            lower_garment=pb.StoredLowerGarment(type=facts.garment or "", colors=facts.garment_colours),
            shoes=pb.StoredShoes(apparent_color=facts.shoes_colour or ""),
        )
    )
    message.accessories.CopyFrom(
        pb.StoredAccessories(
            backpack=pb.StoredBackpack(state=None if facts.backpack is None else PRESENCES[facts.backpack])
        )
    )
