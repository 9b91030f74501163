"""A corpus of malformed images, made anew from a seed: valid pictures in every format, and what may be wrong with them.

Every picture says which answers are right: the error codes that its image may have, 0 among them where it may be read.
"""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import skimage.data
from PIL import Image

from tests.robustness import bombs

READ, NOT_AN_IMAGE, TOO_LARGE = 0, 18002, 100012

GOOD = frozenset({READ})
BAD = frozenset({NOT_AN_IMAGE})
HUGE = frozenset({TOO_LARGE})
HUGE_OR_BAD = HUGE | BAD
READ_OR_BAD = GOOD | BAD
ANY = GOOD | BAD | HUGE
"""Answers. What a decoder can make of damaged pixels is its own business, so some pictures have several."""

FORMATS = ("jpeg", "png", "bmp", "tiff", "ppm")
SIZES = ((64, 48), (97, 131), (160, 120), (250, 250), (320, 240))


@dataclass(frozen=True)
class Malformed:
    """One picture: what was done, its bytes, the type that it is sent as, and the error codes that are right."""

    kind: str
    data: bytes
    form: str
    right: frozenset[int]


@dataclass(frozen=True)
class Sources:
    """Where random things come from: a generator, and valid pictures by format and size."""

    random: random.Random
    pictures: Mapping[tuple[str, tuple[int, int]], bytes]

    def form(self) -> str:
        return self.random.choice(FORMATS)

    def valid(self, form: str) -> bytes:
        return self.pictures[form, self.random.choice(SIZES)]


def corpus(seed: int, count: int) -> Iterator[Malformed]:
    """So many pictures, every kind equally often, in a random order; the same for the same seed."""
    source = random.Random(seed)
    sources = Sources(source, _pictures())
    kinds = [list(_KINDS)[number % len(_KINDS)] for number in range(count)]
    source.shuffle(kinds)
    for kind in kinds:
        form, data, right = _KINDS[kind](sources)
        yield Malformed(kind, data, form, right)


def _pictures() -> dict[tuple[str, tuple[int, int]], bytes]:
    face = Image.fromarray(np.ascontiguousarray(skimage.data.astronaut()[0:240, 90:350]))
    return {(form, size): _saved(face.resize(size), form) for form in FORMATS for size in SIZES}


def _saved(picture: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, form, **options)  # type: ignore[arg-type]
    return out.getvalue()


def _opened(sources: Sources, form: str = "png") -> Image.Image:
    return Image.open(io.BytesIO(sources.valid(form))).convert("RGB")


_Made = tuple[str, bytes, frozenset[int]]


def _valid(sources: Sources) -> _Made:
    form = sources.form()
    return form, sources.valid(form), GOOD


def _cut(sources: Sources) -> _Made:
    form = sources.form()
    data = sources.valid(form)
    # some of the last bytes may be padding that nobody misses
    return form, data[: sources.random.randrange(1, len(data) - 16)], BAD


def _flipped(sources: Sources) -> _Made:
    form = sources.form()
    data = bytearray(sources.valid(form))
    # half of them only near the beginning, where the structure is
    reach = len(data) if sources.random.random() < 0.5 else min(len(data), 200)
    for _ in range(sources.random.choice((1, 3, 20, 200))):
        data[sources.random.randrange(reach)] ^= 1 << sources.random.randrange(8)
    return form, bytes(data), ANY


def _spliced(sources: Sources) -> _Made:
    first, second = sources.form(), sources.form()
    head, body = sources.valid(first), sources.valid(second)
    return first, head[: sources.random.choice((4, 20, 54, 200, 700))] + body[sources.random.randrange(60) :], ANY


def _removed(sources: Sources) -> _Made:
    """Some bytes in the middle are missing, or are there twice."""
    form = sources.form()
    data = sources.valid(form)
    begin = sources.random.randrange(len(data))
    end = min(len(data), begin + sources.random.randrange(1, 2000))
    return form, data[:begin] + data[end:] if sources.random.random() < 0.5 else data[:end] + data[begin:], ANY


