"""Events as messages: what is shown, by which thresholds, and what is null."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from domain_stores import NOW, descriptor
from generation_world import ONE, World, kept_sample, known_face, photo, sample
from luna.v6 import events_pb2 as pb
from luna.v6 import images_pb2

from server.domain.checks import CheckName, Range
from server.domain.events import Location
from server.domain.filters import FaceLimits
from server.domain.generation.plan import Plan
from server.domain.generation.request import EventData, EventSource
from server.domain.policies import (
    AttributePolicy,
    DetectPolicy,
    EventPolicy,
    ExtractPolicy,
    FaceCandidates,
    FacePolicy,
    FaceQualityPolicy,
    ImageOriginPolicy,
    LivenessPolicy,
    MatchPolicy,
    Policies,
    PolicyCheck,
    SamplePolicy,
    StoragePolicy,
)
from server.domain.vision import DetectedPerson, Estimation, HeadPose, Liveness, Rect
from server.errors import NotAnImage
from server.services.event_messages import EventMessages
from tests.scripted_engine import body, face

ALICE = DetectedPerson(face(1), body(1))
ALL = frozenset(Estimation) - {
    Estimation.LIVENESS,
    Estimation.FACE_QUALITY,
    Estimation.BASIC_ATTRIBUTES,
    Estimation.DESCRIPTOR,
    Estimation.BODY_DESCRIPTOR,
}
EVERYTHING = Policies(
    detect=DetectPolicy(
        bodies=True,
        estimations=ALL,
        extract_exif=True,
        liveness=LivenessPolicy(estimate=True),
        face_quality=FaceQualityPolicy(estimate=True),
    ),
    extract=ExtractPolicy(body_descriptor=True, basic_attributes=True),
    storage=StoragePolicy(
        image_origin=ImageOriginPolicy(store=True),
        attribute=AttributePolicy(store=True),
        face=FacePolicy(store=True),
    ),
)


async def answer(world: World, policies: Policies, *sources: Any, **wish: Any) -> pb.GenerateEventsResponse:
    generated = await world.generate(policies, *sources, **wish)
    messages = EventMessages(Plan.of(policies))
    return messages.response(generated, [messages.event(one) for one in generated.events])


async def event(policies: Policies, source: Any = "a", seen: Any = (ALICE,)) -> pb.GeneratedEvent:
    (only,) = (await answer(World({"a": list(seen)}), policies, source)).events
    return only


async def test_everything_that_was_asked_for_is_shown_and_descriptors_never_are() -> None:
    made = await event(EVERYTHING)
    (seen,) = made.detections
    of_face, of_body = seen.samples.face.detection, seen.samples.body.detection
    shown = {field.name for field, _ in of_face.attributes.ListFields()}
    assert shown == {field.name for field in images_pb2.FaceEstimations.DESCRIPTOR.fields} - {
        "basic_attributes",
        "descriptor",
    }
    assert {field.name for field, _ in of_body.attributes.ListFields()} == {
        "basic_attributes",
        "upper_body",
        "lower_body",
        "accessories",
    }
    assert (of_face.rect.x, of_body.rect.x, len(of_face.landmarks5), len(of_face.landmarks68)) == (1, 1, 5, 68)
    assert of_face.HasField("quality")
    assert of_face.HasField("face_quality")
    assert (made.face_attributes.basic_attributes.age, made.face_attributes.score) == (33, 0.75)
    assert made.body_attributes.score == 0.5
    assert not made.aggregate_estimations.face.attributes.ListFields()
    assert not made.aggregate_estimations.body.attributes.ListFields()


async def test_addresses_are_those_of_what_is_stored() -> None:
    made = await event(EVERYTHING)
    (seen,) = made.detections
    assert made.url == f"/6/events/{made.event_id}"
    assert seen.samples.face.url == f"/6/samples/faces/{seen.samples.face.sample_id}"
    assert seen.samples.body.url == f"/6/samples/bodies/{seen.samples.body.sample_id}"
    assert seen.image_origin.startswith("/6/images/")
    assert made.face_attributes.url == f"/6/attributes/{made.face_attributes.attribute_id}"
    assert made.face.url == f"/6/faces/{made.face.face_id}"
    assert (made.face.event_id, made.face.account_id, made.face.avatar) == (
        made.event_id,
        str(ONE),
        seen.samples.face.url,
    )


async def test_what_is_not_stored_has_no_id_and_no_address() -> None:
    nothing = StoragePolicy(
        face_sample=SamplePolicy(store=False), body_sample=SamplePolicy(store=False), event=EventPolicy(store=False)
    )
    made = await event(Policies(detect=DetectPolicy(bodies=True), storage=nothing))
    (seen,) = made.detections
    assert (made.url, seen.image_origin, made.face_attributes.url, made.face_attributes.attribute_id) == ("",) * 4
    assert (seen.samples.face.sample_id, seen.samples.face.url, seen.samples.body.sample_id) == ("",) * 3
    assert not made.HasField("face")
    assert not made.HasField("body_attributes")
    assert not made.HasField("meta")
    assert list(made.face_attributes.samples) == []


async def test_where_nothing_is_extracted_face_attributes_are_null() -> None:
    made = await event(Policies(extract=ExtractPolicy(face_descriptor=False)))
    assert not made.HasField("face_attributes")
    made = await event(Policies(extract=ExtractPolicy(face_descriptor=False, basic_attributes=True)))
    assert made.face_attributes.HasField("basic_attributes")
    assert not made.face_attributes.HasField("score")


@pytest.mark.parametrize(
    ("threshold", "quality", "word"),
    [
        (0.5, 0.0, images_pb2.LIVENESS_STATE_REAL),
        (0.9, 0.0, images_pb2.LIVENESS_STATE_SPOOF),
        (0.5, 0.9, images_pb2.LIVENESS_STATE_UNKNOWN),
    ],
)
async def test_liveness_is_predicted_by_the_thresholds_of_the_policy(
    threshold: float, quality: float, word: int
) -> None:
    policies = Policies(detect=DetectPolicy(liveness=LivenessPolicy(True, threshold, quality)))
    living = face(1, liveness=Liveness(score=0.75, quality=0.5))
    made = await event(policies, seen=[living])
    assert made.detections[0].samples.face.detection.attributes.liveness.prediction == word
    together = await answer(World({"a": [living]}), policies, "a", aggregate=True)
    assert together.events[0].aggregate_estimations.face.attributes.liveness.prediction == word


async def test_face_quality_is_held_to_the_thresholds_of_the_policy() -> None:
    checks = {name: PolicyCheck(estimate=False) for name in CheckName}
    checks[CheckName.HEAD_YAW] = PolicyCheck(threshold=Range(-2, 2))
    policies = Policies(detect=DetectPolicy(face_quality=FaceQualityPolicy(estimate=True, checks=checks)))
    result = (await event(policies)).detections[0].samples.face.detection.face_quality
    assert [(one.object_value.number_value, one.result) for one in result.checks] == [(5.25, False)]
    assert result.checks[0].threshold_value.struct_value.fields["max"].number_value == 2
    assert not result.status


async def test_a_sample_has_a_detection_only_with_a_box_and_no_landmarks() -> None:
    policies = Policies(detect=DetectPolicy(estimations=frozenset({Estimation.EMOTIONS})))
    bare = await event(policies, sample("a"))
    assert not bare.detections[0].samples.face.HasField("detection")
    boxed = (await event(policies, sample("a", box=Rect(1, 2, 3, 4)))).detections[0].samples.face.detection
    assert (boxed.rect.x, boxed.rect.height, len(boxed.landmarks5)) == (1, 4, 0)
    assert boxed.attributes.HasField("emotions")


async def test_the_aggregate_is_shown_once_and_its_basic_attributes_with_the_face() -> None:
    response = await answer(World({"a": [ALICE], "b": [ALICE]}), EVERYTHING, "a", "b", aggregate=True)
    (made,) = response.events
    together = made.aggregate_estimations
    assert {field.name for field, _ in together.face.attributes.ListFields()} == {"emotions", "mask", "liveness"}
    assert {field.name for field, _ in together.body.attributes.ListFields()} == {
        "basic_attributes",
        "upper_body",
        "lower_body",
        "accessories",
    }
    assert made.face_attributes.basic_attributes.age == 33
    for one in made.detections:
        assert not one.samples.face.detection.attributes.HasField("emotions")
        assert one.samples.face.detection.attributes.HasField("head_pose")
        assert not one.samples.body.detection.attributes.ListFields()


async def test_faces_that_were_left_out_are_told_with_their_reasons() -> None:
    turned = face(2, HeadPose(yaw=40.5, pitch=0, roll=0), score=0.25)
    policies = Policies(detect=DetectPolicy(limits=FaceLimits(yaw=30)), extract=ExtractPolicy(score_threshold=0.5))
    response = await answer(World({"a": [face(1), turned]}), policies, "a")
    (left_out,) = response.filtered_detections.face_detections
    assert (left_out.filename, left_out.detection.rect.x) == ("a", 2)
    assert not left_out.detection.attributes.HasField("head_pose")
    assert [(one.name, one.value.number_value, one.threshold.number_value) for one in left_out.filter_reasons] == [
        ("yaw_threshold", 40.5, 30),
        ("fd_score_threshold", 0.25, 0.5),
    ]


async def test_each_source_has_its_entry_with_its_error_its_people_and_its_exif() -> None:
    world = World({"a": [face(1)], "b": NotAnImage(message="broken")})
    response = await answer(world, EVERYTHING, "a", "b")
    good, bad = response.images
    assert (good.filename, good.status, good.error.error_code, good.people_count) == ("a", True, 0, 7)
    assert dict(good.exif) == {"Make": "A camera"}
    assert (bad.filename, bad.status, bad.error.error_code) == ("b", False, 18002)
    assert not bad.HasField("exif")
    assert not bad.HasField("people_count")


async def test_what_the_caller_says_comes_back() -> None:
    data = EventData(
        source="gate",
        external_id="ext",
        user_data="u",
        track_id="t",
        location=Location(city="X"),
        meta={"a": [1, None]},
    )
    world = World({"a": [face(1)]})
    sources = (photo("a", detect_time=NOW, detect_ts=0.0),)
    (made,) = (await answer(world, Policies(), *sources, data=data)).events
    assert (made.source, made.external_id, made.user_data, made.track_id) == ("gate", "ext", "u", "t")
    assert made.location.city == "X"
    assert not made.location.HasField("area")
    assert made.meta.fields["a"].list_value.values[0].number_value == 1
    assert made.detections[0].detect_time.ToDatetime(NOW.tzinfo) == NOW
    assert made.detections[0].HasField("detect_ts")


async def test_candidates_are_told_with_the_fields_of_their_policy_and_always_with_their_similarity() -> None:
    world = World({"a": [known_face(1, 1.0)]})
    face_id = world.faces.put(1, ONE, descriptor(1.0), external_id="near")
    world.faces.rows[face_id] = replace(world.faces.rows[face_id], user_data="secret")
    policies = Policies(
        match=(
            MatchPolicy("all", FaceCandidates()),
            MatchPolicy("some", FaceCandidates(), targets=("face_id", "external_id")),
            MatchPolicy("none", FaceCandidates(), targets=("similarity",)),
        )
    )
    (made,) = (await answer(world, policies, "a")).events
    everything, some, none = (one.candidates[0] for one in made.matches)
    assert everything.similarity == some.similarity == none.similarity > 0.99
    assert (everything.face.user_data, some.face.user_data) == ("secret", "")
    assert (some.face.face_id, some.face.external_id) == (str(face_id), "near")
    assert not none.HasField("face")


async def test_a_descriptor_makes_an_event_without_detections_and_without_a_score() -> None:
    (made,) = (await answer(World({}), Policies(), EventSource("d", descriptor=descriptor(1)))).events
    assert list(made.detections) == []
    assert made.HasField("face_attributes")
    assert not made.face_attributes.HasField("score")


async def test_a_stored_sample_keeps_its_id() -> None:
    world = World({"a": [face(1)]})
    sample_id = world.stored_sample("a")
    (made,) = (await answer(world, Policies(), kept_sample(sample_id))).events
    assert made.detections[0].samples.face.url == f"/6/samples/faces/{sample_id}"
