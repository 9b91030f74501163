"""Verifications: what is asked and what came out, from messages and to them."""

from __future__ import annotations

from luna.v6 import attributes_pb2, events_pb2
from luna.v6 import verifiers_pb2 as pb

from server.domain.claims import Claim
from server.domain.events import Candidate
from server.domain.verification import VerificationWish, Verified, VerifiedFace, VerifiedSource
from server.domain.verifiers import VerifierPolicies
from server.services.estimations import basic_attributes
from server.services.messages import error, face, texts, timestamp, uuids


def wish_from(request: pb.PerformVerificationRequest) -> VerificationWish:
    """What a caller gives, and whom it claims to show."""
    claim = Claim(
        face_ids=uuids(request.face_ids),
        event_ids=uuids(request.event_ids),
        attribute_ids=uuids(request.attribute_ids),
        external_ids=tuple(request.external_ids),
    )
    return VerificationWish(_sources(request), claim, request.use_exif_info)


def verified_image(found: VerifiedSource, policies: VerifierPolicies) -> pb.VerifiedImage:
    """What became of one source."""
    message = pb.VerifiedImage(
        filename=found.source.filename,
        status=found.error is None,
        error=error(found.error),
        people_count=found.people_count,
        detections=pb.VerifiedDetections(
            face_detections=[_face(one, found, policies) for one in found.faces],
            filtered_detections=events_pb2.EventFilteredDetections(
                face_detections=[_filtered(one, policies) for one in found.filtered]
            ),
        ),
    )
    if found.exif is not None:
        message.exif.update(found.exif)
    return message


def _face(found: VerifiedFace, source: VerifiedSource, policies: VerifierPolicies) -> pb.VerifiedFace:
    message = pb.VerifiedFace(
        sample=pb.VerifiedSample(),
        face_attributes=events_pb2.EventFaceAttributes(
            attribute_id="" if found.attribute_id is None else str(found.attribute_id),
            url="" if found.attribute_id is None else f"/6/attributes/{found.attribute_id}",
            score=found.score,
            samples=[] if found.sample_id is None else texts([found.sample_id]),
        ),
        verifications=[_verification(one) for one in found.verifications],
    )
    if found.basic_attributes is not None:
        message.face_attributes.basic_attributes.CopyFrom(basic_attributes(found.basic_attributes))
    if found.face is not None:
        message.sample.face.CopyFrom(
            events_pb2.EventFaceSample(
                sample_id="" if found.sample_id is None else str(found.sample_id),
                url="" if found.sample_id is None else f"/6/samples/faces/{found.sample_id}",
                detection=_detection(found.face, policies, sample=source.source.is_sample),
            )
        )
    return message


def _verification(verified: Verified) -> pb.Verification:
    candidate: Candidate = verified.candidate
    message = pb.Verification(status=verified.status, similarity=candidate.similarity)
    if candidate.face is not None:
        message.face.CopyFrom(face(candidate.face, ()))
    if candidate.event is not None:
        message.event.CopyFrom(stored_event(candidate.event))
    if candidate.attribute is not None:
        message.attribute.CopyFrom(attributes_pb2.Attribute(attribute_id=str(candidate.attribute.attribute_id)))
    return message
