"""What an estimator is shown: a face or a body in its picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.vision.decoding import Image, Picture
from server.domain.vision import Rect


@dataclass(frozen=True, slots=True)
class FaceView:
    """One face.

    Attributes:
        picture: the decoded picture that it is in; for a sample the sample itself.
        rect: the detector's rectangle, in pixels of the picture.
        confidence: the detector's, in [0, 1].
        points: float32 [5, 2], left eye, right eye, nose tip, left and right mouth corner, in pixels of the picture.
        region: float32 [1, 4], the rectangle that dlib's detector would draw.
        warp: the aligned crop, uint8 [250, 250, 3].
        points68: float32 [68, 2] in pixels of the picture, where the 68-point model is on.
        sample: the picture is a face sample; there is nothing around the face.
    """

    picture: Picture
    rect: Rect
    confidence: float
    points: npt.NDArray[np.float32]
    region: npt.NDArray[np.float32]
    warp: Image
    points68: npt.NDArray[np.float32] | None = None
    sample: bool = False

    @property
    def image(self) -> Image:
        """The pixels of the picture."""
        return self.picture.pixels


@dataclass(frozen=True, slots=True)
class BodyView:
    """One body: its rectangle in the picture, the detector's confidence in [0, 1], its warp uint8 [256, 128, 3]."""

    picture: Picture
    rect: Rect
    confidence: float
    warp: Image
