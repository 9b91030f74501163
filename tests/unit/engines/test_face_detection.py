"""MTCNN on real photos, and the parts of it that have a closed form."""

from __future__ import annotations

from pathlib import Path

import cv2
import dlib
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.vision import detector as detection
from engines.vision.boxes import overlap, squared, suppress
from engines.vision.decoding import Image, decode
from engines.vision.detector import Detector


@pytest.mark.parametrize(("photo", "eyes"), [("astronaut", [(204, 101), (247, 103)]), ("hopper", None)])
def test_the_face_of_a_portrait_is_found_where_dlib_finds_it(
    request: pytest.FixtureRequest, detector: Detector, photo: str, eyes: list[tuple[int, int]] | None
) -> None:
    image: Image = request.getfixturevalue(photo)
    found = detector.detect(image, 40)
    assert len(found) == 1
    assert found.scores[0] > 0.95
    theirs = dlib.get_frontal_face_detector()(image, 1)[0]
    reference = np.array([theirs.left(), theirs.top(), theirs.right(), theirs.bottom()], np.float32)
    assert overlap(found.boxes, reference)[0] > 0.5
    left_eye, right_eye, nose, left_mouth, right_mouth = found.points[0]
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
    if eyes is not None:
        assert np.abs(found.points[0, :2] - eyes).max() < 4


def test_points_agree_with_dlibs_landmarks(detector: Detector, astronaut: Image, dlib_predictor68: object) -> None:
    shape = dlib_predictor68(astronaut, dlib.get_frontal_face_detector()(astronaut, 1)[0])  # type: ignore[operator]
    points = np.array([(part.x, part.y) for part in shape.parts()])
    expected = [points[36:42].mean(axis=0), points[42:48].mean(axis=0), points[30], points[48], points[54]]
    assert np.abs(detector.detect(astronaut, 40).points[0] - expected).max() < 6


def test_every_face_of_a_group_is_found(detector: Detector, photos: Path) -> None:
    for name, count in (("bald_guys.jpg", 24), ("2008_001322.jpg", 3), ("2007_007763.jpg", 7), ("dogs.jpg", 0)):
        image = decode((photos / name).read_bytes(), max_pixels=10**7).pixels
        assert len(detector.detect(image, 40)) == count, name


@pytest.mark.parametrize("size", [(1, 1), (11, 300), (12, 12), (40, 40), (41, 97)])
@pytest.mark.parametrize("value", [0, 255])
def test_a_picture_without_a_face_has_none(detector: Detector, size: tuple[int, int], value: int) -> None:
    assert len(detector.detect(np.full((*size, 3), value, np.uint8), 40)) == 0


def test_a_face_keeps_its_place_when_the_picture_is_mirrored(detector: Detector, astronaut: Image) -> None:
    straight = detector.detect(astronaut, 40).boxes[0]
    mirrored = detector.detect(np.ascontiguousarray(astronaut[:, ::-1]), 40).boxes[0]
    width = astronaut.shape[1]
    back = np.array([[width - mirrored[2], mirrored[1], width - mirrored[0], mirrored[3]]], np.float32)
    assert overlap(back, straight)[0] > 0.85


def test_scanning_in_tiles_finds_what_scanning_at_once_finds(
    detector: Detector, astronaut: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = detector.detect(astronaut, 20)
    monkeypatch.setattr(detection, "_TILE", 64)
    tiles = detector.detect(astronaut, 20)
    assert np.abs(whole.boxes - tiles.boxes).max() < 1e-2
    assert np.abs(whole.scores - tiles.scores).max() < 1e-4


@pytest.mark.parametrize("angle", [-15, 15])
def test_a_tilted_face_is_found(detector: Detector, astronaut: Image, angle: int) -> None:
    turn = cv2.getRotationMatrix2D((225.0, 120.0), angle, 1.0)
    image = np.asarray(cv2.warpAffine(astronaut, turn, (512, 512)), np.uint8)
    points = detector.detect(image, 40).points[0]
    original = detector.detect(astronaut, 40).points[0]
    assert np.abs(points - (original @ turn[:, :2].T + turn[:, 2])).max() < 6


def slow_suppress(boxes: npt.NDArray[np.float32], scores: npt.NDArray[np.float32], threshold: float) -> list[int]:
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        a = boxes[i]
        for j in kept:
            b = boxes[j]
            common = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
            union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
            if common > threshold * union:
                break
        else:
            kept.append(int(i))
    return kept


corner = st.integers(0, 30)
box = st.tuples(corner, corner, st.integers(1, 20), st.integers(1, 20), st.integers(1, 100))


@given(st.lists(box, max_size=30))
@settings(deadline=None)
def test_suppression_equals_the_slow_loop(items: list[tuple[int, int, int, int, int]]) -> None:
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h, _ in items], np.float32).reshape(-1, 4)
    scores = np.array([s / 100 for *_, s in items], np.float32)
    assert suppress(boxes, scores, 0.5).tolist() == slow_suppress(boxes, scores, 0.5)


def test_squares_keep_the_centre_and_the_longer_side() -> None:
    assert squared(np.array([[0, 0, 10, 30], [5, 5, 9, 7]], np.float32)).tolist() == [[-10, 0, 20, 30], [5, 4, 9, 8]]
