"""Events that the caller made: what is kept of them, and what subscribers are told."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from google.protobuf.message import Message
from luna.v6 import events_pb2 as pb
from luna.v6 import images_pb2

from server.domain.descriptors import BODY_SPECS
from server.domain.events import EventDescriptor, EventRecord, Location, NewEvent, RecordDetection
from server.domain.handlers import Handler
from server.domain.ids import uuid7
from server.domain.policies import DescriptorKind
from server.domain.vision import Rect
from server.services.event_sources import location_from, meta_from
from server.services.messages import descriptor_from, moment, optional_uuid, timestamp, uuids
from server.services.notices import notice
from server.services.raw_candidates import RawCandidates
from server.services.raw_facts import facts_from
from server.services.stored_events import event_match, location, struct

PATH = "event"
"""Where the event stands in its request."""


def new_event(event: pb.RawEvent, handler: Handler, request_id: str, now: datetime) -> NewEvent:
    """An event to keep and to tell, of the handler's account.

    Raises:
        LunaError: a descriptor is not valid.
        BadBody, MissingField: a value that no limit of its field covers is wrong; the error names it.
    """
    record = _record(event, handler, now)
    return NewEvent(
        record, tuple(_descriptors(event)), stored=True, notice=notice(record, _told(event, record), request_id)
    )


def _record(event: pb.RawEvent, handler: Handler, now: datetime) -> EventRecord:
    created = _time(event, "create_time", now)
    candidates = RawCandidates(handler.account_id, handler.handler_id, created)
    return EventRecord(
        event_id=uuid7(),
        account_id=handler.account_id,
        handler_id=handler.handler_id,
        create_time=created,
        end_time=_time(event, "end_time", created),
        external_id=event.external_id,
        user_data=event.user_data,
        source=event.source or None,
        stream_id=optional_uuid(event.stream_id),
        track_id=event.track_id or None,
        face_id=optional_uuid(event.face.face_id),
        tags=tuple(event.tags),
        location=location_from(event.location) if event.HasField("location") else Location(),
        facts=facts_from(event, PATH),
        matches=tuple(candidates.match(one, f"{PATH}.matches.{at}") for at, one in enumerate(event.matches)),
        face_detections=tuple(
            _detection(one, one.samples.face, now) for one in event.detections if one.samples.HasField("face")
        ),
        body_detections=tuple(
            _detection(one, one.samples.body, now) for one in event.detections if one.samples.HasField("body")
        ),
        attach_result=uuids(event.face.lists),
        meta=meta_from(event.meta, f"{PATH}.meta") if event.HasField("meta") else None,
    )


def _detection(
    detection: pb.RawDetection, sample: pb.RawFaceSample | pb.RawBodySample, now: datetime
) -> RecordDetection:
    return RecordDetection(
        detect_time=_time(detection, "detect_time", now),
        detect_ts=detection.detect_ts if detection.HasField("detect_ts") else None,
        sample_id=optional_uuid(sample.sample_id),
        image_origin=detection.image_origin or None,
        rect=_rect(sample.detection.rect) if sample.detection.HasField("rect") else None,
    )


def _rect(message: images_pb2.Rect) -> Rect:
    return Rect(message.x, message.y, message.width, message.height)


def _descriptors(event: pb.RawEvent) -> Iterator[EventDescriptor]:
    face, body = event.face_attributes, event.body_attributes
    if face.HasField("descriptor"):
        found = descriptor_from(face.descriptor, f"{PATH}.face_attributes.descriptor")
        yield EventDescriptor(DescriptorKind.FACE, found, face.score if face.HasField("score") else None)
    if body.HasField("descriptor"):
        found = descriptor_from(body.descriptor, f"{PATH}.body_attributes.descriptor", BODY_SPECS)
        yield EventDescriptor(DescriptorKind.BODY, found, body.score if body.HasField("score") else None)


def _told(event: pb.RawEvent, record: EventRecord) -> pb.GeneratedEvent:
    """The event as subscribers are told of it: in the form of one that Luna made."""
    message = pb.GeneratedEvent(
        event_id=str(record.event_id),
        url=f"/6/events/{record.event_id}",
        source=event.source,
        stream_id=event.stream_id,
        external_id=event.external_id,
        user_data=event.user_data,
        track_id=event.track_id,
        location=location(record.location),
        tags=event.tags,
        meta=None if record.meta is None else struct(record.meta),
        detections=[_told_detection(one, record) for one in event.detections],
        matches=[event_match(one) for one in record.matches],
        face=_told_face(event.face, record) if event.face.face_id else None,
    )
    if event.HasField("face_attributes"):
        face = event.face_attributes
        attributes = pb.EventFaceAttributes(samples=face.samples, score=face.score if face.HasField("score") else None)
        if face.HasField("basic_attributes"):
            attributes.basic_attributes.CopyFrom(face.basic_attributes)
        message.face_attributes.CopyFrom(attributes)
    if event.HasField("body_attributes"):
        body = event.body_attributes
        score = body.score if body.HasField("score") else None
        message.body_attributes.CopyFrom(pb.EventBodyAttributes(samples=body.samples, score=score))
    message.aggregate_estimations.face.attributes.CopyFrom(event.aggregate_estimations.face.attributes)
    message.aggregate_estimations.body.attributes.CopyFrom(event.aggregate_estimations.body.attributes)
    return message


def _told_detection(detection: pb.RawDetection, record: EventRecord) -> pb.EventDetection:
    message = pb.EventDetection(
        samples=pb.EventSamples(),
        detect_time=detection.detect_time if detection.HasField("detect_time") else timestamp(record.create_time),
        detect_ts=detection.detect_ts if detection.HasField("detect_ts") else None,
        image_origin=detection.image_origin,
    )
    face, body = detection.samples.face, detection.samples.body
    if detection.samples.HasField("face"):
        message.samples.face.CopyFrom(
            pb.EventFaceSample(
                sample_id=face.sample_id,
                url=f"/6/samples/faces/{face.sample_id}" if face.sample_id else "",
                detection=face.detection if face.HasField("detection") else None,
            )
        )
    if detection.samples.HasField("body"):
        message.samples.body.CopyFrom(
            pb.EventBodySample(
                sample_id=body.sample_id,
                url=f"/6/samples/bodies/{body.sample_id}" if body.sample_id else "",
                detection=body.detection if body.HasField("detection") else None,
            )
        )
    return message


def _told_face(face: pb.RawFace, record: EventRecord) -> pb.EventFace:
    return pb.EventFace(
        face_id=face.face_id,
        url=f"/6/faces/{face.face_id}",
        external_id=face.external_id,
        user_data=face.user_data,
        event_id=str(record.event_id),
        lists=face.lists,
        avatar=face.avatar,
        account_id=str(record.account_id),
        create_time=timestamp(record.create_time),
    )


def _time(message: Message, field: str, otherwise: datetime) -> datetime:
    return moment(getattr(message, field)) if message.HasField(field) else otherwise