def _resized(data: bytes, form: str, width: int, height: int) -> bytes:
    """A picture whose header has another size, which must be below 2^16."""
    changed = bytearray(data)
    match form:
        case "jpeg":
            frame = next(at for at in range(2, len(data)) if data[at : at + 2] in (b"\xff\xc0", b"\xff\xc2"))
            changed[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
        case "png":
            changed[16:24] = struct.pack(">II", width, height)
            changed[29:33] = struct.pack(">I", zlib.crc32(changed[12:29]))
        case "bmp":
            changed[18:26] = struct.pack("<ii", width, height)
        case "tiff":
            for tag, value in ((256, width), (257, height)):
                (directory,) = struct.unpack_from("<I", data, 4)
                (entries,) = struct.unpack_from("<H", data, directory)
                for at in range(directory + 2, directory + 2 + 12 * entries, 12):
                    if struct.unpack_from("<H", data, at) == (tag,):
                        changed[at + 2 : at + 12] = struct.pack("<HII", 4, 1, value)
        case _:
            _, rest = data.split(b"255\n", 1)
            return b"P6\n%d %d\n255\n" % (width, height) + rest
    return bytes(changed)


def _wrong_size(sources: Sources) -> _Made:
    form = sources.form()
    width, height = (sources.random.choice((1, 3, 17, 63, 500, 1999)) for _ in range(2))
    return form, _resized(sources.valid(form), form, width, height), READ_OR_BAD


def _no_size(sources: Sources) -> _Made:
    form = sources.form()
    width, height = sources.random.choice(((0, 0), (0, 100), (100, 0)))
    return form, _resized(sources.valid(form), form, width, height), BAD


def _bomb(sources: Sources) -> _Made:
    form = sources.form()
    width, height = (sources.random.randrange(9000, 30_000) for _ in range(2))
    # where the pixels would have to be in the file, it is seen first that they are not
    right = HUGE if form in ("jpeg", "png") else HUGE_OR_BAD
    return form, _resized(sources.valid(form), form, width, height), right


def _packed_bomb(sources: Sources) -> _Made:
    """A PNG whose pixels unpack to more than its size needs, or to less."""
    width, height = sources.random.choice(SIZES)
    return "png", bombs.png(width, height, bombs.zeros(sources.random.choice((1, 4, 16)) << 20)), READ_OR_BAD


def _mode(sources: Sources) -> _Made:
    """Valid pictures of kinds that cameras do not make: all must be read."""
    form, mode = sources.random.choice(
        (("jpeg", "CMYK"), ("jpeg", "L"), ("png", "P"), ("png", "1"), ("png", "LA"), ("png", "RGBA"), ("png", "L"),
         ("bmp", "P"), ("bmp", "1"), ("bmp", "L"), ("tiff", "L"), ("tiff", "RGBA"), ("ppm", "L"))
    )  # fmt: skip
    return form, _saved(_opened(sources).convert(mode), form), GOOD


def _deep(sources: Sources) -> _Made:
    """16 bits for each sample."""
    form = sources.random.choice(("png", "tiff", "ppm"))
    pixels = np.asarray(_opened(sources)).astype(np.uint16)[:, :, ::-1] * 257
    return form, cv2.imencode(f".{form}", pixels)[1].tobytes(), GOOD


def _progressive(sources: Sources) -> _Made:
    data = bytearray(_saved(_opened(sources), "jpeg", progressive=True, quality=80))
    scans = [at for at in range(len(data) - 1) if data[at : at + 2] == b"\xff\xda"]
    match sources.random.randrange(4):
        case 0:
            return "jpeg", bytes(data), GOOD
        case 1:  # one scan is lost
            begin, end = sorted(sources.random.sample([*scans, len(data) - 2], 2))
            return "jpeg", bytes(data[:begin] + data[end:]), READ_OR_BAD
        case 2:  # the parameters of a scan are nonsense
            at = sources.random.choice(scans) + sources.random.randrange(4, 11)
            data[at] = sources.random.randrange(256)
            return "jpeg", bytes(data), READ_OR_BAD
        case _:
            more = bytes(data[scans[-1] : -2]) * 100
            return "jpeg", bytes(data[:-2]) + more + b"\xff\xd9", BAD


def _with_exif(jpeg: bytes, exif: bytes) -> bytes:
    content = b"Exif\x00\x00" + exif
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + jpeg[2:]


def _directory(*entries: tuple[int, int, int, int], following: int = 0) -> bytes:
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", len(entries)) + packed + struct.pack("<I", following)


def _exif(sources: Sources) -> _Made:
    """Tags that point to themselves, count to 2^32 or are not there: the picture is read all the same."""
    number, tag = sources.random.getrandbits(32), sources.random.randrange(1 << 16)
    kind = sources.random.randrange(15)
    exif = sources.random.choice(
        (
            _directory((0x8769, 4, 1, 8), following=8),  # its own sub-directory, and its own successor
            _directory((0x8769, 4, 1, number), (0x8825, 4, 1, 8), (0xA005, 4, 1, 0)),
            _directory((0x010F, 2, 0xFFFFFFFF, 8)),
            _directory((tag, kind, number, sources.random.getrandbits(32))),
            _directory(*((tag, 4, 1, 8) for tag in range(600)))[:60_000],
            _directory((0x0112, 3, 1, 6))[:14],
            b"II*\x00" + struct.pack("<I", number),
            sources.random.randbytes(sources.random.randrange(200)),
            b"MM\x00*" + sources.random.randbytes(60),
        )
    )
    return "jpeg", _with_exif(sources.valid("jpeg"), exif), GOOD


def _orientation(sources: Sources) -> _Made:
    exif = _directory((0x0112, 3, 1, sources.random.randrange(10)))
    return "jpeg", _with_exif(sources.valid("jpeg"), exif), GOOD


def _polyglot(sources: Sources) -> _Made:
    """Two files in one: what stands first counts, and what stands after the end is ignored."""
    form, other = sources.form(), sources.valid(sources.form())
    data = sources.valid(form)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        # without a date of its own an entry has the time of now
        packed.writestr(zipfile.ZipInfo("../../x.sh"), "#!/bin/sh\n")
    comment = b"\xff\xfe" + struct.pack(">H", min(len(other), 60_000) + 2) + other[:60_000]
    jpeg = sources.valid("jpeg")
    return sources.random.choice(
        (
            (form, data + archive.getvalue(), GOOD),
            (form, data + b"<script>alert(1)</script>" + other, GOOD),
            ("jpeg", jpeg[:2] + comment + jpeg[2:], GOOD),
            (form, b"%PDF-1.7\n" + data, BAD),
            (form, b"GIF89a" + data, BAD),
            (form, b"<?xml version='1.0'?><svg/>" + data, BAD),
            (form, b"\n" + data, BAD),
        )
    )


_MAGIC = {
    "jpeg": (b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xda"),
    "png": (b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"),
    "bmp": (b"BM",),
    "tiff": (b"II*\x00", b"MM\x00*"),
    "ppm": (b"P6\n", b"P5\n100 100\n255\n", b"P6 9 9 255 "),
}


def _random(sources: Sources) -> _Made:
    form = sources.form()
    magic = sources.random.choice((*_MAGIC[form], b""))
    length = sources.random.choice((0, 1, 7, 30, 200, 5000))
    # P6 with random pixels may well be a picture
    return form, magic + sources.random.randbytes(length) or b"\x00", ANY if form == "ppm" else HUGE_OR_BAD


def _several(sources: Sources) -> _Made:
    """Several pages or frames: the first counts, in a format that is accepted."""
    frames = [_opened(sources).resize((64, 64)) for _ in range(sources.random.randrange(2, 8))]
    form, right = sources.random.choice((("tiff", GOOD), ("png", GOOD), ("gif", BAD), ("webp", BAD)))
    data = _saved(frames[0], form, save_all=True, append_images=frames[1:])
    return form if form in FORMATS else "jpeg", data, right


def _tiff(sources: Sources) -> _Made:
    """Directories in a circle, strips beyond the file, counts without end."""
    number = sources.random.getrandbits(32)
    data = bytearray(sources.valid("tiff"))
    match sources.random.randrange(4):
        case 0:
            data[4:8] = struct.pack("<I", sources.random.choice((0, 4, len(data) - 1, number)))
            return "tiff", bytes(data), BAD
        case 1:
            return "tiff", bombs.tiff(100, 100, strips=number | 1 << 20), BAD
        case 2:  # the first directory follows itself
            (directory,) = struct.unpack_from("<I", data, 4)
            (entries,) = struct.unpack_from("<H", data, directory)
            data[directory + 2 + 12 * entries : directory + 6 + 12 * entries] = struct.pack("<I", directory)
            return "tiff", bytes(data), READ_OR_BAD
        case _:
            (directory,) = struct.unpack_from("<I", data, 4)
            at = directory + 2 + 12 * sources.random.randrange(8)
            data[at + 2 : at + 12] = sources.random.randbytes(10)
            return "tiff", bytes(data), ANY


_KINDS: Mapping[str, Callable[[Sources], _Made]] = {
    "valid": _valid,
    "cut": _cut,
    "flipped bits": _flipped,
    "spliced": _spliced,
    "bytes removed or repeated": _removed,
    "wrong size": _wrong_size,
    "no size": _no_size,
    "bomb": _bomb,
    "packed bomb": _packed_bomb,
    "valid, rare mode": _mode,
    "valid, 16 bits": _deep,
    "progressive": _progressive,
    "exif": _exif,
    "orientation": _orientation,
    "polyglot": _polyglot,
    "random": _random,
    "several frames": _several,
    "tiff": _tiff,
}
