"""luna.v6.Liveness."""

from __future__ import annotations

from luna.v6 import liveness_pb2 as pb
from luna.v6 import liveness_pb2_grpc

from server.domain.aggregation import mean_liveness
from server.domain.liveness import LivenessOfImage, LivenessPrediction, LivenessThresholds
from server.domain.vision import Liveness
from server.errors import BadBody
from server.rpc.calls import current
from server.services.estimations import LIVENESS_STATES
from server.services.messages import error
from server.services.sources import sources


class LivenessService(liveness_pb2_grpc.LivenessServicer):
    """Telling living people from pictures of them."""

    def __init__(self, prediction: LivenessPrediction, thresholds: LivenessThresholds) -> None:
        self._prediction = prediction
        self._thresholds = thresholds

    async def PredictLiveness(self, request: pb.PredictLivenessRequest, context: object) -> pb.PredictLivenessResponse:
        """Predict whether the one face of each image is that of a living person."""
        given = sources(request.images)
        for position, one in enumerate(given):
            if one.sample_id is not None:
                raise BadBody(field=f"images.{position}.sample_id", message="samples are not accepted")
        found = await self._prediction.predict(current().principal.reads(), given)
        response = pb.PredictLivenessResponse(images=[self._image(one) for one in found])
        together = mean_liveness(one.liveness for one in found if one.liveness is not None)
        if request.aggregate and together is not None:
            response.aggregate_estimations.liveness.CopyFrom(self._message(together))
        return response

    def _image(self, image: LivenessOfImage) -> pb.PredictedImage:
        return pb.PredictedImage(
            filename=image.source.filename,
            status=image.error is None,
            error=error(image.error),
            liveness=None if image.liveness is None else self._message(image.liveness),
        )

    def _message(self, liveness: Liveness) -> pb.LivenessPrediction:
        return pb.LivenessPrediction(
            prediction=LIVENESS_STATES[self._thresholds.state(liveness)],
            estimations=pb.LivenessProbability(probability=liveness.score, quality=liveness.quality),
        )
