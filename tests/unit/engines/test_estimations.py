"""Pose, quality, eyes and mouth: closed forms, symmetries, and directions that a degradation must have."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from engines.vision import alignment, expression, pose, quality
from engines.vision.decoding import Image
from engines.vision.detector import Detector
from engines.vision.landmarks import LandmarkPredictor
from server.domain.vision import EyeState, HeadPose

MIRROR5 = [1, 0, 2, 4, 3]
PHOTOS = ["astronaut", "hopper"]


def warp_of(image: Image, detector: Detector, landmarks5: LandmarkPredictor) -> Image:
    regions = alignment.rectangles(detector.detect(image, 40).points[:1])
    return alignment.warp(image, alignment.warp_transform(landmarks5.predict(image, regions)[0]))


def points68_of(image: Image, detector: Detector, landmarks68: LandmarkPredictor) -> npt.NDArray[np.float32]:
    return landmarks68.predict(image, alignment.rectangles(detector.detect(image, 40).points[:1]))[0]


angle = st.floats(-60, 60)


@given(angle, angle, st.floats(-170, 170), st.floats(5, 500))
@settings(deadline=None)
def test_the_pose_of_a_turned_model_is_recovered(yaw: float, pitch: float, roll: float, size: float) -> None:
    """Nods first, then shakes, then tilts: yaw towards the image's right, pitch upwards, roll clockwise."""
    turned = Rotation.from_euler("xyz", [pitch, yaw, roll], degrees=True).apply(pose.FIVE)
    found = pose.from_five((turned[:, :2] * size + (300, 200)).astype(np.float64))
    assert (found.yaw, found.pitch, found.roll) == pytest.approx((yaw, pitch, roll), abs=0.01)


def test_the_signs_of_the_angles_are_those_of_the_contract() -> None:
    straight = pose.FIVE[:, :2] * 100
    nose_right, nose_up = straight.copy(), straight.copy()
    nose_right[2] += (20, 0)
    nose_up[2] -= (0, 20)
    assert pose.from_five(nose_right).yaw > 10
    assert pose.from_five(nose_up).pitch > 10
    assert pose.from_five(straight @ np.array([[0.9, 0.4], [-0.4, 0.9]])).roll > 10


shift = st.floats(-0.15, 0.15)


@given(angle, angle, st.lists(st.tuples(shift, shift), min_size=5, max_size=5))
@settings(deadline=None)
def test_the_pose_of_a_mirrored_face_is_the_mirrored_pose(
    yaw: float, roll: float, shifts: list[tuple[float, float]]
) -> None:
    """Also of a face whose points are not exactly those of the model."""
    turned = Rotation.from_euler("xyz", [10, yaw, roll], degrees=True).apply(pose.FIVE)
    points = turned[:, :2] + np.array(shifts)
    one, other = pose.from_five(points), pose.from_five((points * (-1, 1))[MIRROR5])
    assert (other.yaw, other.pitch, other.roll) == pytest.approx((-one.yaw, one.pitch, -one.roll), abs=1e-6)


@pytest.mark.parametrize("photo", PHOTOS)
def test_the_pose_of_a_mirrored_photo_is_the_mirrored_pose(
    request: pytest.FixtureRequest, detector: Detector, landmarks68: LandmarkPredictor, photo: str
) -> None:
    image: Image = request.getfixturevalue(photo)
    mirrored = np.ascontiguousarray(image[:, ::-1])
    model = pose.model68(landmarks68.mean)
    one, other = (pose.from_68(points68_of(view, detector, landmarks68), model) for view in (image, mirrored))
    assert (other.yaw, other.pitch, other.roll) == pytest.approx((-one.yaw, one.pitch, -one.roll), abs=4)
    five, five_mirrored = (pose.from_five(detector.detect(view, 40).points[0]) for view in (image, mirrored))
    assert (five_mirrored.yaw, five_mirrored.pitch) == pytest.approx((-five.yaw, five.pitch), abs=8)


