"""The sources of requests for events and their data: names, kinds, times and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from domain_stores import descriptor
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from luna.v6 import attributes_pb2, events_pb2, images_pb2

from server.domain.events import GeoPosition
from server.domain.images import ImageType
from server.domain.vision import Rect
from server.errors import BadBody, BadQuery, WrongDescriptorLength
from server.services.event_sources import (
    BEGAN,
    ENDED,
    MOST_META,
    data_from,
    meta_from,
    sources_from,
    stream_sources_from,
)

MOMENT = datetime(2018, 12, 16, 23, 29, 59, 300275, tzinfo=UTC)
SAMPLE = "557d54ec-29ad-4f3c-93b4-c9092ef12515"


def data(**fields: object) -> images_pb2.Source:
    return images_pb2.Source(data=b"x", **fields)  # type: ignore[arg-type]


def test_what_has_no_name_is_called_by_what_it_is() -> None:
    given = attributes_pb2.DescriptorInput(sdk_descriptor=descriptor(1).to_sdk())
    sources = [
        data(),
        data(filename="a.jpg"),
        images_pb2.Source(url="http://a"),
        images_pb2.Source(sample_id=SAMPLE),
        images_pb2.Source(descriptor=given),
    ]
    assert [one.filename for one in sources_from(sources, ImageType.RAW)] == [
        "raw_image_0",
        "a.jpg",
        "http://a",
        SAMPLE,
        "raw_descriptor_4",
    ]
    assert sources_from([data()], ImageType.RAW)[0].filename == "raw_image"


def test_a_stored_sample_is_a_sample_whatever_the_request_says_of_images() -> None:
    stored, photo = images_pb2.Source(sample_id=SAMPLE), data()
    assert [one.kind for one in sources_from([stored, photo], ImageType.RAW)] == [
        ImageType.FACE_SAMPLE,
        ImageType.RAW,
    ]
    assert {one.kind for one in sources_from([stored, photo], ImageType.BODY_SAMPLE)} == {ImageType.BODY_SAMPLE}


def test_boxes_times_and_origins_stay_with_their_source() -> None:
    box = images_pb2.Rect(x=1, y=2, width=3, height=4)
    moment = Timestamp()
    moment.FromDatetime(MOMENT)
    (one,) = sources_from(
        [data(face_bounding_boxes=[box], detect_time=moment, detect_ts=0.0, image_origin_url="http://frame")],
        ImageType.RAW,
    )
    assert one.image is not None
    assert (one.image.box, one.image.body_box) == (Rect(1, 2, 3, 4), None)
    assert (one.detect_time, one.detect_ts, one.origin_url, one.origin_data) == (MOMENT, 0.0, "http://frame", None)
    (bare,) = sources_from([data()], ImageType.RAW)
    assert (bare.detect_time, bare.detect_ts, bare.origin_url) == (None, None, None)


def test_an_empty_source_and_a_bad_descriptor_are_named() -> None:
    with pytest.raises(BadBody, match=r"sources\.1"):
        sources_from([data(), images_pb2.Source()], ImageType.RAW)
    short = images_pb2.Source(descriptor=attributes_pb2.DescriptorInput(descriptor=b"x", version=1001))
    with pytest.raises(WrongDescriptorLength):
        sources_from([short], ImageType.RAW)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2018-12-16T15:29:59.300275-08:00", MOMENT),
        ("2018-12-16T23:29:59.300275Z", MOMENT),
        ("yesterday", None),
        ("2018-12-16", None),
        ("2018-12-16T23:29:59", None),
        ("now-3h", None),
        ("", None),
    ],
)
def test_headers_give_times_and_every_other_form_is_ignored(text: str, moment: datetime | None) -> None:
    found = data_from(events_pb2.GenerateEventsRequest(), {BEGAN: text, ENDED: text})
    assert (found.create_time, found.end_time) == (moment, moment)


def test_times_in_the_request_come_before_headers() -> None:
    request = events_pb2.GenerateEventsRequest()
    request.event_time.FromDatetime(MOMENT)
    found = data_from(request, {BEGAN: "2020-01-01T00:00:00Z", ENDED: "2020-01-01T00:00:00Z"})
    assert (found.create_time, found.end_time) == (MOMENT, datetime(2020, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(("given", "missing"), [("longitude", "latitude"), ("latitude", "longitude")])
def test_half_a_position_is_refused(given: str, missing: str) -> None:
    request = events_pb2.GenerateEventsRequest(**{given: 0.0})  # type: ignore[arg-type]
    with pytest.raises(BadQuery, match=missing):
        data_from(request, {})


def test_empty_fields_are_absent() -> None:
    found = data_from(events_pb2.GenerateEventsRequest(longitude=0, latitude=0), {})
    assert (found.source, found.stream_id, found.track_id, found.meta) == (None, None, None, None)
    assert found.location.city is None
    assert found.location.geo_position == GeoPosition(0, 0)


def test_data_of_the_callers_own_comes_back_as_json_has_it() -> None:
    given = {"whole": 5, "half": 1.5, "large": 2.0**60, "list": [1, None, True, "x", {"deep": {}}]}
    message = Struct()
    message.update(given)
    found = meta_from(message, "meta")
    assert found == given
    assert isinstance(found["whole"], int)
    assert isinstance(found["large"], float)


def test_data_of_the_callers_own_that_is_too_large_or_no_json_is_refused() -> None:
    message = Struct()
    message.update({"a": "x" * MOST_META})
    with pytest.raises(BadBody, match="meta"):
        meta_from(message, "meta")
    message = Struct()
    message.update({"a": [float("inf")]})
    with pytest.raises(BadBody, match=r"meta\.a\.0"):
        meta_from(message, "meta")


def test_a_stream_tells_what_each_body_is_and_what_its_event_is_about() -> None:
    about = events_pb2.SourceData(external_id="1", stream_id=SAMPLE, tags=["a"])
    about.location.geo_position.longitude = 1.5
    about.location.geo_position.latitude = 2.5
    about.event_time.FromDatetime(MOMENT)
    first, second = stream_sources_from(
        [
            events_pb2.StreamSource(body=b"x", source_data=about, source_type=events_pb2.SOURCE_TYPE_BODY_SAMPLE),
            events_pb2.StreamSource(body=b"y", image_origin=events_pb2.ImageOrigin(body=b"frame")),
        ]
    )
    assert first.data is not None
    assert (first.data.external_id, first.data.stream_id, first.data.tags) == ("1", UUID(SAMPLE), ("a",))
    assert (first.data.create_time, first.data.end_time) == (MOMENT, None)
    assert first.data.location.geo_position == GeoPosition(1.5, 2.5)
    assert (first.kind, second.kind) == (ImageType.BODY_SAMPLE, ImageType.RAW)
    assert (second.filename, second.data, second.origin_data) == ("raw_image_1", None, b"frame")


def test_an_origin_that_is_given_twice_is_refused() -> None:
    both = events_pb2.ImageOrigin(body=b"frame", url="http://frame")
    with pytest.raises(BadBody, match=r"sources\.0\.image_origin"):
        stream_sources_from([events_pb2.StreamSource(body=b"x", image_origin=both)])
