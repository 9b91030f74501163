"""From encoded bytes to pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from engines.vision import exif, headers
from engines.vision.headers import Format, Header
from server.domain.vision import WARP_SIZE
from server.errors import ImageTooLarge, NotAnImage, WrongSampleSize

Image: TypeAlias = npt.NDArray[np.uint8]
"""uint8 [height, width, 3], RGB, C-contiguous."""

_FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_JPEG_QUALITY = 95


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded image, upright: its pixels, the format and bytes of its file, and its EXIF tags where asked for."""

    pixels: Image
    format: Format
    size: int
    exif: dict[str, str] | None = None


def decode(data: bytes, *, max_pixels: int, use_exif: bool = True, extract_exif: bool = False) -> Picture:
    """Decode a JPEG, PNG, BMP, TIFF or PPM image, recognised by its content.

    Grey becomes RGB, 16 bits become 8, an alpha channel is dropped (that of a TIFF is applied, over black). A TIFF
    image is always rotated by its orientation tag, others where `use_exif` is set. Tags are extracted from JPEG only
    (source: reference document, use_exif_info and extract_exif).

    Raises:
        NotAnImage: the format is not accepted, or the image is damaged or cut off.
        ImageTooLarge: the header announces more than `max_pixels`; nothing has been decoded.
    """
    header = headers.read(data)
    if header.width * header.height > max_pixels:
        raise ImageTooLarge(width=header.width, height=header.height, limit=max_pixels)
    pixels = _pixels(data, header)
    if use_exif and header.exif:
        pixels = _rotated(pixels, headers.orientation(header.exif))
    if not extract_exif:
        return Picture(pixels, header.format, len(data))
    tags = exif.tags(header.exif) if header.format is Format.JPEG else {}
    return Picture(pixels, header.format, len(data), tags)


def decode_sample(data: bytes, *, width: int = WARP_SIZE, height: int = WARP_SIZE) -> Picture:
    """Decode a sample. Its EXIF data is ignored: a sample is upright by definition.

    Raises:
        NotAnImage: as for `decode`.
        WrongSampleSize: it has another size in pixels; nothing has been decoded.
    """
    header = headers.read(data)
    if (header.width, header.height) != (width, height):
        raise WrongSampleSize(needed=f"{width}x{height}", width=header.width, height=header.height)
    return Picture(_pixels(data, header), header.format, len(data))


def as_jpeg(data: bytes, pixels: Image) -> bytes:
    """An encoded image as JPEG: its bytes where they are JPEG already, else its pixels encoded anew."""
    return data if data.startswith(b"\xff\xd8") else encode_jpeg(pixels)


def encode_jpeg(pixels: Image) -> bytes:
    """A JPEG image of quality 95, with colour at full resolution (4:4:4)."""
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        _JPEG_QUALITY,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    done, encoded = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise NotAnImage(message=f"an image of the shape {pixels.shape} cannot be encoded")
    return encoded.tobytes()


def _pixels(data: bytes, header: Header) -> Image:
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS)
    except cv2.error as error:
        raise NotAnImage(message=f"the {header.format.value} decoder refuses it ({error.err})") from None
    if decoded is None:
        raise NotAnImage(message=f"the {header.format.value} decoder refuses it")
    sizes = {(header.width, header.height)}
    if header.format is Format.TIFF:
        sizes.add((header.height, header.width))
    if (decoded.shape[1], decoded.shape[0]) not in sizes or decoded.dtype != np.uint8 or decoded.ndim != 3:
        raise NotAnImage(message="its pixels are not those that its header announces")
    return np.ascontiguousarray(decoded, np.uint8)


def _rotated(pixels: Image, orientation: int) -> Image:
    """Upright pixels, for an orientation of 1 to 8 (source: TIFF 6.0, tag Orientation)."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    vertical = -1 if orientation in (3, 4, 7, 8) else 1
    horizontal = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(pixels[::vertical, ::horizontal])
