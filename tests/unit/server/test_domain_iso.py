"""/6/iso and /6/liveness: policies, samples, and where a failure stays."""

from __future__ import annotations

import pytest
from domain_stores import MemorySamples

from server.domain.access import Scope
from server.domain.checks import CheckName
from server.domain.images import Images, ImageSource, ImageType, MultifacePolicy
from server.domain.iso import CheckedImage, IsoChecks, IsoWish
from server.domain.liveness import LivenessPrediction
from server.domain.vision import DetectedPerson, Estimation, Liveness
from server.errors import FeatureOff, LegacyNoFaces, LivenessOff, MultipleFaces, NotAnImage, TooManyFaces
from tests.scripted_engine import Nowhere, ScriptedEngine, Seen, body, face

ALL = Scope(None)
SOURCE = ImageSource("a.jpg", data=b"image")


def images(seen: Seen, *off: Estimation) -> tuple[Images, ScriptedEngine]:
    engine = ScriptedEngine({b"image": seen}, off=frozenset(off))
    return Images(engine, MemorySamples(), Nowhere()), engine


async def check(seen: Seen, wish: IsoWish, *off: Estimation) -> CheckedImage:
    (found,) = await IsoChecks(images(seen, *off)[0]).check(ALL, [SOURCE], wish)
    return found


async def test_a_face_is_checked_by_what_was_measured_and_the_rest_is_named() -> None:
    found = await check([face(1)], IsoWish())
    (checked,) = found.faces
    results = {one.name: one.passed for one in checked.checks.checks}
    assert results[CheckName.HEAD_PITCH]
    assert not results[CheckName.HEAD_YAW]
    assert not checked.checks.passed
    assert checked.checks.unavailable[CheckName.GAZE_YAW] == "a model pack for gaze"
    assert not found.sample


async def test_several_faces_are_refused_by_default() -> None:
    two = [face(1), face(2)]
    refused = await check(two, IsoWish())
    assert isinstance(refused.error, MultipleFaces)
    assert len((await check(two, IsoWish(policy=MultifacePolicy.ALLOWED))).faces) == 2
    best = await check(two, IsoWish(policy=MultifacePolicy.BEST))
    assert [one.face.rect.x for one in best.faces] == [1]
    assert (await check([], IsoWish())).faces == ()


async def test_samples_are_checked_as_they_are_and_exif_is_told() -> None:
    assert (await check([face(1)], IsoWish(image_type=ImageType.FACE_SAMPLE))).sample
    assert (await check([face(1)], IsoWish(extract_exif=True))).exif == {"Make": "A camera"}
    assert isinstance((await check(NotAnImage(message="no"), IsoWish())).error, NotAnImage)


async def test_without_what_measures_faces_nothing_is_checked() -> None:
    with pytest.raises(FeatureOff, match="estimate_face_quality"):
        await check([face(1)], IsoWish(), Estimation.FACE_QUALITY)


async def test_liveness_needs_exactly_one_face() -> None:
    alive = Liveness(0.5, 0.4)
    for seen, kind in (
        ([face(1), face(2)], TooManyFaces),
        ([], LegacyNoFaces),
        ([DetectedPerson(None, body(1))], LegacyNoFaces),
        (NotAnImage(message="no"), NotAnImage),
        ([face(1, liveness=alive)], type(None)),
    ):
        looked, engine = images(seen)
        (found,) = await LivenessPrediction(looked).predict(ALL, [SOURCE])
        assert type(found.error) is kind
        assert found.liveness == (alive if found.error is None else None)
        assert [(one.faces, one.bodies, one.warps) for one in engine.looks] == [(True, False, False)]


async def test_liveness_that_nothing_estimates_is_off_and_says_what_it_needs() -> None:
    looked, _ = images([face(1)], Estimation.LIVENESS)
    with pytest.raises(LivenessOff, match="a model pack"):
        await LivenessPrediction(looked).predict(ALL, [SOURCE])