@pytest.mark.parametrize("tilt", [-20, 20])
def test_tilting_a_photo_changes_the_roll_and_nothing_else(
    detector: Detector, landmarks68: LandmarkPredictor, astronaut: Image, tilt: int
) -> None:
    turn = cv2.getRotationMatrix2D((225.0, 120.0), -tilt, 1.0)
    tilted = np.asarray(cv2.warpAffine(astronaut, turn, (512, 512)), np.uint8)
    model = pose.model68(landmarks68.mean)
    before, after = (pose.from_68(points68_of(v, detector, landmarks68), model) for v in (astronaut, tilted))
    assert after.roll - before.roll == pytest.approx(tilt, abs=3)
    assert (after.yaw, after.pitch) == pytest.approx((before.yaw, before.pitch), abs=6)


def test_the_mean_shape_looks_straight_ahead(landmarks68: LandmarkPredictor) -> None:
    found = pose.from_68(landmarks68.mean * 100, pose.model68(landmarks68.mean))
    assert found == HeadPose(*(pytest.approx(0, abs=1.5) for _ in range(3)))


@pytest.mark.parametrize("photo", PHOTOS)
def test_blurring_lowers_blurriness_step_by_step(
    request: pytest.FixtureRequest, detector: Detector, landmarks5: LandmarkPredictor, photo: str
) -> None:
    warp = warp_of(request.getfixturevalue(photo), detector, landmarks5)
    steps = [quality.estimate(np.asarray(cv2.GaussianBlur(warp, (0, 0), s), np.uint8)) for s in (0.1, 1.5, 2.5, 4, 7)]
    values = [step.blurriness for step in steps]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.6
    assert values[-1] < 0.15


@pytest.mark.parametrize("photo", PHOTOS)
def test_darkening_lowers_dark_and_brightening_lowers_light(
    request: pytest.FixtureRequest, detector: Detector, landmarks5: LandmarkPredictor, photo: str
) -> None:
    warp = warp_of(request.getfixturevalue(photo), detector, landmarks5).astype(np.float32)
    dark = [quality.estimate((warp * gain).astype(np.uint8)).dark for gain in (1, 0.5, 0.3, 0.2, 0.1)]
    bright = [quality.estimate(np.clip(warp * gain, 0, 255).astype(np.uint8)) for gain in (0.5, 1.3, 1.8, 2.5, 4)]
    light = [step.light for step in bright]
    specularity = [step.specularity for step in bright]
    for values in (dark, light, specularity):
        assert values == sorted(values, reverse=True)
        assert values[0] > 0.9
        assert values[-1] < 0.1


def test_light_from_one_side_lowers_illumination_alike_for_both_sides(
    detector: Detector, landmarks5: LandmarkPredictor, astronaut: Image
) -> None:
    warp = warp_of(astronaut, detector, landmarks5).astype(np.float32)
    warp = (warp + warp[:, ::-1]) / 2
    values = []
    for steepness in (0, 1, 2, 4):
        ramp = np.linspace(1, 0.1, 250, dtype=np.float32)[None, :, None] ** steepness
        one = quality.estimate((warp * ramp).astype(np.uint8)).illumination
        other = quality.estimate((warp * ramp[:, ::-1]).astype(np.uint8)).illumination
        assert one == pytest.approx(other, abs=0.02)
        values.append(one)
    assert values == sorted(values, reverse=True)
    assert values[0] == 1
    assert values[-1] < 0.5


