"""Adapters of optional models: real files where they are at hand, graphs of the same shape elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import dlib
import numpy as np
import onnx
import pytest
import scipy.special
from graphs import cells, constant, dense, loaded, mean_colour
from skimage.transform import SimilarityTransform

from engines.packs.manifest import Pixels
from engines.runtime.onnx_runtime import OnnxRuntime
from engines.runtime.runtime import RuntimeFailure
from engines.vision import alignment
from engines.vision.decoding import Image, Picture
from engines.vision.detector import Detector
from engines.vision.headers import Format
from engines.vision.landmarks import LandmarkPredictor
from engines.vision.networks import (
    ediffiqa,
    expression,
    fastestdet,
    gender_dlib,
    genderage,
    minifasnet,
    person_reid,
    recognition,
    surroundings,
    template,
    yolox,
)
from engines.vision.networks.pixels import forward, planes
from engines.vision.view import FaceView
from server.domain.vision import Emotion, Rect

WHOLE = Rect(0, 0, 250, 250)


def noise(*shape: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def view(image: Image, rect: Rect, *, sample: bool = False, warp: Image | None = None) -> FaceView:
    points = np.zeros((5, 2), np.float32)
    region = np.zeros((1, 4), np.float32)
    shown = noise(250, 250) if warp is None else warp
    return FaceView(Picture(image, Format.PNG, 0), rect, 1.0, points, region, shown, sample=sample)


def face_of(image: Image, detector: Detector, landmarks5: LandmarkPredictor) -> FaceView:
    """The largest face of a picture, as the pipeline would show it."""
    found = detector.detect(image, 40)
    index = int(np.argmax((found.boxes[:, 2:] - found.boxes[:, :2]).prod(axis=1)))
    x1, y1, x2, y2 = (round(float(value)) for value in found.boxes[index])
    region = alignment.rectangles(found.points[index : index + 1])
    warp = alignment.warp(image, alignment.warp_transform(landmarks5.predict(image, region)[0]))
    rect = Rect(x1, y1, x2 - x1, y2 - y1)
    return FaceView(Picture(image, Format.PNG, 0), rect, 1.0, found.points[index], region, warp)


@pytest.mark.parametrize("colours", ["rgb", "bgr"])
def test_pixels_are_ordered_shifted_and_scaled(colours: str) -> None:
    image = noise(7, 5)
    given = planes([image], Pixels(colours=colours, mean=(1, 2, 3), scale=(0.5, 0.25, 2)))
    order = (0, 1, 2) if colours == "rgb" else (2, 1, 0)
    for place, channel in enumerate(order):
        expected = (image[..., channel].astype(float) - (1, 2, 3)[place]) * (0.5, 0.25, 2)[place]
        np.testing.assert_allclose(given[0, place], expected, rtol=1e-6)
    assert given.flags.c_contiguous
    assert given.dtype == np.float32


@pytest.mark.parametrize("count", [1, 5, 16, 33])
def test_a_network_of_a_fixed_batch_gives_what_one_of_any_batch_gives(tmp_path: Path, count: int) -> None:
    values = planes(np.stack([noise(16, 16, seed=one) for one in range(count)]), Pixels(scale=(1 / 255,)))
    answers = [
        forward(loaded(dense(tmp_path / f"{batch}.onnx", (16, 16), 9, batch=batch)), values)["result"]
        for batch in ("n", 1, 4)
    ]
    assert answers[0].shape == (count, 9)
    np.testing.assert_allclose(answers[1], answers[0], atol=1e-5)
    np.testing.assert_allclose(answers[2], answers[0], atol=1e-5)


def test_the_crop_of_a_warp_has_the_five_points_where_the_template_has_them() -> None:
    """The transform is skimage's; a dot painted on each point of a warp appears where the template says."""
    reference = SimilarityTransform.from_estimate(alignment.CANONICAL_POINTS, template.POINTS)
    for source, target in zip(alignment.CANONICAL_POINTS, template.POINTS, strict=True):
        warp = np.zeros((250, 250, 3), np.uint8)
        cv2.circle(warp, [int(value) for value in source], 5, (255, 255, 255), -1)
        crop = template.crops([warp])[0, ..., 0].astype(float)
        y, x = (np.average(axis, weights=crop) for axis in np.mgrid[:112, :112])
        assert (x, y) == pytest.approx(reference(source)[0], abs=0.3)
        assert (x, y) == pytest.approx(target, abs=3)


