"""The figures of the classical estimators and of the checks, on a folder of photos.

    python tests/bench/estimators.py FOLDER [--every N]

Of each photo (.jpg, at any depth) the face nearest to its centre is taken. Poses are compared with those of the mirror
image and of copies tilted by 20 degrees, irises with those of a copy tilted by 25, qualities with
those of degraded warps, and pictures turned by quarters with the upright one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track
from rich.table import Table

from engines.packs import pack as packs
from engines.runtime.onnx_runtime import OnnxRuntime
from engines.vision import alignment, expression, iris, pose, quality, rotation
from engines.vision.decoding import Image, Picture
from engines.vision.detector import Detector
from engines.vision.headers import Format
from engines.vision.landmarks import LandmarkPredictor
from engines.vision.measures import background, red_eyes, skin
from engines.vision.view import FaceView
from server.domain.checks import CheckName
from server.domain.vision import EyeState, HeadPose, Rect
from tests.packs import default_pack

Floats = npt.NDArray[np.float64]

console = Console()


@dataclass(frozen=True, slots=True)
class Models:
    """What the figures are made with."""

    detector: Detector
    landmarks5: LandmarkPredictor
    landmarks68: LandmarkPredictor

    def face(self, image: Image) -> FaceView | None:
        """The face nearest to the image's centre."""
        found = self.detector.detect(image, 40)
        if not len(found):
            return None
        height, width = image.shape[:2]
        centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
        best = int(np.argmin(np.hypot(*(centres - (width / 2, height / 2)).T)))
        region = alignment.rectangles(found.points[best : best + 1])
        warp = alignment.warp(image, alignment.warp_transform(self.landmarks5.predict(image, region)[0]))
        points68 = self.landmarks68.predict(image, region)[0]
        picture = Picture(image, Format.JPEG, 0)
        return FaceView(picture, Rect(0, 0, 1, 1), 1.0, found.points[best], region, warp, points68)

    def poses(self, view: FaceView) -> Floats:
        """Yaw, pitch and roll from 68 points and from five, [2, 3]."""
        assert view.points68 is not None
        found = pose.from_68(view.points68, pose.model68(self.landmarks68.mean)), pose.from_five(view.points)
        return np.array([_angles(one) for one in found])


def _angles(one: HeadPose) -> tuple[float, float, float]:
    return one.yaw, one.pitch, one.roll


def tilt_of(image: Image, degrees: float) -> tuple[Image, Floats]:
    """The image tilted clockwise about its centre, and the transform [2, 3]."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1.0)
    return np.asarray(cv2.warpAffine(image, matrix, (width, height)), np.uint8), np.asarray(matrix, np.float64)


def pose_errors(models: Models, view: FaceView) -> list[Floats] | None:
    """Disagreement with the mirror image and with two tilted copies, each [2, 3]."""
    mirrored = models.face(np.ascontiguousarray(view.image[:, ::-1]))
    tilted = [models.face(tilt_of(view.image, degrees)[0]) for degrees in (-20, 20)]
    if mirrored is None or any(one is None for one in tilted):
        return None
    own = models.poses(view)
    errors = [np.abs(models.poses(mirrored) - own * (-1, 1, -1))]
    for degrees, one in zip((-20, 20), tilted, strict=True):
        assert one is not None
        errors.append(np.abs(models.poses(one) - own - (0, 0, degrees)))
    return errors


def iris_shifts(view: FaceView) -> list[float]:
    """How far the irises' centres move in a copy tilted by 25 degrees, in distances of the eyes."""
    assert view.points68 is not None
    tilted, matrix = tilt_of(view.image, 25)
    one = iris.irises(view.image, view.points68)
    other = iris.irises(tilted, view.points68 @ matrix[:, :2].T + matrix[:, 2])
    if one is None or other is None:
        return []
    apart = float(np.hypot(*(one[1].centre - one[0].centre)))
    places = (matrix[:, :2] @ eye.centre + matrix[:, 2] for eye in one)
    return [float(np.hypot(*(eye.centre - place))) / apart for eye, place in zip(other, places, strict=True)]


_Y, _X = np.mgrid[:250, :250]
_SPOT = np.exp(-(np.square((_X - 125) / 30) + np.square((_Y - 60) / 25)))[..., None]
_RAMP = np.linspace(1, 0.1, 250)[None, :, None]

