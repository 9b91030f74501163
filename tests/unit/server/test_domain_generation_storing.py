"""What is kept of events: one batch, exactly what policies say, and what its parts say of each other."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from domain_stores import descriptor
from generation_world import HANDLER, ONE, USER, World, kept_sample, known_face, photo, sample

from server.domain.attributes import Gender
from server.domain.events import EMOTION_NUMBERS, Batch, EventMatch, GeoPosition, Location
from server.domain.generation.generation import Generation
from server.domain.generation.keeping import Keeping
from server.domain.generation.request import EventData, EventSource, GenerationWish
from server.domain.images import ImageSource, ImageType
from server.domain.media import MediaKind
from server.domain.policies import (
    AttributePolicy,
    ConditionalTag,
    DescriptorKind,
    DetectPolicy,
    EventPolicy,
    ExtractPolicy,
    FaceCandidates,
    FacePolicy,
    Filters,
    ImageOriginPolicy,
    LinkToList,
    MatchCondition,
    MatchPolicy,
    NotificationPolicy,
    Policies,
    SamplePolicy,
    StoragePolicy,
    TimeBound,
)
from server.domain.samples import SampleType
from server.domain.vision import DetectedPerson, Emotion
from server.errors import ListsNotFound, NotAnImage, Unavailable
from tests.scripted_engine import body, face

ALICE = DetectedPerson(face(1), body(1))
BOTH = DetectPolicy(bodies=True)
NOTHING = StoragePolicy(
    face_sample=SamplePolicy(store=False),
    body_sample=SamplePolicy(store=False),
    event=EventPolicy(store=False),
    notification=NotificationPolicy(send=False),
)
LIST, OTHER_LIST = UUID(int=31), UUID(int=30)
WOMEN = Filters(gender=Gender.FEMALE)
JPEG = b"\xff\xd8\xff picture"


def storing(**changes: Any) -> Policies:
    """Policies that store nothing but what is named."""
    return Policies(detect=BOTH, storage=replace(NOTHING, **changes))


async def test_what_no_policy_stores_leaves_nothing_though_the_event_is_answered() -> None:
    world = World({"a": [ALICE]})
    made = await world.generate(storing(), "a")
    assert len(made.events) == 1
    assert made.events[0].stored is False
    assert world.store.batches == []


async def test_by_default_samples_and_the_event_are_kept_and_told() -> None:
    world = World({"a": [ALICE]})
    (event,) = (await world.generate(Policies(detect=BOTH), "a")).events
    batch = world.batch
    assert [(one.sample_type, data, one.size, one.sha256) for one, data in batch.samples] == [
        (SampleType.FACES, b"warp 1", 6, hashlib.sha256(b"warp 1").digest()),
        (SampleType.BODIES, b"body 1", 6, hashlib.sha256(b"body 1").digest()),
    ]
    assert {one.account_id for one, _ in batch.samples} == {ONE}
    made = event.detections[0]
    assert made.face is not None
    assert made.body is not None
    assert [made.face.sample_id, made.body.sample_id] == [one.sample_id for one, _ in batch.samples]
    (kept,) = batch.events
    assert kept.stored
    assert kept.notice == event.record.event_id.bytes
    assert kept.record == event.record
    assert kept.record.face_detections[0].sample_id == made.face.sample_id
    assert kept.record.body_detections[0].sample_id == made.body.sample_id
    assert (batch.images, batch.faces, batch.attributes) == ((), (), ())


async def test_an_event_is_told_without_being_stored_and_stored_without_being_told() -> None:
    world = World({"a": [face(1)]})
    (event,) = (await world.generate(storing(notification=NotificationPolicy()), "a")).events
    assert (event.stored, world.batch.events[0].stored, world.batch.events[0].notice is None) == (False, False, False)
    world = World({"a": [face(1)]})
    await world.generate(storing(event=EventPolicy()), "a")
    assert (world.batch.events[0].stored, world.batch.events[0].notice) == (True, None)
    assert world.told == []


async def test_where_events_are_off_they_are_answered_and_told_but_not_stored() -> None:
    world = World({"a": [face(1)]})
    generation = Generation(world.images, world.matching, world.keeping, stores_events=False)
    wish = GenerationWish((photo("a"),))
    (event,) = (await generation.generate(USER, HANDLER, Policies(), wish, lambda _: b"told")).events
    (kept,) = world.batch.events
    assert (event.stored, kept.stored, kept.notice) == (False, False, b"told")


class TestSamples:
    """Samples that are stored already are named, not stored again."""

    async def test_a_stored_sample_is_named_and_not_stored_again(self) -> None:
        world = World({"a": [face(1)]})
        sample_id = world.stored_sample("a")
        policies = Policies(storage=StoragePolicy(face=FacePolicy(store=True)))
        (event,) = (await world.generate(policies, kept_sample(sample_id))).events
        assert world.batch.samples == ()
        made = event.detections[0]
        assert made.face is not None
        assert made.face.sample_id == sample_id
        assert event.face_attributes is not None
        assert event.face_attributes.samples == (sample_id,)
        assert event.face is not None
        assert event.face.avatar == f"/6/samples/faces/{sample_id}"

    async def test_a_sample_that_came_as_bytes_is_stored(self) -> None:
        world = World({"a": [DetectedPerson(None, body(3))]})
        await world.generate(Policies(), sample("a", ImageType.BODY_SAMPLE))
        assert [(one.sample_type, data) for one, data in world.batch.samples] == [(SampleType.BODIES, b"body 3")]

    async def test_samples_are_stored_only_of_events_that_pass_their_filters(self) -> None:
        policies = Policies(
            detect=BOTH,
            extract=ExtractPolicy(basic_attributes=True),
            storage=StoragePolicy(face_sample=SamplePolicy(filters=WOMEN)),
        )
        world = World({"a": [DetectedPerson(face(1, male=0.9), body(1)), DetectedPerson(face(2, male=0.1))]})
        men, women = (await world.generate(policies, "a")).events
        assert [data for _, data in world.batch.samples] == [b"body 1", b"warp 2"]
        assert men.detections[0].face is not None
        assert men.detections[0].face.sample_id is None
        assert women.detections[0].face is not None
        assert women.detections[0].face.sample_id is not None


class TestFaces:
    """Faces and temporary attributes with what was extracted."""

    async def test_a_face_and_an_attribute_hold_what_was_extracted_and_where_from(self) -> None:
        policies = Policies(
            extract=ExtractPolicy(basic_attributes=True),
            storage=StoragePolicy(attribute=AttributePolicy(store=True, ttl_seconds=60), face=FacePolicy(store=True)),
        )
        world = World({"a": [face(1)]})
        (event,) = (await world.generate(policies, "a")).events
        batch = world.batch
        ((attribute, ttl),) = batch.attributes
        (new,) = batch.faces
        assert ttl == 60
        assert new.attribute is not None
        assert new.attribute.content == attribute.content
        assert new.attribute.attribute_id == attribute.attribute_id
        assert attribute.content.descriptors[0].data == bytes([1]) * 256
        assert attribute.content.basic_attributes is not None
        assert attribute.content.basic_attributes.age == 33
        assert attribute.content.samples == tuple(one.sample_id for one, _ in batch.samples)
        assert event.face_attributes is not None
        assert event.face_attributes.attribute_id == attribute.attribute_id
        assert event.face == new.face
        assert event.record.face_id == new.face.face_id
        assert new.face.event_id == event.record.event_id

    @pytest.mark.parametrize(("ttl", "seconds"), [(None, 300), (0, 1), (86400, 86400)])
    async def test_an_attribute_lives_as_long_as_the_policy_says(self, ttl: int | None, seconds: int) -> None:
        world = World({"a": [face(1)]})
        await world.generate(storing(attribute=AttributePolicy(store=True, ttl_seconds=ttl)), "a")
        assert world.batch.attributes[0][1] == seconds

    async def test_without_anything_extracted_a_face_has_no_attribute(self) -> None:
        policies = Policies(
            extract=ExtractPolicy(face_descriptor=False),
            storage=StoragePolicy(attribute=AttributePolicy(store=True), face=FacePolicy(store=True)),
        )
        world = World({"a": [face(1)]})
        (event,) = (await world.generate(policies, "a")).events
        assert world.batch.attributes == ()
        assert world.batch.faces[0].attribute is None
        assert event.face_attributes is None
        assert event.face is not None
        assert event.face.avatar  # the sample is there

    async def test_a_body_alone_makes_no_face(self) -> None:
        world = World({"a": [DetectedPerson(None, body(3))]})
        (event,) = (await world.generate(storing(face=FacePolicy(store=True), event=EventPolicy()), "a")).events
        assert event.face is None
        assert world.batch.faces == ()
        assert event.record.face_id is None

    async def test_a_face_of_a_descriptor_has_no_avatar(self) -> None:
        world = World({})
        policies = storing(face=FacePolicy(store=True))
        (event,) = (await world.generate(policies, EventSource("d", descriptor=descriptor(1)))).events
        assert event.face is not None
        assert event.face.avatar == ""
        assert world.batch.faces[0].attribute is not None

    async def test_a_face_goes_into_the_lists_whose_filters_pass(self) -> None:
        links = (LinkToList(LIST), LinkToList(OTHER_LIST), LinkToList(UUID(int=1), WOMEN))
        policies = Policies(
            extract=ExtractPolicy(basic_attributes=True),
            storage=StoragePolicy(face=FacePolicy(store=True, avatar=False, lists=links)),
        )
        world = World({"a": [face(1, male=0.9)]})
        (event,) = (await world.generate(policies, "a")).events
        (new,) = world.batch.faces
        assert new.list_ids == new.face.lists == event.record.attach_result == (OTHER_LIST, LIST)
        assert new.face.avatar == ""

    async def test_an_aggregate_makes_one_face_with_all_samples(self) -> None:
        world = World({"a": [face(1)], "b": [face(2)]})
        policies = Policies(storage=StoragePolicy(face=FacePolicy(store=True)))
        (event,) = (await world.generate(policies, "a", "b", aggregate=True)).events
        samples = tuple(one.sample_id for one, _ in world.batch.samples)
        assert len(samples) == 2
        (new,) = world.batch.faces
        assert new.attribute is not None
        assert new.attribute.content.descriptor_samples == samples
        assert new.face.avatar == f"/6/samples/faces/{samples[0]}"
        assert event.face_attributes is not None
        assert event.face_attributes.samples == samples


class TestOrigins:
    """The images that events came from: an address that is kept, or bytes."""

    STORE = ImageOriginPolicy(store=True)
    STORE_BYTES = ImageOriginPolicy(store=True, external_references=False)

    async def test_bytes_are_stored_once_for_all_events_of_a_source(self) -> None:
        world = World({JPEG.decode("latin-1"): []})
        world.engine.seen = {JPEG: [face(1), face(2)]}
        source = EventSource("a", ImageSource("a", data=JPEG))
        made = await world.generate(storing(image_origin=self.STORE, event=EventPolicy()), source)
        ((image, data),) = world.batch.images
        assert (image.kind, image.content_type, image.account_id, data) == (MediaKind.IMAGES, "image/jpeg", ONE, JPEG)
        assert (image.size, image.sha256) == (len(JPEG), hashlib.sha256(JPEG).digest())
        assert {one.detections[0].image_origin for one in made.events} == {f"/6/images/{image.media_id}"}
        assert made.events[1].record.face_detections[0].image_origin == f"/6/images/{image.media_id}"

    @pytest.mark.parametrize(
        ("length", "policy", "stored"),
        [(256, STORE, False), (257, STORE, True), (256, STORE_BYTES, True)],
    )
    async def test_an_address_of_up_to_256_characters_stands_in_for_the_image(
        self, length: int, policy: ImageOriginPolicy, stored: bool
    ) -> None:
        url = "http://known/".ljust(length, "x")
        world = World({"a": [face(1)]})
        world.web.pictures[url] = b"a"
        source = EventSource("a", ImageSource("a", url=url))
        (event,) = (await world.generate(storing(image_origin=policy), source)).events
        if stored:
            assert world.batch.images[0][1] == b"a"
            assert event.detections[0].image_origin == f"/6/images/{world.batch.images[0][0].media_id}"
        else:
            assert world.store.batches == []
            assert event.detections[0].image_origin == url
        assert world.web.asked == [url]  # once, for the look and for the store

    async def test_a_stored_sample_stands_in_for_the_image_by_its_address(self) -> None:
        world = World({"a": [face(1)], "b": [DetectedPerson(None, body(1))]})
        of_face, of_body = world.stored_sample("a"), world.stored_sample("b", SampleType.BODIES)
        sources = (kept_sample(of_face), kept_sample(of_body, ImageType.BODY_SAMPLE))
        made = await world.generate(storing(image_origin=self.STORE), *sources)
        assert [one.detections[0].image_origin for one in made.events] == [
            f"/6/samples/faces/{of_face}",
            f"/6/samples/bodies/{of_body}",
        ]

    async def test_an_origin_that_was_given_takes_the_place_of_the_source(self) -> None:
        world = World({"a": [face(1)]})
        world.web.pictures["http://frame"] = b"frame"
        sources = (
            photo("a", origin_url="http://frame"),
            photo("a", origin_data=b"full frame"),
            photo("a", origin_url="http://frame/".ljust(300, "x")),
        )
        world.web.pictures[sources[2].origin_url or ""] = b"long frame"
        made = await world.generate(storing(image_origin=self.STORE), *sources)
        assert [data for _, data in world.batch.images] == [b"full frame", b"long frame"]
        ids = [f"/6/images/{one.media_id}" for one, _ in world.batch.images]
        assert [one.detections[0].image_origin for one in made.events] == ["http://frame", *ids]

    @pytest.mark.parametrize("policy", [STORE, STORE_BYTES])
    async def test_an_image_that_is_stored_here_is_an_origin_by_its_address(self, policy: ImageOriginPolicy) -> None:
        own = f"/6/images/{UUID(int=7)}"
        world = World({"a": [face(1)]})
        (event,) = (await world.generate(storing(image_origin=policy), photo("a", origin_url=own))).events
        assert event.detections[0].image_origin == own
        assert (world.store.batches, world.web.asked) == ([], [])

    async def test_without_the_policy_nothing_is_kept_or_fetched(self) -> None:
        world = World({"a": [face(1)]})
        (event,) = (await world.generate(storing(), photo("a", origin_url="http://frame"))).events
        assert event.detections[0].image_origin is None
        assert world.web.asked == []

    async def test_an_origin_that_cannot_be_had_fails_its_source(self) -> None:
        world = World({"a": [face(1)], "b": [face(2)]})
        bad = photo("a", origin_url="http://nowhere/".ljust(300, "x"))
        made = await world.generate(storing(image_origin=self.STORE, event=EventPolicy()), bad, "b")
        assert [one.error is None for one in made.outcomes] == [False, True]
        assert len(world.batch.events) == 1

    async def test_of_events_that_do_not_pass_the_filters_no_image_is_kept(self) -> None:
        policies = replace(
            storing(image_origin=replace(self.STORE, filters=WOMEN)), extract=ExtractPolicy(basic_attributes=True)
        )
        world = World({"a": [face(1, male=0.9)]})
        (event,) = (await world.generate(policies, "a")).events
        assert event.detections[0].image_origin is None
        assert world.store.batches == []

    async def test_the_origin_of_a_descriptor_is_kept_with_its_event(self) -> None:
        source = EventSource("d", descriptor=descriptor(1), origin_url="http://frame")
        world = World({})
        (event,) = (await world.generate(storing(image_origin=self.STORE, event=EventPolicy()), source)).events
        assert [(one.face, one.image_origin) for one in event.detections] == [(None, "http://frame")]
        assert world.batch.events[0].record.face_detections[0].image_origin == "http://frame"


class TestRecords:
    """What the caller says goes to events and faces."""

    async def test_what_the_caller_says_is_in_the_record_and_the_face(self) -> None:
        began, ended = datetime(2020, 10, 10, 9, 11, tzinfo=UTC), datetime(2020, 10, 10, 9, 12, tzinfo=UTC)
        data = EventData(
            source="gate",
            stream_id=UUID(int=5),
            track_id="track_1",
            external_id="ext",
            user_data="data",
            tags=("b", "a"),
            location=Location(city="New York", geo_position=GeoPosition(36.6, 55.7)),
            meta={"number": 5},
            create_time=began,
            end_time=ended,
        )
        world = World({"a": [face(1)]})
        policies = Policies(
            tags=(ConditionalTag("stranger", Filters(match=(MatchCondition("staff", most=0.5),))),),
            storage=StoragePolicy(face=FacePolicy(store=True)),
        )
        (event,) = (await world.generate(policies, "a", data=data)).events
        record = event.record
        assert (record.account_id, record.handler_id) == (ONE, HANDLER)
        for name in ("source", "stream_id", "track_id", "external_id", "user_data", "location", "meta"):
            assert getattr(record, name) == getattr(data, name)
        assert (record.create_time, record.end_time) == (began, ended)
        assert record.tags == ("b", "a", "stranger")
        assert event.face is not None
        assert (event.face.external_id, event.face.user_data, event.face.create_time) == ("ext", "data", began)

    async def test_times_that_are_not_given_are_that_of_the_request(self) -> None:
        before = datetime.now(UTC)
        (event,) = (await World({"a": [face(1)]}).generate(Policies(), "a")).events
        times = {event.record.create_time, event.record.end_time, event.detections[0].detect_time}
        assert len(times) == 1
        assert before <= times.pop() <= datetime.now(UTC)

    async def test_an_event_that_began_ends_then_unless_it_is_said_when(self) -> None:
        began = datetime(2020, 10, 10, tzinfo=UTC)
        (event,) = (await World({"a": [face(1)]}).generate(Policies(), "a", data=EventData(create_time=began))).events
        assert event.record.end_time == began

    async def test_times_of_detection_are_kept_and_0_is_not_absence(self) -> None:
        seen = datetime(2020, 1, 1, tzinfo=UTC)
        sources = (photo("a", detect_time=seen, detect_ts=0.0), photo("a"))
        first, second = (await World({"a": [face(1)]}).generate(Policies(), *sources)).events
        assert (first.detections[0].detect_time, first.detections[0].detect_ts) == (seen, 0.0)
        assert first.record.face_detections[0].detect_ts == 0.0
        assert second.detections[0].detect_ts is None

    async def test_a_source_with_data_of_its_own_makes_events_about_that(self) -> None:
        sources = (photo("a", data=EventData(external_id="one")), photo("a"))
        made = await World({"a": [face(1)]}).generate(Policies(), *sources, data=EventData(external_id="all"))
        assert [one.record.external_id for one in made.events] == ["one", "all"]

    def test_every_emotion_has_its_number(self) -> None:
        assert sorted(EMOTION_NUMBERS.values()) == list(range(1, len(Emotion) + 1))


class TestComparisons:
    """Who is found under which label."""

    def world(self) -> World:
        world = World({"a": [known_face(1, 1.0)], "b": [known_face(2, 0.0, 1.0)]})
        self.near = world.faces.put(1, ONE, descriptor(1.0), external_id="near")
        self.far = world.faces.put(2, ONE, descriptor(1.0, 1.0))
        self.other = world.faces.put(3, UUID(int=200), descriptor(1.0))
        return world

    def staff(self, **changes: Any) -> MatchPolicy:
        return MatchPolicy("staff", FaceCandidates(), **changes)

    def found(self, matches: tuple[EventMatch, ...]) -> list[tuple[str, list[UUID | None]]]:
        return [(one.label, [candidate.object_id for candidate in one.candidates]) for one in matches]

    async def test_faces_of_the_own_account_are_found_best_first(self) -> None:
        world = self.world()
        (event,) = (await world.generate(Policies(match=(self.staff(targets=("face_id",)),)), "a")).events
        (match,) = event.record.matches
        assert self.found((match,)) == [("staff", [self.near, self.far])]
        assert match.targets == ("face_id",)
        assert event.record.top_match is not None
        assert event.record.top_match[1].external_id == "near"

    async def test_limits_thresholds_and_filters_are_each_labels_own(self) -> None:
        world = self.world()
        policies = Policies(
            extract=ExtractPolicy(basic_attributes=True),
            match=(
                MatchPolicy("one", FaceCandidates(), limit=1),
                MatchPolicy("strict", FaceCandidates(), threshold=0.99),
                MatchPolicy("women", FaceCandidates(), filters=WOMEN),
                MatchPolicy("nobody", FaceCandidates(face_ids=(UUID(int=99),))),
                MatchPolicy("far", FaceCandidates(face_ids=(self.far,))),
            ),
        )
        (event,) = (await world.generate(policies, "a")).events
        assert self.found(event.record.matches) == [
            ("one", [self.near]),
            ("strict", [self.near]),
            ("nobody", []),
            ("far", [self.far]),
        ]

    async def test_another_account_in_the_candidates_finds_nobody_instead_of_ones_own(self) -> None:
        world = self.world()
        match = (MatchPolicy("theirs", FaceCandidates(account_id=UUID(int=200))),)
        (event,) = (await world.generate(Policies(match=match), "a")).events
        assert self.found(event.record.matches) == [("theirs", [])]

    async def test_without_a_descriptor_there_is_no_comparison(self) -> None:
        policies = Policies(
            extract=ExtractPolicy(face_descriptor=False),
            match=(self.staff(), self.staff(descriptor=DescriptorKind.BODY)),
        )
        (event,) = (await self.world().generate(policies, "a")).events
        assert event.record.matches == ()

    async def test_all_events_of_a_request_are_searched_for_at_once(self) -> None:
        world = self.world()
        made = await world.generate(Policies(match=(self.staff(), MatchPolicy("again", FaceCandidates()))), "a", "b")
        assert [len(one.record.matches) for one in made.events] == [2, 2]
        assert made.events[0].record.matches[0].candidates[0].object_id == self.near
        assert made.events[1].record.matches[0].candidates[0].object_id == self.far
        assert len(world.index.asked) == 4

    async def test_what_was_found_decides_on_tags_and_storage(self) -> None:
        known, unknown = MatchCondition("staff", 0.9), MatchCondition("staff", 0.0, 0.89)
        policies = Policies(
            match=(self.staff(),),
            tags=(
                ConditionalTag("known", Filters(match=(known,))),
                ConditionalTag("unknown", Filters(match=(unknown,))),
            ),
            storage=StoragePolicy(face=FacePolicy(store=True, filters=Filters(match=(unknown,)))),
        )
        made = await self.world().generate(policies, "a", "b")
        assert [one.record.tags for one in made.events] == [("known",), ("unknown",)]
        assert [one.face is not None for one in made.events] == [False, True]


class TestKeeping:
    """All or nothing, and nobody waits who need not."""

    async def test_what_cannot_be_kept_fails_the_request(self) -> None:
        world = World({"a": [face(1)]})
        world.store.failure = ListsNotFound(list_id=LIST)
        with pytest.raises(ListsNotFound):
            await world.generate(Policies(), "a")

    async def test_a_failing_source_among_others_does_not_keep_half_of_an_aggregate(self) -> None:
        world = World({"a": NotAnImage(message="x"), "b": NotAnImage(message="x")})
        await world.generate(Policies(), "a", "b", aggregate=True)
        assert world.store.batches == []

    async def test_who_does_not_wait_is_answered_before_and_drained_before_the_end(self) -> None:
        world = World({"a": [face(1)]})
        store = Gate()
        world.keeping = Keeping(store)  # type: ignore[arg-type]
        world.generation = type(world.generation)(world.images, world.matching, world.keeping)
        policies = Policies(storage=StoragePolicy(event=EventPolicy(wait=False)))
        made = await asyncio.wait_for(world.generate(policies, "a"), 5)
        assert made.events[0].stored
        assert store.kept == []
        drained = asyncio.create_task(world.keeping.drain())
        await asyncio.sleep(0)
        assert not drained.done()
        store.open.set()
        await asyncio.wait_for(drained, 5)
        assert len(store.kept) == 1

    async def test_only_so_many_are_kept_in_the_background_and_further_ones_wait(self) -> None:
        store = Gate()
        keeping = Keeping(store, most=2)  # type: ignore[arg-type]
        batch = await a_batch()
        for _ in range(2):
            await asyncio.wait_for(keeping.keep(batch, wait=False), 5)
        third = asyncio.create_task(keeping.keep(batch, wait=False))
        await asyncio.sleep(0.01)
        assert not third.done()
        store.open.set()
        await asyncio.wait_for(third, 5)
        await asyncio.wait_for(keeping.drain(), 5)
        assert len(store.kept) == 3

    async def test_a_failure_in_the_background_is_logged_without_anything_about_people(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        world = World({"a": [face(1)]})
        world.store.failure = Unavailable(component="PostgreSQL")
        policies = Policies(storage=StoragePolicy(event=EventPolicy(wait=False)))
        await world.generate(policies, "a", data=EventData(external_id="somebody"))
        await world.keeping.drain()
        assert "1 events were not kept" in caplog.text
        assert "somebody" not in caplog.text


class Gate:
    """A store that keeps nothing before it is opened."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.kept: list[Batch] = []

    async def keep(self, batch: Batch) -> None:
        await self.open.wait()
        self.kept.append(batch)


async def a_batch() -> Batch:
    world = World({"a": [face(1)]})
    await world.generate(Policies(), "a", principal=USER)
    return world.batch


async def test_relative_times_of_candidates_are_those_of_the_moment() -> None:
    world = World({"a": [known_face(1, 1.0)]})
    candidates = FaceCandidates(create_time_gte=TimeBound("now-3h"))
    await world.generate(Policies(match=(MatchPolicy("recent", candidates),)), "a")
    (query,) = world.index.asked
    assert query.where.create_time_gte is not None
    since = datetime.now(UTC) - query.where.create_time_gte
    assert timedelta(hours=3) <= since < timedelta(hours=3, minutes=1)
