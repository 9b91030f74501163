"""luna.v6.Sdk."""

from __future__ import annotations

from collections.abc import Sequence

from luna.v6 import images_pb2, sdk_pb2_grpc
from luna.v6 import sdk_pb2 as pb

from server.domain.aggregation import Aggregate
from server.domain.filters import FaceLimits
from server.domain.images import ImageSource, ImageType
from server.domain.liveness import LivenessThresholds
from server.domain.sdk import FilteredPerson, Sdk, SdkImage, SdkWish
from server.domain.vision import DetectedPerson, Estimation
from server.errors import BadQuery
from server.rpc.calls import current
from server.services.estimations import (
    LIVENESS_STATES,
    MASK_STATES,
    body_detection,
    body_estimations,
    face_detection,
    face_estimations,
    filter_reasons,
)
from server.services.messages import error
from server.services.sources import POLICIES, sources

_TYPES = {
    pb.IMAGE_TYPE_RAW: ImageType.RAW,
    pb.IMAGE_TYPE_FACE_SAMPLE: ImageType.FACE_SAMPLE,
    pb.IMAGE_TYPE_BODY_SAMPLE: ImageType.BODY_SAMPLE,
}
_MASKS = {number: state for state, number in MASK_STATES.items()}
_LIVENESS = {number: state for state, number in LIVENESS_STATES.items()}


class SdkService(sdk_pb2_grpc.SdkServicer):
    """Looking at images without keeping anything."""

    def __init__(self, sdk: Sdk, liveness: LivenessThresholds) -> None:
        self._sdk = sdk
        self._liveness = liveness

    async def Estimate(self, request: pb.EstimateRequest, context: object) -> pb.EstimateResponse:
        """Find faces and bodies, and estimate what is asked for."""
        given, wish = sources(request.images), _wish(request)
        _refuse_liveness_of_samples(given, wish)
        result = await self._sdk.estimate(current().principal.reads(), given, wish)
        response = pb.EstimateResponse(images_estimations=[self._image(one) for one in result.images])
        if result.aggregate is not None:
            response.aggregate_estimations.CopyFrom(self._aggregate(result.aggregate))
        return response

    def _image(self, image: SdkImage) -> pb.EstimatedImage:
        message = pb.EstimatedImage(
            filename=image.source.filename,
            status=image.error is None,
            error=error(image.error),
            url=image.source.url,
            estimations=[self._person(one, sample=image.sample) for one in image.persons],
            filtered_detections=self._filtered(image.filtered, sample=image.sample),
        )
        if image.people_count is not None:
            message.image_estimations.people.count = image.people_count
        if image.exif is not None:
            message.exif.update(image.exif)
        return message

    def _person(self, person: DetectedPerson, *, sample: bool) -> pb.PersonEstimation:
        face, body = person.face, person.body
        message = pb.PersonEstimation()
        if face is not None:
            message.face.detection.CopyFrom(face_detection(face, self._liveness, sample=sample))
            if face.warp:
                message.face.warp = face.warp
        if body is not None:
            message.body.detection.CopyFrom(body_detection(body, sample=sample))
            if body.warp:
                message.body.warp = body.warp
        return message

    def _filtered(self, filtered: Sequence[FilteredPerson], *, sample: bool) -> images_pb2.FilteredDetections:
        message = images_pb2.FilteredDetections()
        for one in filtered:
            why = filter_reasons(one.reasons)
            if one.person.face is not None:
                face = face_detection(one.person.face, self._liveness, sample=sample)
                message.face_detections.add(detection=face, filter_reasons=why)
            if one.person.body is not None:
                body = body_detection(one.person.body, sample=sample)
                message.body_detections.add(detection=body, filter_reasons=why)
        return message

    def _aggregate(self, together: Aggregate) -> pb.AggregateEstimations:
        message = pb.AggregateEstimations()
        if together.face is not None:
            message.face.attributes.CopyFrom(face_estimations(together.face, self._liveness))
        if together.body is not None:
            message.body.attributes.CopyFrom(body_estimations(together.body))
        return message


def _wish(request: pb.EstimateRequest) -> SdkWish:
    wanted = {
        Estimation.PEOPLE_COUNT: request.estimate_people_count,
        Estimation.HEAD_POSE: request.estimate_head_pose,
        Estimation.EMOTIONS: request.estimate_emotions,
        Estimation.MASK: request.estimate_mask,
        Estimation.GLASSES: request.estimate_glasses,
        Estimation.LIVENESS: request.estimate_liveness,
        Estimation.LANDMARKS68: request.estimate_landmarks68,
        Estimation.QUALITY: request.estimate_quality,
        Estimation.GAZE: request.estimate_gaze,
        Estimation.EYES: request.estimate_eyes_attributes,
        Estimation.MOUTH: request.estimate_mouth_attributes,
        Estimation.DESCRIPTOR: request.estimate_face_descriptor,
        Estimation.BASIC_ATTRIBUTES: request.estimate_basic_attributes,
        Estimation.BODY_DESCRIPTOR: request.estimate_body_descriptor,
        Estimation.UPPER_BODY: request.estimate_upper_body,
        Estimation.LOWER_BODY: request.estimate_lower_body,
        Estimation.ACCESSORIES: request.estimate_accessories,
        Estimation.BODY_BASIC_ATTRIBUTES: request.estimate_body_basic_attributes,
    }
    return SdkWish(
        image_type=_TYPES[request.image_type],
        faces=request.detect_face,
        bodies=request.detect_body,
        policy=POLICIES[request.multiface_policy],
        estimations=frozenset(estimation for estimation, on in wanted.items() if on),
        limits=FaceLimits(
            pitch=request.pitch_threshold if request.HasField("pitch_threshold") else None,
            roll=request.roll_threshold if request.HasField("roll_threshold") else None,
            yaw=request.yaw_threshold if request.HasField("yaw_threshold") else None,
            score=request.score_threshold,
            masks=frozenset(_MASKS[number] for number in request.mask_states),
            liveness=frozenset(_LIVENESS[number] for number in request.liveness_states),
        ),
        landmarks5=request.estimate_landmarks5,
        face_warps=request.estimate_face_warp,
        body_warps=request.estimate_body_warp,
        aggregate=request.aggregate_attributes,
        use_exif=request.use_exif_info,
        extract_exif=request.extract_exif,
    )


def _refuse_liveness_of_samples(given: Sequence[ImageSource], wish: SdkWish) -> None:
    """A filter that silently let everything pass would be worse than none.

    Raises:
        BadQuery: liveness is wanted, and an image is a sample.
    """
    if all(one.type_in(wish.image_type) is ImageType.RAW for one in given):
        return
    message = "liveness is not estimated of samples"
    if Estimation.LIVENESS in wish.estimations:
        raise BadQuery(field="estimate_liveness", message=message)
    if wish.limits.liveness:
        raise BadQuery(field="liveness_states", message=message)
