"""Landmarks, warps and chips against dlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import dlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import SimilarityTransform

from engines.packs import pack as packs
from engines.packs.errors import PackDamaged
from engines.packs.pack import Pack
from engines.runtime.onnx_runtime import OnnxRuntime
from engines.vision import alignment
from engines.vision.decoding import Image
from engines.vision.descriptor import DescriptorNetwork
from engines.vision.detector import Detector
from engines.vision.landmarks import LandmarkPredictor

RECTANGLES = [
    (175, 76, 265, 166),
    (170, 70, 290, 200),
    (200, 100, 240, 140),
    (-30, -20, 120, 130),
    (450, 420, 560, 530),
]


@pytest.mark.parametrize("rectangle", RECTANGLES)
@pytest.mark.parametrize("count", [5, 68])
def test_landmarks_are_dlibs(
    request: pytest.FixtureRequest, astronaut: Image, count: int, rectangle: tuple[int, int, int, int]
) -> None:
    """Also where the rectangle reaches over the edge, or lies where no face is."""
    predictor = request.getfixturevalue(f"dlib_predictor{count}")
    mine: LandmarkPredictor = request.getfixturevalue(f"landmarks{count}")
    expected = [(part.x, part.y) for part in predictor(astronaut, dlib.rectangle(*rectangle)).parts()]
    found = mine.predict(astronaut, np.array([rectangle], np.float32))[0]
    assert found.shape == (count, 2)
    assert np.abs(found - expected).max() < 1


def test_several_faces_get_the_landmarks_that_each_would_get_alone(
    landmarks5: LandmarkPredictor, astronaut: Image
) -> None:
    rectangles = np.array(RECTANGLES, np.float32)
    together = landmarks5.predict(astronaut, rectangles)
    alone = [landmarks5.predict(astronaut, rectangles[i : i + 1])[0] for i in range(len(rectangles))]
    assert np.array_equal(together, np.stack(alone))
    assert landmarks5.predict(astronaut, rectangles[:0]).shape == (0, 5, 2)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_trees_of_any_depth_lead_to_the_leaf_that_they_are_walked_to(
    tmp_path: Path, astronaut: Image, depth: int
) -> None:
    rng = np.random.default_rng(depth)
    trees, features, points, splits = 7, 40, 3, 2**depth - 1
    arrays: dict[str, Any] = {
        "mean": rng.uniform(0, 1, (points, 2)).astype(np.float32),
        "first": rng.integers(features, size=(1, trees, splits)).astype(np.int16),
        "second": rng.integers(features, size=(1, trees, splits)).astype(np.int16),
        "threshold": rng.uniform(-40, 40, (1, trees, splits)).astype(np.float32),
        "leaf": rng.normal(0, 0.1, (1, trees, splits + 1, points, 2)).astype(np.float32),
        "anchor": rng.integers(points, size=(1, features)).astype(np.int16),
        "delta": rng.uniform(-0.5, 0.5, (1, features, 2)).astype(np.float32),
    }
    model = tmp_path / "trees.npz"
    np.savez(model, **arrays)
    x1, y1, x2, y2 = 170, 70, 290, 200
    # the only cascade begins at the mean shape, which is not turned
    frame = arrays["mean"][arrays["anchor"][0]] + arrays["delta"][0]
    at = np.floor(frame * (x2 - x1, y2 - y1) + (x1, y1) + 0.5).astype(int)
    grey = [int(astronaut[y, x].astype(int).sum()) // 3 for x, y in at]
    shape = arrays["mean"].astype(np.float64)
    for tree in range(trees):
        node = 0
        while node < splits:
            first, second = (grey[arrays[name][0, tree, node]] for name in ("first", "second"))
            node = 2 * node + (1 if first - second > arrays["threshold"][0, tree, node] else 2)
        shape += arrays["leaf"][0, tree, node - splits]
    found = LandmarkPredictor(model).predict(astronaut, np.array([(x1, y1, x2, y2)], np.float32))[0]
    assert np.abs(found - (shape * (x2 - x1, y2 - y1) + (x1, y1))).max() < 1e-3


@pytest.mark.parametrize(
    ("name", "value"),
    [("first", 800), ("second", -1), ("anchor", 5), ("leaf", None), ("delta", None), ("threshold", None)],
)
def test_trees_that_would_read_beyond_their_arrays_are_refused(
    pack: Pack, tmp_path: Path, name: str, value: int | None
) -> None:
    with np.load(pack.path(packs.LANDMARKS5)) as file:
        arrays = dict(file)
    if value is None:
        arrays[name] = arrays[name][:, 1:]
    else:
        arrays[name].reshape(-1)[-1] = value
    path = tmp_path / "damaged.npz"
    np.savez(path, **arrays)
    with pytest.raises(PackDamaged, match=r"damaged\.npz"):
        LandmarkPredictor(path)


@pytest.mark.parametrize("photo", ["astronaut", "hopper"])
def test_the_rectangle_from_mtcnns_points_leads_to_the_landmarks_of_dlibs_own(
    request: pytest.FixtureRequest, photo: str, detector: Detector, landmarks5: LandmarkPredictor
) -> None:
    image: Image = request.getfixturevalue(photo)
    theirs = dlib.get_frontal_face_detector()(image, 1)[0]
    box = np.array([[theirs.left(), theirs.top(), theirs.right(), theirs.bottom()]], np.float32)
    expected = landmarks5.predict(image, box)[0]
    found = landmarks5.predict(image, alignment.rectangles(detector.detect(image, 40).points[:1]))[0]
    eyes = np.hypot(*(expected[0] - expected[2]))
    assert np.hypot(*(found - expected).T).mean() < 0.03 * eyes


points = st.lists(
    st.tuples(st.floats(-1000, 1000, width=32), st.floats(-1000, 1000, width=32)), min_size=5, max_size=5
).filter(lambda p: np.ptp(np.array(p), axis=0).max() > 1)


@given(points, points)
@settings(deadline=None)
def test_the_similarity_transform_has_no_better_rival(
    source: list[tuple[float, float]], target: list[tuple[float, float]]
) -> None:
    a, b = np.array(source), np.array(target)
    matrix = alignment.similarity(a, b)

    def error(m: Any) -> float:
        return float(np.square(a @ m[:, :2].T + m[:, 2] - b).sum())

    reference = SimilarityTransform.from_estimate(a, b)
    if reference:
        assert error(matrix) <= error(reference.params[:2]) * (1 + 1e-6) + 1e-6
    assert matrix[0, 0] == matrix[1, 1]
    assert matrix[0, 1] == -matrix[1, 0]


def test_the_chip_is_the_mean_of_areas_to_the_last_bit(astronaut: Image) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (250, 250, 3), np.uint8)
    for warp in (noise, noise // 64 * 64, astronaut[:250, 100:350]):
        expected = cv2.resize(warp[25:-25, 25:-25], (150, 150), interpolation=cv2.INTER_AREA)
        assert np.array_equal(alignment.chip(np.ascontiguousarray(warp)), expected)


def test_the_chip_of_a_warp_is_dlibs_chip(
    detector: Detector, landmarks5: LandmarkPredictor, astronaut: Image, dlib_predictor5: Any
) -> None:
    """Up to the interpolation: dlib's chip is made in one step, ours by way of the warp."""
    theirs = dlib.get_frontal_face_detector()(astronaut, 1)[0]
    face = dlib_predictor5(astronaut, theirs)
    expected = dlib.get_face_chip(astronaut, face, size=150)
    landmarks = np.array([(part.x, part.y) for part in face.parts()], np.float32)
    found = alignment.chip(alignment.warp(astronaut, alignment.warp_transform(landmarks)))
    inner = slice(5, -5), slice(5, -5)
    assert np.abs(found[inner].astype(int) - np.array(expected)[inner]).mean() < 2