def test_sface_is_fed_as_opencv_feeds_it(tmp_path: Path) -> None:
    path = dense(tmp_path / "sface.onnx", (112, 112), 128, batch=1)
    warps = [noise(250, 250, seed=one) for one in range(3)]
    network = recognition.RecognitionNetwork(loaded(path), version=1003, dimensions=128, pixels=recognition.SFACE)
    described = network.describe(warps)
    reference = cv2.FaceRecognizerSF.create(str(path), "")
    for row, crop in zip(described, template.crops(warps), strict=True):
        expected = reference.feature(np.ascontiguousarray(crop[..., ::-1]))[0]
        np.testing.assert_allclose(row, expected / np.linalg.norm(expected), atol=1e-4)
    assert np.linalg.norm(described, axis=1) == pytest.approx(1)
    assert network.version == 1003


def test_arcface_takes_pixels_from_minus_one_to_one(tmp_path: Path) -> None:
    path = mean_colour(tmp_path / "mean.onnx", (112, 112))
    network = recognition.RecognitionNetwork(loaded(path), version=1004, dimensions=3, pixels=recognition.ARCFACE)
    warp = np.full((250, 250, 3), (255, 0, 191), np.uint8)
    seen = np.array([1, -1, 191 / 127.5 - 1])
    np.testing.assert_allclose(network.describe([warp])[0], seen / np.linalg.norm(seen), atol=1e-5)


def test_a_recognition_network_of_other_dimensions_is_refused(tmp_path: Path) -> None:
    session = loaded(dense(tmp_path / "small.onnx", (112, 112), 64))
    with pytest.raises(RuntimeFailure, match="128"):
        recognition.RecognitionNetwork(session, version=1003, dimensions=128, pixels=recognition.SFACE)
    other = loaded(dense(tmp_path / "large.onnx", (128, 128), 128))
    with pytest.raises(RuntimeFailure, match="112"):
        recognition.RecognitionNetwork(other, version=1003, dimensions=128, pixels=recognition.SFACE)


def test_emotions_are_the_softmax_of_the_networks_classes_in_their_order(tmp_path: Path) -> None:
    scores = [0.5, -1.0, 2.0, 0.1, 3.0, -0.2, 0.7]
    network = expression.ExpressionNetwork(loaded(constant(tmp_path / "c.onnx", (112, 112), scores)))
    one, other = network.estimate([view(noise(9, 9), WHOLE)] * 2)
    assert one == other
    angry, disgust, fearful, happy, neutral, sad, surprised = scipy.special.softmax(scores)
    assert one.estimations == pytest.approx(
        {
            Emotion.ANGER: angry,
            Emotion.DISGUST: disgust,
            Emotion.FEAR: fearful,
            Emotion.HAPPINESS: happy,
            Emotion.NEUTRAL: neutral,
            Emotion.SADNESS: sad,
            Emotion.SURPRISE: surprised,
        }
    )
    assert one.predominant is Emotion.NEUTRAL
    assert set(one.estimations) == set(Emotion)


def test_probabilities_that_a_network_gives_itself_stay_as_they_are(tmp_path: Path) -> None:
    given = [0.05, 0.05, 0.1, 0.5, 0.1, 0.1, 0.1]
    network = expression.ExpressionNetwork(loaded(constant(tmp_path / "p.onnx", (112, 112), given)))
    assert list(network.estimate([view(noise(9, 9), WHOLE)])[0].estimations.values()) == pytest.approx(given)


@pytest.mark.parametrize(("value", "told"), [(0.4, 0.4), (1.3, 1.0), (-0.2, 0.0)])
def test_face_quality_is_cut_off_at_its_range(tmp_path: Path, value: float, told: float) -> None:
    network = ediffiqa.FaceQualityNetwork(loaded(constant(tmp_path / "q.onnx", (112, 112), [value])))
    assert network.estimate([view(noise(9, 9), WHOLE)] * 3) == pytest.approx([told] * 3)


