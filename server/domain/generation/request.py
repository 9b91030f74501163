"""What a caller gives to make events of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from server.domain.descriptors import Descriptor
from server.domain.events import Location
from server.domain.images import ImageSource, ImageType


@dataclass(frozen=True, slots=True)
class EventData:
    """What events are about besides what is seen.

    `create_time` None is the time of the request, `end_time` None the time of creation.
    """

    source: str | None = None
    stream_id: UUID | None = None
    track_id: str | None = None
    external_id: str = ""
    user_data: str = ""
    tags: tuple[str, ...] = ()
    location: Location = field(default_factory=Location)
    meta: Mapping[str, object] | None = None
    create_time: datetime | None = None
    end_time: datetime | None = None


NO_DATA = EventData()
"""Nothing was given."""


@dataclass(frozen=True, slots=True)
class EventSource:
    """One source: an image, a sample or the descriptor of a face; exactly one of `image` and `descriptor`.

    Attributes:
        filename: its name in the answer.
        image: the picture. Its boxes tell where to look; those of a sample are told as the sample's rectangle.
        kind: what the picture is.
        descriptor: the descriptor of a face.
        detect_time: when it was seen; None is the time of the request.
        detect_ts: the same in seconds of the caller's own clock.
        origin_url, origin_data: the image that it was cut from, as an address or as bytes; at most one of them.
        data: what its events are about, where that is not the same for all sources.
    """

    filename: str
    image: ImageSource | None = None
    kind: ImageType = ImageType.RAW
    descriptor: Descriptor | None = None
    detect_time: datetime | None = None
    detect_ts: float | None = None
    origin_url: str | None = None
    origin_data: bytes | None = None
    data: EventData | None = None

    @property
    def is_sample(self) -> bool:
        """True for a sample of a face or a body."""
        return self.image is not None and self.kind is not ImageType.RAW


@dataclass(frozen=True, slots=True)
class GenerationWish:
    """What a caller wants.

    Attributes:
        sources: at least one.
        data: what the events are about, unless a source says otherwise.
        aggregate: all sources show one person, and make one event.
        use_exif: photos are rotated by their EXIF orientation tag.
    """

    sources: tuple[EventSource, ...]
    data: EventData = NO_DATA
    aggregate: bool = False
    use_exif: bool = True
