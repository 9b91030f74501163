"""The demo's portraits, what is done to them, and when a trial holds."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from luna.v6 import images_pb2

from server.commands import demo_pictures as pictures
from server.commands.demo import THRESHOLD, Trial
from server.commands.demo_pictures import Box, Cell, Portrait

FACE = Box(60, 40, 60, 60)


@pytest.fixture
def picture() -> pictures.Picture:
    noise = np.random.default_rng(1).integers(0, 256, (30, 40, 3), np.uint8)
    return np.asarray(cv2.resize(noise, (200, 150), interpolation=cv2.INTER_CUBIC), np.uint8)


def test_both_portraits_come_from_their_packages() -> None:
    pytest.importorskip("skimage")
    pytest.importorskip("matplotlib")

    collins, hopper = pictures.portraits()

    assert collins.picture.shape == (512, 512, 3)
    assert hopper.picture.shape == (600, 512, 3)
    assert collins.slug == "eileen-collins"
    # the suit is orange, so red is strong and blue is weak where it is: the channels are in OpenCV's order
    blue, _, red = collins.picture[400, 130].astype(int)
    assert red > blue + 60


def test_variants_differ_from_the_picture_as_their_names_say(picture: pictures.Picture) -> None:
    found = {name: pictures.decoded(encoded) for name, encoded in pictures.variants(picture, FACE).items()}

    assert np.array_equal(found["mirrored"], picture[:, ::-1])
    assert found["cropped"].shape == (100, 100, 3)
    assert np.array_equal(found["cropped"], picture[20:120, 40:140])
    assert found["darker"].mean() == pytest.approx(0.4 * picture.mean(), abs=1)
    assert found["brighter"].mean() > 1.2 * picture.mean()
    assert found["half size"].shape == (75, 100, 3)
    assert 0 < np.abs(found["JPEG at 30"].astype(int) - picture).mean() < 20


def test_a_crop_ends_where_the_picture_ends(picture: pictures.Picture) -> None:
    assert pictures.cropped(picture, Box(-10, 100, 90, 90)).shape == (80, 110, 3)


@pytest.mark.parametrize(
    ("best", "same", "other", "holds"),
    [
        ("Ann", 0.9, 0.2, True),
        ("Ann", THRESHOLD, 0.2, True),
        ("Ann", 0.72, 0.2, False),
        ("Ann", 0.9, THRESHOLD, False),
        ("Bo", 0.9, 0.2, False),
        ("nobody", 0.0, 0.0, False),
    ],
)
def test_a_trial_holds_where_the_right_person_alone_passes(best: str, same: float, other: float, holds: bool) -> None:
    assert Trial("mirrored", "Ann", b"", best, same, other).holds is holds


def test_a_card_and_a_sheet_can_be_drawn_of_any_size(picture: pictures.Picture) -> None:
    portrait = Portrait("Ann", "public domain", picture)
    detection = images_pb2.FaceDetection(
        rect=images_pb2.Rect(x=-5, y=-5, width=300, height=300), landmarks5=[images_pb2.Point(x=10, y=10)]
    )

    card = pictures.card(portrait, detection, pictures.jpeg(picture, 90))
    cells = [Cell("darker", picture, 1.0, 0.0, holds=True), Cell("small", picture[:9, :5], 0.0, 1.0, holds=False)]
    sheet = pictures.contact_sheet([(portrait, cells), (portrait, cells[:1])], THRESHOLD)

    assert card.dtype == sheet.dtype == np.uint8
    assert card.shape[0] > 600
    assert sheet.shape[1] > 3 * 200
    assert np.array_equal(pictures.decoded(pictures.png(sheet)), sheet)
