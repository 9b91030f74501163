"""Thumbnails: samples as small as contact sheets need them."""

from __future__ import annotations

import asyncio

import cv2
import numpy as np

from engines.vision.decoding import decode
from server.errors import ImageTooLarge, NotAnImage

QUALITY = 75
"""Of JPEG, in [0, 100]."""
MOST_PIXELS = 4_000_000
"""Samples have 62,500; what has more than this is none."""


class OpenCvThumbnails:
    """Implements `server.domain.populations.Thumbnails`."""

    async def make(self, sample: bytes, size: int) -> bytes | None:
        """A JPEG that fits into a square of so many pixels; None where the bytes are no image."""
        return await asyncio.to_thread(thumbnail, sample, size)


def thumbnail(sample: bytes, size: int) -> bytes | None:
    """An encoded image as a JPEG that fits into a square of `size` pixels; None where it is no image, or a huge one."""
    try:
        pixels = decode(sample, max_pixels=MOST_PIXELS, use_exif=False).pixels
    except (NotAnImage, ImageTooLarge):
        return None
    height, width = pixels.shape[:2]
    scale = min(1.0, size / max(height, width))
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(pixels, shape, interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return np.asarray(encoded, np.uint8).tobytes()
