"""Decoding against Pillow as the independent reference; images that must be refused."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps
from PIL.TiffImagePlugin import IFDRational

from engines.vision.decoding import decode, decode_sample, encode_jpeg
from server.errors import ImageTooLarge, NotAnImage, WrongSampleSize

LIMIT = 1_000_000
FORMATS = ["JPEG", "PNG", "BMP", "TIFF", "PPM"]


def photo(width: int = 120, height: int = 80) -> Image.Image:
    """A smooth random picture, so that JPEG keeps it."""
    noise = np.random.default_rng(5).integers(0, 255, (6, 9, 3), np.uint8)
    return Image.fromarray(np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def pixels(data: bytes, **options: bool) -> npt.NDArray[np.int16]:
    decoded = decode(data, max_pixels=LIMIT, **options).pixels
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous
    return decoded.astype(np.int16)


def difference(data: bytes, expected: Image.Image) -> int:
    found, wanted = pixels(data), np.asarray(expected.convert("RGB"))
    assert found.shape == wanted.shape
    return int(np.abs(found - wanted).max())


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_format_is_decoded_as_rgb(kind: str, mode: str) -> None:
    image = photo().convert(mode)
    data = encoded(image, kind)
    assert difference(data, Image.open(io.BytesIO(data))) <= (2 if kind == "JPEG" else 0)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "1"])
def test_alpha_is_removed_and_palettes_are_resolved(kind: str, mode: str) -> None:
    image = photo().convert("RGB" if mode == "RGBA" else mode)
    expected = image
    if mode == "RGBA":
        image = image.copy()
        image.putalpha(77)
        if kind == "TIFF":
            expected = Image.blend(Image.new("RGB", image.size), expected, 77 / 255)
    assert difference(encoded(image, kind), expected) <= 1


@pytest.mark.parametrize("extension", [".png", ".tiff", ".ppm"])
def test_sixteen_bits_become_eight(extension: str) -> None:
    eight = np.asarray(photo())
    data = cv2.imencode(extension, eight[..., ::-1].astype(np.uint16) * 257)[1].tobytes()
    assert np.abs(pixels(data) - eight).max() <= 1


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate", "packbits", "jpeg"])
def test_compressed_tiff_is_decoded(compression: str) -> None:
    data = encoded(photo(), "TIFF", compression=compression)
    assert difference(data, Image.open(io.BytesIO(data))) <= 2


def test_progressive_and_cmyk_jpeg_are_decoded() -> None:
    for data in (encoded(photo(), "JPEG", progressive=True), encoded(photo().convert("CMYK"), "JPEG", quality=95)):
        assert difference(data, Image.open(io.BytesIO(data))) <= 8


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_followed_where_asked(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = encoded(photo(), kind, exif=exif)
    stored = Image.open(io.BytesIO(data))
    upright = np.asarray(ImageOps.exif_transpose(stored))
    assert np.abs(pixels(data, use_exif=True) - upright).max() <= 2
    assert np.abs(pixels(data, use_exif=False) - np.asarray(stored)).max() <= 2


@pytest.mark.parametrize("use_exif", [True, False])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_is_always_rotated(orientation: int, use_exif: bool) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = encoded(photo(), "TIFF", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert np.array_equal(pixels(data, use_exif=use_exif), upright)


def test_exif_tags_are_extracted_from_jpeg_only_and_only_when_asked() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    exif[ExifTags.Base.Orientation] = 1
    exif[ExifTags.Base.ImageDescription] = "two\nlines"
    exif.get_ifd(ExifTags.IFD.Exif).update(
        {ExifTags.Base.ExposureTime: IFDRational(1, 250), ExifTags.Base.ExifVersion: b"0232"}
    )
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (48.0, 51.0, 24.5)})
    data = encoded(photo(), "JPEG", exif=exif)
    assert decode(data, max_pixels=LIMIT).exif is None
    assert decode(data, max_pixels=LIMIT, extract_exif=True).exif == {
        "Make": "Maker",
        "Orientation": "1",
        "ImageDescription": "two lines",
        "ExposureTime": "1/250",
        "ExifVersion": "0232",
        "GPSLatitudeRef": "N",
        "GPSLatitude": "48, 51, 49/2",
    }
    assert decode(encoded(photo(), "PNG", exif=exif), max_pixels=LIMIT, extract_exif=True).exif == {}


@given(st.binary(max_size=200))
@example(b"II*\x00\x08\x00\x00\x00\xff\xff")
@settings(max_examples=300, deadline=None)
def test_damaged_exif_data_never_breaks_an_image(junk: bytes) -> None:
    plain = encoded(photo(16, 16), "JPEG")
    segment = b"Exif\x00\x00" + junk
    data = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + plain[2:]
    assert decode(data, max_pixels=LIMIT, extract_exif=True).pixels.shape == (16, 16, 3)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_image_is_refused(kind: str, kept: float) -> None:
    data = encoded(photo(), kind)
    with pytest.raises(NotAnImage):
        decode(data[: int(len(data) * kept)], max_pixels=LIMIT)


@pytest.mark.parametrize("kind", FORMATS)
def test_an_image_that_lacks_its_last_bytes_is_refused(kind: str) -> None:
    with pytest.raises(NotAnImage):
        decode(encoded(photo(), kind)[:-2], max_pixels=LIMIT)


def test_a_truncated_progressive_jpeg_is_refused() -> None:
    data = encoded(photo(600, 400), "JPEG", progressive=True)
    for kept in (0.3, 0.6, 0.9):
        with pytest.raises(NotAnImage):
            decode(data[: int(len(data) * kept)], max_pixels=LIMIT)


@pytest.mark.parametrize("data", [b"", b"\xff", b"GIF89a" + bytes(20), b"%PDF-1.7", b"<svg/>", b"RIFF0000WEBPVP8 "])
def test_other_content_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(NotAnImage):
        decode(data, max_pixels=LIMIT)


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_formats_that_opencv_knows_but_the_service_does_not_are_refused(kind: str) -> None:
    with pytest.raises(NotAnImage, match="jpeg, png, bmp, tiff, ppm"):
        decode(encoded(photo(), kind), max_pixels=LIMIT)


def png_of(width: int, height: int) -> bytes:
    """A PNG image of zeros whose pixels are not there until it is inflated."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width // 8 + 1) * height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def with_size(data: bytes, kind: str, width: int, height: int) -> bytes:
    """The image with other numbers in its header."""
    if kind == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]
    if kind == "BMP":
        return data[:18] + struct.pack("<ii", width, height) + data[26:]
    tags = {256: width, 257: height}
    (offset,) = struct.unpack_from("<I", data, 4)
    changed = bytearray(data)
    for i in range(struct.unpack_from("<H", data, offset)[0]):
        at = offset + 2 + 12 * i
        if (tag := struct.unpack_from("<H", data, at)[0]) in tags:
            struct.pack_into("<HHII", changed, at, tag, 4, 1, tags[tag])
    return bytes(changed)


