"""The engine as the domain sees it."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.engine import DefaultEngine
from engines.packs.errors import PackDamaged
from engines.packs.pack import DEFAULT, Pack
from engines.packs.prepare import prepare
from engines.vision.decoding import Image
from server.domain.descriptors import Descriptor
from server.domain.engine import Engine as Port
from server.domain.engine import Look
from server.domain.vision import WARP_SIZE, Estimation, Rect
from server.errors import EngineFailure, FeatureOff, ImageTooLarge, NotAnImage, Unavailable, WrongSampleSize
from server.settings import Engine
from tests.pictures import png

SERVED = {
    Estimation.HEAD_POSE,
    Estimation.QUALITY,
    Estimation.FACE_QUALITY,
    Estimation.DESCRIPTOR,
    Estimation.LANDMARKS68,
    Estimation.EYES,
    Estimation.MOUTH,
}


def vector(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.frombuffer(data, "<f2").astype(np.float32)


async def test_a_portrait_gives_one_face_with_everything_that_was_asked(
    engine: DefaultEngine, astronaut: Image
) -> None:
    port: Port = engine
    found = await port.detect(png(astronaut), Look(estimations=frozenset(SERVED)))
    assert (found.width, found.height, len(found.faces), found.exif) == (512, 512, 1, None)
    face = found.faces[0]
    assert 0.9 < face.score <= 1
    assert len(face.landmarks5) == 5
    assert face.landmarks68 is not None
    assert len(face.landmarks68) == 68
    assert face.head_pose is not None
    assert abs(face.head_pose.yaw) < 15
    assert face.quality is not None
    assert face.quality.blurriness > 0.6
    assert face.eyes is not None
    assert face.mouth is not None
    warp = cv2.imdecode(np.frombuffer(face.warp, np.uint8), cv2.IMREAD_COLOR)
    assert warp.shape == (WARP_SIZE, WARP_SIZE, 3)
    assert face.warp.startswith(b"\xff\xd8")


async def test_what_was_not_asked_for_is_none(engine: DefaultEngine, astronaut: Image) -> None:
    face = (await engine.detect(png(astronaut))).faces[0]
    assert (face.landmarks68, face.head_pose, face.quality, face.eyes, face.mouth) == (None,) * 5


async def test_a_warp_taken_as_a_sample_is_the_same_face(engine: DefaultEngine, astronaut: Image) -> None:
    asked = frozenset(SERVED)
    face = (await engine.detect(png(astronaut), Look(estimations=asked))).faces[0]
    again = await engine.inspect(face.warp, estimations=asked)
    assert again.rect == Rect(0, 0, WARP_SIZE, WARP_SIZE)
    assert again.warp == face.warp
    assert again.score > 0.9
    assert face.head_pose is not None
    assert again.head_pose is not None
    assert again.head_pose.yaw == pytest.approx(face.head_pose.yaw, abs=6)
    assert again.head_pose.pitch == pytest.approx(face.head_pose.pitch, abs=6)
    left_eye, right_eye, *_ = again.landmarks5
    assert abs(left_eye[1] - right_eye[1]) < 12
    described = await engine.describe([face.warp, png(cv2.imdecode(np.frombuffer(face.warp, np.uint8), 1)[..., ::-1])])
    assert described[0].data == described[1].data


async def test_descriptors_have_the_layout_of_their_version_and_tell_persons_apart(
    engine: DefaultEngine, photos: Path
) -> None:
    warps = []
    for name in ("obama.jpg", "obama2.jpg", "biden.jpg"):
        found = await engine.detect((photos / name).read_bytes())
        warps.append(found.faces[0].warp)
    described = await engine.describe(warps * 8)
    assert len(described) == 24
    for item in described:
        assert item.version == engine.descriptor_version == 1001
        assert Descriptor.raw(item.version, item.data).data == item.data
        assert np.linalg.norm(vector(item.data)) == pytest.approx(1, abs=2e-3)
        assert 0.8 < item.score <= 1
    one, same, other = (vector(item.data) for item in described[:3])
    assert np.linalg.norm(one - same) < 0.45 < 0.6 < np.linalg.norm(one - other)
    for repeat in range(8):
        assert np.abs(vector(described[3 * repeat].data) - one).max() < 1e-3
    assert await engine.describe([]) == []


async def test_the_score_of_a_descriptor_falls_as_its_sample_gets_worse(
    engine: DefaultEngine, astronaut: Image
) -> None:
    face = (await engine.detect(png(astronaut))).faces[0]
    warp = np.asarray(cv2.imdecode(np.frombuffer(face.warp, np.uint8), cv2.IMREAD_COLOR_RGB), np.uint8)
    worse = [warp, *(np.asarray(cv2.GaussianBlur(warp, (0, 0), s), np.uint8) for s in (2, 4, 8))]
    scores = [item.score for item in await engine.describe([png(step) for step in worse])]
    assert scores == sorted(scores, reverse=True)
    turned = []
    for angle in (0, 20, 40, 90):
        matrix = cv2.getRotationMatrix2D((125.0, 125.0), angle, 1.0)
        turned.append(png(np.asarray(cv2.warpAffine(warp, matrix, (WARP_SIZE, WARP_SIZE)), np.uint8)))
    scores = [item.score for item in await engine.describe(turned)]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] < 0.3
    noise = np.random.default_rng(1).integers(0, 255, (WARP_SIZE, WARP_SIZE, 3), np.uint8)
    assert (await engine.describe([png(noise)]))[0].score < 0.5


async def test_flip_averaging_has_its_own_version(pack: Pack, astronaut: Image, engine: DefaultEngine) -> None:
    warp = (await engine.detect(png(astronaut))).faces[0].warp
    flipping = DefaultEngine([pack], Engine(flip_averaging=True))
    await flipping.start()
    try:
        plain, averaged = (await engine.describe([warp]))[0], (await flipping.describe([warp]))[0]
    finally:
        await flipping.close()
    assert (plain.version, averaged.version, flipping.descriptor_version) == (1001, 1002, 1002)
    assert 0 < np.linalg.norm(vector(plain.data) - vector(averaged.data)) < 0.3


async def test_faces_come_largest_first(engine: DefaultEngine, photos: Path) -> None:
    found = await engine.detect((photos / "bald_guys.jpg").read_bytes())
    areas = [face.rect.width * face.rect.height for face in found.faces]
    assert len(areas) > 10
    assert areas == sorted(areas, reverse=True)


async def test_a_box_gives_only_the_face_inside_it(engine: DefaultEngine, photos: Path) -> None:
    image = (photos / "bald_guys.jpg").read_bytes()
    everyone = await engine.detect(image)
    for face in everyone.faces[::4]:
        rect = face.rect
        loose = Rect(rect.x - 10, rect.y - 15, rect.width + 25, rect.height + 20)
        for box in (rect, loose):
            found = (await engine.detect(image, Look(face_box=box))).faces
            assert len(found) == 1
            assert abs(found[0].rect.x + found[0].rect.width / 2 - rect.x - rect.width / 2) < 0.15 * rect.width
            assert abs(found[0].rect.y + found[0].rect.height / 2 - rect.y - rect.height / 2) < 0.15 * rect.height


@pytest.mark.parametrize(
    "box", [Rect(300, 300, 60, 60), Rect(600, 600, 50, 50), Rect(-200, -200, 100, 100), Rect(10, 10, 1, 1)]
)
async def test_a_box_without_a_face_gives_none(engine: DefaultEngine, astronaut: Image, box: Rect) -> None:
    assert (await engine.detect(png(astronaut), Look(face_box=box))).faces == ()


async def test_a_small_face_in_a_large_box_is_found(engine: DefaultEngine, astronaut: Image) -> None:
    wide = np.zeros((800, 1600, 3), np.uint8)
    wide[200:712, 500:1012] = astronaut
    found = await engine.detect(png(wide), Look(face_box=Rect(0, 0, 1600, 800)))
    assert len(found.faces) == 1
    assert abs(found.faces[0].rect.x - 680) < 12


async def test_an_estimation_without_a_model_is_refused_with_what_it_needs(engine: DefaultEngine) -> None:
    assert {estimation for estimation in Estimation if engine.needs(estimation) is None} == SERVED
    for estimation in set(Estimation) - SERVED:
        asked = frozenset({estimation})
        for call in (
            partial(engine.detect, b"", Look(estimations=asked)),
            partial(engine.inspect, b"", estimations=asked),
            partial(engine.inspect_body, b"", estimations=asked),
        ):
            with pytest.raises(FeatureOff) as refused:
                await call()
            assert refused.value.values["feature"] == f"estimate_{estimation.value}"
            assert "model pack" in refused.value.detail


async def test_without_the_68_point_model_its_setting_is_named(pack: Pack, astronaut: Image) -> None:
    engine = DefaultEngine([pack], Engine())
    await engine.start()
    try:
        for estimation in (Estimation.LANDMARKS68, Estimation.EYES, Estimation.MOUTH):
            assert "LUNA_ENGINE__LANDMARKS68=true" in (engine.needs(estimation) or "")
            with pytest.raises(FeatureOff, match="LUNA_ENGINE__LANDMARKS68=true"):
                await engine.detect(png(astronaut), Look(estimations=frozenset({estimation})))
        asked = frozenset({Estimation.HEAD_POSE, Estimation.QUALITY})
        found = await engine.detect(png(astronaut), Look(estimations=asked))
    finally:
        await engine.close()
    pose = found.faces[0].head_pose
    assert pose is not None
    assert abs(pose.yaw) < 15


async def test_bad_images_are_refused_by_every_call(engine: DefaultEngine, astronaut: Image) -> None:
    for call in (engine.detect(b"no image"), engine.inspect(b"no image"), engine.describe([b"no image"])):
        with pytest.raises(NotAnImage):
            await call
    for call in (engine.inspect(png(astronaut)), engine.describe([png(astronaut)])):
        with pytest.raises(WrongSampleSize, match="512x512"):
            await call


async def test_the_pixel_limit_is_the_setting(pack: Pack, astronaut: Image) -> None:
    engine = DefaultEngine([pack], Engine(max_pixels=512 * 512 - 1))
    await engine.start()
    try:
        with pytest.raises(ImageTooLarge, match="512x512"):
            await engine.detect(png(astronaut))
    finally:
        await engine.close()


async def test_many_calls_at_once_give_what_one_gives(engine: DefaultEngine, astronaut: Image) -> None:
    image = png(astronaut)
    alone = await engine.detect(image, Look(estimations=frozenset(SERVED)))
    together = await asyncio.gather(*(engine.detect(image, Look(estimations=frozenset(SERVED))) for _ in range(12)))
    assert all(found == alone for found in together)


async def test_an_engine_that_is_not_running_says_so(pack: Pack, astronaut: Image) -> None:
    engine = DefaultEngine([pack], Engine())
    with pytest.raises(Unavailable):
        await engine.detect(png(astronaut))
    await engine.start()
    await engine.close()
    with pytest.raises(Unavailable):
        await engine.describe([png(astronaut)])


async def test_an_engine_does_not_start_with_a_network_that_gives_something_else(tmp_path: Path) -> None:
    pack = prepare(tmp_path, DEFAULT, landmarks68=False, progress=lambda *_: None)
    refinement = pack.folder / "detector_refinement.onnx"
    (pack.folder / "detector_output.onnx").write_bytes(refinement.read_bytes())
    engine = DefaultEngine([pack], Engine())
    with pytest.raises(EngineFailure):
        await engine.start()
    await engine.close()


async def test_an_engine_does_not_start_without_the_68_point_model_that_it_was_promised(tmp_path: Path) -> None:
    pack = prepare(tmp_path, DEFAULT, landmarks68=False, progress=lambda *_: None)
    engine = DefaultEngine([pack], Engine(landmarks68=True))
    with pytest.raises(PackDamaged, match="landmarks68"):
        await engine.start()
    await engine.close()
