"""From landmarks to the warp, and from the warp to the network's chip.

The chip is dlib's: 150 pixels wide, the face's unit square with a quarter of it on each side. The warp shows the same
view a third larger with a margin of 25 pixels all around, so that every chip can be cut out of a stored warp later by
one fixed transform, whatever made the warp.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from engines.vision.boxes import Boxes
from engines.vision.compiled import compiled
from engines.vision.decoding import Image
from server.domain.vision import WARP_SIZE

Matrix = npt.NDArray[np.float64]
"""float64 [2, 3]: takes (x, y, 1) to (x, y)."""

CHIP_SIZE = 150
MARGIN = 25
"""Pixels of the warp on each side of the chip."""

_SCALE = (WARP_SIZE - 2 * MARGIN) / CHIP_SIZE
_PADDING = 0.25

#: Mean of dlib's five points (outer and inner corner of the eye at the image's right, of the eye at its left, base of
#: the nose) in the face's unit square (source: dlib/image_transforms/interpolation.h, get_face_chip_details).
_TEMPLATE5 = np.array(
    [
        (0.8595674595992, 0.2134981538014),
        (0.6460604764104, 0.2289674387677),
        (0.1205750620789, 0.2137274526848),
        (0.3340850613712, 0.2290642403242),
        (0.4901123135679, 0.6277975316475),
    ]
)

_TEMPLATE_IN_WARP = (_TEMPLATE5 + _PADDING) / (1 + 2 * _PADDING) * CHIP_SIZE * _SCALE - 0.5 + MARGIN

_SHRINK_BELOW = 0.5
_SHRINK_TO = 0.75
"""A face that the warp would shrink by more than half is first shrunk by area means until this scale is left."""

_RECTANGLE = 3.8
"""Side of dlib's face rectangle over the spread of MTCNN's points: median of 198 faces that both detectors found."""

CANONICAL_BOX = np.array([[42.0, 6.0, 198.0, 216.0]], np.float32)
"""Where MTCNN sees the face of a warp, [1, 4]: medians over 317 warps."""

CANONICAL_POINTS = np.array([(88, 85), (159, 85), (125, 129), (92, 164), (155, 164)], np.float32)
"""Where it sees the five points of a warp, [5, 2]: medians over 90 warps."""


def similarity(source: npt.NDArray[np.floating], target: npt.NDArray[np.floating]) -> Matrix:
    """The similarity transform [2, 3] that takes points [n, 2] to others with the least squared error.

    Umeyama, Least-squares estimation of transformation parameters between two point patterns, PAMI 1991.
    """
    return _similarity(np.ascontiguousarray(source, np.float64), np.ascontiguousarray(target, np.float64))


@compiled
def _similarity(source: npt.NDArray[np.float64], target: npt.NDArray[np.float64]) -> Matrix:
    count = len(source)
    x, y = source[:, 0].sum() / count, source[:, 1].sum() / count
    u, v = target[:, 0].sum() / count, target[:, 1].sum() / count
    along, across, square = 0.0, 0.0, 0.0
    for point in range(count):
        a, b = source[point, 0] - x, source[point, 1] - y
        c, d = target[point, 0] - u, target[point, 1] - v
        along += a * c + b * d
        across += a * d - b * c
        square += a * a + b * b
    cosine, sine = along / max(square, 1e-12), across / max(square, 1e-12)
    return np.array([[cosine, -sine, u - cosine * x + sine * y], [sine, cosine, v - sine * x - cosine * y]])


def rectangles(points: npt.NDArray[np.float32]) -> Boxes:
    """The rectangles that dlib's face detector would draw, float32 [n, 4], from MTCNN's points [n, 5, 2].

    dlib's landmark models were trained inside its own rectangles. They are tied to the points and not to MTCNN's box,
    because the points turn with a tilted head and the box does not.
    """
    centre = points.mean(axis=1)
    spread = np.sqrt(np.square(points - centre[:, None]).sum(axis=2).mean(axis=1, keepdims=True))
    half = np.maximum(_RECTANGLE * spread, 2) / 2
    return np.asarray(np.hstack([centre - half, centre + half]), np.float32)


def misalignment(points: npt.NDArray[np.float32]) -> float:
    """How far the points of a warp, [5, 2], are from where they should be: root of the mean square, in pixels."""
    return float(np.sqrt(np.square(points - CANONICAL_POINTS).sum(axis=1).mean()))


def warp_transform(landmarks: npt.NDArray[np.float32]) -> Matrix:
    """The transform from the image to the warp, from dlib's five points [5, 2].

    dlib lays its template over the chip's area, so that (0, 0) is the corner of the first pixel and not its centre.
    """
    return similarity(landmarks, _TEMPLATE_IN_WARP)


def warp(image: Image, transform: Matrix) -> Image:
    """The warp, uint8 [250, 250, 3]; what lies outside the image is black."""
    height, width = image.shape[:2]
    (a, b, x), (c, d, y) = cv2.invertAffineTransform(transform).tolist()
    left, right = _reach(x, WARP_SIZE * a, WARP_SIZE * b, width)
    top, bottom = _reach(y, WARP_SIZE * c, WARP_SIZE * d, height)
    part = image[top:bottom, left:right]
    matrix = transform.copy()
    matrix[:, 2] += transform[:, :2] @ (left, top)
    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    if scale < _SHRINK_BELOW:
        factor = scale / _SHRINK_TO
        size = max(1, round(part.shape[1] * factor)), max(1, round(part.shape[0] * factor))
        ratio = np.array([part.shape[1] / size[0], part.shape[0] / size[1]])
        part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)
        matrix[:, 2] += matrix[:, :2] @ (ratio / 2 - 0.5)
        matrix[:, :2] *= ratio
    # four channels take two thirds of the time of three, for the same values
    four = cv2.cvtColor(part, cv2.COLOR_RGB2RGBA)
    warped = cv2.warpAffine(four, matrix, (WARP_SIZE, WARP_SIZE), flags=cv2.INTER_LINEAR)
    return np.asarray(cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB), np.uint8)


def _reach(origin: float, first: float, second: float, size: int) -> tuple[int, int]:
    """From where to where a parallelogram reaches along an axis, with a margin, within an image; never nothing.

    Args:
        origin: one of its corners.
        first: how far one of its sides leads from there.
        second: the other one.
        size: of the image.
    """
    low = math.floor(origin + min(first, 0) + min(second, 0)) - 2
    high = math.ceil(origin + max(first, 0) + max(second, 0)) + 2
    begin = min(max(low, 0), size - 1)
    return begin, min(max(high, begin + 1), size)


def unit_square() -> tuple[float, float]:
    """Where the face's unit square begins in a warp, along both axes, and its side, in pixels from the warp's edge."""
    side = CHIP_SIZE / (1 + 2 * _PADDING) * _SCALE
    return MARGIN + _PADDING * side, side


def chip(warped: Image) -> Image:
    """The network's chip, uint8 [150, 150, 3], cut out of a warp: means of areas, three pixels of four."""
    return _three_of_four(np.ascontiguousarray(warped[MARGIN:-MARGIN, MARGIN:-MARGIN]))