def test_a_decompression_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = png_of(40_000, 40_000)
    assert len(bomb) < 1_000_000

    def never(*_: object) -> None:
        pytest.fail("the bomb was decoded")

    monkeypatch.setattr(cv2, "imdecode", never)
    with pytest.raises(ImageTooLarge, match="40000x40000"):
        decode(bomb, max_pixels=64_000_000)
    for kind in ("JPEG", "TIFF"):
        with pytest.raises(ImageTooLarge, match="30000x20000"):
            decode(with_size(encoded(photo(), kind), kind, 30_000, 20_000), max_pixels=64_000_000)
    with pytest.raises(NotAnImage, match="cut off"):
        decode(with_size(encoded(photo(), "BMP"), "BMP", 30_000, 20_000), max_pixels=64_000_000)
    with pytest.raises(ImageTooLarge):
        decode(encoded(photo(), "PPM"), max_pixels=photo().width * photo().height - 1)


def test_a_jpeg_of_thousands_of_scans_is_refused() -> None:
    data = encoded(photo(), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    with pytest.raises(NotAnImage, match="scans"):
        decode(data[:-2] + data[last:-2] * 2000 + data[-2:], max_pixels=LIMIT)


@given(st.sampled_from(FORMATS), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=8))
@settings(max_examples=300, deadline=None)
def test_a_damaged_image_is_decoded_or_refused_but_never_fails(kind: str, changes: list[tuple[int, int]]) -> None:
    data = bytearray(encoded(photo(24, 16), kind))
    for place, value in changes:
        data[place % len(data)] = value
    try:
        decoded = decode(bytes(data), max_pixels=100_000, extract_exif=True).pixels
    except (NotAnImage, ImageTooLarge):
        return
    assert decoded.ndim == 3
    assert decoded.shape[0] * decoded.shape[1] <= 100_000


def test_a_sample_has_one_size_and_ignores_exif() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    data = encoded(photo(250, 250), "JPEG", exif=exif)
    stored = np.asarray(Image.open(io.BytesIO(data)))
    assert np.abs(decode_sample(data).pixels.astype(np.int16) - stored).max() <= 2
    with pytest.raises(WrongSampleSize, match="250x251"):
        decode_sample(encoded(photo(250, 251), "PNG"))


def test_an_encoded_warp_keeps_its_colours() -> None:
    original = np.asarray(photo(250, 250))
    data = encode_jpeg(original)
    decoded = Image.open(io.BytesIO(data))
    assert decoded.size == (250, 250)
    assert np.abs(np.asarray(decoded).astype(np.int16) - original).mean() < 1.5
