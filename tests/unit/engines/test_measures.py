"""What checks are held to, against closed forms, another library's colours, and pictures that are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import skimage.color
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.engine import DefaultEngine
from engines.vision import alignment
from engines.vision.decoding import Image, Picture
from engines.vision.detector import Detector
from engines.vision.estimates import Estimates
from engines.vision.headers import Format
from engines.vision.landmarks import LandmarkPredictor
from engines.vision.measures import background, estimated, picture, portrait, red_eyes, skin
from engines.vision.measures.measure import Missing
from engines.vision.models import Models
from engines.vision.view import FaceView
from server.domain.checks import CheckName, FaceQuality
from server.domain.engine import Look
from server.domain.vision import DetectedFace, Estimation, EyeState, Glasses, Mask, MaskState, Rect
from tests.pictures import png

QUALITY = frozenset({Estimation.FACE_QUALITY})
POINTS = np.array([(-0.5, 0), (0.5, 0), (0, 0.6), (-0.44, 1.108), (0.44, 1.108)], np.float32)


def drawn(
    image: Image, eyes: tuple[float, float], unit: float, points68: npt.NDArray[np.float32] | None = None
) -> FaceView:
    """A face whose eyes' middle is at a point of the image, upright, `unit` pixels from eye to eye."""
    points = (POINTS * unit + eyes).astype(np.float32)
    x, y = (round(value - unit) for value in eyes)
    rect = Rect(x, y, round(2 * unit), round(3 * unit))
    region = alignment.rectangles(points[None])
    warp = np.zeros((250, 250, 3), np.uint8)
    return FaceView(Picture(image, Format.PNG, 1234), rect, 1.0, points, region, warp, points68)


def seen(image: Image, detector: Detector, landmarks5: LandmarkPredictor, landmarks68: LandmarkPredictor) -> FaceView:
    found = detector.detect(image, 40)
    region = alignment.rectangles(found.points[:1])
    warp = alignment.warp(image, alignment.warp_transform(landmarks5.predict(image, region)[0]))
    points68 = landmarks68.predict(image, region)[0]
    x1, y1, x2, y2 = (round(float(value)) for value in found.boxes[0])
    rect = Rect(x1, y1, x2 - x1, y2 - y1)
    return FaceView(Picture(image, Format.PNG, 1), rect, 1.0, found.points[0], region, warp, points68)


def plain(colour: Sequence[int], height: int = 400, width: int = 320) -> Image:
    return np.full((height, width, 3), colour, np.uint8)


def number(value: object) -> float:
    assert isinstance(value, (int, float))
    return float(value)


async def quality_of(engine: DefaultEngine, image: Image) -> FaceQuality:
    face = (await engine.detect(png(image), Look(estimations=QUALITY))).faces[0]
    assert face.face_quality is not None
    return face.face_quality


async def test_every_check_is_measured_or_says_what_it_needs(engine: DefaultEngine, astronaut: Image) -> None:
    quality = await quality_of(engine, astronaut)
    assert set(quality.values) | set(quality.unavailable) == set(CheckName)
    assert not set(quality.values) & set(quality.unavailable)
    assert {name.value for name in quality.unavailable} == {
        "gaze_yaw", "gaze_pitch", "mouth_occluded", "glasses", "eyebrows_state", "headwear_type", "radial_distortion",
        "shoulders_position",
    }  # fmt: skip
    assert all(quality.unavailable.values())


async def test_nothing_about_picture_and_background_is_told_of_a_sample(
    engine: DefaultEngine, astronaut: Image
) -> None:
    face = (await engine.detect(png(astronaut))).faces[0]
    sample = await engine.inspect(face.warp, estimations=QUALITY)
    assert sample.face_quality is not None
    names = {name.value for name in sample.face_quality.values}
    assert names == {
        "illumination_quality", "specularity_quality", "blurriness_quality", "dark_quality", "light_quality",
        "illumination_uniformity", "dynamic_range", "head_yaw", "head_pitch", "head_roll", "mouth_smiling",
        "mouth_open", "smile_properties", "left_eye", "right_eye", "red_eyes", "face_color_type", "natural_light",
    }  # fmt: skip
    assert set(sample.face_quality.values) | set(sample.face_quality.unavailable) == set(CheckName)
    for name in list(CheckName)[:11]:
        assert "sample" in sample.face_quality.unavailable[name]


