"""Events to store: one with everything, ones with little, and batches of them."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from server.domain.attributes import AttributeContent, BasicAttributes, Ethnicity, Gender, TemporaryAttribute
from server.domain.descriptors import Descriptor
from server.domain.events import (
    Candidate,
    EventDescriptor,
    EventMatch,
    EventRecord,
    Facts,
    GeoPosition,
    Location,
    MatchedAttribute,
    NewEvent,
    RecordDetection,
)
from server.domain.media import Media, MediaKind
from server.domain.policies import DescriptorKind
from server.domain.samples import Sample, SampleType
from server.domain.vision import BodyGender, Emotion, LivenessState, MaskState, Presence, Rect
from tests.integration.storage.made import NOW, OURS, a_face, number, vector

HANDLER = number(7000)


def an_event(value: int, account: UUID = OURS, **fields: object) -> EventRecord:
    """An event made at `NOW`, with other fields where they are given."""
    made = {"event_id": number(value), "account_id": account, "handler_id": HANDLER, "create_time": NOW}
    return EventRecord(**{**made, "end_time": fields.get("create_time", NOW), **fields})


def a_full_event(value: int, account: UUID = OURS) -> EventRecord:
    """An event that has a value in every field."""
    found = an_event(
        4001,
        create_time=NOW - timedelta(days=3),
        end_time=NOW - timedelta(days=2),
        external_id="found",
        stream_id=number(5),
        facts=Facts(gender=Gender.FEMALE, age=3),
        tags=("old",),
        attach_result=(number(21),),
        location=Location(city="Here", geo_position=GeoPosition(1.5, -2.5)),
        meta={"seen": True},
    )
    face = a_face(3001, event_id=number(9), user_data="u", external_id="known", avatar="/a", lists=(number(20),))
    return an_event(
        value,
        account,
        create_time=NOW - timedelta(seconds=2),
        end_time=NOW + timedelta(microseconds=1),
        external_id="Ωmega %_\\ 'x'",
        user_data="data of the caller's own",
        source="cam 1",
        stream_id=number(5001),
        track_id="track-1",
        face_id=number(3000),
        tags=("one", "two words", "один"),
        location=Location("City", "Area", "District", "Street", "1a", GeoPosition(-179.5, 89.25)),
        facts=Facts(
            gender=Gender.FEMALE,
            age=0,
            ethnicity=Ethnicity.ASIAN,
            emotion=Emotion.NEUTRAL,
            mask=MaskState.MEDICAL_MASK,
            liveness=LivenessState.SPOOF,
            apparent_gender=BodyGender.FEMALE,
            apparent_age=44,
            headwear=Presence.ABSENT,
            headwear_colour="undefined",
            sleeve_length="short",
            upper_colours=("black", "white"),
            garment="shorts",
            garment_colours=("green",),
            shoes_colour="other",
            backpack=Presence.UNKNOWN,
        ),
        matches=(
            EventMatch("nobody"),
            EventMatch(
                "faces",
                (Candidate(0.75, face=face), Candidate(0.5, face=a_face(3002))),
                targets=("face_id",),
            ),
            EventMatch("events", (Candidate(0.9, event=found), Candidate(0.1, event=an_event(4002)))),
            EventMatch("attributes", (Candidate(0.9, attribute=MatchedAttribute(number(60), OURS, NOW)),)),
        ),
        face_detections=(
            RecordDetection(NOW, 0.0, number(8001), "http://example.com/1.jpg", Rect(-1, 2, 30, 40)),
            RecordDetection(NOW),
        ),
        body_detections=(RecordDetection(NOW, 1.25, rect=Rect(0, 0, 0, 0)),),
        attach_result=(number(20), number(21)),
        meta={"a": {"b": [1, 2.5, None, "x"]}, "ключ": False, "": 1e9 + 0.5},
    )


def a_new_event(record: EventRecord, *, notice: bytes | None = b"told", stored: bool = True) -> NewEvent:
    """An event with a descriptor of its face and one of its body."""
    descriptors = (
        EventDescriptor(DescriptorKind.FACE, vector(1, 1001), 0.5),
        EventDescriptor(DescriptorKind.BODY, Descriptor(1002, bytes([2]) * 256)),
    )
    return NewEvent(record, descriptors, stored, notice)


def a_sample(value: int, account: UUID = OURS) -> Sample:
    """The row of a sample of four bytes."""
    return Sample(number(value), account, SampleType.FACES, 4, b"hash", NOW)


def an_image(value: int, account: UUID = OURS) -> Media:
    """The row of an image of five bytes."""
    return Media(number(value), account, MediaKind.IMAGES, "image/jpeg", 5, b"hash", NOW)


def a_temporary(value: int, account: UUID = OURS) -> TemporaryAttribute:
    """A temporary attribute."""
    content = AttributeContent((vector(1),), (number(8001),), BasicAttributes(age=5))
    return TemporaryAttribute(number(value), account, NOW, content)
