"""Irises of eyes that are drawn, and of photos."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from engines.vision import alignment, expression, iris
from engines.vision.decoding import Image
from engines.vision.detector import Detector
from engines.vision.landmarks import LandmarkPredictor
from server.domain.vision import EyeState

FINE = 4
COLOURS = [(70, 45, 30), (90, 110, 130), (50, 35, 25), (100, 90, 60)]
Points = npt.NDArray[np.float64]


def drawn_eyes(
    apart: float, random: np.random.Generator, *, noise: float = 3, shut: bool = False
) -> tuple[Image, Points, Points, float]:
    """Two eyes that look the same way: the picture, the 68 points, the irises' centres [2, 2] and their radius.

    Drawn four times as large and reduced by area means, with blur and noise; the lids' points are off by 1.5 %.
    """
    width, height = round(3 * apart), round(2 * apart)
    middles = np.array([(width / 2 - apart / 2, height / 2), (width / 2 + apart / 2, height / 2)])
    half, opening = 0.22 * apart, random.uniform(0.3, 0.5)
    look = random.uniform((-0.07, -0.02), (0.07, 0.02)) * apart
    radius, colour = random.uniform(0.083, 0.103) * apart, COLOURS[random.integers(len(COLOURS))]
    canvas = np.full((height * FINE, width * FINE, 3), (190, 150, 130), np.uint8)
    angles = np.linspace(0, 2 * np.pi, 80)
    points = np.zeros((68, 2))

    def at(place: Points) -> Points:
        return np.asarray(np.rint((place + 0.5) * FINE * 16), np.int32)

    for index, middle in enumerate(middles):
        lid = np.column_stack([np.cos(angles), opening * np.where(np.sin(angles) < 0, 1, 0.8) * np.sin(angles)])
        mask = np.zeros(canvas.shape[:2], np.uint8)
        cv2.fillPoly(mask, [at(middle + half * lid)], 255, shift=4)
        eye = np.full_like(canvas, (225, 222, 218))
        for share, shift, paint in ((1, 0, colour), (0.4, 0, (15, 12, 10)), (0.15, 0.3, (250, 250, 250))):
            centre = at(middle + look + np.array([shift, -shift]) * radius)
            cv2.circle(eye, (int(centre[0]), int(centre[1])), round(share * radius * FINE * 16), paint, -1, shift=4)
        if not shut:
            canvas[mask > 0] = eye[mask > 0]
        lashes = middle + half * (lid[np.sin(angles) > 0] if shut else lid[np.sin(angles) < 0.1])
        cv2.polylines(canvas, [at(lashes)], False, (70, 45, 40), max(1, round(0.015 * apart * FINE)), shift=4)
        upper, lower = -opening, 0.8 * opening
        corners = [(-1, 0), (-1 / 3, upper), (1 / 3, upper), (1, 0), (1 / 3, lower), (-1 / 3, lower)]
        points[36 + 6 * index : 42 + 6 * index] = middle + half * np.array(corners)
    points[36:48] += random.normal(0, 0.015 * apart, (12, 2))
    small = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    blurred = cv2.GaussianBlur(small, (0, 0), 0.7)
    image = np.clip(blurred + random.normal(0, noise, small.shape), 0, 255).astype(np.uint8)
    return image, points, middles + look, radius


@pytest.mark.parametrize("apart", [45, 80, 140])
def test_the_irises_of_drawn_eyes_are_found_to_a_tenth_of_their_radius(apart: int) -> None:
    random = np.random.default_rng(apart)
    centres, radii = [], []
    for _ in range(25):
        image, points, truth, radius = drawn_eyes(apart, random)
        found = iris.irises(image, points)
        assert found is not None
        centres += [float(np.hypot(*(one.centre - place))) / radius for one, place in zip(found, truth, strict=True)]
        radii.append(found[0].radius / radius)
    assert np.mean(centres) < 0.12
    assert np.quantile(centres, 0.95) < 0.45
    assert np.mean(radii) == pytest.approx(1, abs=0.08)


def test_the_landmarks_are_32_points_on_the_circle() -> None:
    one = iris.Iris(np.array([10.0, 20.0]), 4.0)
    points = one.landmarks()
    assert points.shape == (32, 2)
    assert np.hypot(*(points - (10, 20)).T) == pytest.approx(np.full(32, 4.0))
    steps = np.unwrap(np.arctan2(points[:, 1] - 20, points[:, 0] - 10))
    assert np.diff(steps) == pytest.approx(np.full(31, 2 * np.pi / 32))


def test_no_iris_is_told_of_flat_skin_and_of_small_faces() -> None:
    random = np.random.default_rng(3)
    image, points, _, _ = drawn_eyes(100, random)
    assert iris.irises(np.full_like(image, 150), points) is None
    image, points, _, _ = drawn_eyes(30, random)
    assert iris.irises(image, points) is None


def test_a_closed_eye_has_no_iris_landmarks() -> None:
    image, points, _, _ = drawn_eyes(100, np.random.default_rng(5))
    found = iris.irises(image, points)
    assert len(expression.eyes(points, found).left.iris_landmarks) == 32
    points[36:42, 1] = points[36:42, 1].mean()
    eyes = expression.eyes(points, found)
    assert (eyes.left.state, eyes.left.iris_landmarks) == (EyeState.CLOSED, ())
    assert len(eyes.right.iris_landmarks) == 32


def seen(image: Image, detector: Detector, landmarks68: LandmarkPredictor) -> tuple[iris.Iris, iris.Iris]:
    points = landmarks68.predict(image, alignment.rectangles(detector.detect(image, 40).points[:1]))[0]
    found = iris.irises(image, points)
    assert found is not None
    return found


def test_the_irises_of_an_astronaut_are_where_a_person_marks_them(
    detector: Detector, landmarks68: LandmarkPredictor, astronaut: Image
) -> None:
    """Marked by hand in an enlargement: the pupils are at (203.3, 101.3) and (246.8, 103.3)."""
    left, right = seen(astronaut, detector, landmarks68)
    assert left.centre == pytest.approx((203.3, 101.3), abs=1.5)
    assert right.centre == pytest.approx((246.8, 103.3), abs=1.5)


@pytest.mark.parametrize("photo", ["astronaut", "hopper"])
def test_irises_follow_mirrors_tilts_and_scales(
    request: pytest.FixtureRequest, detector: Detector, landmarks68: LandmarkPredictor, photo: str
) -> None:
    """Landmarks are found anew each time, so that their own unsteadiness is in it."""
    image: Image = request.getfixturevalue(photo)
    height, width = image.shape[:2]
    one = seen(image, detector, landmarks68)
    apart = float(np.hypot(*(one[1].centre - one[0].centre)))
    mirrored = seen(np.ascontiguousarray(image[:, ::-1]), detector, landmarks68)
    tilt = cv2.getRotationMatrix2D((width / 2, height / 2), -15, 1.0)
    tilted = seen(np.asarray(cv2.warpAffine(image, tilt, (width, height)), np.uint8), detector, landmarks68)
    larger = np.asarray(cv2.resize(image, None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC), np.uint8)
    scaled = seen(larger, detector, landmarks68)
    for index, eye in enumerate(one):
        places = (
            mirrored[1 - index].centre * (-1, 1) + (width - 1, 0),
            np.linalg.solve(tilt[:, :2], tilted[index].centre - tilt[:, 2]),
            (scaled[index].centre + 0.5) / 1.5 - 0.5,
        )
        for place in places:
            assert float(np.hypot(*(place - eye.centre))) < 0.05 * apart
