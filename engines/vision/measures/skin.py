"""Light and colour of the face itself, measured in its warp."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from engines.vision.alignment import CANONICAL_POINTS
from engines.vision.decoding import Image
from engines.vision.measures.measure import Measures, Missing
from engines.vision.view import FaceView
from server.domain.checks import CheckName
from server.domain.vision import WARP_SIZE

_UNIT = float(CANONICAL_POINTS[1, 0] - CANONICAL_POINTS[0, 0])
_ORIGIN = CANONICAL_POINTS[:2].mean(axis=0)
_SIDE = 0.3
_FOREHEAD, _CHIN, _LEFT_CHEEK, _RIGHT_CHEEK = (0.0, -0.5), (0.0, 1.6), (-0.5, 0.65), (0.5, 0.65)
"""Centres of the zones, in distances of the eyes from the point between them."""

_FACE_CENTRE, _FACE_AXES = (125, 129), (61, 80)
"""The ellipse in the warp that shows skin in nearly all faces, in pixels."""

_COLOURED = 10
"""Chroma that a twentieth of a coloured face exceeds: grey photos have 0, the palest of 1,578 coloured ones 20."""

_NATURAL_A, _NATURAL_B = (5.0, 25.0), (5.0, 35.0)

GREY = Missing("a picture in colour")


def measured(view: FaceView) -> Measures:
    """Light and colour of the face in the warp, uint8 [250, 250, 3].

    illumination_uniformity: in [0, 1]. The darkest over the brightest of four zones, on forehead, chin and both cheeks,
    each a square of .3 eye distances whose median counts, in the channel where this is least; after the measurement of
    ICAO's Portrait Quality and ISO/IEC 39794-5 annex D, which asks for .5. A fringe, a beard or a turned head lowers it
    as a shadow does. Half of 1,581 press photos have .65 or less.

    dynamic_range: in [0, 1]. The grey levels from the 1 % to the 99 % quantile over 256: ISO/IEC 19794-5 asks for at
    least 7 bits of variation in the facial region, which is .5. The region is skin, eyes and mouth without the hair,
    so the measure is on the strict side; a quarter of the press photos fails.

    face_color_type: `color` or `grayscale`. Infrared light cannot be told from a grey picture and is called grayscale.

    natural_light: 1 where the mean colour of the cheeks in CIELAB (D65) has a* in [5, 25] and b* in [5, 35], the
    range of natural skin in ICAO's Portrait Quality and ISO/IEC 29794-5 (natural colour), else 0. It tells coloured
    light, a wrong white balance and make-up, and not daylight from a lamp. 83 % of the press photos pass.
    """
    warp = view.warp
    inside = warp[_FACE].astype(np.int16)
    coloured = float(np.quantile(inside.max(axis=1) - inside.min(axis=1), 0.95)) > _COLOURED
    low, high = np.quantile(cv2.cvtColor(warp, cv2.COLOR_RGB2GRAY)[_FACE], (0.01, 0.99))
    return {
        CheckName.ILLUMINATION_UNIFORMITY: _uniformity(warp),
        CheckName.DYNAMIC_RANGE: float(high - low + 1) / 256,
        CheckName.FACE_COLOR_TYPE: "color" if coloured else "grayscale",
        CheckName.NATURAL_LIGHT: int(_natural(warp)) if coloured else GREY,
    }


def _uniformity(warp: Image) -> float:
    zones = [np.median(_zone(warp, at), axis=0) for at in (_FOREHEAD, _CHIN, _LEFT_CHEEK, _RIGHT_CHEEK)]
    darkest, brightest = np.min(zones, axis=0), np.max(zones, axis=0)
    return float((darkest / np.maximum(brightest, 1)).min())


def _natural(warp: Image) -> bool:
    cheeks = np.concatenate([_zone(warp, _LEFT_CHEEK), _zone(warp, _RIGHT_CHEEK)])
    lab = cv2.cvtColor(cheeks[None].astype(np.float32) / 255, cv2.COLOR_RGB2Lab)[0].mean(axis=0)
    return bool(_NATURAL_A[0] <= lab[1] <= _NATURAL_A[1] and _NATURAL_B[0] <= lab[2] <= _NATURAL_B[1])


def _zone(warp: Image, at: tuple[float, float]) -> npt.NDArray[np.uint8]:
    """The pixels of a zone, [n, 3]."""
    x, y = _ORIGIN + np.multiply(at, _UNIT)
    half = _SIDE * _UNIT / 2
    part = warp[round(y - half) : round(y + half), round(x - half) : round(x + half)]
    return part.reshape(-1, 3)


def _ellipse() -> npt.NDArray[np.bool_]:
    y, x = np.mgrid[:WARP_SIZE, :WARP_SIZE]
    across, down = (x + 0.5 - _FACE_CENTRE[0]) / _FACE_AXES[0], (y + 0.5 - _FACE_CENTRE[1]) / _FACE_AXES[1]
    return np.asarray(across**2 + down**2 <= 1, np.bool_)


_FACE = _ellipse()
