"""What a request asks to make events of, with the members of the contract's `lambda_event_source_schema`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from .errors import BadRequest

MOST_PIXELS = 64_000_000
"""Largest image that is decoded, as the service's own engine has it by default."""
PIXELS_VARIABLE = "OPENCV_IO_MAX_IMAGE_PIXELS"


class SourceType(Enum):
    """What the bytes of a source are, in LUNA's words."""

    RAW_IMAGE = "raw_image"
    FACE_SAMPLE = "face_sample"
    BODY_SAMPLE = "body_sample"


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle in pixels of the image, turned as its EXIF tag says, from its top left corner."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class SourceData:
    """What events are about besides their images; None and empty where nothing is said.

    Attributes:
        location: city, area, district, street, house_number, and geo_position with longitude and latitude, as far as
            they are given.
        event_time, event_end_time: when the events began and ended.
    """

    source: str | None = None
    stream_id: str | None = None
    tags: tuple[str, ...] = ()
    user_data: str = ""
    external_id: str = ""
    track_id: str | None = None
    meta: Mapping[str, Any] | None = None
    event_time: datetime | None = None
    event_end_time: datetime | None = None
    location: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Source:
    """One image, sample or descriptor. It has one of body, url, sample_id and descriptor.

    Attributes:
        filename: what the answer calls it; made up where it has no name.
        body: bytes of an image file.
        url: address of an image that the caller has not sent. Nothing fetches it by itself.
        sample_id: a stored sample.
        descriptor: bytes of a descriptor of a face.
        body_meta: what else was said of the body.
        face_bounding_boxes, body_bounding_boxes: where to look.
        detect_ts: when it was seen, in seconds of the caller's own clock.
        image_origin: address or bytes of the full frame.
        source_data: what its own event is about; None where all have what the request says.
    """

    filename: str
    source_type: SourceType = SourceType.RAW_IMAGE
    body: bytes | None = field(default=None, repr=False)
    url: str | None = None
    sample_id: str | None = None
    descriptor: bytes | None = field(default=None, repr=False)
    body_meta: Mapping[str, Any] | None = None
    face_bounding_boxes: tuple[Rect, ...] = ()
    body_bounding_boxes: tuple[Rect, ...] = ()
    detect_time: datetime | None = None
    detect_ts: float | None = None
    image_origin: str | bytes | None = field(default=None, repr=False)
    source_data: SourceData | None = None
    use_exif_info: bool = True

    async def image(self) -> Any:
        """The body decoded: uint8 [height, width, 3], BGR, turned as its EXIF tag says unless that is not to be used.

        Raises:
            BadRequest: the source has no body, or it is no image, or one that is too large.
        """
        if self.body is None:
            message = f"'{self.filename}' comes without the bytes of an image"
            raise BadRequest(message)
        turned = self.use_exif_info and self.source_type is SourceType.RAW_IMAGE
        return await asyncio.to_thread(_decoded, self.body, self.filename, turned=turned)


@dataclass(frozen=True, slots=True)
class EventSources:
    """A request for events.

    Attributes:
        sources: at least one.
        aggregate_attributes: all sources are to make one event.
        source_data: what the events are about, of a source that says nothing of its own.
        policies: as they came with the request, unread; None without any.
    """

    sources: tuple[Source, ...]
    aggregate_attributes: bool = False
    source_data: SourceData = field(default_factory=SourceData)
    policies: Any = None

    def data_of(self, source: Source) -> SourceData:
        """What the event of a source is about."""
        return source.source_data or self.source_data


def _decoded(body: bytes, filename: str, *, turned: bool) -> Any:
    os.environ.setdefault(PIXELS_VARIABLE, str(MOST_PIXELS))  # read where cv2 is first imported
    import cv2
    import numpy as np

    flags = cv2.IMREAD_COLOR if turned else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(body, np.uint8), flags) if body else None
    except cv2.error:
        image = None
    if image is None:
        message = f"'{filename}' is no image that can be decoded, or has more than {MOST_PIXELS} pixels"
        raise BadRequest(message)
    return image
