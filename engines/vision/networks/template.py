"""The 112x112 crop that most face networks are trained on, cut out of a warp by one fixed transform.

Deng et al., ArcFace: Additive Angular Margin Loss for Deep Face Recognition, CVPR 2019: eyes, nose tip and mouth
corners of the face lie on five fixed places. Where these are in a warp is known (`alignment.CANONICAL_POINTS`), so that
the crop needs no points, and a stored sample gives the same descriptor as the picture that it was cut from.

The crop reaches over the warp's upper edge by a twelfth of its height, above the forehead; the edge is repeated there.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from engines.vision import alignment
from engines.vision.decoding import Image
from engines.vision.networks.pixels import Images

SIZE = 112

POINTS = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)], np.float32
)
"""Left eye, right eye, nose tip, left and right mouth corner in the crop (source: insightface, face_align.py)."""

_TRANSFORM = alignment.similarity(alignment.CANONICAL_POINTS, POINTS)


def crops(warps: Sequence[Image]) -> Images:
    """The crops of warps, uint8 [n, 112, 112, 3]."""
    return np.stack([_crop(warp) for warp in warps])


def _crop(warp: Image) -> Image:
    cut = cv2.warpAffine(warp, _TRANSFORM, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cut, np.uint8)
