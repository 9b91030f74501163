"""Detection: angle limits, policies, and where a failure stays."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest
from domain_stores import NOW, MemorySamples

from server.domain.access import Scope
from server.domain.detection import Detection, DetectionWish, ImageResult
from server.domain.filters import FaceLimits
from server.domain.images import Images, ImageSource, MultifacePolicy
from server.domain.liveness import LivenessThresholds
from server.domain.samples import Sample, SampleType
from server.domain.vision import DetectedFace, Estimation, HeadPose
from server.errors import (
    Busy,
    DownloadFailed,
    EngineFailure,
    FeatureOff,
    LunaError,
    MultipleFaces,
    NotAnImage,
    SampleNotFound,
    WrongSampleSize,
)
from tests.scripted_engine import Nowhere, ScriptedEngine, face

ACCOUNT = UUID(int=1)
ALL = Scope(None)


def detection(engine: ScriptedEngine, store: MemorySamples | None = None) -> Detection:
    samples = MemorySamples() if store is None else store
    return Detection(Images(engine, samples, Nowhere()), samples, LivenessThresholds())


async def detect(
    faces: Sequence[DetectedFace] | LunaError, wish: DetectionWish, store: MemorySamples | None = None
) -> ImageResult:
    engine = ScriptedEngine({b"image": faces})
    (result,) = await detection(engine, store).detect(ACCOUNT, ALL, [ImageSource("a.jpg", data=b"image")], wish)
    return result


@pytest.mark.parametrize("limit", [None, 180])
async def test_180_and_none_switch_an_angle_limit_off(limit: int | None) -> None:
    upside_down = face(1, HeadPose(180, -180, 179.9))
    result = await detect([upside_down], DetectionWish(limits=FaceLimits(limit, limit, limit)))
    assert len(result.faces) == 1
    assert result.filtered == ()


@pytest.mark.parametrize("name", ["pitch", "roll", "yaw"])
async def test_0_drops_every_face_even_one_that_looks_straight_ahead(name: str) -> None:
    result = await detect([face(1, HeadPose(0, 0, 0))], DetectionWish(limits=FaceLimits(**{name: 0})))
    assert result.faces == ()
    ((reason,),) = [one.reasons for one in result.filtered]
    assert (reason.parameter, reason.threshold) == (f"{name}_threshold", 0)


@pytest.mark.parametrize("name", ["pitch", "roll", "yaw"])
@pytest.mark.parametrize(("angle", "kept"), [(29.9, True), (30.0, True), (30.1, False), (-30.0, True), (-30.1, False)])
async def test_an_angle_limit_holds_in_both_directions_and_its_end_is_inside(
    name: str, angle: float, kept: bool
) -> None:
    pose = HeadPose(**{"yaw": 0.0, "pitch": 0.0, "roll": 0.0, name: angle})
    result = await detect([face(1, pose)], DetectionWish(limits=FaceLimits(**{name: 30})))
    assert (len(result.faces) == 1) is kept
    assert [one.value for left_out in result.filtered for one in left_out.reasons] == ([] if kept else [angle])


async def test_every_broken_limit_is_told_and_the_other_faces_stay() -> None:
    crooked = face(2, HeadPose(yaw=90, pitch=80, roll=70))
    result = await detect([face(1), crooked, face(3)], DetectionWish(limits=FaceLimits(10, 10, 10)))
    assert [one.face.rect.x for one in result.faces] == [1, 3]
    (left_out,) = result.filtered
    assert [(one.parameter, one.value) for one in left_out.reasons] == [
        ("pitch_threshold", 80),
        ("roll_threshold", 70),
        ("yaw_threshold", 90),
    ]


async def test_the_pose_is_estimated_for_the_sake_of_limits_alone_and_only_then() -> None:
    engine = ScriptedEngine({b"image": [face(1)]})
    source = ImageSource("a", data=b"image")
    for limits in (FaceLimits(), FaceLimits(180, None, 180), FaceLimits(yaw=5)):
        (result,) = await detection(engine).detect(ACCOUNT, ALL, [source], DetectionWish(limits=limits))
        assert [one.face.head_pose for one in result.faces] == [None]
    assert engine.asked == [frozenset(), frozenset(), frozenset({Estimation.HEAD_POSE})]


async def test_a_dropped_face_leaves_no_sample() -> None:
    store = MemorySamples()
    await detect([face(1, HeadPose(90, 0, 0))], DetectionWish(limits=FaceLimits(yaw=10)), store)
    assert store.rows == {}


@pytest.mark.parametrize(
    ("policy", "count", "kept"),
    [(MultifacePolicy.ALLOWED, 3, 3), (MultifacePolicy.BEST, 3, 1), (MultifacePolicy.BEST, 0, 0),
     (MultifacePolicy.NOT_ALLOWED, 1, 1), (MultifacePolicy.NOT_ALLOWED, 0, 0)],
)  # fmt: skip
async def test_a_policy_decides_how_many_faces_are_kept(policy: MultifacePolicy, count: int, kept: int) -> None:
    store = MemorySamples()
    result = await detect([face(number) for number in range(count)], DetectionWish(policy=policy), store)
    assert result.error is None
    assert [one.face.rect.x for one in result.faces] == list(range(kept))
    assert len(store.rows) == kept


async def test_two_faces_where_one_is_allowed_are_an_error_of_their_image() -> None:
    result = await detect([face(1), face(2)], DetectionWish(policy=MultifacePolicy.NOT_ALLOWED))
    assert isinstance(result.error, MultipleFaces)
    assert result.error.detail == "Image 'a.jpg' has 2 faces where one is allowed"
    assert result.faces == ()


async def test_a_stored_sample_is_the_warp_of_the_account_with_its_checksum() -> None:
    store = MemorySamples()
    result = await detect([face(1)], DetectionWish(), store)
    sample, data = store.rows[result.faces[0].sample_id]
    assert data == b"warp 1"
    assert (sample.account_id, sample.sample_type, sample.size) == (ACCOUNT, SampleType.FACES, 6)
    assert sample.sha256 == hashlib.sha256(b"warp 1").digest()


async def test_a_failure_stays_with_its_own_image() -> None:
    engine = ScriptedEngine({b"image": [face(1)], b"bad": NotAnImage(message="no")})
    sources = [
        ImageSource("bad", data=b"bad"),
        ImageSource("good", data=b"image"),
        ImageSource("gone", sample_id=uuid4()),
        ImageSource("private", url="http://other"),
        ImageSource("address", url="http://known"),
    ]
    results = await detection(engine).detect(ACCOUNT, ALL, sources, DetectionWish())
    assert [type(one.error) for one in results] == [NotAnImage, type(None), SampleNotFound, DownloadFailed, type(None)]
    assert [one.source.filename for one in results] == ["bad", "good", "gone", "private", "address"]


@pytest.mark.parametrize("trouble", [Busy(message="full", retry_after=1), EngineFailure(message="gone")])
async def test_trouble_of_the_server_fails_the_whole_call(trouble: LunaError) -> None:
    with pytest.raises(type(trouble)):
        await detect(trouble, DetectionWish())


async def test_an_estimation_that_no_model_serves_is_refused_by_name() -> None:
    engine = ScriptedEngine({}, off=frozenset({Estimation.GAZE}))
    wish = DetectionWish(estimations=frozenset({Estimation.GAZE}))
    with pytest.raises(FeatureOff) as caught:
        await detection(engine).detect(ACCOUNT, ALL, [], wish)
    assert "estimate_gaze" in caught.value.detail


async def test_a_sample_of_another_account_is_not_there() -> None:
    store = MemorySamples()
    sample = Sample(uuid4(), UUID(int=2), SampleType.FACES, 5, b"", NOW)
    await store.add(sample, b"image")
    detector = detection(ScriptedEngine({b"image": [face(1)]}), store)
    source = ImageSource("a", sample_id=sample.sample_id)
    (mine,) = await detector.detect(ACCOUNT, Scope(ACCOUNT), [source], DetectionWish())
    (anyones,) = await detector.detect(ACCOUNT, ALL, [source], DetectionWish())
    assert isinstance(mine.error, SampleNotFound)
    assert anyones.error is None


async def test_an_image_that_is_said_to_be_a_sample_is_not_searched_for_faces() -> None:
    wrong = WrongSampleSize(needed="250x250", width=1, height=1)
    result = await detect(wrong, DetectionWish(samples_given=True))
    assert result.error is wrong


async def test_what_is_not_estimated_of_samples_is_neither_made_nor_filtered_by() -> None:
    engine = ScriptedEngine({b"image": [face(1, HeadPose(90, 0, 0))]}, off=frozenset({Estimation.GAZE}))
    wish = DetectionWish(
        samples_given=True,
        estimations=frozenset({Estimation.HEAD_POSE, Estimation.GAZE, Estimation.EMOTIONS}),
        limits=FaceLimits(yaw=10),
    )
    (result,) = await detection(engine).detect(ACCOUNT, ALL, [ImageSource("a", data=b"image")], wish)
    assert engine.asked == [frozenset({Estimation.EMOTIONS})]
    assert result.filtered == ()
    assert result.sample
    assert result.faces[0].face.head_pose is None
    assert result.faces[0].face.emotions is not None


async def test_a_switch_that_the_detector_names_in_its_own_way_is_refused_by_that_name() -> None:
    engine = ScriptedEngine({}, off=frozenset({Estimation.LANDMARKS68}))
    wish = DetectionWish(estimations=frozenset({Estimation.LANDMARKS68}))
    with pytest.raises(FeatureOff, match="'detect_landmarks68'"):
        await detection(engine).detect(ACCOUNT, ALL, [ImageSource("a.jpg", data=b"image")], wish)