@given(st.integers(0, 255), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_every_quality_is_between_zero_and_one(level: int, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (250, 250, 3), np.uint8)
    for picture in (np.full((250, 250, 3), level, np.uint8), noise):
        found = quality.estimate(picture)
        for value in (found.blurriness, found.dark, found.illumination, found.specularity, found.light):
            assert 0 <= value <= 1
        assert 0 <= quality.score(found, 1.0, level) <= 1


def test_open_eyes_are_open_and_shut_lids_are_closed(
    detector: Detector, landmarks68: LandmarkPredictor, astronaut: Image
) -> None:
    points = points68_of(astronaut, detector, landmarks68)
    found = expression.eyes(points, None)
    assert found.left.state is found.right.state is EyeState.OPEN
    assert len(found.left.eyelid_landmarks) == 6
    shut = points.copy()
    for upper, lower in ((37, 41), (38, 40)):
        shut[upper] = shut[lower] = (points[upper] + points[lower]) / 2
    found = expression.eyes(shut, None)
    assert (found.left.state, found.right.state) == (EyeState.CLOSED, EyeState.OPEN)


def test_a_mouth_opens_and_smiles_by_degrees(landmarks68: LandmarkPredictor) -> None:
    mean = landmarks68.mean.astype(np.float64) * 100
    opened, smiles = [], []
    for step in range(5):
        gaping, smiling = mean.copy(), mean.copy()
        gaping[[65, 66, 67]] += (0, 3 * step)
        smiling[[48, 54]] -= (0, 2 * step)
        opened.append(expression.mouth(gaping, 0.9, 0).opened)
        smiles.append(expression.mouth(smiling, 0.9, 0).smile)
    assert opened == sorted(opened)
    assert smiles == sorted(smiles)
    assert opened[0] < 0.3 < opened[-1]
    assert smiles[0] < 0.4 < smiles[-1]
    tilted = mean @ np.array([[0.0, 1.0], [-1.0, 0.0]])
    assert expression.mouth(tilted, 0.9, 0).smile == pytest.approx(expression.mouth(mean, 0.9, 0).smile, abs=1e-6)


def seen_by_a_camera(model: pose.Model, angles: npt.NDArray[np.float64], distance: float) -> npt.NDArray[np.float64]:
    """The model's points as OpenCV's pinhole camera sees them, whose z axis points away from it."""
    yaw, pitch, roll = angles
    turned = Rotation.from_euler("xyz", [pitch, yaw, roll], degrees=True).apply(model - model.mean(axis=0))
    camera = np.array([(1000.0, 0, 320), (0, 1000, 240), (0, 0, 1)])
    place = np.array([0.0, 0.0, distance])
    points, _ = cv2.projectPoints(turned * (1, 1, -1), np.zeros(3), place, camera, None)
    return np.asarray(points[:, 0], np.float64)


@pytest.mark.parametrize("count", [5, 68])
@pytest.mark.parametrize(
    ("distance", "noise", "shape", "mean", "most"),
    [(1e6, 0, 0, 0.02, 0.02), (16, 0, 0, 1.1, 2.5), (8, 0, 0, 2.1, 4.8), (16, 0.03, 0.08, 4.0, 18)],
)
def test_perspective_noise_and_other_faces_cost_few_degrees(
    landmarks68: LandmarkPredictor, count: int, distance: float, noise: float, shape: float, mean: float, most: float
) -> None:
    """Up to 60 degrees of yaw and 40 of pitch and roll; with noise up to 30 and 20, as in frontal photos."""
    rigid = pose.model68(landmarks68.mean)
    random = np.random.default_rng(7)
    errors = []
    for _ in range(200):
        angles = random.uniform(-1, 1, 3) * ((30, 20, 20) if noise else (60, 40, 40))
        model = (pose.FIVE if count == 5 else rigid) * (1 + random.normal(0, shape, 3))
        points = seen_by_a_camera(model, angles, distance)
        points += random.normal(0, noise * 1000 / distance, points.shape)
        if count == 5:
            found = pose.from_five(points)
        else:
            spread = np.zeros((68, 2))
            spread[pose.RIGID] = points
            found = pose.from_68(spread, rigid)
        errors.append(np.abs(np.array([found.yaw, found.pitch, found.roll]) - angles))
    assert np.mean(errors, axis=0).max() < mean
    assert np.max(errors) < most


@pytest.mark.parametrize("name", ["obama.jpg", "obama2.jpg", "biden.jpg", "2008_001322.jpg", "bald_guys.jpg"])
def test_the_poses_of_mirrored_and_tilted_photos_follow(
    photos: Path, detector: Detector, landmarks68: LandmarkPredictor, name: str
) -> None:
    """Of the best face, where it is found again; as the median over the photo's faces, with few exceptions allowed."""
    image = np.asarray(cv2.imread(str(photos / name), cv2.IMREAD_COLOR_RGB), np.uint8)
    height, width = image.shape[:2]
    model = pose.model68(landmarks68.mean)
    found = detector.detect(image, 80)
    mirrored = np.ascontiguousarray(image[:, ::-1])
    tilt = cv2.getRotationMatrix2D((width / 2, height / 2), -15, 1.0)
    tilted = np.asarray(cv2.warpAffine(image, tilt, (width, height)), np.uint8)
    mirror_errors, roll_errors = [], []
    for points in found.points:
        one = pose.from_68(landmarks68.predict(image, alignment.rectangles(points[None]))[0], model)
        reflected = ((width - 1 - points[:, 0]), points[:, 1])
        region = alignment.rectangles(np.stack(reflected, axis=1)[MIRROR5][None])
        other = pose.from_68(landmarks68.predict(mirrored, region)[0], model)
        mirror_errors.append(max(abs(one.yaw + other.yaw), abs(one.pitch - other.pitch), abs(one.roll + other.roll)))
        region = alignment.rectangles((points @ tilt[:, :2].T + tilt[:, 2]).astype(np.float32)[None])
        turned = pose.from_68(landmarks68.predict(tilted, region)[0], model)
        roll_errors.append(abs(turned.roll - one.roll - 15))
    assert np.median(mirror_errors) < 4
    assert np.median(roll_errors) < 2


@given(st.floats(0.02, 0.6), st.floats(5, 80), st.floats(-3, 3))
@settings(deadline=None)
def test_an_eye_is_closed_below_the_aspect_ratio_of_the_ellipse_that_it_is(
    ratio: float, width: float, tilt: float
) -> None:
    """Lids on an ellipse whose points lie at a third of its width: their height is a known part of the ellipse's."""
    corner, at = width / 2, width / 6
    height = ratio * width / 2
    lid = np.array([(-corner, 0), (-at, -height), (at, -height), (corner, 0), (at, height), (-at, height)])
    turn = np.array([(np.cos(tilt), np.sin(tilt)), (-np.sin(tilt), np.cos(tilt))])
    points = np.zeros((68, 2))
    points[36:42], points[42:48] = lid @ turn + (100, 100), lid * (1, 3) @ turn + (200, 100)
    found = expression.eyes(points, None)
    if abs(ratio - 0.15) > 1e-6:
        assert (found.left.state is EyeState.CLOSED) == (ratio < 0.15)
    if abs(3 * ratio - 0.15) > 1e-6:
        assert (found.right.state is EyeState.CLOSED) == (3 * ratio < 0.15)


@pytest.mark.parametrize("photo", PHOTOS)
def test_mirroring_a_photo_swaps_the_eyes_and_keeps_the_mouth(
    request: pytest.FixtureRequest, detector: Detector, landmarks68: LandmarkPredictor, photo: str
) -> None:
    image: Image = request.getfixturevalue(photo)
    views = image, np.ascontiguousarray(image[:, ::-1])
    one, other = (points68_of(view, detector, landmarks68) for view in views)
    apart = float(np.hypot(*(one[45] - one[36])))
    eyes, mirrored = expression.eyes(one, None), expression.eyes(other, None)
    for eye, image_of_it in ((eyes.left, mirrored.right), (eyes.right, mirrored.left)):
        assert eye.state is image_of_it.state
        reflected = np.array(image_of_it.eyelid_landmarks) * (-1, 1) + (image.shape[1] - 1, 0)
        assert np.abs(reflected.mean(axis=0) - np.mean(eye.eyelid_landmarks, axis=0)).max() < 0.05 * apart
    model = pose.model68(landmarks68.mean)
    mouths = [expression.mouth(points, 0.9, pose.from_68(points, model).pitch) for points in (one, other)]
    assert mouths[0].opened == pytest.approx(mouths[1].opened, abs=0.2)
    assert mouths[0].smile == pytest.approx(mouths[1].smile, abs=0.2)


@pytest.mark.parametrize("pitch", [-25, -10, 10, 25])
def test_a_nod_is_no_smile(landmarks68: LandmarkPredictor, pitch: int) -> None:
    """The mouth of the mean shape on a round jaw: the middle of the lips lies before their corners."""
    mean = landmarks68.mean.astype(np.float64)
    unit = float(np.hypot(*(mean[42:48].mean(axis=0) - mean[36:42].mean(axis=0))))
    shape = np.column_stack([mean / unit, np.zeros(68)])
    width = shape[54, 0] - shape[48, 0]
    middle = shape[[48, 54], 0].mean()
    shape[48:, 2] = 0.32 * width * (1 - np.square((shape[48:, 0] - middle) / (width / 2)))
    nodded = Rotation.from_euler("x", pitch, degrees=True).apply(shape)[:, :2]
    straight = expression.mouth(shape[:, :2], 0.9, 0).smile
    assert expression.mouth(nodded, 0.9, pitch).smile == pytest.approx(straight, abs=0.08)
    assert abs(expression.mouth(nodded, 0.9, 0).smile - straight) > 0.2
