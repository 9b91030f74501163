"""Detection: angle limits, policies, and where a failure stays."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from domain_stores import NOW, MemorySamples

from server.domain.access import Scope
from server.domain.detection import AngleLimits, Detection, DetectionWish, ImageResult, ImageSource, MultifacePolicy
from server.domain.engine import Look
from server.domain.samples import Sample, SampleType
from server.domain.vision import (
    DetectedBody,
    DetectedFace,
    DetectedImage,
    DetectedPerson,
    Estimation,
    ExtractedDescriptor,
    HeadPose,
    Rect,
)
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

ACCOUNT = UUID(int=1)
ALL = Scope(None)
LOOK = Look()
LEVEL = HeadPose(yaw=0.5, pitch=0.5, roll=0.5)


def face(number: int, pose: HeadPose = LEVEL) -> DetectedFace:
    return DetectedFace(Rect(number, 0, 50, 50), 0.9, (), f"warp {number}".encode(), head_pose=pose)


class ScriptedEngine:
    """An engine that sees what it is told to. Its answers follow the port: a pose only where one is asked for."""

    def __init__(self, seen: dict[bytes, Sequence[DetectedFace] | LunaError], *, off: Estimation | None = None) -> None:
        self._seen = seen
        self._off = off
        self.asked: list[frozenset[Estimation]] = []

    @property
    def descriptor_version(self) -> int:
        return 1001

    def needs(self, subject: Estimation | str) -> str | None:
        return "a model pack" if subject is self._off else None

    async def detect(self, image: bytes, look: Look = LOOK) -> DetectedImage:
        self.asked.append(look.estimations)
        seen = self._seen[image]
        if isinstance(seen, LunaError):
            raise seen
        posed = Estimation.HEAD_POSE in look.estimations
        faces = (one if posed else replace(one, head_pose=None) for one in seen)
        return DetectedImage(100, 100, tuple(DetectedPerson(one) for one in faces))

    async def inspect(self, sample: bytes, *, estimations: frozenset[Estimation] = frozenset()) -> DetectedFace:
        return (await self.detect(sample, Look(estimations=estimations))).faces[0]

    async def describe(self, samples: Sequence[bytes], *, version: int | None = None) -> list[ExtractedDescriptor]:
        raise EngineFailure(message="not scripted")

    def aggregate(self, descriptors: Sequence[ExtractedDescriptor]) -> ExtractedDescriptor:
        return descriptors[0]

    async def normalise(self, image: bytes, *, width: int, height: int) -> bytes:
        return image

    async def to_jpeg(self, image: bytes) -> bytes:
        return image

    async def inspect_body(self, sample: bytes, *, estimations: frozenset[Estimation] = frozenset()) -> DetectedBody:
        raise EngineFailure(message="not scripted")


class Nowhere:
    """A fetcher that knows one address."""

    async def fetch(self, url: str) -> bytes:
        if url != "http://known":
            raise DownloadFailed(url=url, message="unknown")
        return b"image"


async def detect(
    faces: Sequence[DetectedFace] | LunaError, wish: DetectionWish, store: MemorySamples | None = None
) -> ImageResult:
    engine = ScriptedEngine({b"image": faces})
    detection = Detection(engine, MemorySamples() if store is None else store, Nowhere())
    (result,) = await detection.detect(ACCOUNT, ALL, [ImageSource("a.jpg", data=b"image")], wish)
    return result


@pytest.mark.parametrize("limit", [None, 180])
async def test_180_and_none_switch_an_angle_limit_off(limit: int | None) -> None:
    upside_down = face(1, HeadPose(180, -180, 179.9))
    result = await detect([upside_down], DetectionWish(angles=AngleLimits(limit, limit, limit)))
    assert len(result.faces) == 1
    assert result.filtered == ()


@pytest.mark.parametrize("name", ["pitch", "roll", "yaw"])
async def test_0_drops_every_face_even_one_that_looks_straight_ahead(name: str) -> None:
    result = await detect([face(1, HeadPose(0, 0, 0))], DetectionWish(angles=AngleLimits(**{name: 0})))
    assert result.faces == ()
    assert [(one.parameter, one.threshold) for one in result.filtered] == [(f"{name}_threshold", 0)]


@pytest.mark.parametrize("name", ["pitch", "roll", "yaw"])
@pytest.mark.parametrize(("angle", "kept"), [(29.9, True), (30.0, True), (30.1, False), (-30.0, True), (-30.1, False)])
async def test_an_angle_limit_holds_in_both_directions_and_its_end_is_inside(
    name: str, angle: float, kept: bool
) -> None:
    pose = HeadPose(**{"yaw": 0.0, "pitch": 0.0, "roll": 0.0, name: angle})
    result = await detect([face(1, pose)], DetectionWish(angles=AngleLimits(**{name: 30})))
    assert (len(result.faces) == 1) is kept
    assert [one.value for one in result.filtered] == ([] if kept else [angle])


async def test_the_first_broken_limit_is_told_and_the_other_faces_stay() -> None:
    crooked = face(2, HeadPose(yaw=90, pitch=80, roll=70))
    result = await detect([face(1), crooked, face(3)], DetectionWish(angles=AngleLimits(10, 10, 10)))
    assert [one.face.rect.x for one in result.faces] == [1, 3]
    assert [(one.parameter, one.value) for one in result.filtered] == [("pitch_threshold", 80)]


async def test_the_pose_is_estimated_for_the_sake_of_limits_alone_and_only_then() -> None:
    engine = ScriptedEngine({b"image": [face(1)]})
    detection = Detection(engine, MemorySamples(), Nowhere())
    source = ImageSource("a", data=b"image")
    for limits in (AngleLimits(), AngleLimits(180, None, 180), AngleLimits(yaw=5)):
        await detection.detect(ACCOUNT, ALL, [source], DetectionWish(angles=limits))
    assert engine.asked == [frozenset(), frozenset(), frozenset({Estimation.HEAD_POSE})]


async def test_a_dropped_face_leaves_no_sample() -> None:
    store = MemorySamples()
    await detect([face(1, HeadPose(90, 0, 0))], DetectionWish(angles=AngleLimits(yaw=10)), store)
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
    results = await Detection(engine, MemorySamples(), Nowhere()).detect(ACCOUNT, ALL, sources, DetectionWish())
    assert [type(one.error) for one in results] == [NotAnImage, type(None), SampleNotFound, DownloadFailed, type(None)]
    assert [one.source.filename for one in results] == ["bad", "good", "gone", "private", "address"]


@pytest.mark.parametrize("trouble", [Busy(message="full", retry_after=1), EngineFailure(message="gone")])
async def test_trouble_of_the_server_fails_the_whole_call(trouble: LunaError) -> None:
    with pytest.raises(type(trouble)):
        await detect(trouble, DetectionWish())


async def test_an_estimation_that_no_model_serves_is_refused_by_name() -> None:
    engine = ScriptedEngine({}, off=Estimation.GAZE)
    wish = DetectionWish(estimations=frozenset({Estimation.GAZE}))
    with pytest.raises(FeatureOff) as caught:
        await Detection(engine, MemorySamples(), Nowhere()).detect(ACCOUNT, ALL, [], wish)
    assert "estimate_gaze" in caught.value.detail


async def test_a_sample_of_another_account_is_not_there() -> None:
    store = MemorySamples()
    sample = Sample(uuid4(), UUID(int=2), SampleType.FACES, 5, b"", NOW)
    await store.add(sample, b"image")
    detection = Detection(ScriptedEngine({b"image": [face(1)]}), store, Nowhere())
    source = ImageSource("a", sample_id=sample.sample_id)
    (mine,) = await detection.detect(ACCOUNT, Scope(ACCOUNT), [source], DetectionWish())
    (anyones,) = await detection.detect(ACCOUNT, ALL, [source], DetectionWish())
    assert isinstance(mine.error, SampleNotFound)
    assert anyones.error is None


async def test_an_image_that_is_said_to_be_a_sample_is_not_searched_for_faces() -> None:
    wrong = WrongSampleSize(needed="250x250", width=1, height=1)
    result = await detect(wrong, DetectionWish(samples_given=True))
    assert result.error is wrong
