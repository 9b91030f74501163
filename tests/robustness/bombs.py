"""Files that are small to send and would be large, slow or deadly to open."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

import cv2
import numpy as np

SIDE = 50_000


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG of a size, with its (packed) pixels or none."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (_chunk(b"IHDR", header), _chunk(b"IDAT", data or zlib.compress(bytes(1000))), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def zeros(size: int) -> bytes:
    """So many zeros, packed."""
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    parts = [packer.compress(block) for _ in range(size >> 20)]
    return b"".join((*parts, packer.compress(bytes(size & ((1 << 20) - 1))), packer.flush()))


def jpeg(width: int, height: int, scans: int = 1) -> bytes:
    """A progressive JPEG that claims a size, with empty scans."""
    tables = b"\xff\xdb\x00\x43\x00" + bytes([1] * 64)
    frame = b"\xff\xc2\x00\x0b\x08" + struct.pack(">HH", height, width) + b"\x01\x01\x11\x00"
    huffman = b"\xff\xc4\x00\x14\x00" + bytes([1] + [0] * 15) + b"\x00"
    huffman_ac = b"\xff\xc4\x00\x14\x10" + bytes([1] + [0] * 15) + b"\x00"
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x00\x00" + b"\x00"
    more = b"\xff\xda\x00\x08\x01\x01\x00\x01\x3f\x00" + b"\x00"
    return b"\xff\xd8" + tables + frame + huffman + huffman_ac + scan + more * (scans - 1) + b"\xff\xd9"


def tiff(width: int, height: int, *, strips: int = 1) -> bytes:
    """A TIFF of a size whose pixels are said to be all in the same few bytes."""
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, strips, 8),
        (277, 3, 1, 1), (278, 4, 1, max(1, height // strips)), (279, 4, strips, 8),
    ]  # fmt: skip
    table = b"".join(struct.pack("<HHII", *one) for one in entries)
    return b"II*\x00" + struct.pack("<I", 16) + bytes(8) + struct.pack("<H", len(entries)) + table + bytes(4)


def bmp(width: int, height: int) -> bytes:
    """A BMP header of a size; both may be negative."""
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info + bytes(16)


def webp(width: int, height: int) -> bytes:
    """A WebP whose lossy frame claims a size of at most 16383."""
    frame = b"\x10\x02\x00\x9d\x01\x2a" + struct.pack("<HH", width, height) + bytes(20)
    body = b"WEBPVP8 " + struct.pack("<I", len(frame)) + frame
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif(width: int, height: int) -> bytes:
    """A GIF screen of a size at most 65535."""
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + b"\x2c" + bytes(8) + b"\x02\x00;"


def images() -> Mapping[str, bytes]:
    """All of them by name."""
    photo = cv2.imencode(".jpg", np.full((200, 200, 3), 128, np.uint8))[1].tobytes()
    flat = cv2.imencode(".png", np.full((200, 200, 3), 128, np.uint8))[1].tobytes()
    return {
        "png of 50,000 by 50,000": png(SIDE, SIDE),
        "png of 2^31 by 2^31": png(2**31 - 1, 2**31 - 1),
        "png that unpacks to 100 MiB for 10 by 10": png(10, 10, zeros(100 << 20)),
        "png of 0 by 0": png(0, 0),
        "png without its end": flat[: len(flat) // 2],
        "jpeg of 65,500 by 65,500": jpeg(65_500, 65_500),
        "jpeg of 0 by 0": jpeg(0, 0),
        "jpeg with a size of its own before another's": jpeg(16, 16)[:-2] + jpeg(65_500, 65_500)[2:],
        "jpeg of 7,900 by 7,900 with 3,000 scans": jpeg(7900, 7900, 3000),
        "jpeg cut in its header": photo[:100],
        "jpeg cut in its pixels": photo[: len(photo) * 2 // 3],
        "jpeg marker alone": b"\xff\xd8",
        "jpeg of markers only": b"\xff\xd8" + b"\xff" * 100_000,
        "tiff of 50,000 by 50,000": tiff(SIDE, SIDE),
        "tiff of 2^32 by 2^32": tiff(2**32 - 1, 2**32 - 1),
        "tiff with 2^32 strips": tiff(100, 100, strips=2**32 - 1),
        "tiff whose directories go in a circle": b"II*\x00\x08\x00\x00\x00\x00\x00\x08\x00\x00\x00",
        "pnm of 50,000 by 50,000": b"P6 50000 50000 255\n" + bytes(100),
        "pnm of endless digits": b"P6 " + b"9" * 100_000 + b" 1 255\n",
        "pnm of an endless comment": b"P6 #" + b"x" * 1_000_000,
        "pnm of -1 by 7": b"P6 -1 7 255\n" + bytes(100),
        "bmp of 50,000 by 50,000": bmp(SIDE, SIDE),
        "bmp of negative size": bmp(-SIDE, -SIDE),
        "bmp of the least integers": bmp(-(2**31), -(2**31)),
        "webp of 16,383 by 16,383": webp(16_383, 16_383),
        "gif of 65,535 by 65,535": gif(65_535, 65_535),
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "text": b"hello",
        "zeros": bytes(1_000_000),
        "one byte": b"\xff",
    }
