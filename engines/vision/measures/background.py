"""Lightness and uniformity of what is behind a head."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from engines.vision.decoding import Image
from engines.vision.measures.axes import Axes, axes
from engines.vision.measures.measure import OF_SAMPLE, Measures, Missing
from engines.vision.view import FaceView
from server.domain.checks import CheckName

_SIDE = 256
"""Longest side at which a background is judged: the grain of a sensor is no texture of a wall."""

_SAMPLED = 1024
"""Longest side, about, that is averaged: of larger pictures only every nth pixel is looked at."""

#: Half the width of the head with much hair, and where its ellipse begins and ends, in distances of the eyes. Farkas,
#: Anthropometry of the Head and Face, 1994: half a head's breadth is 1.2, from the eyes up to the vertex 1.75.
_HALF_WIDTH, _TOP, _BOTTOM = 1.9, -2.7, 2.3
#: Below this the shoulders may begin anywhere.
_SHOULDERS = 1.1

_LEAST = 0.05
"""Part of the picture that must be background."""

_TOO_UNEVEN = 20.0
"""Standard deviation in units of CIELAB at which nothing uniform is left: stripes of white and light grey (L* 60)."""


def measured(view: FaceView) -> Measures:
    """Background lightness and uniformity, both in [0, 1], of all that is above the shoulders and outside the head.

    background_lightness: the mean CIE lightness L* over 100. The contract calls it black to .1, dark to .3, light to
    .97, and white above.

    background_uniformity: 1 less the standard deviation of its colour in CIELAB over 20, after the plane that fits
    each channel best has been taken away: ISO/IEC 19794-5 allows a gradual change of light in one direction. So the
    contract's .5 is a deviation of 10, which the eye sees at once. The scale is ours, and no standard's.

    The region is placed by the eyes alone. Hair that stands far off, hats with a brim, raised arms and other people
    count as background; a background that is hidden by a head which fills the picture is not told.
    """
    if view.sample:
        return dict.fromkeys((CheckName.BACKGROUND_LIGHTNESS, CheckName.BACKGROUND_UNIFORMITY), OF_SAMPLE)
    small = _shrunk(view.image)
    behind = region(small, axes(view), small.shape[1] / view.image.shape[1])
    if behind.mean() < _LEAST:
        missing = Missing(f"a picture with more background: less than {_LEAST:.0%} of it is behind the head")
        return dict.fromkeys((CheckName.BACKGROUND_LIGHTNESS, CheckName.BACKGROUND_UNIFORMITY), missing)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)[behind].astype(np.float64)
    y, x = np.nonzero(behind)
    plane = np.column_stack([x / _SIDE, y / _SIDE, np.ones(len(x))])
    rest = lab - plane @ np.linalg.lstsq(plane, lab, rcond=None)[0]
    deviation = float(np.sqrt(np.square(rest).sum(axis=1).mean()))
    return {
        CheckName.BACKGROUND_LIGHTNESS: min(1.0, max(0.0, float(lab[:, 0].mean()) / 100)),
        CheckName.BACKGROUND_UNIFORMITY: max(0.0, 1 - deviation / _TOO_UNEVEN),
    }


def region(picture: Image, face: Axes, scale: float) -> npt.NDArray[np.bool_]:
    """Where the background is: bool [height, width].

    Args:
        picture: the picture, shrunk.
        face: the axes of the face in the whole picture.
        scale: sides of the shrunk picture over those of the whole one.
    """
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width]
    across, below = np.moveaxis(face.at((np.stack([x, y], axis=-1) + 0.5) / scale - 0.5), -1, 0)
    middle, half_height = (_TOP + _BOTTOM) / 2, (_BOTTOM - _TOP) / 2
    head = np.square(across / _HALF_WIDTH) + np.square((below - middle) / half_height) <= 1
    return np.asarray(~head & (below < _SHOULDERS), np.bool_)


def _shrunk(image: Image) -> Image:
    stride = max(1, max(image.shape[:2]) // _SAMPLED)
    image = image[::stride, ::stride]
    height, width = image.shape[:2]
    factor = _SIDE / max(height, width)
    if factor >= 1:
        return np.ascontiguousarray(image)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
