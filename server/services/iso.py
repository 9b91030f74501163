"""luna.v6.Iso."""

from __future__ import annotations

from luna.v6 import images_pb2, iso_pb2_grpc
from luna.v6 import iso_pb2 as pb

from server.domain.images import ImageType
from server.domain.iso import CheckedFace, CheckedImage, IsoChecks, IsoWish
from server.rpc.calls import current
from server.services.estimations import checks_result, rect
from server.services.messages import error
from server.services.sources import POLICIES, sources

_TYPES = {
    pb.CHECKED_IMAGE_TYPE_RAW: ImageType.RAW,
    pb.CHECKED_IMAGE_TYPE_FACE_SAMPLE: ImageType.FACE_SAMPLE,
}


class IsoService(iso_pb2_grpc.IsoServicer):
    """Checking pictures of faces by ISO/IEC 19794-5."""

    def __init__(self, checks: IsoChecks) -> None:
        self._checks = checks

    async def CheckImages(self, request: pb.CheckImagesRequest, context: object) -> pb.CheckImagesResponse:
        """Check the frontal face of each image."""
        wish = IsoWish(_TYPES[request.image_type], POLICIES[request.multiface_policy], request.extract_exif)
        found = await self._checks.check(current().principal.reads(), sources(request.images), wish)
        return pb.CheckImagesResponse(images=[_image(one) for one in found])


def _image(image: CheckedImage) -> pb.CheckedImage:
    message = pb.CheckedImage(
        filename=image.source.filename,
        status=image.error is None,
        error=error(image.error),
        estimations=[_person(one, sample=image.sample) for one in image.faces],
    )
    if image.exif is not None:
        message.exif.update(image.exif)
    return message


def _person(checked: CheckedFace, *, sample: bool) -> pb.CheckedPerson:
    detection = images_pb2.FaceDetection(
        rect=None if sample else rect(checked.face.rect), iso=checks_result(checked.checks)
    )
    return pb.CheckedPerson(face=pb.CheckedFace(detection=detection))