@pytest.mark.parametrize(
    "rect", [Rect(40, 30, 50, 60), Rect(-20, -10, 80, 60), Rect(80, 60, 40, 50), Rect(0, 0, 120, 100)]
)
def test_a_crop_with_its_surroundings_is_numpys_padding(rect: Rect) -> None:
    """At the crop's own size nothing is scaled, so that every pixel can be compared."""
    image = noise(110, 130, seed=4)
    face = view(image, rect)
    area = surroundings.square(face, 1.5)
    assert area.width == area.height == int(max(rect.width, rect.height) * 1.5)
    padded = np.pad(image, ((100, 100), (100, 100), (0, 0)), mode="reflect")
    expected = padded[area.y + 100 : area.y + 100 + area.height, area.x + 100 : area.x + 100 + area.width]
    found = surroundings.crop(face, area, area.width, cv2.BORDER_REFLECT_101)
    np.testing.assert_array_equal(found, expected)
    inside = np.pad(np.ones((110, 130)), 100)[area.y + 100 :, area.x + 100 :][: area.height, : area.width]
    assert surroundings.shown(face, area) == pytest.approx(inside.mean())
    black = surroundings.crop(face, area, area.width, cv2.BORDER_CONSTANT)
    np.testing.assert_array_equal(black[inside == 0], 0)


def test_a_face_far_outside_its_picture_gives_a_crop_all_the_same() -> None:
    face = view(noise(40, 40), Rect(500, 500, 30, 30))
    area = surroundings.square(face, 1.5)
    assert not surroundings.crop(face, area, 16, cv2.BORDER_REFLECT_101).any()
    assert surroundings.shown(face, area) == 0
    small = surroundings.crop(view(noise(4, 4), Rect(0, 0, 30, 30)), Rect(-9, -9, 48, 48), 16, cv2.BORDER_REFLECT_101)
    assert small.shape == (16, 16, 3)


def test_photographs_of_faces_are_living_ones(
    shared_models: Path, photos: Path, runtime: OnnxRuntime, detector: Detector, landmarks5: LandmarkPredictor
) -> None:
    network = minifasnet.LivenessNetwork(runtime.load(shared_models / "antispoof_minifasnetv2se.onnx"))
    for name in ("obama.jpg", "obama2.jpg", "biden.jpg", "2008_001322.jpg"):
        image = np.ascontiguousarray(cv2.imread(str(photos / name), cv2.IMREAD_COLOR_RGB), np.uint8)
        face = face_of(image, detector, landmarks5)
        (found,) = network.estimate([face])
        assert found.score > 0.9
        assert 0 < found.quality <= 1


def test_the_quality_of_liveness_falls_with_missing_pixels(shared_models: Path, runtime: OnnxRuntime) -> None:
    network = minifasnet.LivenessNetwork(runtime.load(shared_models / "antispoof_minifasnetv2se.onnx"))
    image = noise(400, 400)
    rects = Rect(100, 100, 120, 150), Rect(100, 100, 32, 32), Rect(-75, 100, 150, 150)
    full, small, cut = network.estimate([view(image, rect) for rect in rects])
    assert full.quality == 1
    assert small.quality == pytest.approx(48 / 128)
    assert cut.quality == pytest.approx(0.5, abs=0.01)


def test_liveness_of_a_sample_is_refused(shared_models: Path, runtime: OnnxRuntime) -> None:
    network = minifasnet.LivenessNetwork(runtime.load(shared_models / "antispoof_minifasnetv2se.onnx"))
    with pytest.raises(ValueError, match="samples"):
        network.estimate([view(noise(250, 250), WHOLE, sample=True)])


