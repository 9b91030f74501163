"""Pictures that lie on their side or stand on their head."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import pytest_asyncio

from engines.engine import DefaultEngine
from engines.packs.pack import Pack
from engines.vision.decoding import Image
from server.domain.engine import Look
from server.domain.vision import Estimation, Rect
from server.settings import Engine
from tests.pictures import png

POSE = Look(estimations=frozenset({Estimation.HEAD_POSE}))


@pytest_asyncio.fixture(scope="module")
async def turning(pack: Pack) -> AsyncIterator[DefaultEngine]:
    engine = DefaultEngine([pack], Engine(auto_rotation=True))
    await engine.start()
    yield engine
    await engine.close()


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
@pytest.mark.parametrize("photo", ["astronaut", "hopper"])
async def test_a_turned_portrait_is_seen_as_if_it_stood_upright(
    request: pytest.FixtureRequest, turning: DefaultEngine, engine: DefaultEngine, photo: str, quarters: int
) -> None:
    """Pixels are lossless, so the whole result is the same, in the coordinates of the upright picture."""
    image: Image = request.getfixturevalue(photo)
    expected = await engine.detect(png(image))
    assert len(expected.faces) >= 1
    turned = png(np.ascontiguousarray(np.rot90(image, quarters)))
    assert await turning.detect(turned) == expected


@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("name", ["obama.jpg", "biden.jpg", "2008_001322.jpg"])
async def test_turned_photos_of_one_and_of_several_come_upright(
    turning: DefaultEngine, photos: Path, name: str, quarters: int
) -> None:
    image = np.asarray(cv2.imread(str(photos / name), cv2.IMREAD_COLOR_RGB), np.uint8)
    found = await turning.detect(png(np.ascontiguousarray(np.rot90(image, quarters))), POSE)
    assert (found.height, found.width) == image.shape[:2]
    expected = await turning.detect(png(image), POSE)
    assert [face.rect for face in found.faces] == [face.rect for face in expected.faces]
    for face in found.faces:
        assert face.head_pose is not None
        assert abs(face.head_pose.roll) < 45


async def test_without_the_setting_a_picture_stays_as_it_is(engine: DefaultEngine, astronaut: Image) -> None:
    wide = np.ascontiguousarray(np.rot90(astronaut[:, 100:400]))
    found = await engine.detect(png(wide))
    assert (found.width, found.height) == (512, 300)


async def test_a_picture_with_a_box_or_without_faces_stays_as_it_is(turning: DefaultEngine, astronaut: Image) -> None:
    wide = np.ascontiguousarray(np.rot90(astronaut[:, 100:400]))
    boxed = await turning.detect(png(wide), Look(face_box=Rect(60, 120, 150, 150)))
    assert (boxed.width, boxed.height) == (512, 300)
    blank = await turning.detect(png(np.full((200, 300, 3), 90, np.uint8)))
    assert (blank.width, blank.height, blank.faces) == (300, 200, ())


async def test_a_tilted_head_is_not_turned(turning: DefaultEngine, engine: DefaultEngine, astronaut: Image) -> None:
    turn = cv2.getRotationMatrix2D((225.0, 120.0), 30, 1.0)
    tilted = png(np.asarray(cv2.warpAffine(astronaut, turn, (512, 512)), np.uint8))
    assert await turning.detect(tilted) == await engine.detect(tilted)
