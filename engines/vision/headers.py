"""What an encoded image says about itself before it is decoded: format, size, orientation, and whether it is complete.

Decoders allocate what a header announces, and some fill what is missing with grey. So both are looked at first, for
the five formats that are accepted: JPEG, PNG, BMP, TIFF and PPM (with its grey sister PGM).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from engines.vision.tiff import ORIENTATION, BadTiff, Tiff
from server.errors import NotAnImage


class Format(Enum):
    """An accepted format. The value is its name."""

    JPEG = "jpeg"
    PNG = "png"
    BMP = "bmp"
    TIFF = "tiff"
    PPM = "ppm"


@dataclass(frozen=True, slots=True)
class Header:
    """What is known before decoding. `width` and `height` are those of the stored pixels, before any rotation.

    `exif` is the EXIF structure of a JPEG or PNG file, from its TIFF header on; empty where there is none.
    """

    format: Format
    width: int
    height: int
    exif: bytes = b""


def read(data: bytes) -> Header:
    """Read the header of an image and check that the image is complete.

    Raises:
        NotAnImage: the format is not accepted, the header is damaged, or the image is cut off.
    """
    for magic, reader in _READERS:
        if data.startswith(magic):
            try:
                header = reader(data)
            except (struct.error, IndexError, BadTiff) as error:
                raise NotAnImage(message=f"its header is damaged ({error})") from None
            if header.width < 1 or header.height < 1:
                raise NotAnImage(message=f"its header says {header.width}x{header.height} pixels")
            return header
    names = ", ".join(format_.value for format_ in Format)
    raise NotAnImage(message=f"the format is not one of {names}" if data else "it is empty")


def orientation(exif: bytes) -> int:
    """The orientation tag of an EXIF structure, 1 to 8; 1 where there is none or it is damaged."""
    try:
        tiff = Tiff.open(exif)
        value = tiff.integers(tiff.first(), ORIENTATION, (1,))[0]
    except BadTiff:
        return 1
    return value if 1 <= value <= 8 else 1


def _cut_off() -> NotAnImage:
    return NotAnImage(message="it is cut off")


_EXIF = b"Exif\x00\x00"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN, _END = 0xDA, 0xD9
_MAX_SCANS = 100
"""A progressive JPEG has about ten scans; each costs a pass over the whole image, so thousands are an attack."""

_BARE = frozenset((0x01, *range(0xD0, 0xD9)))
#: In entropy-coded data 0xFF is followed by zero or a restart marker; anything else begins the next segment. Of the
#: fill bytes (more 0xFF) before a marker only the last is matched: taking all would cost the square of their number.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


def _jpeg(data: bytes) -> Header:
    """ITU-T T.81, annex B: segments up to the end-of-image marker."""
    size: tuple[int, int] | None = None
    exif = b""
    position = 2
    scans = 0
    while True:
        marker = _MARKER.search(data, position)
        if marker is None:
            raise _cut_off()
        position = marker.end()
        code = data[position - 1]
        if code == _END:
            break
        if code in _BARE:
            continue
        (length,) = struct.unpack_from(">H", data, position)
        if position + length > len(data):
            raise _cut_off()
        if code in _FRAMES:
            if size is not None:
                raise NotAnImage(message="it has two frames")
            height, width = struct.unpack_from(">HH", data, position + 3)
            size = width, height
        elif code == 0xE1 and not exif and data.startswith(_EXIF, position + 2):
            exif = data[position + 2 + len(_EXIF) : position + length]
        elif code == _SCAN:
            scans += 1
            if scans > _MAX_SCANS:
                raise NotAnImage(message=f"it has more than {_MAX_SCANS} scans")
        position += length
    if size is None or not scans:
        raise NotAnImage(message="it has no picture")
    return Header(Format.JPEG, *size, exif)


def _png(data: bytes) -> Header:
    """PNG specification, 5.3: chunks from IHDR to IEND."""
    if data[12:16] != b"IHDR":
        raise NotAnImage(message="its first chunk is not IHDR")
    width, height = struct.unpack_from(">II", data, 16)
    exif = b""
    position = 8
    while True:
        if position + 12 > len(data):
            raise _cut_off()
        (length,) = struct.unpack_from(">I", data, position)
        kind = data[position + 4 : position + 8]
        if position + 12 + length > len(data):
            raise _cut_off()
        if kind == b"IEND":
            return Header(Format.PNG, width, height, exif)
        if kind == b"eXIf":
            exif = data[position + 8 : position + 8 + length]
        position += 12 + length


def _bmp(data: bytes) -> Header:
    """BITMAPFILEHEADER and BITMAPINFOHEADER; a negative height means that the first row is the upper one."""
    begin, size = struct.unpack_from("<II", data, 10)
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = stored = 0
    else:
        width, height, _, bits, compression, stored = struct.unpack_from("<iiHHII", data, 18)
    height = abs(height)
    packed = compression in (1, 2)
    length = stored if packed else (width * bits + 31) // 32 * 4 * height
    if begin + length > len(data):
        raise _cut_off()
    return Header(Format.BMP, width, height)


_TIFF_WIDTH, _TIFF_HEIGHT = 0x0100, 0x0101
_STRIPS = (0x0111, 0x0117)
_TILES = (0x0144, 0x0145)
_TILE_SIZE = (0x0142, 0x0143)


def _tiff(data: bytes) -> Header:
    """TIFF 6.0: the first directory, and that its strips or tiles are all there."""
    tiff = Tiff.open(data)
    fields = tiff.first()
    width = tiff.integers(fields, _TIFF_WIDTH, (0,))[0]
    height = tiff.integers(fields, _TIFF_HEIGHT, (0,))[0]
    offsets, lengths = _TILES if _TILES[0] in fields else _STRIPS
    begins, counts = tiff.integers(fields, offsets), tiff.integers(fields, lengths)
    if not begins or len(begins) != len(counts):
        raise NotAnImage(message="it does not say where its pixels are")
    if max(begin + count for begin, count in zip(begins, counts, strict=True)) > len(data):
        raise _cut_off()
    if offsets == _TILES[0]:
        tile = [tiff.integers(fields, tag, (0,))[0] for tag in _TILE_SIZE]
        if tile[0] * tile[1] > max(1 << 20, 4 * width * height):
            raise NotAnImage(message=f"its tiles of {tile[0]}x{tile[1]} pixels are larger than the image")
    return Header(Format.TIFF, width, height)


_PNM_HEADER = re.compile(rb"P[56](?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,5})\s")


def _ppm(data: bytes) -> Header:
    """Netpbm's binary formats: a header in ASCII, then one or two bytes for each sample."""
    found = _PNM_HEADER.match(data[:4096])
    if found is None:
        raise NotAnImage(message="its header is damaged")
    width, height, largest = (int(text) for text in found.groups())
    samples = width * height * (3 if data[1:2] == b"6" else 1)
    if found.end() + samples * (2 if largest > 255 else 1) > len(data):
        raise _cut_off()
    return Header(Format.PPM, width, height)


_READERS: tuple[tuple[bytes, Callable[[bytes], Header]], ...] = (
    (b"\xff\xd8\xff", _jpeg),
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"BM", _bmp),
    (b"II*\x00", _tiff),
    (b"MM\x00*", _tiff),
    (b"P6", _ppm),
    (b"P5", _ppm),
)
