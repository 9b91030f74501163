"""The sources of a request for events, and what the events are about, as the domain works on them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp
from luna.v6 import events_pb2 as pb
from luna.v6 import images_pb2, sdk_pb2

from server.domain.events import GeoPosition, Location
from server.domain.generation.request import EventData, EventSource
from server.domain.images import ImageSource, ImageType
from server.domain.policies import RELATIVE_TIME, TimeBound
from server.domain.vision import Rect
from server.errors import BadBody, BadQuery
from server.services.messages import descriptor_from, moment, optional_uuid

TYPES: Mapping[int, ImageType] = {
    sdk_pb2.IMAGE_TYPE_RAW: ImageType.RAW,
    sdk_pb2.IMAGE_TYPE_FACE_SAMPLE: ImageType.FACE_SAMPLE,
    sdk_pb2.IMAGE_TYPE_BODY_SAMPLE: ImageType.BODY_SAMPLE,
}
STREAM_TYPES: Mapping[int, ImageType] = {
    pb.SOURCE_TYPE_UNSPECIFIED: ImageType.RAW,
    pb.SOURCE_TYPE_RAW: ImageType.RAW,
    pb.SOURCE_TYPE_FACE_SAMPLE: ImageType.FACE_SAMPLE,
    pb.SOURCE_TYPE_BODY_SAMPLE: ImageType.BODY_SAMPLE,
}
BEGAN, ENDED = "luna-event-time", "luna-event-end-time"
"""Headers with the times of events; what is no time of RFC 3339 in them is not looked at (reference document)."""
MOST_META = 2 << 20
"""Bytes of the largest data of the caller's own."""
EXACT = 1 << 53
"""Whole numbers up to this are exact in a double."""

UNNAMED, UNNAMED_DESCRIPTOR = "raw_image", "raw_descriptor"
"""What the answer calls bytes without a name, numbered where there are several sources."""


class _Boxed(Protocol):
    """A source that may tell where to look."""

    @property
    def face_bounding_boxes(self) -> Sequence[images_pb2.Rect]: ...
    @property
    def body_bounding_boxes(self) -> Sequence[images_pb2.Rect]: ...


def sources_from(messages: Sequence[images_pb2.Source], wanted: ImageType) -> tuple[EventSource, ...]:
    """Images, samples and descriptors, with the names that the answer calls them by.

    Raises:
        BadBody: a source is empty.
        LunaError: a descriptor is not valid.
    """
    return tuple(_source(one, position, len(messages), wanted) for position, one in enumerate(messages))


def stream_sources_from(messages: Sequence[pb.StreamSource]) -> tuple[EventSource, ...]:
    """The images of a stream, each with what its events are about.

    Raises:
        BadBody: data of the caller's own is too large, or an origin is given twice.
    """
    return tuple(_stream_source(one, position, len(messages)) for position, one in enumerate(messages))


def data_from(request: pb.GenerateEventsRequest, headers: Mapping[str, str]) -> EventData:
    """What the events of a request are about. Its times stand in the request or in headers.

    Raises:
        BadQuery: only one half of a position is given.
        BadBody: the caller's own data is too large.
    """
    return EventData(
        source=request.source or None,
        stream_id=optional_uuid(request.stream_id),
        track_id=request.track_id or None,
        external_id=request.external_id,
        user_data=request.user_data,
        tags=tuple(request.tags),
        location=Location(
            city=request.city or None,
            area=request.area or None,
            district=request.district or None,
            street=request.street or None,
            house_number=request.house_number or None,
            geo_position=_position(request),
        ),
        meta=meta_from(request.meta, "meta") if request.HasField("meta") else None,
        create_time=_time(request, "event_time") or _header(headers, BEGAN),
        end_time=_time(request, "event_end_time") or _header(headers, ENDED),
    )


def source_data_from(message: pb.SourceData, path: str) -> EventData:
    """What the event of a stream is about.

    Raises:
        BadBody: the caller's own data is too large.
    """
    return EventData(
        source=message.source or None,
        stream_id=optional_uuid(message.stream_id),
        track_id=message.track_id or None,
        external_id=message.external_id,
        user_data=message.user_data,
        tags=tuple(message.tags),
        location=location_from(message.location) if message.HasField("location") else Location(),
        meta=meta_from(message.meta, f"{path}.meta") if message.HasField("meta") else None,
        create_time=_time(message, "event_time"),
        end_time=_time(message, "event_end_time"),
    )


def location_from(message: pb.Location) -> Location:
    """Where something happened."""
    position = message.geo_position
    return Location(
        city=message.city or None,
        area=message.area or None,
        district=message.district or None,
        street=message.street or None,
        house_number=message.house_number or None,
        geo_position=GeoPosition(position.longitude, position.latitude) if message.HasField("geo_position") else None,
    )


