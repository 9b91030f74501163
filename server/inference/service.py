"""luna.engine.v1.Inference: an engine served to several servers."""

from __future__ import annotations

from luna.engine.v1 import engine_pb2 as pb
from luna.engine.v1 import engine_pb2_grpc

from server.domain.engine import Engine, Look
from server.domain.vision import BODIES, Estimation
from server.inference.messages import from_estimations, from_message, to_message
from server.version import VERSION


class InferenceService(engine_pb2_grpc.InferenceServicer):
    """Converts, asks the engine, and converts back. Headers, deadlines and errors are the `Guard`'s."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def GetInfo(self, request: pb.GetInfoRequest, context: object) -> pb.GetInfoResponse:
        """What the engine serves."""
        subjects: list[tuple[str, Estimation | str]] = [(one.value, one) for one in Estimation]
        return pb.GetInfoResponse(
            version=".".join(map(str, VERSION)),
            descriptor_version=self._engine.descriptor_version,
            calibrations=[
                pb.Calibration(version=version, steepness=one.steepness, midpoint=one.midpoint)
                for version, one in self._engine.calibrations.items()
            ],
            places=self._engine.places,
            needs={word: self._engine.needs(subject) or "" for word, subject in [*subjects, (BODIES, BODIES)]},
        )

    async def Detect(self, request: pb.DetectRequest, context: object) -> pb.DetectResponse:
        """Find who is in an image."""
        image = await self._engine.detect(request.image, from_message(Look, request.look))
        return pb.DetectResponse(image=to_message(image, pb.DetectedImage))

    async def Inspect(self, request: pb.InspectRequest, context: object) -> pb.InspectResponse:
        """Take a sample as a face."""
        face = await self._engine.inspect(request.sample, estimations=from_estimations(request.estimations))
        return pb.InspectResponse(face=to_message(face, pb.DetectedFace))

    async def InspectBody(self, request: pb.InspectBodyRequest, context: object) -> pb.InspectBodyResponse:
        """Take a sample as a body."""
        body = await self._engine.inspect_body(request.sample, estimations=from_estimations(request.estimations))
        return pb.InspectBodyResponse(body=to_message(body, pb.DetectedBody))

    async def Describe(self, request: pb.DescribeRequest, context: object) -> pb.DescribeResponse:
        """Descriptors of samples."""
        described = await self._engine.describe(request.samples, version=request.version)
        return pb.DescribeResponse(descriptors=[to_message(one, pb.ExtractedDescriptor) for one in described])

    async def Normalise(self, request: pb.NormaliseRequest, context: object) -> pb.NormaliseResponse:
        """An image of one size as JPEG."""
        image = await self._engine.normalise(request.image, width=request.width, height=request.height)
        return pb.NormaliseResponse(image=image)

    async def ToJpeg(self, request: pb.ToJpegRequest, context: object) -> pb.ToJpegResponse:
        """An image as JPEG."""
        return pb.ToJpegResponse(image=await self._engine.to_jpeg(request.image))
