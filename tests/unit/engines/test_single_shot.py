"""Detectors that see squares: YuNet beside OpenCV's own, SCRFD beside a slow loop, and pictures of any size."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from graphs import cells, loaded
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.packs.manifest import Pixels
from engines.runtime.onnx_runtime import OnnxRuntime
from engines.runtime.runtime import RuntimeFailure
from engines.vision import alignment
from engines.vision.boxes import overlap, squared
from engines.vision.decoding import Image
from engines.vision.networks import scrfd, yunet
from engines.vision.networks.pixels import Images
from engines.vision.networks.single_shot import Seen, SingleShotDetector

YUNET = "face_detection_yunet_2023mar.onnx"
SIDE = 640


@pytest.fixture(scope="module")
def yunet_detector(shared_models: Path, runtime: OnnxRuntime) -> SingleShotDetector:
    head = yunet.YuNet(runtime.load(shared_models / YUNET))
    return SingleShotDetector(head, score=yunet.SCORE, overlap=yunet.OVERLAP)


def photo(photos: Path, name: str) -> Image:
    return np.ascontiguousarray(cv2.imread(str(photos / name), cv2.IMREAD_COLOR_RGB), np.uint8)


@pytest.mark.parametrize("name", ["2007_007763.jpg", "2008_001322.jpg", "2009_004587.jpg"])
def test_yunet_finds_what_opencv_finds_with_it(
    yunet_detector: SingleShotDetector, shared_models: Path, photos: Path, name: str
) -> None:
    image = photo(photos, name)
    padded = np.zeros((SIDE, SIDE, 3), np.uint8)
    padded[: image.shape[0], : image.shape[1]] = image[..., ::-1]
    reference = cv2.FaceDetectorYN.create(str(shared_models / YUNET), "", (SIDE, SIDE), yunet.SCORE, yunet.OVERLAP)
    expected = reference.detect(padded)[1]
    found = yunet_detector.detect(image, 20)
    assert len(found) == len(expected) > 1
    order = np.argsort(-expected[:, 14])
    np.testing.assert_allclose(found.scores, expected[order, 14], atol=2e-3)
    corners = np.hstack([expected[order, :2], expected[order, :2] + expected[order, 2:4]])
    np.testing.assert_allclose(found.boxes, corners, atol=0.5)
    np.testing.assert_allclose(found.points.reshape(-1, 10), expected[order, 4:14], atol=0.5)


def test_yunet_finds_every_face_of_the_photos(yunet_detector: SingleShotDetector, photos: Path) -> None:
    """The numbers were counted by eye; faces in blurred backgrounds do not count."""
    faces = {
        "2007_007763.jpg": 7,
        "2008_001322.jpg": 3,
        "2009_004587.jpg": 2,
        "bald_guys.jpg": 24,
        "biden.jpg": 1,
        "obama.jpg": 1,
        "obama2.jpg": 1,
    }
    assert {name: len(yunet_detector.detect(photo(photos, name), 40)) for name in faces} == faces


def test_small_faces_in_a_large_picture_are_found_once_wherever_they_are(
    yunet_detector: SingleShotDetector, photos: Path
) -> None:
    """Twenty faces of some 45 pixels on 3000x2200, more than any one square shows in full size."""
    face = photo(photos, "2008_001322.jpg")[130:260, 80:200]
    small = cv2.resize(face, (72, 78), interpolation=cv2.INTER_AREA)
    picture = np.full((2200, 3000, 3), 128, np.uint8)
    rng = np.random.default_rng(5)
    places = [
        (x + int(rng.integers(0, 300)), y + int(rng.integers(0, 300)))
        for x in range(50, 2500, 550)
        for y in range(50, 1800, 480)
    ]
    for x, y in places:
        picture[y : y + 78, x : x + 72] = small
    found = yunet_detector.detect(picture, 40)
    assert len(found) == len(places)
    centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    for x, y in places:
        assert np.abs(centres - (x + 36, y + 36)).max(axis=1).min() < 12


def test_a_face_that_fills_the_picture_is_found(yunet_detector: SingleShotDetector, photos: Path) -> None:
    portrait = photo(photos, "obama.jpg")[60:460, 330:650]
    large = cv2.resize(portrait, (1600, 2000), interpolation=cv2.INTER_CUBIC)
    assert len(yunet_detector.detect(np.asarray(large, np.uint8), 40)) == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (2000, 3), (13, 13)])
def test_pictures_of_any_shape_can_be_looked_at(yunet_detector: SingleShotDetector, shape: tuple[int, int]) -> None:
    assert len(yunet_detector.detect(np.zeros((*shape, 3), np.uint8), 20)) == 0


def test_given_boxes_are_examined_in_their_order(yunet_detector: SingleShotDetector, photos: Path) -> None:
    image = photo(photos, "bald_guys.jpg")
    found = yunet_detector.detect(image, 60)
    found = found.only(found.scores > 0.85)
    assert len(found) > 16
    order = np.random.default_rng(1).permutation(len(found))
    seen = yunet_detector.examine(image, squared(found.boxes[order]))
    size = (found.boxes[order, 2:] - found.boxes[order, :2]).max(axis=1)
    assert (np.abs(seen.points - found.points[order]).max(axis=(1, 2)) < 0.12 * size).all()
    assert (seen.scores > 0.7).all()
    for box, expected in zip(seen.boxes, found.boxes[order], strict=True):
        assert overlap(box[None], expected)[0] > 0.7


def test_an_empty_box_has_a_low_score_and_a_box_outside_the_picture_can_be_examined(
    yunet_detector: SingleShotDetector,
) -> None:
    grey = np.full((250, 250, 3), 128, np.uint8)
    seen = yunet_detector.examine(grey, np.array([[0, 0, 100, 100], [-500, -500, -400, -400]], np.float32))
    assert seen.boxes.shape == (2, 4)
    assert (seen.scores < 0.3).all()
    assert len(yunet_detector.examine(grey, np.empty((0, 4), np.float32))) == 0


def test_yunets_points_are_where_the_alignment_expects_them(
    yunet_detector: SingleShotDetector, photos: Path, landmarks5: object
) -> None:
    """The rectangles of dlib's landmark model, the fixed crop and the misalignment all rest on MTCNN's points."""
    image = photo(photos, "obama.jpg")
    region = alignment.rectangles(yunet_detector.detect(image, 40).points[:1])
    points = landmarks5.predict(image, region)[0]  # type: ignore[attr-defined]
    warp = alignment.warp(image, alignment.warp_transform(points))
    seen = yunet_detector.examine(warp, squared(alignment.CANONICAL_BOX))
    assert seen.scores[0] > 0.8
    assert alignment.misalignment(seen.points[0]) < 8


def test_another_network_is_no_yunet(shared_models: Path, runtime: OnnxRuntime) -> None:
    with pytest.raises(RuntimeFailure, match="outputs of YuNet"):
        yunet.YuNet(runtime.load(shared_models / "fastestdet.onnx"))


class Blobs:
    """A perfect network: it sees every white rectangle of a square, one anchor for each, and nothing else."""

    side = 160

    def see(self, squares: Images) -> Seen:
        rows = [self._one(square) for square in squares]
        most = max(1, *(len(row) for row in rows))
        boxes = np.zeros((len(squares), most, 4), np.float32)
        scores = np.zeros((len(squares), most), np.float32)
        for place, row in enumerate(rows):
            boxes[place, : len(row)] = row
            scores[place, : len(row)] = 0.9
        centres = (boxes[..., :2] + boxes[..., 2:]) / 2
        return Seen(boxes, scores, np.repeat(centres[:, :, None], 5, axis=2))

    def _one(self, square: Image) -> npt.NDArray[np.float32]:
        count, _, stats, _ = cv2.connectedComponentsWithStats((square[..., 0] > 127).astype(np.uint8))
        x, y, w, h = stats[1:count, :4].T if count > 1 else np.empty((4, 0))
        return np.stack([x, y, x + w, y + h], axis=1).astype(np.float32).reshape(-1, 4)


@given(
    st.integers(30, 900),
    st.integers(30, 900),
    st.integers(20, 60),
    st.lists(st.integers(0, 10**6), min_size=8, max_size=8),
)
@settings(deadline=None, max_examples=60)
def test_what_a_perfect_network_sees_is_told_once_and_in_place(
    height: int, width: int, min_face: int, seeds: list[int]
) -> None:
    """Rectangles on a grid so wide that they never touch, in random sizes from the wanted one up."""
    picture = np.zeros((height, width, 3), np.uint8)
    expected = []
    step = 3 * min_face
    for number, (top, left) in enumerate((y, x) for y in range(0, height, step) for x in range(0, width, step)):
        rng = np.random.default_rng(seeds[number % len(seeds)] + number)
        size = int(rng.integers(min_face, 2 * min_face))
        y, x = top + int(rng.integers(0, step - size - 8)), left + int(rng.integers(0, step - size - 8))
        if y + size > height or x + size > width:
            continue
        picture[y : y + size, x : x + size] = 255
        expected.append((x, y, x + size, y + size))
    found = SingleShotDetector(Blobs(), score=0.5, overlap=0.3).detect(picture, min_face)
    assert len(found) == len(expected)
    tolerance = max(3.0, 3 * math.ceil(min_face / 20), 2.5 * max(height, width) / Blobs.side)
    for box in expected:
        distances = np.abs(found.boxes - box).max(axis=1)
        assert distances.min() <= tolerance


def test_scrfd_is_read_as_a_slow_loop_reads_it(tmp_path: Path) -> None:
    outputs = {}
    for kind, numbers in (("score", 1), ("box", 4), ("five", 10)):
        outputs |= {f"{kind}{stride}": (stride, 2 * numbers) for stride in (8, 16, 32)}
    side = 64
    path = tmp_path / "scrfd.onnx"
    anchors_first(path, side, outputs)
    session = loaded(path)
    image = np.random.default_rng(3).integers(0, 256, (1, side, side, 3), np.uint8)
    seen = scrfd.Scrfd(session).see(image)
    raw = session.run({"image": ((image.transpose(0, 3, 1, 2).astype(np.float32)) - 127.5) / 128})
    place = 0
    for stride in (8, 16, 32):
        for row in range(side // stride):
            for column in range(side // stride):
                for anchor in range(2):
                    index = 2 * (row * (side // stride) + column) + anchor
                    left, top, right, bottom = raw[f"box{stride}"][index] * stride
                    x, y = column * stride, row * stride
                    np.testing.assert_allclose(
                        seen.boxes[0, place], (x - left, y - top, x + right, y + bottom), rtol=1e-4, atol=1e-3
                    )
                    five = raw[f"five{stride}"][index].reshape(5, 2) * stride + (x, y)
                    np.testing.assert_allclose(seen.points[0, place], five, rtol=1e-4, atol=1e-3)
                    assert seen.scores[0, place] == pytest.approx(np.clip(raw[f"score{stride}"][index, 0], 0, 1))
                    place += 1
    assert place == seen.scores.shape[1]


def anchors_first(path: Path, side: int, outputs: dict[str, tuple[int, int]]) -> None:
    """As `cells`, with two anchors in each cell, one row for each."""
    cells(path, side, outputs, shaped=False, seed=2)
    model = onnx.load(path)
    shapes = {node.output[0]: node.input[1] for node in model.graph.node if node.op_type == "Reshape"}
    for constant in model.graph.initializer:
        for name, shape in shapes.items():
            if constant.name == shape:
                numbers = outputs[name][1] // 2
                constant.CopyFrom(onnx.numpy_helper.from_array(np.array([-1, numbers], np.int64), constant.name))
    for value in model.graph.output:
        rows, numbers = value.type.tensor_type.shape.dim
        rows.dim_value, numbers.dim_value = 2 * rows.dim_value, numbers.dim_value // 2
    onnx.save(model, path)


def test_a_network_with_other_outputs_is_no_scrfd(tmp_path: Path) -> None:
    path = cells(tmp_path / "few.onnx", 64, {"score8": (8, 2)}, shaped=False)
    with pytest.raises(RuntimeFailure, match="nine outputs"):
        scrfd.Scrfd(loaded(path), Pixels())
