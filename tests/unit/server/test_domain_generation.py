"""From sources to events: who makes an event, who is left out and why, what is shown, what stands together."""

from __future__ import annotations

from dataclasses import replace

import pytest
from domain_stores import descriptor
from generation_world import ONE, OTHER, World, kept_sample, known_face, numbers, photo, sample

from server.domain.attributes import Ethnicity, Gender
from server.domain.checks import CheckName, Range
from server.domain.descriptors import Descriptor
from server.domain.events import Facts
from server.domain.filters import FaceLimits
from server.domain.generation.request import EventSource
from server.domain.images import ImageSource, ImageType, MultifacePolicy
from server.domain.policies import (
    DetectPolicy,
    ExtractPolicy,
    FaceQualityPolicy,
    LivenessPolicy,
    Policies,
    PolicyCheck,
    SamplePolicy,
    StoragePolicy,
)
from server.domain.vision import (
    BODIES,
    BodyGender,
    DetectedPerson,
    Emotion,
    Estimation,
    HeadPose,
    Liveness,
    LivenessState,
    MaskState,
    Presence,
    Rect,
)
from server.errors import (
    BadBody,
    DownloadFailed,
    FeatureOff,
    LunaError,
    MultipleFaces,
    NotAnImage,
    SampleNotFound,
    VersionNotEstimated,
)
from tests.scripted_engine import body, face

ALICE = DetectedPerson(face(1), body(1))
BOB = DetectedPerson(face(2))
CAROL = DetectedPerson(None, body(3))
TURNED = HeadPose(yaw=60, pitch=0.5, roll=0.5)
BOTH = DetectPolicy(bodies=True)
BROKEN = NotAnImage(message="broken")


