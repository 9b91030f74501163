"""Notices carry what conditions ask and what subscribers are told."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

from luna.notices.v1 import notices_pb2
from luna.v6 import events_pb2

from server.domain.attributes import Ethnicity, Gender
from server.domain.event_conditions import Column
from server.domain.event_values import VALUES, values_of
from server.domain.events import (
    Candidate,
    EventMatch,
    EventRecord,
    Facts,
    GeoPosition,
    Location,
    MatchedAttribute,
)
from server.domain.ids import uuid7
from server.domain.vision import BodyGender, Emotion, LivenessState, MaskState, Presence
from server.services.notices import notice, read, values_from

MOMENT = datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=UTC)


def record() -> EventRecord:
    """A record with a value in every column."""
    return EventRecord(
        event_id=uuid7(),
        account_id=uuid4(),
        handler_id=uuid4(),
        create_time=MOMENT,
        end_time=MOMENT,
        external_id="external",
        user_data="text",
        source="camera",
        stream_id=uuid4(),
        track_id="track",
        face_id=uuid4(),
        tags=("b", "a"),
        location=Location("city", "area", "district", "street", "1a", GeoPosition(-180, 90)),
        facts=Facts(
            gender=Gender.FEMALE,
            age=0,
            ethnicity=Ethnicity.ASIAN,
            emotion=Emotion.NEUTRAL,
            mask=MaskState.OCCLUDED,
            liveness=LivenessState.SPOOF,
            apparent_gender=BodyGender.FEMALE,
            apparent_age=100,
            headwear=Presence.ABSENT,
            headwear_colour="black",
            sleeve_length="long",
            upper_colours=("red", "khaki"),
            garment="skirt",
            garment_colours=("beige",),
            shoes_colour="other",
            backpack=Presence.UNKNOWN,
        ),
        matches=(
            EventMatch("nobody"),
            EventMatch("somebody", (Candidate(0.5, attribute=MatchedAttribute(uuid4())),)),
        ),
        meta={"a": {"b": [1, 2.5, None, True, "ё"]}, "n": 2**70},
    )


def test_every_column_has_a_value_and_a_field_in_a_notice() -> None:
    assert set(VALUES) == set(Column)
    assert {field.name for field in notices_pb2.EventValues.DESCRIPTOR.fields} == {column.value for column in Column}


def test_what_conditions_ask_arrives_as_it_was() -> None:
    one = record()
    values = values_of(one)
    assert set(values.columns) == set(Column)
    assert values_from(read(notice(one, events_pb2.GeneratedEvent(), "id"))) == values


def test_columns_without_a_value_stay_without_one() -> None:
    one = EventRecord(uuid4(), uuid4(), uuid4(), MOMENT, MOMENT)
    values = values_from(read(notice(one, events_pb2.GeneratedEvent(), "id")))
    assert values == values_of(one)
    assert values.columns[Column.EXTERNAL_ID] == ""
    assert Column.TAGS not in values.columns
    assert Column.TOP_SIMILAR_OBJECT_ID not in values.columns


def test_a_notice_tells_of_the_event_its_times_its_handler_and_its_request() -> None:
    one = record()
    event = events_pb2.GeneratedEvent(event_id=str(one.event_id), tags=["a"])
    message = read(notice(one, event, "1536751345,8b8b5937-2e9c-4e8b-a7a7-5caf86621b5a"))
    assert message.told.event == event
    assert message.told.handler_id == str(one.handler_id)
    assert message.told.event_create_time.ToDatetime(tzinfo=UTC) == MOMENT
    assert message.told.request_id == "1536751345,8b8b5937-2e9c-4e8b-a7a7-5caf86621b5a"
    assert list(message.labels) == ["somebody"]
