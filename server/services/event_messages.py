"""Events as they are made, and what became of their sources, as messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from luna.v6 import events_pb2 as pb
from luna.v6 import images_pb2

from server.domain.aggregation import Aggregate
from server.domain.faces import Face
from server.domain.filters import Reason
from server.domain.generation.made import (
    BodyExtract,
    FaceExtract,
    Generated,
    MadeBody,
    MadeDetection,
    MadeEvent,
    MadeFace,
)
from server.domain.generation.plan import Plan
from server.domain.generation.sources import FilteredFace, SourceOutcome
from server.domain.vision import DetectedFace, Rect
from server.services.estimations import (
    basic_attributes,
    body_detection,
    body_estimations,
    face_detection,
    face_estimations,
    value,
)
from server.services.messages import error, texts, timestamp
from server.services.stored_events import event_match, location, struct


class EventMessages:
    """Writes the events of one request.

    Args:
        plan: the thresholds of its policies.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def response(self, generated: Generated, events: Sequence[pb.GeneratedEvent]) -> pb.GenerateEventsResponse:
        """What is answered: each source, the events, and the faces that were left out."""
        left_out = [self.filtered(one) for outcome in generated.outcomes for one in outcome.filtered]
        return pb.GenerateEventsResponse(
            images=[_image(one) for one in generated.outcomes],
            events=events,
            filtered_detections=pb.EventFilteredDetections(face_detections=left_out),
        )

    def event(self, made: MadeEvent) -> pb.GeneratedEvent:
        """An event."""
        record = made.record
        message = pb.GeneratedEvent(
            event_id=str(record.event_id),
            url=f"/6/events/{record.event_id}" if made.stored else "",
            source=record.source or "",
            stream_id=_text(record.stream_id),
            external_id=record.external_id,
            user_data=record.user_data,
            track_id=record.track_id or "",
            location=location(record.location),
            tags=record.tags,
            meta=None if record.meta is None else struct(record.meta),
            detections=[self._detection(one) for one in made.detections],
            face_attributes=None if made.face_attributes is None else face_attributes(made.face_attributes),
            body_attributes=None if made.body_attributes is None else _body_attributes(made.body_attributes),
            matches=[event_match(one) for one in record.matches],
            face=None if made.face is None else _face(made.face),
        )
        message.aggregate_estimations.CopyFrom(self._aggregate(made.aggregate or Aggregate()))
        return message

    def _detection(self, made: MadeDetection) -> pb.EventDetection:
        samples = pb.EventSamples(
            face=None if made.face is None else self._face_sample(made.face),
            body=None if made.body is None else _body_sample(made.body),
        )
        return pb.EventDetection(
            filename=made.filename,
            samples=samples,
            detect_time=timestamp(made.detect_time),
            detect_ts=made.detect_ts,
            image_origin=made.image_origin or "",
        )

    def _face_sample(self, made: MadeFace) -> pb.EventFaceSample:
        return pb.EventFaceSample(
            sample_id=_text(made.sample_id),
            url="" if made.sample_id is None else f"/6/samples/faces/{made.sample_id}",
            detection=None if made.rect is None else self._face_at(made.face, made.rect, sample=made.sample),
        )

    def _face_at(self, face: DetectedFace, rect: Rect, *, sample: bool) -> images_pb2.FaceDetection:
        """A face in its rectangle; the landmarks of a sample are in no image that the caller knows."""
        there = replace(face, rect=rect, landmarks5=() if sample else face.landmarks5)
        return face_detection(there, self._plan.thresholds, sample=False, held_to=self._plan.checks)

    def _aggregate(self, together: Aggregate) -> pb.EventAggregate:
        """What all sources have in common; basic attributes and descriptors have their own places, or none."""
        message = pb.EventAggregate(
            face=pb.EventAggregateFace(attributes=images_pb2.FaceEstimations()),
            body=pb.EventAggregateBody(attributes=images_pb2.BodyEstimations()),
        )
        if together.face is not None:
            face = replace(together.face, basic_attributes=None, descriptor=None)
            message.face.attributes.CopyFrom(face_estimations(face, self._plan.thresholds))
        if together.body is not None:
            message.body.attributes.CopyFrom(body_estimations(replace(together.body, body_descriptor=None)))
        return message

    def filtered(self, left_out: FilteredFace) -> pb.EventFilteredFace:
        """A face that was left out, and why."""
        sample = left_out.source.is_sample
        face = face_detection(left_out.face, self._plan.thresholds, sample=sample, held_to=self._plan.checks)
        return pb.EventFilteredFace(
            filename=left_out.source.filename,
            detection=face,
            filter_reasons=[_reason(one) for one in left_out.reasons],
        )


def _image(outcome: SourceOutcome) -> pb.GeneratedImage:
    message = pb.GeneratedImage(
        filename=outcome.source.filename,
        status=outcome.error is None,
        error=error(outcome.error),
        people_count=outcome.people_count,
    )
    if outcome.exif is not None:
        message.exif.update(outcome.exif)
    return message


def _body_sample(made: MadeBody) -> pb.EventBodySample:
    return pb.EventBodySample(
        sample_id=_text(made.sample_id),
        url="" if made.sample_id is None else f"/6/samples/bodies/{made.sample_id}",
        detection=None if made.rect is None else body_detection(replace(made.body, rect=made.rect), sample=False),
    )


def face_attributes(extract: FaceExtract) -> pb.EventFaceAttributes:
    """What was extracted of a face."""
    basic = extract.basic_attributes
    return pb.EventFaceAttributes(
        attribute_id=_text(extract.attribute_id),
        url="" if extract.attribute_id is None else f"/6/attributes/{extract.attribute_id}",
        basic_attributes=None if basic is None else basic_attributes(basic),
        score=extract.score,
        samples=texts(extract.samples),
    )


def _body_attributes(extract: BodyExtract) -> pb.EventBodyAttributes:
    return pb.EventBodyAttributes(score=extract.score, samples=texts(extract.samples))


def _face(face: Face) -> pb.EventFace:
    return pb.EventFace(
        face_id=str(face.face_id),
        url=f"/6/faces/{face.face_id}",
        external_id=face.external_id,
        user_data=face.user_data,
        event_id=_text(face.event_id),
        lists=texts(face.lists),
        avatar=face.avatar,
        account_id=str(face.account_id),
        create_time=timestamp(face.create_time),
    )


def _reason(reason: Reason) -> pb.EventFilterReason:
    return pb.EventFilterReason(
        name=reason.parameter, desc=reason.description, value=value(reason.value), threshold=value(reason.threshold)
    )


def _text(given: UUID | None) -> str:
    return "" if given is None else str(given)
