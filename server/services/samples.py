"""luna.v6.Samples."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from google.protobuf.struct_pb2 import Value
from luna.v6 import images_pb2, samples_pb2_grpc
from luna.v6 import samples_pb2 as pb

from server.domain.detection import (
    AngleLimits,
    Detection,
    DetectionWish,
    FilteredFace,
    ImageResult,
    ImageSource,
    MultifacePolicy,
    StoredFace,
    sample_of,
)
from server.domain.engine import Engine
from server.domain.samples import SampleStore, SampleType
from server.domain.vision import WARP_SIZE, DetectedFace, Estimation, Rect
from server.errors import BadBody, SampleNotFound
from server.rpc.calls import current
from server.services.messages import error, eye, points, rect

_POLICIES = {
    pb.MULTIFACE_POLICY_NOT_ALLOWED: MultifacePolicy.NOT_ALLOWED,
    pb.MULTIFACE_POLICY_ALLOWED: MultifacePolicy.ALLOWED,
    pb.MULTIFACE_POLICY_BEST: MultifacePolicy.BEST,
}
_BODY_WIDTH, _BODY_HEIGHT = 128, 256


class SamplesService(samples_pb2_grpc.SamplesServicer):
    """Finding faces, and their samples."""

    def __init__(self, detection: Detection, engine: Engine, samples: SampleStore) -> None:
        self._detection = detection
        self._engine = engine
        self._samples = samples

    async def DetectFaces(self, request: pb.DetectFacesRequest, context: object) -> pb.DetectFacesResponse:
        """Find faces and store their samples."""
        principal = current().principal
        results = await self._detection.detect(
            principal.account_id, principal.reads(), _sources(request.images), _wish(request)
        )
        return pb.DetectFacesResponse(images=[_image(result) for result in results])

    async def CreateSample(self, request: pb.CreateSampleRequest, context: object) -> pb.CreateSampleResponse:
        """Store a sample that the caller has made."""
        sample_type = _type(request.samples_type)
        width, height = (WARP_SIZE, WARP_SIZE) if sample_type is SampleType.FACES else (_BODY_WIDTH, _BODY_HEIGHT)
        data = await self._engine.normalise(request.data, width=width, height=height)
        sample = sample_of(current().principal.account_id, sample_type, data)
        await self._samples.add(sample, data)
        return pb.CreateSampleResponse(
            sample_id=str(sample.sample_id), url=f"/6/samples/{sample_type.value}/{sample.sample_id}"
        )

    async def GetSample(self, request: pb.GetSampleRequest, context: object) -> pb.SampleContent:
        """The bytes of a sample."""
        sample_id = UUID(request.sample_id)
        data = await self._samples.read(current().principal.reads(), _type(request.samples_type), sample_id)
        if data is None:
            raise SampleNotFound(sample_id=sample_id)
        return pb.SampleContent(data=data, content_type="image/jpeg")

    async def DeleteSample(self, request: pb.DeleteSampleRequest, context: object) -> pb.DeleteSampleResponse:
        """Delete a sample."""
        sample_id = UUID(request.sample_id)
        if not await self._samples.remove(current().principal.writes, _type(request.samples_type), sample_id):
            raise SampleNotFound(sample_id=sample_id)
        return pb.DeleteSampleResponse()


def _type(number: pb.SampleType.ValueType) -> SampleType:
    return SampleType.BODIES if number == pb.SAMPLE_TYPE_BODIES else SampleType.FACES


def _sources(images: Sequence[images_pb2.ImageInput]) -> list[ImageSource]:
    """The images with the names that the answer calls them by."""
    unnamed = "raw_image" if len(images) == 1 else "raw_image_{}"
    return [_source(image, image.filename or unnamed.format(position)) for position, image in enumerate(images)]


def _source(image: images_pb2.ImageInput, filename: str) -> ImageSource:
    box = None
    for given in image.face_bounding_boxes:
        box = Rect(given.x, given.y, given.width, given.height)
    match image.WhichOneof("source"):
        case "data":
            return ImageSource(filename, data=image.data, box=box)
        case "url":
            return ImageSource(filename, url=image.url, box=box)
        case "sample_id":
            return ImageSource(filename, sample_id=UUID(image.sample_id))
        case _:
            raise BadBody(field=f"images.{filename}", message="data, url or sample_id is needed")


def _wish(request: pb.DetectFacesRequest) -> DetectionWish:
    wanted = {
        Estimation.HEAD_POSE: request.estimate_head_pose,
        Estimation.EMOTIONS: request.estimate_emotions,
        Estimation.MASK: request.estimate_mask,
        Estimation.LANDMARKS68: request.detect_landmarks68,
        Estimation.QUALITY: request.estimate_quality,
        Estimation.GAZE: request.estimate_gaze,
        Estimation.EYES: request.estimate_eyes_attributes,
        Estimation.MOUTH: request.estimate_mouth_attributes,
        Estimation.FACE_QUALITY: request.estimate_face_quality,
    }
    return DetectionWish(
        policy=_POLICIES[request.multiface_policy],
        estimations=frozenset(estimation for estimation, on in wanted.items() if on),
        angles=AngleLimits(
            pitch=request.pitch_threshold if request.HasField("pitch_threshold") else None,
            roll=request.roll_threshold if request.HasField("roll_threshold") else None,
            yaw=request.yaw_threshold if request.HasField("yaw_threshold") else None,
        ),
        use_exif=request.use_exif_info,
        extract_exif=request.extract_exif,
        samples_given=request.warped_image,
    )


def _image(result: ImageResult) -> pb.DetectedImage:
    message = pb.DetectedImage(
        filename=result.source.filename,
        status=result.error is None,
        error=error(result.error),
        detections=pb.Detections(
            samples=[_stored(face, result.source) for face in result.faces],
            filtered_detections=images_pb2.FilteredDetections(
                face_detections=[_filtered(face, result.source) for face in result.filtered]
            ),
        ),
    )
    if result.exif is not None:
        message.exif.update(result.exif)
    if result.source.url is not None:
        message.url = result.source.url
    return message


def _stored(stored: StoredFace, source: ImageSource) -> pb.DetectedSample:
    return pb.DetectedSample(
        face=pb.DetectedFaceSample(
            sample_id=str(stored.sample_id),
            url=f"/6/samples/faces/{stored.sample_id}",
            detection=detection(stored.face, source),
        )
    )


def _filtered(filtered: FilteredFace, source: ImageSource) -> images_pb2.FilteredFaceDetection:
    reason = images_pb2.FilterReason(
        type=filtered.parameter,
        desc=f"the angle is above {filtered.threshold:g} degrees",
        value=Value(number_value=filtered.value),
        threshold=Value(number_value=filtered.threshold),
    )
    return images_pb2.FilteredFaceDetection(detection=detection(filtered.face, source), filter_reasons=[reason])


def detection(face: DetectedFace, source: ImageSource) -> images_pb2.FaceDetection:
    """A detected face. A sample given as input has no rectangle and no landmarks of its own."""
    message = images_pb2.FaceDetection(attributes=images_pb2.FaceEstimations())
    if source.sample_id is None:
        message.rect.CopyFrom(rect(face.rect))
        message.landmarks5.extend(points(face.landmarks5))
    if face.landmarks68 is not None:
        message.landmarks68.extend(points(face.landmarks68))
    if (quality := face.quality) is not None:
        message.quality.CopyFrom(
            images_pb2.Quality(
                blurriness=quality.blurriness,
                dark=quality.dark,
                illumination=quality.illumination,
                specularity=quality.specularity,
                light=quality.light,
            )
        )
    if (pose := face.head_pose) is not None:
        message.attributes.head_pose.CopyFrom(images_pb2.HeadPose(pitch=pose.pitch, roll=pose.roll, yaw=pose.yaw))
    if (eyes := face.eyes) is not None:
        both = images_pb2.EyesAttributes(left_eye=eye(eyes.left), right_eye=eye(eyes.right))
        message.attributes.eyes_attributes.CopyFrom(both)
    if (mouth := face.mouth) is not None:
        message.attributes.mouth_attributes.CopyFrom(
            images_pb2.MouthAttributes(
                opened=mouth.opened, occluded=mouth.occluded, smile=mouth.smile, score=mouth.score
            )
        )
    return message
