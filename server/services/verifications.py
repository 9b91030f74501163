"""Verifications: what is asked and what came out, from messages and to them."""

from __future__ import annotations

from luna.v6 import events_pb2
from luna.v6 import verifiers_pb2 as pb

from server.domain.claims import Claim
from server.domain.generation.plan import Plan
from server.domain.images import ImageType
from server.domain.verification import VerificationWish, Verified, VerifiedFace, VerifiedSource
from server.domain.verifiers import VerifierPolicies
from server.services.estimations import face_detection
from server.services.event_messages import EventMessages, face_attributes
from server.services.event_sources import sources_from
from server.services.messages import error, uuids
from server.services.stored_events import event_candidate

TYPES = {
    pb.VERIFIED_IMAGE_TYPE_RAW: ImageType.RAW,
    pb.VERIFIED_IMAGE_TYPE_FACE_SAMPLE: ImageType.FACE_SAMPLE,
}


def wish_from(request: pb.PerformVerificationRequest) -> VerificationWish:
    """What a caller gives, and whom it claims to show.

    Raises:
        BadBody: a source is empty.
        LunaError: a descriptor is not valid.
    """
    claim = Claim(
        face_ids=uuids(request.face_ids),
        event_ids=uuids(request.event_ids),
        attribute_ids=uuids(request.attribute_ids),
        external_ids=tuple(request.external_ids),
    )
    return VerificationWish(sources_from(request.sources, TYPES[request.image_type]), claim, request.use_exif_info)


class VerificationMessages:
    """Writes the verifications of one request, by the thresholds of its policies."""

    def __init__(self, policies: VerifierPolicies) -> None:
        self._plan = Plan.of(policies.of_faces)
        self._events = EventMessages(self._plan)

    def image(self, found: VerifiedSource) -> pb.VerifiedImage:
        """What became of one source."""
        sample = found.source.is_sample
        left_out = [self._events.filtered(one) for one in found.filtered]
        message = pb.VerifiedImage(
            filename=found.source.filename,
            status=found.error is None,
            error=error(found.error),
            people_count=found.people_count,
            detections=pb.VerifiedDetections(
                face_detections=[self._face(one, sample=sample) for one in found.faces],
                filtered_detections=events_pb2.EventFilteredDetections(face_detections=left_out),
            ),
        )
        if found.exif is not None:
            message.exif.update(found.exif)
        return message

    def _face(self, found: VerifiedFace, *, sample: bool) -> pb.VerifiedFace:
        message = pb.VerifiedFace(
            sample=pb.VerifiedSample(),
            face_attributes=face_attributes(found.extract),
            verifications=[_verification(one) for one in found.verifications],
        )
        if found.face is not None:
            seen = message.sample.face
            detection = face_detection(found.face, self._plan.thresholds, sample=sample, held_to=self._plan.checks)
            seen.detection.CopyFrom(detection)
            if found.sample_id is not None:
                seen.sample_id, seen.url = str(found.sample_id), f"/6/samples/faces/{found.sample_id}"
        return message


def _verification(verified: Verified) -> pb.Verification:
    """With all fields of a face or a temporary attribute, and those of an event but its own matches and detections."""
    told = event_candidate(verified.candidate)
    message = pb.Verification(status=verified.status, similarity=told.similarity)
    for field, value in told.ListFields():
        if field.message_type is not None:
            getattr(message, field.name).CopyFrom(value)
    return message
