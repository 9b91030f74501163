"""Verifications: what is asked and what came out, from messages and to them."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from luna.v6 import attributes_pb2, events_pb2, images_pb2
from luna.v6 import verifiers_pb2 as pb

from server.domain import checks
from server.domain.claims import Claim
from server.domain.events import Candidate, EventRecord, MatchedAttribute
from server.domain.generation.plan import Plan
from server.domain.generation.request import EventSource
from server.domain.generation.sources import FilteredFace
from server.domain.images import ImageSource, ImageType
from server.domain.verification import VerificationWish, Verified, VerifiedFace, VerifiedSource
from server.domain.vision import DetectedFace, Rect
from server.errors import BadBody
from server.services.estimations import basic_attributes, checks_result, face_detection, value
from server.services.messages import descriptor_from, error, face, texts, timestamp, uuids

_TYPES = {
    pb.VERIFIED_IMAGE_TYPE_RAW: ImageType.RAW,
    pb.VERIFIED_IMAGE_TYPE_FACE_SAMPLE: ImageType.FACE_SAMPLE,
}


def wish_from(request: pb.PerformVerificationRequest) -> VerificationWish:
    """What a caller gives, and whom it claims to show."""
    claim = Claim(
        face_ids=uuids(request.face_ids),
        event_ids=uuids(request.event_ids),
        attribute_ids=uuids(request.attribute_ids),
        external_ids=tuple(request.external_ids),
    )
    kind = _TYPES[request.image_type]
    several = len(request.sources) > 1
    sources = tuple(
        _source(one, kind, f"sources.{position}", f"_{position}" if several else "")
        for position, one in enumerate(request.sources)
    )
    return VerificationWish(sources, claim, request.use_exif_info)


def _source(given: images_pb2.Source, kind: ImageType, path: str, number: str) -> EventSource:
    """One source. Boxes are not looked at with samples."""
    if given.WhichOneof("source") == "descriptor":
        descriptor = descriptor_from(given.descriptor, f"{path}.descriptor")
        return EventSource(given.filename or f"descriptor{number}", descriptor=descriptor)
    name = given.filename or f"raw_image{number}"
    boxes = [] if kind is not ImageType.RAW else [Rect(b.x, b.y, b.width, b.height) for b in given.face_bounding_boxes]
    box = boxes[0] if boxes else None
    match given.WhichOneof("source"):
        case "data":
            return EventSource(name, ImageSource(name, data=given.data, box=box), kind)
        case "url":
            return EventSource(name, ImageSource(name, url=given.url, box=box), kind)
        case "sample_id":
            image = ImageSource(given.filename or given.sample_id, sample_id=UUID(given.sample_id))
            return EventSource(image.filename, image, ImageType.FACE_SAMPLE)
        case _:
            raise BadBody(field=path, message="data, url, sample_id or descriptor is needed")


def verified_image(found: VerifiedSource, plan: Plan) -> pb.VerifiedImage:
    """What became of one source."""
    sample = found.source.is_sample
    message = pb.VerifiedImage(
        filename=found.source.filename,
        status=found.error is None,
        error=error(found.error),
        people_count=found.people_count,
        detections=pb.VerifiedDetections(
            face_detections=[_face(one, plan, sample=sample) for one in found.faces],
            filtered_detections=events_pb2.EventFilteredDetections(
                face_detections=[_filtered(one, plan) for one in found.filtered]
            ),
        ),
    )
    if found.exif is not None:
        message.exif.update(found.exif)
    return message


def _face(found: VerifiedFace, plan: Plan, *, sample: bool) -> pb.VerifiedFace:
    message = pb.VerifiedFace(
        sample=pb.VerifiedSample(),
        face_attributes=events_pb2.EventFaceAttributes(
            attribute_id=_text(found.attribute_id),
            url=_address("/6/attributes", found.attribute_id),
            score=found.score,
            samples=texts([] if found.sample_id is None else [found.sample_id]),
        ),
        verifications=[_verification(one) for one in found.verifications],
    )
    if found.basic_attributes is not None:
        message.face_attributes.basic_attributes.CopyFrom(basic_attributes(found.basic_attributes))
    if found.face is not None:
        seen = events_pb2.EventFaceSample(
            sample_id=_text(found.sample_id),
            url=_address("/6/samples/faces", found.sample_id),
            detection=_detection(found.face, plan, sample=sample),
        )
        message.sample.face.CopyFrom(seen)
    return message


def _filtered(found: FilteredFace, plan: Plan) -> events_pb2.EventFilteredFace:
    return events_pb2.EventFilteredFace(
        filename=found.source.filename,
        detection=_detection(found.face, plan, sample=found.source.is_sample),
        filter_reasons=[
            events_pb2.EventFilterReason(
                name=one.parameter, desc=one.description, value=value(one.value), threshold=value(one.threshold)
            )
            for one in found.reasons
        ],
    )


def _detection(seen: DetectedFace, plan: Plan, *, sample: bool) -> images_pb2.FaceDetection:
    """A face with its checks held to the thresholds of the policies."""
    message = face_detection(replace(seen, face_quality=None), plan.thresholds, sample=sample)
    if seen.face_quality is not None:
        message.face_quality.CopyFrom(checks_result(checks.face_quality(seen.face_quality, plan.checks)))
    return message


def _verification(verified: Verified) -> pb.Verification:
    candidate: Candidate = verified.candidate
    message = pb.Verification(status=verified.status, similarity=candidate.similarity)
    if candidate.face is not None:
        message.face.CopyFrom(face(candidate.face, ()))
    if candidate.event is not None:
        message.event.CopyFrom(_event(candidate.event))
    if candidate.attribute is not None:
        message.attribute.CopyFrom(_attribute(candidate.attribute))
    return message


def _event(found: EventRecord) -> events_pb2.StoredEvent:
    return events_pb2.StoredEvent(
        event_id=str(found.event_id),
        account_id=str(found.account_id),
        handler_id=str(found.handler_id),
        create_time=timestamp(found.create_time),
        end_time=timestamp(found.end_time),
        external_id=found.external_id,
        user_data=found.user_data,
        source=found.source or "",
        targets=(
            events_pb2.EVENT_FIELD_EVENT_ID,
            events_pb2.EVENT_FIELD_ACCOUNT_ID,
            events_pb2.EVENT_FIELD_HANDLER_ID,
            events_pb2.EVENT_FIELD_CREATE_TIME,
            events_pb2.EVENT_FIELD_END_TIME,
            events_pb2.EVENT_FIELD_EXTERNAL_ID,
            events_pb2.EVENT_FIELD_USER_DATA,
            events_pb2.EVENT_FIELD_SOURCE,
        ),
    )


def _attribute(found: MatchedAttribute) -> attributes_pb2.Attribute:
    return attributes_pb2.Attribute(
        attribute_id=str(found.attribute_id),
        account_id=_text(found.account_id),
        create_time=None if found.create_time is None else timestamp(found.create_time),
        targets=(
            attributes_pb2.ATTRIBUTE_FIELD_ATTRIBUTE_ID,
            attributes_pb2.ATTRIBUTE_FIELD_ACCOUNT_ID,
            attributes_pb2.ATTRIBUTE_FIELD_CREATE_TIME,
        ),
    )


def _text(object_id: UUID | None) -> str:
    return "" if object_id is None else str(object_id)


def _address(folder: str, object_id: UUID | None) -> str:
    return "" if object_id is None else f"{folder}/{object_id}"