async def test_the_portrait_of_an_astronaut_measures_what_is_seen_in_it(
    engine: DefaultEngine, astronaut: Image
) -> None:
    """A woman who smiles with her teeth, eyes open, in colour, before a cluttered background, in a square picture."""
    values = (await quality_of(engine, astronaut)).values
    expected = {
        "image_format": "PNG",
        "image_width": 512,
        "image_height": 512,
        "aspect_ratio": 1.0,
        "left_eye": "open",
        "right_eye": "open",
        "red_eyes": 0,
        "face_color_type": "color",
        "natural_light": 1,
        "smile_properties": "smile_open",
    }
    assert {name: values[CheckName(name)] for name in expected} == expected
    assert values[CheckName.IMAGE_SIZE] == len(png(astronaut))
    assert number(values[CheckName.BACKGROUND_UNIFORMITY]) < 0.3
    # Marked by hand: the pupils are at (203, 101) and (247, 103), the face ends at 180 and 269 below the ears.
    assert values[CheckName.EYE_DISTANCE] == pytest.approx(43.5, abs=2)
    assert values[CheckName.HEAD_HORIZONTAL_CENTER] == pytest.approx(225 / 512, abs=0.005)
    assert values[CheckName.HEAD_VERTICAL_CENTER] == pytest.approx(102.3 / 512, abs=0.005)
    assert values[CheckName.HEAD_WIDTH] == pytest.approx((269 - 180) / 512, abs=0.01)


def test_indents_are_what_is_between_the_rectangle_and_each_edge() -> None:
    view = replace(drawn(plain((9, 9, 9)), (160, 150), 60), rect=Rect(-7, 20, 300, 350))
    found = picture.measured(view)
    names = CheckName.INDENT_LEFT, CheckName.INDENT_RIGHT, CheckName.INDENT_UPPER, CheckName.INDENT_LOWER
    assert [found[name] for name in names] == [-7, 320 - 293, 20, 30]
    assert (found[CheckName.FACE_WIDTH], found[CheckName.FACE_HEIGHT]) == (300, 350)
    assert found[CheckName.ASPECT_RATIO] == 0.8
    assert found[CheckName.IMAGE_SIZE] == 1234


def face68(unit: float, eyes: tuple[float, float], tilt: float) -> npt.NDArray[np.float32]:
    """68 points of a face of which only ears, chin and lids are where they should be."""
    points = np.zeros((68, 2))
    points[0], points[16], points[8] = (-1.2, 0.1), (1.2, 0.1), (0, 1.9)
    lid = np.array([(-0.2, 0), (-0.1, -0.1), (0.1, -0.1), (0.2, 0), (0.1, 0.1), (-0.1, 0.1)])
    points[36:42], points[42:48] = lid - np.array([0.5, 0]), lid + np.array([0.5, 0])
    turn = np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
    return (points @ turn * unit + eyes).astype(np.float32)


@given(st.floats(20, 80), st.floats(120, 200), st.floats(100, 200), st.floats(-0.4, 0.4))
@settings(deadline=None)
def test_the_head_is_measured_along_its_own_axes(unit: float, x: float, y: float, tilt: float) -> None:
    view = drawn(plain((0, 0, 0)), (x, y), unit, face68(unit, (x, y), tilt))
    found = portrait.measured(view, None)
    assert found[CheckName.EYE_DISTANCE] == pytest.approx(unit, rel=1e-4)
    assert found[CheckName.HEAD_HORIZONTAL_CENTER] == pytest.approx((x + 0.5) / 320, abs=1e-4)
    assert found[CheckName.HEAD_VERTICAL_CENTER] == pytest.approx((y + 0.5) / 400, abs=1e-4)
    assert found[CheckName.HEAD_WIDTH] == pytest.approx(2.4 * unit / 320, rel=1e-3)
    assert found[CheckName.HEAD_HEIGHT] == pytest.approx((1.9 + 1.7) * unit / 400, rel=2e-3)


def test_without_the_68_points_the_size_of_the_head_says_what_it_needs() -> None:
    found = portrait.measured(drawn(plain((0, 0, 0)), (160, 150), 60), "the 68-point model")
    for name in (CheckName.HEAD_WIDTH, CheckName.HEAD_HEIGHT):
        assert found[name] == Missing("the 68-point model")
    assert found[CheckName.EYE_DISTANCE] == pytest.approx(60)


