"""Image quality of a face, measured on its chip.

Each quality is a ramp over one measure: 0 at a value that makes a face useless, 1 at a value that good portraits reach,
linear between. The ends come from the chips of 264 photos of Labeled Faces in the Wild and from copies of them that
were blurred, darkened and brightened step by step: there each measure follows the degradation without a turn.

Medians over 347 faces, of Labeled Faces in the Wild and of larger photos, step by step; in brackets the part of the
faces whose value never rises by more than .02:

- blurriness: a Gaussian of 0, 1, 2, 3, 4, 6 pixels on the warp gives .78, .69, .49, .29, .13, 0 (.99).
- dark: a gain of 1, .7, .5, .35, .25, .15 gives 1, 1, .65, .31, .10, 0 (1.0).
- light: a gain of 1, 1.3, 1.6, 2 gives 1, .95, .47, 0 (1.0).
- specularity: a white spot on the forehead of 0, .6, 1, 1.5, 2.5, 5 times white gives 1, .89, .79, .71, .59, .45 (1.0).
- illumination: light that falls off to a tenth across the warp, to the power of 0, .5, 1, 1.5, 2, gives .97, .87, .65,
  .41, .19 (.76: the others were lit from the other side before).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from engines.vision.alignment import CHIP_SIZE, chip
from engines.vision.compiled import compiled
from engines.vision.decoding import Image
from server.domain.vision import Quality

_FACE_CENTRE, _FACE_AXES = (75, 78), (46, 60)
"""The ellipse in the chip that shows skin in nearly all faces, in pixels."""


@dataclass(frozen=True, slots=True)
class _Ramp:
    bad: float
    good: float

    def __call__(self, value: float) -> float:
        return min(1.0, max(0.0, (value - self.bad) / (self.good - self.bad)))


#: Photos .75 in the median; a Gaussian of 2 px on the warp leaves .47, of 4 px .12, of 8 px nothing.
_SHARPNESS = _Ramp(-0.95, -0.35)
#: Grey level that a tenth of the face exceeds. Its brighter parts say more about exposure than its mean, which
#: is also the colour of the skin.
_BRIGHTEST = _Ramp(35, 115)
#: Part of the face that is nearly white; 5 % of the photos have more than .02, brightened by 1.7 half of them have .35.
_OVEREXPOSED = _Ramp(0.5, 0.02)
#: Difference of the mean grey of both halves over its sum; 5 % of the photos have more than .22.
_IMBALANCE = _Ramp(0.4, 0.05)
#: Part of the face that is nearly white and colourless; 5 % of the photos have more than .05.
_SPECULAR = _Ramp(0.35, 0.03)

#: Pixels; 95 % of aligned photos have less than 10, half of those turned by up to 60 degrees more than 26.
_ALIGNMENT = _Ramp(60, 12)

_NEARLY_WHITE = 230
_CLIPPED, _COLOURLESS = 235, 50


def estimate(warp: Image) -> Quality:
    """Quality of the face in a warp, uint8 [250, 250, 3]; each value in [0, 1], 1 is good.

    blurriness: how much of the detail of 1 to 2 pixels there is, relative to that of 2 to 4 (variances of two
    differences of Gaussians, so contrast and brightness fall out). dark: exposure of the brightest tenth. light: how
    little is overexposed. illumination: balance of the left and right half. specularity: how little of it is glare.
    """
    face = chip(warp)
    grey = np.asarray(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), np.uint8)
    counts, left, right, glare = _counted(face, grey, _MASK)
    return Quality(
        blurriness=_SHARPNESS(_sharpness(grey)),
        dark=_BRIGHTEST(float(np.searchsorted(counts.cumsum(), 0.9 * counts.sum()))),
        illumination=_IMBALANCE(abs(left - right) / max(left + right, 1.0)),
        specularity=_SPECULAR(glare),
        light=_OVEREXPOSED(float(counts[_NEARLY_WHITE + 1 :].sum() / counts.sum())),
    )


def score(quality: Quality, confidence: float, misalignment: float) -> float:
    """How well a descriptor of this face can be trusted, in [0, 1].

    The product of the detector's confidence in the warp, of how well the face sits in it, and of the qualities, each
    weakened to the part that descriptors suffer from: overexposure most, darkness least. Of 450 genuine pairs
    of Labeled Faces in the Wild, four fifths with one photo blurred, darkened, overexposed or turned, 20 % are not
    recognised; without the 20 % of the lowest scores it is 10 %, without 40 % it is 3 %. The form and the shares were
    chosen among eight on these same pairs, so other degradations may rank less well.

    Args:
        quality: of the warp.
        confidence: the detector's in the warp, in [0, 1].
        misalignment: in pixels, as `alignment.misalignment` measures it.
    """
    sound = _part(quality.light, 0.6) * _part(quality.blurriness, 0.3) * _part(quality.dark, 0.15)
    return min(1.0, max(0.0, confidence)) * _ALIGNMENT(misalignment) * sound


def _part(quality: float, share: float) -> float:
    """A quality that can take away no more than `share`."""
    return 1 - share + share * quality


@compiled
def _counted(
    face: Image, grey: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], float, float, float]:
    """Of the pixels of a mask: how many have each grey value, the mean greys of its halves, the part that glares."""
    counts, halves, sums = np.zeros(256, np.int64), np.zeros(2, np.int64), np.zeros(2, np.int64)
    glare = 0
    height, width = mask.shape
    for y in range(height):
        for x in range(width):
            if not mask[y, x]:
                continue
            counts[grey[y, x]] += 1
            halves[2 * x // width] += 1
            sums[2 * x // width] += grey[y, x]
            red, green, blue = face[y, x, 0], face[y, x, 1], face[y, x, 2]
            highest, lowest = max(red, green, blue), min(red, green, blue)
            if highest > _CLIPPED and highest - lowest < _COLOURLESS:
                glare += 1
    return counts, sums[0] / halves[0], sums[1] / halves[1], glare / halves.sum()


def _sharpness(grey: npt.NDArray[np.uint8]) -> float:
    """Logarithm of the ratio of fine to coarser detail."""
    wide = grey.astype(np.float32)
    fine, middle, coarse = (_blurred(wide, sigma) for sigma in (1, 2, 4))
    detail = _variance(fine, middle, _INNER_MASK) + _FLOOR
    return float(np.log10(detail / (_variance(middle, coarse, _INNER_MASK) + _FLOOR)))


def _blurred(grey: npt.NDArray[np.float32], sigma: int) -> npt.NDArray[np.float32]:
    """A Gaussian, where the mask is: so far and no farther is it computed."""
    rows, columns = _AROUND_MASK
    # the kernel's reach is OpenCV's for floats
    top, left = max(rows.start - 4 * sigma, 0), max(columns.start - 4 * sigma, 0)
    part = np.ascontiguousarray(grey[top : rows.stop + 4 * sigma, left : columns.stop + 4 * sigma])
    blurred = cv2.GaussianBlur(part, (0, 0), sigma)
    inner = blurred[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return np.ascontiguousarray(inner, np.float32)


@compiled
def _variance(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]) -> float:
    """Variance of the difference of two pictures within a mask."""
    count, total, squares = 0, 0.0, 0.0
    height, width = mask.shape
    for y in range(height):
        for x in range(width):
            if mask[y, x]:
                difference = np.float64(a[y, x]) - np.float64(b[y, x])
                count += 1
                total += difference
                squares += difference * difference
    return squares / count - (total / count) ** 2


_FLOOR = 0.05
"""Keeps the ratio finite on a flat picture; a fraction of the variance that rounding to 8 bits leaves."""


def _ellipse() -> npt.NDArray[np.bool_]:
    y, x = np.mgrid[:CHIP_SIZE, :CHIP_SIZE]
    (centre_x, centre_y), (half_width, half_height) = _FACE_CENTRE, _FACE_AXES
    inside = ((x + 0.5 - centre_x) / half_width) ** 2 + ((y + 0.5 - centre_y) / half_height) ** 2 <= 1
    return np.asarray(inside, np.bool_)


_MASK = _ellipse()
_AROUND_MASK = (
    slice(_FACE_CENTRE[1] - _FACE_AXES[1], _FACE_CENTRE[1] + _FACE_AXES[1]),
    slice(_FACE_CENTRE[0] - _FACE_AXES[0], _FACE_CENTRE[0] + _FACE_AXES[0]),
)
"""Rows and columns of the chip that the mask has."""
_INNER_MASK = np.ascontiguousarray(_MASK[_AROUND_MASK])