DEGRADATIONS: Mapping[str, tuple[tuple[float, ...], Callable[[Floats, float], Floats]]] = {
    "blurriness": ((0.01, 1, 2, 3, 4, 6), lambda warp, sigma: np.asarray(cv2.GaussianBlur(warp, (0, 0), sigma))),
    "dark": ((1, 0.7, 0.5, 0.35, 0.25, 0.15), lambda warp, gain: warp * gain),
    "light": ((1, 1.3, 1.6, 2), lambda warp, gain: warp * gain),
    "specularity": ((0, 0.6, 1, 1.5, 2.5, 5), lambda warp, white: warp + 255 * white * _SPOT),
    "illumination": ((0, 0.5, 1, 1.5, 2), lambda warp, power: warp * _RAMP**power),
}


def degraded(warp: Image, name: str) -> list[float]:
    """One quality of a warp, step by step."""
    steps, degrade = DEGRADATIONS[name]
    changed = (np.clip(degrade(warp.astype(np.float64), step), 0, 255).astype(np.uint8) for step in steps)
    return [float(getattr(quality.estimate(one), name)) for one in changed]


def checks(view: FaceView) -> dict[str, float]:
    """Whether a check that is measured here would pass, or flag the face; only what could be measured."""
    assert view.points68 is not None
    values = {**skin.measured(view), **background.measured(view)}
    coloured = values[CheckName.FACE_COLOR_TYPE] == "color"
    values.update(red_eyes.measured(view, coloured=coloured))
    eyes = expression.eyes(view.points68, None)
    found = {name.value: float(value) for name, value in values.items() if isinstance(value, (int, float))}
    shut = [eye.state is EyeState.CLOSED for eye in (eyes.left, eyes.right)]
    return found | {"grayscale": float(not coloured), "eyes closed": float(np.mean(shut))}


def print_poses(errors: list[list[Floats]]) -> None:
    """Means and 95 % quantiles."""
    table = Table(title=f"Head pose, {len(errors)} photos: degrees in the mean (95 %)")
    for column in ("points", "copy", "yaw", "pitch", "roll"):
        table.add_column(column)
    every = np.array(errors)
    copies = {"mirror image": every[:, 0], "tilted by 20": every[:, 1:].reshape(-1, 2, 3)}
    for index, points in enumerate(("68", "5")):
        for name, found in copies.items():
            mean, most = found[:, index].mean(axis=0), np.quantile(found[:, index], 0.95, axis=0)
            table.add_row(points, name, *(f"{a:.2f} ({b:.2f})" for a, b in zip(mean, most, strict=True)))
    console.print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=4, help="take every Nth photo")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    pack, runtime = default_pack(), OnnxRuntime(threads=1)
    networks = (runtime.load(pack.path(name)) for name in (packs.PROPOSAL, packs.REFINEMENT, packs.OUTPUT))
    predictors = (LandmarkPredictor(pack.path(name)) for name in (packs.LANDMARKS5, packs.LANDMARKS68))
    models = Models(Detector(*networks), *predictors)
    photos = sorted(arguments.folder.rglob("*.jpg"))[:: arguments.every]
    errors, shifts, found, upright = [], list[float](), list[dict[str, float]](), []
    qualities: dict[str, list[list[float]]] = {name: [] for name in DEGRADATIONS}
    for photo in track(photos, console=console, transient=True):
        image = np.asarray(cv2.imread(str(photo), cv2.IMREAD_COLOR_RGB), np.uint8)
        view = models.face(image)
        if view is None:
            continue
        compared = pose_errors(models, view)
        if compared is not None:
            errors.append(compared)
        shifts += iris_shifts(view)
        found.append(checks(view))
        for name, values in qualities.items():
            values.append(degraded(view.warp, name))
        turned = (Picture(np.ascontiguousarray(np.rot90(image, k)), Format.JPEG, 0) for k in range(4))
        stood = (rotation.upright(one, lambda pixels: models.detector.detect(pixels, 40))[0] for one in turned)
        upright.append([np.array_equal(one.pixels, image) for one in stood])
    print_poses(errors)
    console.print(f"Irises, tilted by 25 degrees: {np.mean(shifts):.4f} ({np.quantile(shifts, 0.95):.4f}) of the eyes'")
    console.print(f"Come upright, turned by 0, 90, 180, 270 degrees: {np.mean(upright, axis=0).round(3)}")
    for name, rows in qualities.items():
        falls = (np.diff(rows, axis=1) <= 0.02).all(axis=1).mean()
        console.print(f"{name} {DEGRADATIONS[name][0]}: {np.median(rows, axis=0).round(2)}, falls {falls:.2f}")
    for name in sorted({name for row in found for name in row}):
        column = [row[name] for row in found if name in row]
        quantiles = np.quantile(column, (0.05, 0.25, 0.5, 0.75, 0.95)).round(2)
        console.print(f"{name}: n {len(column)}, mean {np.mean(column):.3f}, quantiles {quantiles}")


if __name__ == "__main__":
    main()