def test_the_gender_of_well_known_people_is_told(
    shared_models: Path,
    photos: Path,
    runtime: OnnxRuntime,
    detector: Detector,
    landmarks5: LandmarkPredictor,
    astronaut: Image,
) -> None:
    network = gender_dlib.DlibGenderNetwork(runtime.load(shared_models / "gender_dlib.onnx"))
    men = [
        np.ascontiguousarray(cv2.imread(str(photos / name), cv2.IMREAD_COLOR_RGB), np.uint8)
        for name in ("obama.jpg", "biden.jpg")
    ]
    obama, biden, collins = network.estimate([face_of(image, detector, landmarks5) for image in (*men, astronaut)])
    assert min(obama, biden) > 0.9
    assert collins < 0.1


def test_the_gender_networks_chip_is_dlibs(
    detector: Detector, landmarks5: LandmarkPredictor, dlib_predictor5: Any, astronaut: Image, hopper: Image
) -> None:
    """It is cut out of the picture by dlib and out of the warp by us: the same view, up to interpolation."""
    for image in (astronaut, hopper):
        region = np.round(face_of(image, detector, landmarks5).region)
        shape = dlib_predictor5(image, dlib.rectangle(*region[0].astype(int).tolist()))
        warp = alignment.warp(image, alignment.warp_transform(landmarks5.predict(image, region)[0]))
        fine = dlib.get_face_chip(image, shape, size=192, padding=0.2)
        expected = cv2.resize(fine, (32, 32), interpolation=cv2.INTER_AREA).astype(float)
        found = gender_dlib.chip(warp).astype(float)
        assert np.abs(found - expected).mean() < 4
        shifted = np.roll(found, 2, axis=1)
        assert np.abs(shifted - expected).mean() > 2 * np.abs(found - expected).mean()


def test_age_and_gender_are_read_from_three_numbers(tmp_path: Path) -> None:
    session = loaded(constant(tmp_path / "ga.onnx", (96, 96), [0.3, 1.1, 0.345]))
    faces = [view(noise(200, 300), Rect(30, 40, 60, 80)), view(noise(250, 250), WHOLE, sample=True)]
    assert genderage.AgeNetwork(session).estimate(faces) == pytest.approx([34.5, 34.5])
    male = scipy.special.softmax([0.3, 1.1])[1]
    assert genderage.GenderNetwork(session).estimate(faces) == pytest.approx([male, male])
    old = loaded(constant(tmp_path / "old.onnx", (96, 96), [0, 0, 1.7]))
    assert genderage.AgeNetwork(old).estimate(faces[:1]) == [100]


def test_a_sample_is_cropped_around_the_face_in_it() -> None:
    """Its rectangle is the whole sample; one and a half times that would be mostly nothing."""
    area = surroundings.square(view(noise(250, 250), WHOLE, sample=True), 1.5)
    assert area.width == 315
    assert abs(area.x + area.width / 2 - 120) <= 1
    assert abs(area.y + area.height / 2 - 111) <= 1


