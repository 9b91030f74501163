"""EXIF tags as text.

Source of the names: Exif 2.32, tables 4 to 8 and 15 (the tags that cameras write; binary ones are left out).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from engines.vision.tiff import BadTiff, Tiff, Value, Values

_MAX_TEXT = 1024
_EXIF_DIRECTORY, _GPS_DIRECTORY = 0x8769, 0x8825

_IMAGE = {
    0x010E: "ImageDescription",
    0x010F: "Make",
    0x0110: "Model",
    0x0112: "Orientation",
    0x011A: "XResolution",
    0x011B: "YResolution",
    0x0128: "ResolutionUnit",
    0x0131: "Software",
    0x0132: "DateTime",
    0x013B: "Artist",
    0x013E: "WhitePoint",
    0x013F: "PrimaryChromaticities",
    0x0211: "YCbCrCoefficients",
    0x0213: "YCbCrPositioning",
    0x0214: "ReferenceBlackWhite",
    0x8298: "Copyright",
}
_PHOTO = {
    0x829A: "ExposureTime",
    0x829D: "FNumber",
    0x8822: "ExposureProgram",
    0x8827: "PhotographicSensitivity",
    0x8830: "SensitivityType",
    0x9000: "ExifVersion",
    0x9003: "DateTimeOriginal",
    0x9004: "DateTimeDigitized",
    0x9010: "OffsetTime",
    0x9011: "OffsetTimeOriginal",
    0x9012: "OffsetTimeDigitized",
    0x9102: "CompressedBitsPerPixel",
    0x9201: "ShutterSpeedValue",
    0x9202: "ApertureValue",
    0x9203: "BrightnessValue",
    0x9204: "ExposureBiasValue",
    0x9205: "MaxApertureValue",
    0x9206: "SubjectDistance",
    0x9207: "MeteringMode",
    0x9208: "LightSource",
    0x9209: "Flash",
    0x920A: "FocalLength",
    0x9214: "SubjectArea",
    0x9290: "SubSecTime",
    0x9291: "SubSecTimeOriginal",
    0x9292: "SubSecTimeDigitized",
    0xA000: "FlashpixVersion",
    0xA001: "ColorSpace",
    0xA002: "PixelXDimension",
    0xA003: "PixelYDimension",
    0xA20E: "FocalPlaneXResolution",
    0xA20F: "FocalPlaneYResolution",
    0xA210: "FocalPlaneResolutionUnit",
    0xA215: "ExposureIndex",
    0xA217: "SensingMethod",
    0xA401: "CustomRendered",
    0xA402: "ExposureMode",
    0xA403: "WhiteBalance",
    0xA404: "DigitalZoomRatio",
    0xA405: "FocalLengthIn35mmFilm",
    0xA406: "SceneCaptureType",
    0xA407: "GainControl",
    0xA408: "Contrast",
    0xA409: "Saturation",
    0xA40A: "Sharpness",
    0xA40C: "SubjectDistanceRange",
    0xA420: "ImageUniqueID",
    0xA430: "CameraOwnerName",
    0xA431: "BodySerialNumber",
    0xA432: "LensSpecification",
    0xA433: "LensMake",
    0xA434: "LensModel",
    0xA435: "LensSerialNumber",
}
_GPS = {
    0x0000: "GPSVersionID",
    0x0001: "GPSLatitudeRef",
    0x0002: "GPSLatitude",
    0x0003: "GPSLongitudeRef",
    0x0004: "GPSLongitude",
    0x0005: "GPSAltitudeRef",
    0x0006: "GPSAltitude",
    0x0007: "GPSTimeStamp",
    0x000C: "GPSSpeedRef",
    0x000D: "GPSSpeed",
    0x0010: "GPSImgDirectionRef",
    0x0011: "GPSImgDirection",
    0x0012: "GPSMapDatum",
    0x001D: "GPSDateStamp",
    0x001F: "GPSHPositioningError",
}


def tags(exif: bytes) -> dict[str, str]:
    """The tags of an EXIF structure (`Header.exif`), as far as they can be read; empty where there is none.

    Several values are separated by a comma and a space; a fraction is written as a/b;
    white space in a text is made single spaces.
    """
    found: dict[str, str] = {}
    try:
        tiff = Tiff.open(exif)
        first = tiff.first()
    except BadTiff:
        return found
    _collect(tiff, 0, _IMAGE, found)
    for pointer, names in ((_EXIF_DIRECTORY, _PHOTO), (_GPS_DIRECTORY, _GPS)):
        try:
            offset = tiff.integers(first, pointer, (0,))[0]
        except BadTiff:
            continue
        if offset:
            _collect(tiff, offset, names, found)
    return found


def _collect(tiff: Tiff, offset: int, names: Mapping[int, str], found: dict[str, str]) -> None:
    """Adds the tags of a directory (0 is the first one); a damaged tag is left out, the others are kept."""
    try:
        fields = tiff.directory(offset) if offset else tiff.first()
    except BadTiff:
        return
    for tag, field in fields.items():
        if tag in names and field.count <= _MAX_TEXT:
            try:
                found[names[tag]] = _text(tiff.values(field))
            except BadTiff:
                continue


def _text(values: Values) -> str:
    if isinstance(values, tuple):
        return ", ".join(_number(value) for value in values)
    text = values if isinstance(values, str) else values.rstrip(b"\x00").decode("latin-1")
    if isinstance(values, bytes) and not (text.isascii() and text.isprintable()):
        return ", ".join(str(value) for value in values)
    return " ".join(text.split())


def _number(value: Value) -> str:
    return str(value) if math.isfinite(value) else "undefined"