@compiled
def _three_of_four(image: Image) -> Image:
    """INTER_AREA of OpenCV for three quarters of the size, to the last bit, in a quarter of its time.

    A square of four by four pixels becomes one of three by three. A row of four, a b c d, becomes (3a + b) / 4,
    (2b + 2c) / 4, (c + 3d) / 4; both ways that is a whole number of sixteenths, which is rounded half to even.
    """
    height, width, _ = image.shape
    source = image.reshape(height, 3 * width)
    result = np.empty((height // 4 * 3, width // 4 * 9), np.uint8)
    thirds = np.empty((3, 3 * width), np.uint16)
    for square in range(height // 4):
        for x in range(3 * width):
            a, b = np.uint16(source[4 * square, x]), np.uint16(source[4 * square + 1, x])
            c, d = np.uint16(source[4 * square + 2, x]), np.uint16(source[4 * square + 3, x])
            thirds[0, x], thirds[1, x], thirds[2, x] = 3 * a + b, 2 * b + 2 * c, c + 3 * d
        for third in range(3):
            row, line = thirds[third], result[3 * square + third]
            for block in range(width // 4):
                for channel in range(3):
                    x, y = 12 * block + channel, 9 * block + channel
                    e, f, g, h = np.uint32(row[x]), np.uint32(row[x + 3]), np.uint32(row[x + 6]), np.uint32(row[x + 9])
                    line[y] = _sixteenth(3 * e + f)
                    line[y + 3] = _sixteenth(2 * f + 2 * g)
                    line[y + 6] = _sixteenth(g + 3 * h)
    return result.reshape(height // 4 * 3, width // 4 * 3, 3)


@compiled
def _sixteenth(value: np.uint32) -> np.uint32:
    """A sixteenth, rounded half to even."""
    return np.uint32(value + 7 + (value >> 4 & 1)) >> np.uint32(4)