@pytest.mark.parametrize("photo", ["astronaut", "hopper"])
def test_the_way_over_the_stored_warp_costs_the_descriptor_little(
    request: pytest.FixtureRequest, photo: str, pack: Pack, runtime: OnnxRuntime, detector: Detector, dlib_network: Any
) -> None:
    """Against dlib's whole chain (its detector, landmarks, chip, network); different persons are .6 and more apart."""
    image: Image = request.getfixturevalue(photo)
    landmarks5: LandmarkPredictor = request.getfixturevalue("landmarks5")
    predictor: Any = request.getfixturevalue("dlib_predictor5")
    face = predictor(image, dlib.get_frontal_face_detector()(image, 1)[0])
    expected = np.array(dlib_network.compute_face_descriptor(image, face))
    expected /= np.linalg.norm(expected)
    regions = alignment.rectangles(detector.detect(image, 40).points[:1])
    warp = alignment.warp(image, alignment.warp_transform(landmarks5.predict(image, regions)[0]))
    network = DescriptorNetwork(runtime.load(pack.path(packs.DESCRIPTOR)), version=1001, flip_averaging=False)
    assert np.linalg.norm(network.describe([warp])[0] - expected) < 0.15


@pytest.mark.parametrize("factor", [2, 5, 9])
def test_a_large_photo_gives_the_warp_of_a_small_one(astronaut: Image, factor: int) -> None:
    """Shrinking by area means keeps geometry and detail: the warp of an enlarged photo is that of the photo."""
    landmarks = np.array([(253, 99), (238, 102), (196, 99), (212, 100), (225, 130)], np.float32)
    size = astronaut.shape[1] * factor, astronaut.shape[0] * factor
    large = np.asarray(cv2.resize(astronaut, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    expected = alignment.warp(astronaut, alignment.warp_transform(landmarks)).astype(int)
    enlarged = (landmarks + 0.5) * factor - 0.5
    found = alignment.warp(large, alignment.warp_transform(enlarged)).astype(int)
    assert np.abs(found - expected).mean() < 3
    shifted = np.roll(expected, 2, axis=1)
    assert np.abs(found - expected).mean() < np.abs(found - shifted).mean() / 2


def test_a_descriptor_with_flip_averaging_does_not_know_left_from_right(pack: Pack, runtime: OnnxRuntime) -> None:
    network = DescriptorNetwork(runtime.load(pack.path(packs.DESCRIPTOR)), version=1002, flip_averaging=True)
    warp = np.random.default_rng(3).integers(0, 255, (250, 250, 3), np.uint8)
    one, other = network.describe([warp, np.ascontiguousarray(warp[:, ::-1])])
    assert np.abs(one - other).max() < 1e-4
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-5)