def test_bodies_are_described_with_imagenets_normalisation(tmp_path: Path) -> None:
    path = mean_colour(tmp_path / "mean.onnx", (256, 128))
    network = person_reid.ReidentificationNetwork(loaded(path), version=1101, dimensions=3)
    body = np.full((256, 128, 3), (200, 30, 90), np.uint8)
    seen = (np.array([200, 30, 90]) / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    np.testing.assert_allclose(network.describe([body, body]), [seen / np.linalg.norm(seen)] * 2, atol=1e-4)
    with pytest.raises(RuntimeFailure, match="256, 128"):
        wrong = loaded(mean_colour(tmp_path / "square.onnx", (128, 128)))
        person_reid.ReidentificationNetwork(wrong, version=1101, dimensions=3)


def test_yolox_is_read_as_a_slow_loop_reads_it(tmp_path: Path) -> None:
    side = 64
    session = loaded(joined(tmp_path / "yolox.onnx", side))
    image = noise(40, 64, seed=9)
    boxes, scores = yolox.YoloxPeople(session, score=0.0, overlap=1.0).detect(image)
    canvas = np.full((side, side, 3), 114, np.uint8)
    canvas[:40] = image
    raw = session.run({"image": canvas.transpose(2, 0, 1)[None].astype(np.float32)})["result"][0]
    expected = []
    place = 0
    for stride in (8, 16, 32):
        for row in range(side // stride):
            for column in range(side // stride):
                x, y, w, h, thing, person = raw[place, :6]
                centre = np.array([(x + column) * stride, (y + row) * stride])
                half = np.array([np.exp(w), np.exp(h)]) * stride / 2
                expected.append((float(np.clip(thing * person, 0, 1)), *(centre - half), *(centre + half)))
                place += 1
    assert place == 84
    best = sorted((one for one in expected if one[0] > 0), key=lambda one: -one[0])
    assert 10 < len(best) < 84
    np.testing.assert_allclose(scores, [one[0] for one in best], atol=1e-5)
    np.testing.assert_allclose(boxes, [one[1:] for one in best], rtol=1e-4, atol=1e-3)


def joined(path: Path, side: int) -> Path:
    """A network with YOLOX's one output: the cells of three strides behind each other, 85 numbers each."""
    names = {f"s{stride}": (stride, 85) for stride in (8, 16, 32)}
    cells(path, side, names, shaped=True, seed=6)
    model = onnx.load(path)
    count = sum((side // stride) ** 2 for stride in (8, 16, 32))
    model.graph.node.append(onnx.helper.make_node("Concat", list(names), ["result"], axis=1))
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("result", onnx.TensorProto.FLOAT, [1, count, 85]))
    onnx.save(model, path)
    return path


def test_people_of_yolox_are_told_once_and_in_the_pictures_pixels(tmp_path: Path) -> None:
    session = loaded(joined(tmp_path / "yolox.onnx", 64))
    small = yolox.YoloxPeople(session, score=0.01).detect(noise(40, 64, seed=9))
    large = yolox.YoloxPeople(session, score=0.01).detect(cv2.resize(noise(40, 64, seed=9), (256, 160)))
    assert len(small[0]) > 0
    assert (np.diff(small[1]) <= 0).all()
    assert np.abs(large[0]).max() > 2 * np.abs(small[0]).max()


def test_fastestdet_is_read_as_a_slow_loop_reads_it(shared_models: Path, photos: Path, runtime: OnnxRuntime) -> None:
    session = runtime.load(shared_models / "fastestdet.onnx")
    image = np.ascontiguousarray(cv2.imread(str(photos / "2007_007763.jpg"), cv2.IMREAD_COLOR_RGB), np.uint8)
    boxes, scores = fastestdet.FastestDetPeople(session, score=0.3, overlap=1.0).detect(image)
    small = cv2.resize(image, (352, 352), interpolation=cv2.INTER_AREA)[..., ::-1]
    raw = session.run({session.inputs[0].name: small.transpose(2, 0, 1)[None].astype(np.float32) / 255})["758"][0]
    expected = []
    for row in range(22):
        for column in range(22):
            thing, x, y, w, h, person = raw[:6, row, column]
            if thing * person < 0.3:
                continue
            cx, cy = (column + np.tanh(x)) / 22, (row + np.tanh(y)) / 22
            half_w, half_h = (1 / (1 + np.exp(-v)) / 2 for v in (w, h))
            corners = (cx - half_w) * 500, (cy - half_h) * 375, (cx + half_w) * 500, (cy + half_h) * 375
            expected.append((float(thing * person), *map(float, corners)))
    expected.sort(key=lambda one: -one[0])
    np.testing.assert_allclose(scores, [one[0] for one in expected], atol=1e-4)
    np.testing.assert_allclose(boxes, [one[1:] for one in expected], atol=0.2)


def test_fastestdet_counts_the_people_of_photos(shared_models: Path, photos: Path, runtime: OnnxRuntime) -> None:
    people = {"2007_007763.jpg": 7, "2008_001322.jpg": 3, "2009_004587.jpg": 2, "biden.jpg": 1, "dogs.jpg": 0}
    network = fastestdet.FastestDetPeople(runtime.load(shared_models / "fastestdet.onnx"))
    for name, count in people.items():
        image = np.ascontiguousarray(cv2.imread(str(photos / name), cv2.IMREAD_COLOR_RGB), np.uint8)
        assert len(network.detect(image)[0]) == count