async def test_enlarging_and_padding_a_picture_change_its_measures_by_arithmetic(
    engine: DefaultEngine, astronaut: Image
) -> None:
    crop = np.ascontiguousarray(astronaut[:320, 80:370])
    twice = np.asarray(cv2.resize(crop, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), np.uint8)
    padded = np.asarray(cv2.copyMakeBorder(crop, 0, 80, 110, 0, cv2.BORDER_REPLICATE), np.uint8)
    one, large, shifted = [(await quality_of(engine, image)).values for image in (crop, twice, padded)]
    x, y = CheckName.HEAD_HORIZONTAL_CENTER, CheckName.HEAD_VERTICAL_CENTER
    assert number(large[CheckName.EYE_DISTANCE]) == pytest.approx(2 * number(one[CheckName.EYE_DISTANCE]), rel=0.03)
    for name in (x, y, CheckName.HEAD_WIDTH, CheckName.HEAD_HEIGHT):
        assert number(large[name]) == pytest.approx(number(one[name]), rel=0.03)
    assert number(shifted[x]) == pytest.approx((number(one[x]) * 290 + 110) / 400, abs=0.01)
    assert number(shifted[y]) == pytest.approx(number(one[y]) * 320 / 400, abs=0.01)
    assert number(shifted[CheckName.HEAD_HEIGHT]) == pytest.approx(number(one[CheckName.HEAD_HEIGHT]) * 0.8, rel=0.03)


def lightness_and_uniformity(image: Image, unit: float = 30, eyes: tuple[float, float] = (160, 150)) -> list[float]:
    found = background.measured(drawn(image, eyes, unit))
    return [number(found[name]) for name in (CheckName.BACKGROUND_LIGHTNESS, CheckName.BACKGROUND_UNIFORMITY)]


@given(st.tuples(*[st.integers(0, 255)] * 3))
@settings(deadline=None, max_examples=30)
def test_a_plain_background_has_the_lightness_of_its_colour_and_is_uniform(colour: tuple[int, int, int]) -> None:
    lightness, uniformity = lightness_and_uniformity(plain(colour))
    assert lightness == pytest.approx(float(skimage.color.rgb2lab(plain(colour)[:1, :1])[0, 0, 0]) / 100, abs=2e-3)
    assert uniformity == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("colour", "low", "high"), [((20, 20, 20), 0, 0.1), ((128, 128, 128), 0.3, 0.97)])
def test_the_lightness_is_that_of_the_contracts_scale(colour: tuple[int, ...], low: float, high: float) -> None:
    assert low <= lightness_and_uniformity(plain(colour))[0] < high
    assert lightness_and_uniformity(plain((255, 255, 255)))[0] > 0.97


