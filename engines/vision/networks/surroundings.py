"""Square crops around faces, for networks that judge a face with what is around it."""

from __future__ import annotations

import cv2
import numpy as np

from engines.vision import alignment
from engines.vision.decoding import Image
from engines.vision.networks.pixels import resized
from engines.vision.view import FaceView
from server.domain.vision import Rect


def face_rect(face: FaceView) -> Rect:
    """The face's rectangle in its picture; in a sample, where faces of samples are."""
    if not face.sample:
        return face.rect
    x1, y1, x2, y2 = (round(float(value)) for value in alignment.CANONICAL_BOX[0])
    return Rect(x1, y1, x2 - x1, y2 - y1)


def square(face: FaceView, factor: float) -> Rect:
    """The square around the middle of a face whose side is the longer side of its rectangle times a factor."""
    rect = face_rect(face)
    side = max(1, int(max(rect.width, rect.height) * factor))
    x, y = rect.x + rect.width / 2 - side / 2, rect.y + rect.height / 2 - side / 2
    return Rect(int(x), int(y), side, side)


def shown(face: FaceView, area: Rect) -> float:
    """Part of an area that lies inside the picture, in [0, 1]."""
    height, width = face.image.shape[:2]
    across: int = min(area.x + area.width, width) - max(area.x, 0)
    down: int = min(area.y + area.height, height) - max(area.y, 0)
    return max(across, 0) * max(down, 0) / (area.width * area.height)


def crop(face: FaceView, area: Rect, size: int, border: int) -> Image:
    """The pixels of a square area, uint8 [size, size, 3].

    Args:
        face: whose picture.
        area: the square.
        size: side of the result in pixels.
        border: what OpenCV puts where the picture ends, as `cv2.BORDER_CONSTANT` for black.
    """
    height, width = face.image.shape[:2]
    left, top = max(area.x, 0), max(area.y, 0)
    right, bottom = min(area.x + area.width, width), min(area.y + area.height, height)
    if left >= right or top >= bottom:
        return np.zeros((size, size, 3), np.uint8)
    part = face.image[top:bottom, left:right]
    margins = top - area.y, area.y + area.height - bottom, left - area.x, area.x + area.width - right
    if border == cv2.BORDER_REFLECT_101 and (max(margins[:2]) >= part.shape[0] or max(margins[2:]) >= part.shape[1]):
        border = cv2.BORDER_REPLICATE  # there is less picture than would have to be mirrored
    return resized(np.asarray(cv2.copyMakeBorder(part, *margins, border), np.uint8), size, size)
