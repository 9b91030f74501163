"""Events that the caller made: facts and where they come from, candidates, descriptors, and what is told of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct
from luna.v6 import bodies_pb2, events_pb2, images_pb2
from luna.v6 import events_pb2 as pb

from server.domain.descriptors import Descriptor
from server.domain.event_conditions import Column
from server.domain.events import EventDescriptor
from server.domain.handlers import Handler, HandlerType
from server.domain.policies import DescriptorKind
from server.domain.vision import BodyGender, Emotion, LivenessState, MaskState, Presence
from server.errors import BadBody, EventsOff, LunaError, MissingField, UnknownDescriptorVersion
from server.services.events import EventsService
from server.services.notices import read, values_from
from server.services.raw_events import new_event
from server.services.stored_events import stored_event

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
HANDLER = Handler(UUID(int=1), UUID(int=2), HandlerType.DYNAMIC, "", None, None, NOW, NOW)
FACE, OTHER = str(UUID(int=3)), str(UUID(int=4))


def made(event: pb.RawEvent) -> Any:
    return new_event(event, HANDLER, "request", NOW)


def a_detection(**face: object) -> pb.RawDetection:
    attributes = images_pb2.FaceEstimations(**cast("dict[str, Any]", face))
    detection = images_pb2.FaceDetection(attributes=attributes)
    return pb.RawDetection(samples=pb.RawSamples(face=pb.RawFaceSample(detection=detection)))


def emotion(value: images_pb2.Emotion.ValueType) -> images_pb2.Emotions:
    return images_pb2.Emotions(predominant_emotion=value)


def test_facts_are_those_of_the_attributes_then_of_the_aggregate_then_of_the_first_detection() -> None:
    event = pb.RawEvent(
        detections=[
            a_detection(emotions=emotion(images_pb2.EMOTION_ANGER)),
            a_detection(
                emotions=emotion(images_pb2.EMOTION_FEAR),
                mask=images_pb2.Mask(predominant_mask=images_pb2.MASK_STATE_OCCLUDED),
                liveness=images_pb2.LivenessEstimation(prediction=images_pb2.LIVENESS_STATE_REAL),
            ),
        ]
    )
    facts = made(event).record.facts
    assert (facts.emotion, facts.mask, facts.liveness) == (Emotion.ANGER, MaskState.OCCLUDED, LivenessState.REAL)
    event.aggregate_estimations.face.attributes.emotions.CopyFrom(emotion(images_pb2.EMOTION_SADNESS))
    event.aggregate_estimations.face.attributes.basic_attributes.age = 7
    assert made(event).record.facts.emotion is Emotion.SADNESS
    assert made(event).record.facts.age == 7
    event.face_attributes.basic_attributes.age = 0
    assert made(event).record.facts.age == 0, "nought is an age"
    body = event.aggregate_estimations.body.attributes
    body.basic_attributes.apparent_gender = bodies_pb2.BODY_GENDER_UNKNOWN
    body.accessories.backpack.state = bodies_pb2.PRESENCE_ABSENT
    facts = made(event).record.facts
    assert (facts.apparent_gender, facts.apparent_age, facts.backpack) == (BodyGender.UNKNOWN, 0, Presence.ABSENT)


def test_an_event_of_nothing_is_of_now_and_knows_nothing() -> None:
    record = made(pb.RawEvent()).record
    assert (record.create_time, record.end_time, record.handler_id) == (NOW, NOW, HANDLER.handler_id)
    assert record.account_id == HANDLER.account_id
    assert record.facts == type(record.facts)()
    assert record.meta is None


def test_descriptors_are_kept_by_their_kind_with_their_score() -> None:
    event = pb.RawEvent()
    event.face_attributes.descriptor.descriptor, event.face_attributes.descriptor.version = bytes(256), 1001
    event.face_attributes.score = 0.5
    event.body_attributes.descriptor.descriptor, event.body_attributes.descriptor.version = bytes(1536), 1101
    assert made(event).descriptors == (
        EventDescriptor(DescriptorKind.FACE, Descriptor(1001, bytes(256)), 0.5),
        EventDescriptor(DescriptorKind.BODY, Descriptor(1101, bytes(1536)), None),
    )
    event.body_attributes.descriptor.version = 1001
    with pytest.raises(UnknownDescriptorVersion):
        made(event)


def test_subscribers_are_told_what_is_kept() -> None:
    event = ParseDict(
        {
            "source": "cam",
            "tags": ["a"],
            "detections": [{"samples": {"face": {"sample_id": FACE}, "body": {"sample_id": OTHER}}, "detect_ts": 0}],
            "face": {"face_id": FACE, "lists": [OTHER], "event_id": OTHER, "user_data": "u"},
            "face_attributes": {"basic_attributes": {"age": 5}, "score": 0.5, "samples": [FACE]},
            "matches": [{"label": "m", "candidates": [{"similarity": 0.5, "face": {"face_id": FACE}}]}],
            "meta": {"a": 1},
        },
        pb.RawEvent(),
    )
    new = made(event)
    notice = read(new.notice)
    told = notice.told
    record_id = str(new.record.event_id)
    assert (told.handler_id, told.request_id, list(notice.labels)) == (str(HANDLER.handler_id), "request", ["m"])
    assert told.event_create_time.ToDatetime(tzinfo=UTC) == NOW
    assert (told.event.event_id, told.event.url) == (record_id, f"/6/events/{record_id}")
    assert (told.event.face.event_id, told.event.face.url) == (record_id, f"/6/faces/{FACE}")
    (detection,) = told.event.detections
    assert detection.samples.face.url == f"/6/samples/faces/{FACE}"
    assert detection.samples.body.url == f"/6/samples/bodies/{OTHER}"
    assert detection.HasField("detect_ts")
    assert told.event.face_attributes.basic_attributes.age == 5
    assert told.event.matches == stored_event(new.record).match_result
    assert told.event.HasField("aggregate_estimations")
    values = values_from(notice)
    assert values.columns[Column.TOP_SIMILAR_OBJECT_ID] == UUID(FACE)
    assert values.meta == {"a": 1}
    assert (new.record.face_id, new.record.attach_result) == (UUID(FACE), (UUID(OTHER),))


def test_candidates_come_back_as_they_were_given_the_best_one_first() -> None:
    found = pb.StoredEvent(event_id=OTHER, external_id="seen", age=3, tags=["t"])
    candidates = [
        pb.EventCandidate(similarity=0.25, event=pb.StoredEvent(event_id=FACE, external_id="", age=4)),
        pb.EventCandidate(similarity=0.5, event=found),
    ]
    record = made(pb.RawEvent(matches=[pb.EventMatch(label="m", candidates=candidates)])).record
    (match,) = stored_event(record).match_result
    shown = match.candidates[0].event
    assert [one.similarity for one in match.candidates] == [0.5, 0.25]
    assert (shown.event_id, shown.external_id, shown.age, list(shown.tags)) == (OTHER, "seen", 3, ["t"])
    assert not shown.handler_id, "it was not given, and is not told"
    assert record.top_match is not None
    assert record.top_match[1].object_id == UUID(OTHER)


def candidate(**fields: Any) -> pb.RawEvent:
    return pb.RawEvent(matches=[pb.EventMatch(label="m", candidates=[pb.EventCandidate(**fields)])])


@pytest.mark.parametrize(
    ("event", "field"),
    [
        (candidate(similarity=0.5), "matches.0.candidates.0"),
        (candidate(face={"face_id": FACE}), "similarity"),
        (candidate(similarity=0.5, face={"face_id": "x"}), "face.face_id"),
        (candidate(similarity=0.5, face={"external_id": "x"}), "face.face_id"),
        (candidate(similarity=0.5, face={"face_id": FACE, "lists": ["x"]}), "face.lists.0"),
        (candidate(similarity=0.5, face={"face_id": FACE, "external_id": "x" * 37}), "external_id"),
        (candidate(similarity=0.5, face={"face_id": FACE}, attribute={"attribute_id": FACE}), "candidates.0"),
        (candidate(similarity=0.5, event={"event_id": FACE, "stream_id": "x"}), "event.stream_id"),
        (candidate(similarity=0.5, attribute={}), "attribute.attribute_id"),
    ],
)
def test_a_wrong_candidate_is_named(event: pb.RawEvent, field: str) -> None:
    with pytest.raises((BadBody, MissingField)) as refused:
        made(event)
    assert field in refused.value.detail


def test_words_and_ages_that_there_are_not_are_refused() -> None:
    upper = pb.RawEvent()
    upper.aggregate_estimations.body.attributes.upper_body.upper_clothing.colors.append("mauve")
    age = pb.RawEvent()
    age.face_attributes.basic_attributes.age = 101
    number = pb.RawEvent(meta=Struct())
    number.meta["a"] = float("nan")
    for event, named in ((upper, "colors.0"), (age, "basic_attributes.age"), (number, "meta.a")):
        with pytest.raises(LunaError) as refused:
            made(event)
        assert named in refused.value.detail


async def test_events_that_are_off_are_neither_read_nor_taken() -> None:
    service = EventsService(*[cast("Any", None)] * 5, enabled=False)
    calls: tuple[tuple[Callable[[Any, object], Awaitable[object]], object], ...] = (
        (service.SaveEvent, events_pb2.SaveEventRequest()),
        (service.ListEvents, events_pb2.ListEventsRequest()),
        (service.GetStatistics, events_pb2.GetStatisticsRequest()),
        (service.GetEvent, events_pb2.GetEventRequest()),
    )
    for call, request in calls:
        with pytest.raises(EventsOff) as refused:
            await call(request, None)
        assert refused.value.code == 11040