def test_stripes_lower_uniformity_by_half_the_difference_of_their_colours() -> None:
    """The standard deviation of two equally frequent colours is half their distance: 1 - (distance / 2) / 20."""
    for low, high in (((200, 200, 200), (220, 220, 220)), ((180, 190, 200), (220, 215, 200))):
        image = plain(low)
        image[(np.arange(400) // 10) % 2 == 0] = high
        lab = skimage.color.rgb2lab(np.array([[low, high]], np.uint8))[0]
        expected = 1 - np.linalg.norm(lab[0] - lab[1]) / 2 / 20
        assert lightness_and_uniformity(image)[1] == pytest.approx(expected, abs=0.03)


def test_a_gradual_change_of_light_in_one_direction_is_uniform_and_a_pattern_is_not() -> None:
    ramp = np.linspace(150, 230, 320)
    gradual = np.repeat(np.repeat(ramp[None, :, None], 400, 0), 3, 2).astype(np.uint8)
    assert lightness_and_uniformity(gradual)[1] > 0.95
    shuffled = np.random.default_rng(1).permutation(gradual, axis=1)
    assert lightness_and_uniformity(shuffled)[1] < 0.8


def test_what_is_on_the_head_and_below_the_shoulders_is_no_background() -> None:
    image = plain((230, 230, 230))
    cv2.ellipse(image, (160, 155), (50, 70), 0, 0, 360, (90, 60, 40), -1)
    cv2.rectangle(image, (0, 200), (319, 399), (10, 10, 120), -1)
    assert lightness_and_uniformity(image)[1] > 0.99
    cv2.rectangle(image, (0, 0), (60, 190), (10, 10, 120), -1)
    assert lightness_and_uniformity(image)[1] < 0.3


def test_a_head_that_fills_the_picture_leaves_its_background_untold() -> None:
    found = background.measured(drawn(plain((255, 255, 255)), (160, 200), 110))
    for name in (CheckName.BACKGROUND_LIGHTNESS, CheckName.BACKGROUND_UNIFORMITY):
        missing = found[name]
        assert isinstance(missing, Missing)
        assert "background" in missing.reason


def skin_of(warp: npt.NDArray[Any]) -> dict[CheckName, object]:
    view = replace(drawn(plain((0, 0, 0)), (160, 150), 60), warp=np.asarray(warp, np.uint8))
    return dict(skin.measured(view))


@given(st.floats(0.1, 1))
@settings(deadline=None)
def test_light_from_one_side_leaves_the_ratio_of_the_darkest_zone_to_the_brightest(dark: float) -> None:
    """The cheeks lie half an eye distance, 35.5 pixels, from the middle; the light falls off linearly."""
    ramp = np.linspace(dark, 1, 250)
    warp = np.rint(220 * np.repeat(ramp[None, :, None], 250, 0)) * np.ones(3)
    left, right = np.interp([123 - 35.5, 123 + 35.5], np.arange(250), ramp)
    assert skin_of(warp)[CheckName.ILLUMINATION_UNIFORMITY] == pytest.approx(left / right, abs=0.02)


def test_one_channel_that_is_uneven_is_enough() -> None:
    warp = np.full((250, 250, 3), 200)
    warp[:70, :, 2] = 100
    assert skin_of(warp)[CheckName.ILLUMINATION_UNIFORMITY] == pytest.approx(0.5)


@pytest.mark.parametrize(("low", "high", "passes"), [(60, 187, True), (60, 186, False), (100, 200, False)])
def test_seven_bits_of_variation_are_half_of_the_dynamic_range(low: int, high: int, passes: bool) -> None:
    """Two levels, each on half of the face; from 60 to 187 there are 128 levels, both counted."""
    warp = np.full((250, 250, 3), low)
    warp[:, 125:] = high
    found = number(skin_of(warp)[CheckName.DYNAMIC_RANGE])
    assert found == pytest.approx((high - low + 1) / 256)
    assert (found >= 0.5) is passes


@given(st.tuples(*[st.integers(0, 255)] * 3))
@settings(deadline=None)
def test_natural_colour_is_that_of_another_librarys_cielab(colour: tuple[int, int, int]) -> None:
    found = skin_of(plain(colour, 250, 250))
    if max(colour) - min(colour) <= 10:
        assert found[CheckName.FACE_COLOR_TYPE] == "grayscale"
        assert isinstance(found[CheckName.NATURAL_LIGHT], Missing)
        return
    assert found[CheckName.FACE_COLOR_TYPE] == "color"
    _, a, b = skimage.color.rgb2lab(np.array([[colour]], np.uint8))[0, 0]
    near = min(abs(a - 5), abs(a - 25), abs(b - 5), abs(b - 35)) < 0.4
    assert near or found[CheckName.NATURAL_LIGHT] == int(5 <= a <= 25 and 5 <= b <= 35)


@pytest.mark.parametrize("cast", [(0.5, 0.6, 1.3), (0.6, 1.2, 0.6), (1.6, 0.5, 0.5)])
def test_coloured_light_is_not_natural(
    astronaut: Image,
    detector: Detector,
    landmarks5: LandmarkPredictor,
    landmarks68: LandmarkPredictor,
    cast: tuple[float, ...],
) -> None:
    warp = seen(astronaut, detector, landmarks5, landmarks68).warp
    assert skin_of(warp)[CheckName.NATURAL_LIGHT] == 1
    assert skin_of(np.clip(warp * np.array(cast), 0, 255))[CheckName.NATURAL_LIGHT] == 0


@pytest.mark.parametrize("photo", ["astronaut", "hopper"])
@pytest.mark.parametrize("which", [(0,), (1,), (0, 1)])
def test_red_pupils_are_seen_in_either_eye_and_not_where_there_are_none(
    request: pytest.FixtureRequest,
    detector: Detector,
    landmarks5: LandmarkPredictor,
    landmarks68: LandmarkPredictor,
    photo: str,
    which: tuple[int, ...],
) -> None:
    view = seen(request.getfixturevalue(photo), detector, landmarks5, landmarks68)
    assert view.points68 is not None
    pupils = view.points68[36:48].reshape(2, 6, 2).mean(axis=1)
    image = view.image.copy()
    radius = 0.05 * float(np.hypot(*(pupils[1] - pupils[0])))
    for eye in which:
        centre = tuple(int(16 * value) for value in pupils[eye])
        cv2.circle(image, centre, round(16 * radius), (190, 40, 45), -1, cv2.LINE_AA, shift=4)
    red = replace(view, picture=replace(view.picture, pixels=image))
    for points68 in (view.points68, None):
        assert red_eyes.measured(replace(view, points68=points68), coloured=True) == {CheckName.RED_EYES: 0}
        assert red_eyes.measured(replace(red, points68=points68), coloured=True) == {CheckName.RED_EYES: 1}


def test_red_eyes_are_not_told_of_grey_pictures_and_of_small_faces() -> None:
    for view, coloured, word in (
        (drawn(plain((200, 20, 20)), (160, 150), 60), False, "colour"),
        (drawn(plain((200, 20, 20)), (160, 150), 20), True, "30"),
    ):
        missing = red_eyes.measured(view, coloured=coloured)[CheckName.RED_EYES]
        assert isinstance(missing, Missing)
        assert word in missing.reason


class Masked:
    """Every face wears a mask with this probability, as a model would say."""

    def __init__(self, medical: float, occluded: float) -> None:
        self._mask = Mask(
            {
                MaskState.MISSING: 1 - medical - occluded,
                MaskState.MEDICAL_MASK: medical,
                MaskState.OCCLUDED: occluded,
            }
        )

    def estimate(self, faces: Sequence[FaceView]) -> Sequence[Mask]:
        return [self._mask for _ in faces]


class Spectacled:
    """Every face wears these glasses, as a model would say."""

    def estimate(self, faces: Sequence[FaceView]) -> Sequence[Glasses]:
        return [Glasses.SUNGLASSES for _ in faces]


def test_what_models_say_is_part_of_the_checks_and_no_answer_of_its_own(
    astronaut: Image, detector: Detector, landmarks5: LandmarkPredictor, landmarks68: LandmarkPredictor
) -> None:
    view = seen(astronaut, detector, landmarks5, landmarks68)
    face = DetectedFace(view.rect, 1.0, (), b"")
    models = Models(detector, landmarks5, {}, 1001, landmarks68, mask=Masked(0.6, 0.1), glasses=Spectacled())
    alone = Estimates(models).of_faces([view], [face], QUALITY)[0]
    assert alone.face_quality is not None
    assert alone == replace(face, face_quality=alone.face_quality)
    assert alone.face_quality.values[CheckName.MOUTH_OCCLUDED] == pytest.approx(0.7)
    assert alone.face_quality.values[CheckName.GLASSES] == "sunglasses"
    mouth = Estimates(models).of_faces([view], [face], frozenset({Estimation.MOUTH}))[0]
    assert mouth.mask is None
    assert mouth.mouth is not None
    assert mouth.mouth.occluded == pytest.approx(0.7)
    everything = Estimates(models).of_faces([view], [face], QUALITY | {Estimation.MASK, Estimation.HEAD_POSE})[0]
    assert everything.mask is not None
    assert everything.head_pose is not None
    assert everything.face_quality == alone.face_quality


def test_checks_name_what_each_of_them_lacks() -> None:
    face = DetectedFace(Rect(0, 0, 1, 1), 1.0, (), b"")
    found = estimated.measured(face, lambda one: f"a pack for {one.value}")
    for name, word in (
        (CheckName.GAZE_YAW, "gaze"),
        (CheckName.LEFT_EYE, "eyes_attributes"),
        (CheckName.MOUTH_OCCLUDED, "mask"),
        (CheckName.SMILE_PROPERTIES, "mouth_attributes"),
    ):
        assert found[name] == Missing(f"a pack for {word}")
    assert {state.value for state in EyeState} == {"open", "closed", "occluded"}


def test_a_large_picture_has_the_background_of_its_small_copy() -> None:
    small = plain((200, 190, 180))
    cv2.circle(small, (40, 60), 30, (120, 130, 140), -1)
    large = np.ascontiguousarray(small.repeat(8, axis=0).repeat(8, axis=1))
    expected = lightness_and_uniformity(small)
    assert lightness_and_uniformity(large, 8 * 30, (8 * 160, 8 * 150)) == pytest.approx(expected, abs=0.02)