def meta_from(message: Struct, path: str) -> dict[str, object]:
    """Data of the caller's own as JSON has it: a Struct knows doubles alone, and whole ones come back as integers.

    Raises:
        BadBody: it is too large, or a number in it is none that JSON knows.
    """
    if message.ByteSize() > MOST_META:
        raise BadBody(field=path, message=f"at most {MOST_META} bytes are allowed")
    return members_from(message, path)


def members_from(message: Struct, path: str) -> dict[str, object]:
    """An object of JSON that stands at a path, of any size; whole numbers are integers.

    Raises:
        BadBody: a number in it is none that JSON knows.
    """
    return {name: _json(one, f"{path}.{name}") for name, one in message.fields.items()}


def _json(value: Value, path: str) -> object:
    match value.WhichOneof("kind"):
        case "struct_value":
            return {name: _json(one, f"{path}.{name}") for name, one in value.struct_value.fields.items()}
        case "list_value":
            return [_json(one, f"{path}.{position}") for position, one in enumerate(value.list_value.values)]
        case "number_value":
            number = value.number_value
            if not math.isfinite(number):
                raise BadBody(field=path, message=f"{number} is not a number of JSON")
            return int(number) if number.is_integer() and abs(number) <= EXACT else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None


def _source(message: images_pb2.Source, position: int, count: int, wanted: ImageType) -> EventSource:
    path = f"sources.{position}"
    descriptor = None
    if message.HasField("descriptor"):
        descriptor = descriptor_from(message.descriptor, f"{path}.descriptor")
    word = UNNAMED if descriptor is None else UNNAMED_DESCRIPTOR
    name = message.filename or message.url or message.sample_id or _unnamed(word, position, count)
    image = None if descriptor is not None else _image(message, name, path)
    return EventSource(
        name,
        image,
        ImageType.RAW if image is None else image.type_in(wanted),
        descriptor,
        detect_time=_time(message, "detect_time"),
        detect_ts=message.detect_ts if message.HasField("detect_ts") else None,
        origin_url=message.image_origin_url or None,
        origin_data=message.image_origin_data or None,
    )


def _image(message: images_pb2.Source, name: str, path: str) -> ImageSource:
    box, body_box = _boxes(message)
    match message.WhichOneof("source"):
        case "data":
            return ImageSource(name, data=message.data, box=box, body_box=body_box)
        case "url":
            return ImageSource(name, url=message.url, box=box, body_box=body_box)
        case "sample_id":
            return ImageSource(name, sample_id=UUID(message.sample_id), box=box, body_box=body_box)
        case _:
            raise BadBody(field=path, message="data, url, sample_id or descriptor is needed")


def _stream_source(message: pb.StreamSource, position: int, count: int) -> EventSource:
    path = f"sources.{position}"
    box, body_box = _boxes(message)
    origin = message.image_origin
    if origin.url and origin.body:
        raise BadBody(field=f"{path}.image_origin", message="either url or body is needed")
    name = message.filename or _unnamed(UNNAMED, position, count)
    return EventSource(
        name,
        ImageSource(name, data=message.body, box=box, body_box=body_box),
        STREAM_TYPES[message.source_type],
        detect_time=_time(message, "detect_time"),
        detect_ts=message.detect_ts if message.HasField("detect_ts") else None,
        origin_url=origin.url or None,
        origin_data=origin.body or None,
        data=source_data_from(message.source_data, f"{path}.source_data") if message.HasField("source_data") else None,
    )


def _unnamed(word: str, position: int, count: int) -> str:
    return word if count == 1 else f"{word}_{position}"


def _boxes(message: _Boxed) -> tuple[Rect | None, Rect | None]:
    """The one box of the face and the one of the body that may be given."""
    return _box(message.face_bounding_boxes), _box(message.body_bounding_boxes)


def _box(given: Sequence[images_pb2.Rect]) -> Rect | None:
    return Rect(given[0].x, given[0].y, given[0].width, given[0].height) if given else None


def _time(message: Message, field: str) -> datetime | None:
    """A time where it is given."""
    if not message.HasField(field):
        return None
    given: Timestamp = getattr(message, field)
    return moment(given)


def _position(request: pb.GenerateEventsRequest) -> GeoPosition | None:
    if not request.HasField("longitude") and not request.HasField("latitude"):
        return None
    if not request.HasField("longitude") or not request.HasField("latitude"):
        missing = "latitude" if request.HasField("longitude") else "longitude"
        raise BadQuery(field=missing, message="longitude and latitude are needed together")
    return GeoPosition(request.longitude, request.latitude)


def _header(headers: Mapping[str, str], name: str) -> datetime | None:
    text = headers.get(name, "")
    if RELATIVE_TIME.fullmatch(text):
        return None
    try:
        return TimeBound(text).at(datetime.now(UTC))
    except ValueError:
        return None
