"""luna.v6.Samples."""

from __future__ import annotations

from uuid import UUID

from luna.v6 import images_pb2, samples_pb2_grpc
from luna.v6 import samples_pb2 as pb

from server.domain.detection import Detection, DetectionWish, FilteredFace, ImageResult, StoredFace, sample_of
from server.domain.engine import Engine
from server.domain.filters import FaceLimits
from server.domain.liveness import LivenessThresholds
from server.domain.samples import SampleStore, SampleType
from server.domain.vision import BODY_HEIGHT, BODY_WIDTH, WARP_SIZE, Estimation
from server.errors import SampleNotFound
from server.rpc.calls import current
from server.services.estimations import face_detection, filter_reasons
from server.services.messages import error
from server.services.sources import POLICIES, sources


class SamplesService(samples_pb2_grpc.SamplesServicer):
    """Finding faces, and their samples."""

    def __init__(
        self, detection: Detection, engine: Engine, samples: SampleStore, liveness: LivenessThresholds
    ) -> None:
        self._detection = detection
        self._engine = engine
        self._samples = samples
        self._liveness = liveness

    async def DetectFaces(self, request: pb.DetectFacesRequest, context: object) -> pb.DetectFacesResponse:
        """Find faces and store their samples."""
        principal = current().principal
        results = await self._detection.detect(
            principal.account_id, principal.reads(), sources(request.images), _wish(request)
        )
        return pb.DetectFacesResponse(images=[self._image(result) for result in results])

    async def CreateSample(self, request: pb.CreateSampleRequest, context: object) -> pb.CreateSampleResponse:
        """Store a sample that the caller has made."""
        sample_type = _type(request.samples_type)
        width, height = (WARP_SIZE, WARP_SIZE) if sample_type is SampleType.FACES else (BODY_WIDTH, BODY_HEIGHT)
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

    def _image(self, result: ImageResult) -> pb.DetectedImage:
        message = pb.DetectedImage(
            filename=result.source.filename,
            status=result.error is None,
            error=error(result.error),
            url=result.source.url,
            detections=pb.Detections(
                samples=[self._stored(face, sample=result.sample) for face in result.faces],
                filtered_detections=images_pb2.FilteredDetections(
                    face_detections=[self._filtered(face, sample=result.sample) for face in result.filtered]
                ),
            ),
        )
        if result.exif is not None:
            message.exif.update(result.exif)
        return message

    def _stored(self, stored: StoredFace, *, sample: bool) -> pb.DetectedSample:
        return pb.DetectedSample(
            face=pb.DetectedFaceSample(
                sample_id=str(stored.sample_id),
                url=f"/6/samples/faces/{stored.sample_id}",
                detection=face_detection(stored.face, self._liveness, sample=sample),
            )
        )

    def _filtered(self, filtered: FilteredFace, *, sample: bool) -> images_pb2.FilteredFaceDetection:
        return images_pb2.FilteredFaceDetection(
            detection=face_detection(filtered.face, self._liveness, sample=sample),
            filter_reasons=filter_reasons(filtered.reasons),
        )


def _type(number: pb.SampleType.ValueType) -> SampleType:
    return SampleType.BODIES if number == pb.SAMPLE_TYPE_BODIES else SampleType.FACES


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
        policy=POLICIES[request.multiface_policy],
        estimations=frozenset(estimation for estimation, on in wanted.items() if on),
        limits=FaceLimits(
            pitch=request.pitch_threshold if request.HasField("pitch_threshold") else None,
            roll=request.roll_threshold if request.HasField("roll_threshold") else None,
            yaw=request.yaw_threshold if request.HasField("yaw_threshold") else None,
        ),
        use_exif=request.use_exif_info,
        extract_exif=request.extract_exif,
        samples_given=request.warped_image,
    )