def detecting(**changes: object) -> Policies:
    return Policies(detect=DetectPolicy(**changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("policy", "faces", "bodies", "found"),
    [
        (MultifacePolicy.ALLOWED, True, True, [[(1, 1)], [(2, None)], [(None, 3)]]),
        (MultifacePolicy.ALLOWED, True, False, [[(1, None)], [(2, None)]]),
        (MultifacePolicy.ALLOWED, False, True, [[(None, 1)], [(None, 3)]]),
        (MultifacePolicy.ALLOWED, False, False, []),
        (MultifacePolicy.BEST, True, True, [[(1, 1)]]),
        (MultifacePolicy.BEST, True, False, [[(1, None)]]),
        (MultifacePolicy.BEST, False, True, []),
    ],
)
async def test_each_person_whom_the_policy_leaves_makes_an_event(
    policy: MultifacePolicy, faces: bool, bodies: bool, found: list[list[tuple[int | None, int | None]]]
) -> None:
    world = World({"a": [ALICE, BOB, CAROL]})
    made = await world.generate(detecting(faces=faces, bodies=bodies, multiface=policy), "a")
    assert numbers(made) == found
    assert (
        [one.record.event_id for one in made.events] == [one.record.event_id for one in world.batch.events]
        if found
        else True
    )


async def test_nobody_found_is_no_error_and_keeps_nothing() -> None:
    world = World({"a": []})
    made = await world.generate(Policies(), "a")
    assert made.events == ()
    assert made.outcomes[0].error is None
    assert world.store.batches == []


async def test_events_of_several_sources_come_in_the_order_of_the_sources_and_are_kept_in_one_step() -> None:
    world = World({"a": [ALICE, BOB], "b": [face(5)], "c": []})
    made = await world.generate(Policies(), "a", "b", "c")
    assert numbers(made) == [[(1, None)], [(2, None)], [(5, None)]]
    assert [one.detections[0].filename for one in made.events] == ["a", "a", "b"]
    assert len(world.batch.events) == 3


async def test_two_sources_with_one_name_are_told_apart() -> None:
    world = World({"a": [face(1)], "b": [face(2)]})
    sources = [replace(photo(name), filename="same.jpg") for name in ("a", "b")]
    assert numbers(await world.generate(Policies(), *sources)) == [[(1, None)], [(2, None)]]


class TestFailures:
    """One source fails alone, unless it is the only one."""

    async def test_a_broken_source_is_its_own_entry_and_the_others_make_events(self) -> None:
        world = World({"a": [face(1)], "b": BROKEN})
        made = await world.generate(Policies(), "a", "b")
        assert [one.error for one in made.outcomes] == [None, BROKEN]
        assert numbers(made) == [[(1, None)]]

    async def test_the_only_source_fails_the_request(self) -> None:
        world = World({"a": BROKEN})
        with pytest.raises(NotAnImage):
            await world.generate(Policies(), "a")
        assert world.store.batches == []

    async def test_where_every_source_fails_each_says_why(self) -> None:
        world = World({"a": BROKEN, "b": BROKEN})
        made = await world.generate(Policies(), "a", "b")
        assert [one.error for one in made.outcomes] == [BROKEN, BROKEN]
        assert made.events == ()

    async def test_several_faces_fail_a_source_where_one_is_allowed(self) -> None:
        world = World({"a": [face(1), face(2)], "b": [face(3)]})
        policies = detecting(multiface=MultifacePolicy.NOT_ALLOWED)
        made = await world.generate(policies, "a", "b")
        assert isinstance(made.outcomes[0].error, MultipleFaces)
        assert numbers(made) == [[(3, None)]]
        with pytest.raises(MultipleFaces):
            await world.generate(policies, "a")

    @pytest.mark.parametrize(
        ("source", "error"),
        [
            (EventSource("x", ImageSource("x", url="http://nowhere")), DownloadFailed),
            (kept_sample(ONE), SampleNotFound),
        ],
    )
    async def test_bytes_that_cannot_be_had_are_an_error(self, source: EventSource, error: type[LunaError]) -> None:
        with pytest.raises(error):
            await World({}).generate(Policies(), source)

    async def test_the_sample_of_another_account_is_not_there(self) -> None:
        world = World({"a": [face(1)]})
        with pytest.raises(SampleNotFound):
            await world.generate(Policies(), kept_sample(world.stored_sample("a", account_id=OTHER)))


class TestFilters:
    """Faces that do not pass are told with every reason, and leave nothing."""

    async def test_a_face_is_left_out_with_every_reason_by_the_names_of_the_policies(self) -> None:
        checks = {name: PolicyCheck(estimate=False) for name in CheckName}
        checks[CheckName.HEAD_YAW] = PolicyCheck(threshold=Range(-5, 5))
        policies = Policies(
            detect=DetectPolicy(
                limits=FaceLimits(
                    yaw=30, masks=frozenset({MaskState.OCCLUDED}), liveness=frozenset({LivenessState.SPOOF})
                ),
                face_quality=FaceQualityPolicy(estimate=True, filter=True, checks=checks),
            ),
            extract=ExtractPolicy(score_threshold=0.8),
        )
        world = World({"a": [face(1, TURNED), face(2)]})
        made = await world.generate(policies, "a")
        (outcome,) = made.outcomes
        assert [one.face.rect.x for one in outcome.filtered] == [1, 2]
        assert [one.parameter for one in outcome.filtered[0].reasons] == [
            "yaw_threshold",
            "fd_score_threshold",
            "mask_states",
            "liveness_states",
            "face_quality",
        ]
        assert "head_yaw" in outcome.filtered[0].reasons[-1].description
        assert made.events == ()
        assert world.store.batches == []

    async def test_a_face_whose_checks_all_pass_stays(self) -> None:
        checks = {CheckName.HEAD_YAW: PolicyCheck(threshold=Range(-6, 6))}
        policies = detecting(face_quality=FaceQualityPolicy(estimate=True, filter=True, checks=checks))
        assert numbers(await World({"a": [face(1)]}).generate(policies, "a")) == [[(1, None)]]

    async def test_the_body_of_a_face_that_was_left_out_makes_an_event_of_its_own(self) -> None:
        policies = Policies(detect=replace(BOTH, limits=FaceLimits(yaw=30)))
        world = World({"a": [DetectedPerson(face(1, TURNED), body(1)), BOB]})
        made = await world.generate(policies, "a")
        assert numbers(made) == [[(None, 1)], [(2, None)]]
        assert len(made.outcomes[0].filtered) == 1

    async def test_with_the_best_face_its_body_is_left_out_too(self) -> None:
        detect = replace(BOTH, limits=FaceLimits(yaw=30), multiface=MultifacePolicy.BEST)
        made = await World({"a": [DetectedPerson(face(1, TURNED), body(1))]}).generate(Policies(detect=detect), "a")
        assert made.events == ()

    async def test_the_score_counts_only_where_a_descriptor_is_extracted(self) -> None:
        policies = Policies(extract=ExtractPolicy(face_descriptor=False, score_threshold=0.9))
        world = World({"a": [face(1)]})
        assert numbers(await world.generate(policies, "a")) == [[(1, None)]]
        assert Estimation.DESCRIPTOR not in world.engine.asked[0]

    async def test_liveness_is_judged_by_the_thresholds_of_the_policy(self) -> None:
        living = face(1, liveness=Liveness(score=0.6, quality=0.4))
        for threshold, quality, state in (
            (0.5, 0.0, LivenessState.REAL),
            (0.7, 0.0, LivenessState.SPOOF),
            (0.5, 0.5, LivenessState.UNKNOWN),
        ):
            policies = detecting(liveness=LivenessPolicy(True, threshold, quality))
            (event,) = (await World({"a": [living]}).generate(policies, "a")).events
            assert event.record.facts.liveness is state


class TestEstimations:
    """What is asked of the engine, and what of it is shown and kept."""

    async def test_only_what_policies_ask_for_is_estimated(self) -> None:
        world = World({"a": [ALICE]})
        nothing = StoragePolicy(face_sample=SamplePolicy(store=False), body_sample=SamplePolicy(store=False))
        await world.generate(Policies(extract=ExtractPolicy(face_descriptor=False), storage=nothing), "a")
        assert world.engine.asked == [frozenset()]
        assert world.engine.looks[0].warps is False

    async def test_what_is_filtered_by_or_extracted_is_not_shown_unless_it_is_asked_for(self) -> None:
        policies = Policies(
            detect=DetectPolicy(
                bodies=True,
                estimations=frozenset({Estimation.EMOTIONS, Estimation.UPPER_BODY}),
                limits=FaceLimits(yaw=90),
            ),
            extract=ExtractPolicy(body_descriptor=True, basic_attributes=True),
        )
        (event,) = (await World({"a": [ALICE]}).generate(policies, "a")).events
        made = event.detections[0]
        assert made.face is not None
        assert made.body is not None
        assert made.face.face.emotions is not None
        assert (made.face.face.head_pose, made.face.face.descriptor, made.face.face.basic_attributes) == (None,) * 3
        assert made.body.body.upper_body is not None
        assert made.body.body.body_descriptor is None

    async def test_the_facts_of_an_event_are_everything_that_was_estimated(self) -> None:
        estimations = frozenset(one for one in Estimation if one.of_body) | {Estimation.EMOTIONS, Estimation.MASK}
        policies = Policies(
            detect=DetectPolicy(bodies=True, estimations=estimations, liveness=LivenessPolicy(estimate=True)),
            extract=ExtractPolicy(basic_attributes=True),
        )
        (event,) = (await World({"a": [ALICE]}).generate(policies, "a")).events
        assert event.record.facts == Facts(
            gender=Gender.MALE,
            age=33,
            ethnicity=Ethnicity.ASIAN,
            emotion=Emotion.HAPPINESS,
            mask=MaskState.MISSING,
            liveness=LivenessState.REAL,
            apparent_gender=BodyGender.MALE,
            apparent_age=40,
            headwear=Presence.PRESENT,
            headwear_colour="black",
            sleeve_length="long",
            upper_colours=("blue", "white"),
            garment="trousers",
            garment_colours=("grey",),
            shoes_colour="white",
            backpack=Presence.ABSENT,
        )

    async def test_a_mask_that_is_only_filtered_by_is_a_fact_and_not_shown(self) -> None:
        policies = detecting(limits=FaceLimits(masks=frozenset({MaskState.MISSING})))
        (event,) = (await World({"a": [face(1)]}).generate(policies, "a")).events
        assert event.record.facts.mask is MaskState.MISSING
        assert event.detections[0].face is not None
        assert event.detections[0].face.face.mask is None

    async def test_people_are_counted_and_exif_is_read_where_they_are_asked_for(self) -> None:
        policies = detecting(estimations=frozenset({Estimation.PEOPLE_COUNT}), extract_exif=True)
        (outcome,) = (await World({"a": []}).generate(policies, "a")).outcomes
        assert (outcome.people_count, outcome.exif) == (7, {"Make": "A camera"})

    @pytest.mark.parametrize(
        ("policies", "off", "name"),
        [
            (detecting(liveness=LivenessPolicy(estimate=True)), Estimation.LIVENESS, "estimate_liveness"),
            (detecting(face_quality=FaceQualityPolicy(estimate=True)), Estimation.FACE_QUALITY, "face_quality"),
            (detecting(bodies=True), BODIES, "detect_body"),
            (
                Policies(extract=ExtractPolicy(basic_attributes=True)),
                Estimation.BASIC_ATTRIBUTES,
                "extract_basic_attributes",
            ),
            (
                Policies(detect=BOTH, extract=ExtractPolicy(body_descriptor=True)),
                Estimation.BODY_DESCRIPTOR,
                "extract_body_descriptor",
            ),
            (
                detecting(bodies=True, estimations=frozenset({Estimation.UPPER_BODY})),
                Estimation.UPPER_BODY,
                "body_attributes.estimate_upper_body",
            ),
            (
                detecting(estimations=frozenset({Estimation.LANDMARKS68})),
                Estimation.LANDMARKS68,
                "detect_landmarks68",
            ),
        ],
    )
    async def test_what_is_not_served_is_named_as_policies_call_it(
        self, policies: Policies, off: Estimation | str, name: str
    ) -> None:
        world = World({"a": [ALICE]}, off=frozenset({off}))
        with pytest.raises(FeatureOff, match=f"'{name}' needs a model pack"):
            await world.generate(policies, "a")

    async def test_what_nothing_is_looked_for_in_is_not_needed(self) -> None:
        """Bodies that nobody looks for need no model, and neither does a request of descriptors."""
        off = frozenset({Estimation.UPPER_BODY, Estimation.DESCRIPTOR})
        world = World({"a": [ALICE]}, off=off)
        policies = Policies(
            detect=DetectPolicy(estimations=frozenset({Estimation.UPPER_BODY})),
            extract=ExtractPolicy(face_descriptor=False),
        )
        assert len((await world.generate(policies, "a")).events) == 1
        given = EventSource("d", descriptor=descriptor(1))
        assert len((await World({}, off=off).generate(Policies(), given)).events) == 1

    async def test_boxes_and_exif_go_to_the_detector(self) -> None:
        world = World({"a": [ALICE]})
        boxed = photo("a", box=Rect(1, 2, 3, 4), body_box=Rect(5, 6, 7, 8))
        await world.generate(Policies(detect=BOTH), boxed, use_exif=False)
        (look,) = world.engine.looks
        assert (look.face_box, look.body_box, look.use_exif) == (Rect(1, 2, 3, 4), Rect(5, 6, 7, 8), False)


class TestSamples:
    """Nothing is detected in samples."""

    async def test_a_face_sample_makes_an_event_whatever_is_looked_for_in_photos(self) -> None:
        made = await World({"a": [face(1)]}).generate(detecting(faces=False), sample("a"))
        assert [one.detections[0].face is not None for one in made.events] == [True]

    async def test_a_body_sample_makes_an_event_of_a_body(self) -> None:
        policies = Policies(extract=ExtractPolicy(body_descriptor=True))
        made = await World({"a": [CAROL]}).generate(policies, sample("a", ImageType.BODY_SAMPLE))
        assert numbers(made) == [[(None, 3)]]
        assert made.events[0].body_attributes is not None

    async def test_the_box_of_a_sample_is_its_rectangle_and_without_one_it_has_none(self) -> None:
        world = World({"a": [face(1)], "b": [CAROL]})
        sources = (
            sample("a", box=Rect(1, 2, 3, 4), body_box=Rect(9, 9, 9, 9)),
            sample("a"),
            sample("b", ImageType.BODY_SAMPLE, body_box=Rect(5, 6, 7, 8)),
        )
        made = await world.generate(Policies(), *sources)
        rects = [one.detections[0].face or one.detections[0].body for one in made.events]
        assert [one.rect for one in rects if one] == [Rect(1, 2, 3, 4), None, Rect(5, 6, 7, 8)]
        assert made.events[0].record.face_detections[0].rect == Rect(1, 2, 3, 4)
        assert made.events[1].record.face_detections[0].rect is None

    @pytest.mark.parametrize(
        "detect",
        [
            DetectPolicy(liveness=LivenessPolicy(estimate=True)),
            DetectPolicy(limits=FaceLimits(liveness=frozenset({LivenessState.REAL}))),
        ],
    )
    async def test_liveness_is_refused_of_samples_instead_of_passing_silently(self, detect: DetectPolicy) -> None:
        world = World({"a": [face(1)], "b": [face(2)]})
        with pytest.raises(BadBody, match=r"sources\.1"):
            await world.generate(Policies(detect=detect), "a", sample("b"))
        assert world.engine.asked == []

    async def test_angles_do_not_filter_samples(self) -> None:
        policies = detecting(limits=FaceLimits(yaw=10))
        assert len((await World({"a": [face(1, TURNED)]}).generate(policies, sample("a"))).events) == 1


class TestDescriptors:
    """A descriptor makes an event without anything to see."""

    async def test_a_descriptor_makes_an_event_with_nothing_but_it(self) -> None:
        given = descriptor(1, 0.5)
        world = World({})
        (event,) = (await world.generate(Policies(), EventSource("d", descriptor=given))).events
        assert event.detections == ()
        assert event.record.facts == Facts()
        assert event.face_attributes is not None
        assert (event.face_attributes.score, event.face_attributes.samples) == (None, ())
        (kept,) = world.batch.events[0].descriptors
        assert (kept.descriptor, kept.score) == (given, None)
        assert world.engine.asked == []

    async def test_several_descriptors_of_a_foreign_version_cannot_be_aggregated(self) -> None:
        foreign = EventSource("d", descriptor=Descriptor.raw(46, bytes(256)))
        with pytest.raises(VersionNotEstimated):
            await World({}).generate(Policies(), foreign, foreign, aggregate=True)
        assert len((await World({}).generate(Policies(), foreign, aggregate=True)).events) == 1

    async def test_descriptors_and_photos_are_aggregated_into_one(self) -> None:
        world = World({"a": [face(3)]})
        given = EventSource("d", descriptor=Descriptor(1001, bytes([5]) * 256))
        (event,) = (await world.generate(Policies(), "a", given, aggregate=True)).events
        assert world.batch.events[0].descriptors[0].descriptor.data[:3] == bytes((3, 5, 0))
        assert event.face_attributes is not None
        assert event.face_attributes.score == 0.75  # of what was extracted: the other one's is not known


class TestAggregation:
    """All sources show one person, and make one event."""

    async def test_all_sources_make_one_event_with_a_detection_each(self) -> None:
        world = World({"a": [ALICE], "b": [BOB], "c": [CAROL]})
        made = await world.generate(Policies(detect=BOTH), "a", "b", "c", aggregate=True)
        assert numbers(made) == [[(1, 1), (2, None), (None, 3)]]
        assert len(made.events[0].record.face_detections) == 2
        assert len(made.events[0].record.body_detections) == 2

    async def test_estimations_are_aggregated_and_taken_from_the_single_detections(self) -> None:
        policies = Policies(
            detect=DetectPolicy(
                bodies=True,
                estimations=frozenset(
                    {Estimation.EMOTIONS, Estimation.MASK, Estimation.HEAD_POSE, Estimation.LOWER_BODY}
                ),
                liveness=LivenessPolicy(estimate=True),
            ),
            extract=ExtractPolicy(basic_attributes=True, body_descriptor=True),
        )
        people = {
            "a": [DetectedPerson(face(1, age=20.0, male=0.9, mask=MaskState.OCCLUDED), body(1))],
            "b": [DetectedPerson(face(2, age=30.0, male=0.2, mask=MaskState.OCCLUDED), body(2))],
            "c": [DetectedPerson(face(4, age=40.0, male=0.2, mask=MaskState.MISSING))],
        }
        world = World(people)
        (event,) = (await world.generate(policies, *people, aggregate=True)).events
        assert (event.record.facts.age, event.record.facts.gender) == (30, Gender.FEMALE)
        assert event.record.facts.mask is MaskState.OCCLUDED
        assert event.record.facts.garment == "trousers"
        assert event.aggregate is not None
        assert event.aggregate.face is not None
        assert event.aggregate.face.emotions is not None
        for made in event.detections:
            assert made.face is not None
            assert made.face.face.head_pose is not None
            assert (made.face.face.emotions, made.face.face.mask, made.face.face.liveness) == (None,) * 3
            assert made.body is None or made.body.body.lower_body is None
        of_face, of_body = world.batch.events[0].descriptors
        assert of_face.descriptor.data[:4] == bytes((1, 2, 4, 0))
        assert of_body.descriptor.data[:3] == bytes((1, 2, 0))

    @pytest.mark.parametrize(
        ("seen", "bodies"), [([ALICE, BOB], False), ([face(1), face(2, TURNED)], False), ([CAROL, CAROL], True)]
    )
    async def test_a_source_that_shows_several_persons_fails_the_request(self, seen: list, bodies: bool) -> None:  # type: ignore[type-arg]
        world = World({"a": [face(1)], "b": seen})
        with pytest.raises(MultipleFaces):
            await world.generate(detecting(bodies=bodies), "a", "b", aggregate=True)
        assert world.store.batches == []

    async def test_bodies_of_bystanders_do_not_count_beside_a_face(self) -> None:
        made = await World({"a": [ALICE, CAROL]}).generate(Policies(detect=BOTH), "a", aggregate=True)
        assert numbers(made) == [[(1, 1)]]

    async def test_the_best_face_of_each_source_is_taken_where_the_policy_says_so(self) -> None:
        policies = detecting(multiface=MultifacePolicy.BEST)
        made = await World({"a": [ALICE, BOB], "b": [BOB]}).generate(policies, "a", "b", aggregate=True)
        assert numbers(made) == [[(1, None), (2, None)]]

    async def test_the_event_is_made_of_the_sources_that_did_not_fail(self) -> None:
        world = World({"a": [face(1)], "b": BROKEN, "c": [face(2, TURNED)], "d": []})
        policies = detecting(limits=FaceLimits(yaw=30))
        made = await world.generate(policies, "a", "b", "c", "d", aggregate=True)
        assert numbers(made) == [[(1, None)]]
        assert [one.error for one in made.outcomes] == [None, BROKEN, None, None]
        assert [len(one.filtered) for one in made.outcomes] == [0, 0, 1, 0]

    async def test_where_nobody_is_left_there_is_no_event(self) -> None:
        world = World({"a": [face(1, TURNED)], "b": []})
        made = await world.generate(detecting(limits=FaceLimits(yaw=30)), "a", "b", aggregate=True)
        assert made.events == ()
        assert world.store.batches == []

    async def test_the_aggregated_face_is_compared_by_its_one_descriptor(self) -> None:
        one, other = known_face(1, 1.0), known_face(2, 0.0, 1.0)
        world = World({"a": [one], "b": [other]}, together=lambda ones: ones[1])
        await world.generate(Policies(), "a", "b", aggregate=True)
        assert world.batch.events[0].descriptors[0].descriptor == descriptor(0.0, 1.0)
