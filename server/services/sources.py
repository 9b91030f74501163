"""The images of a request, as the domain looks at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from luna.v6 import images_pb2, samples_pb2

from server.domain.images import ImageSource, MultifacePolicy
from server.domain.vision import Rect
from server.errors import BadBody

POLICIES: Mapping[int, MultifacePolicy] = {
    samples_pb2.MULTIFACE_POLICY_NOT_ALLOWED: MultifacePolicy.NOT_ALLOWED,
    samples_pb2.MULTIFACE_POLICY_ALLOWED: MultifacePolicy.ALLOWED,
    samples_pb2.MULTIFACE_POLICY_BEST: MultifacePolicy.BEST,
}


def sources(images: Sequence[images_pb2.ImageInput]) -> list[ImageSource]:
    """The images with the names that the answer calls them by.

    Raises:
        BadBody: an image has no source.
    """
    unnamed = "raw_image" if len(images) == 1 else "raw_image_{}"
    return [_source(image, image.filename or unnamed.format(position)) for position, image in enumerate(images)]


def _source(image: images_pb2.ImageInput, filename: str) -> ImageSource:
    box, body_box = _box(image.face_bounding_boxes), _box(image.body_bounding_boxes)
    match image.WhichOneof("source"):
        case "data":
            return ImageSource(filename, data=image.data, box=box, body_box=body_box)
        case "url":
            return ImageSource(filename, url=image.url, box=box, body_box=body_box)
        case "sample_id":
            return ImageSource(filename, sample_id=UUID(image.sample_id))
        case _:
            raise BadBody(field=f"images.{filename}", message="data, url or sample_id is needed")


def _box(given: Sequence[images_pb2.Rect]) -> Rect | None:
    """The one box that may be given."""
    return Rect(given[0].x, given[0].y, given[0].width, given[0].height) if given else None
