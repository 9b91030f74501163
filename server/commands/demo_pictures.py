"""The pictures of `luna demo`: two public-domain portraits, what is done to them, and how the results are drawn.

Pictures are uint8 [height, width, 3], BGR, as OpenCV has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from luna.v6 import images_pb2

Picture = npt.NDArray[np.uint8]

EXTRAS = "pip install 'luna-open[demo]'"

_BACKGROUND = (36, 28, 24)
_PANEL = (52, 42, 37)
_TRACK = (84, 70, 62)
_TEXT = (245, 240, 236)
_MUTED = (176, 160, 150)
_ACCENT = (222, 186, 76)
_GOOD = (128, 200, 92)
_BAD = (92, 92, 235)
_REGULAR, _BOLD = cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX

_MARGIN = 28
_PORTRAIT_HEIGHT = 600
_WARP_SIDE = 250
_PANEL_WIDTH = 300
_CELL = 200
_CAPTION = 78
_GAP = 14
_BAR = 110


class PicturesMissing(Exception):
    """A package that brings a portrait is not installed."""


@dataclass(frozen=True, slots=True)
class Portrait:
    """A person and a photograph of them."""

    name: str
    credit: str
    picture: Picture

    @property
    def slug(self) -> str:
        """The name as part of a file name."""
        return self.name.lower().replace(" ", "-")


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels of the picture."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Cell:
    """A picture of the contact sheet with its caption.

    `same` and `other` are similarities in [0, 1] to the person in the picture and to the other one.
    """

    title: str
    picture: Picture
    same: float
    other: float
    holds: bool


def portraits() -> tuple[Portrait, Portrait]:
    """Both portraits, from the packages that bring them.

    Raises:
        PicturesMissing: scikit-image or matplotlib is not installed, or its sample data is not.
    """
    try:
        import matplotlib
        from skimage import data
    except ImportError as error:
        message = f"luna demo takes its two photographs from scikit-image and matplotlib ({error.name}): {EXTRAS}"
        raise PicturesMissing(message) from None
    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    hopper = cv2.imread(str(path))
    if hopper is None:
        message = f"{path} cannot be read: reinstall matplotlib, or {EXTRAS}"
        raise PicturesMissing(message)
    collins = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)  # type: ignore[no-untyped-call]
    return (
        Portrait("Eileen Collins", "NASA, public domain; from scikit-image", np.asarray(collins, np.uint8)),
        Portrait("Grace Hopper", "US Navy, public domain; from matplotlib", np.asarray(hopper, np.uint8)),
    )


def variants(picture: Picture, face: Box) -> Mapping[str, bytes]:
    """What a camera or a careless program may make of a photograph, by name, as encoded images.

    Args:
        picture: the photograph.
        face: where its face is; the crop is taken around it.
    """
    height, width = picture.shape[:2]
    small = cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return {
        "mirrored": png(np.asarray(cv2.flip(picture, 1), np.uint8)),
        "cropped": png(cropped(picture, face)),
        "darker": png(_exposed(picture, 0.4)),
        "brighter": png(_exposed(picture, 1.6)),
        "JPEG at 30": jpeg(picture, 30),
        "half size": png(np.asarray(small, np.uint8)),
    }


def cropped(picture: Picture, face: Box) -> Picture:
    """The face with a third of its size on each side, as far as the picture goes."""
    height, width = picture.shape[:2]
    side, above = face.width // 3, face.height // 3
    left, top = max(0, face.x - side), max(0, face.y - above)
    right, bottom = min(width, face.x + face.width + side), min(height, face.y + face.height + above)
    return picture[top:bottom, left:right]


def png(picture: Picture) -> bytes:
    """A picture as PNG."""
    return cv2.imencode(".png", picture)[1].tobytes()


def jpeg(picture: Picture, quality: int) -> bytes:
    """A picture as JPEG; quality is in [0, 100]."""
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def decoded(encoded: bytes) -> Picture:
    """An encoded picture."""
    return np.asarray(cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def card(portrait: Portrait, detection: images_pb2.FaceDetection, warp: bytes) -> Picture:
    """The portrait with its box and landmarks, and beside it the warp and what was measured."""
    height, width = portrait.picture.shape[:2]
    scale = _PORTRAIT_HEIGHT / height
    photo = np.asarray(
        cv2.resize(portrait.picture, (round(width * scale), _PORTRAIT_HEIGHT), interpolation=cv2.INTER_CUBIC), np.uint8
    )
    _mark(photo, detection, scale)
    canvas = _canvas(photo.shape[1] + _PANEL_WIDTH + 3 * _MARGIN, _PORTRAIT_HEIGHT + 2 * _MARGIN)
    canvas[_MARGIN:-_MARGIN, _MARGIN : _MARGIN + photo.shape[1]] = photo
    left = photo.shape[1] + 2 * _MARGIN
    _text(canvas, portrait.name, (left, _MARGIN + 22), 0.9, font=_BOLD)
    _text(canvas, portrait.credit, (left, _MARGIN + 48), 0.43, colour=_MUTED)
    top = _MARGIN + 68
    canvas[top : top + _WARP_SIDE, left : left + _WARP_SIDE] = cv2.resize(decoded(warp), (_WARP_SIDE, _WARP_SIDE))
    _text(canvas, "the sample: what is stored and described", (left, top + _WARP_SIDE + 20), 0.43, colour=_MUTED)
    _measures(canvas, detection, left, top + _WARP_SIDE + 54)
    return canvas


def contact_sheet(rows: Sequence[tuple[Portrait, Sequence[Cell]]], threshold: float) -> Picture:
    """One row for each person: the enrolled photograph, then every variant with its similarities."""
    columns = 1 + max(len(cells) for _, cells in rows)
    header = 96
    height = header + len(rows) * (_CELL + _CAPTION + _GAP) - _GAP + _MARGIN
    canvas = _canvas(columns * (_CELL + _GAP) - _GAP + 2 * _MARGIN, height)
    _text(canvas, "Who is it?", (_MARGIN, 44), 1.0, font=_BOLD)
    caption = (
        f"Similarity to the right person and to the other one; the mark on the bars is the threshold {threshold:.2f}."
    )
    _text(canvas, caption, (_MARGIN, 74), 0.5, colour=_MUTED)
    for row, (portrait, cells) in enumerate(rows):
        top = header + row * (_CELL + _CAPTION + _GAP)
        _tile(canvas, portrait.picture, _MARGIN, top)
        _text(canvas, portrait.name, (_MARGIN + 10, top + _CELL + 24), 0.5, font=_BOLD)
        _text(canvas, "enrolled", (_MARGIN + 10, top + _CELL + 46), 0.42, colour=_MUTED)
        for column, cell in enumerate(cells, 1):
            left = _MARGIN + column * (_CELL + _GAP)
            _tile(canvas, cell.picture, left, top)
            _text(canvas, cell.title, (left + 10, top + _CELL + 22), 0.45)
            _bar(canvas, "same", cell.same, threshold, (left + 10, top + _CELL + 42), _GOOD if cell.holds else _BAD)
            _bar(canvas, "other", cell.other, threshold, (left + 10, top + _CELL + 62), _MUTED)
            cv2.rectangle(canvas, (left, top), (left + _CELL - 1, top + 4), _GOOD if cell.holds else _BAD, cv2.FILLED)
    return canvas


def _exposed(picture: Picture, gain: float) -> Picture:
    return np.asarray(np.clip(picture.astype(np.float32) * gain, 0, 255), np.uint8)


def _canvas(width: int, height: int) -> Picture:
    return np.full((height, width, 3), _BACKGROUND, np.uint8)


def _text(
    canvas: Picture,
    text: str,
    at: tuple[int, int],
    size: float,
    *,
    colour: tuple[int, int, int] = _TEXT,
    font: int = _REGULAR,
) -> None:
    """Write with the baseline's left end at a point."""
    cv2.putText(canvas, text, at, font, size, colour, 1, cv2.LINE_AA)


def _mark(photo: Picture, detection: images_pb2.FaceDetection, scale: float) -> None:
    """Draw a detection's box as corners, and its landmarks as ringed dots."""
    rect = detection.rect
    x1, y1 = round(rect.x * scale), round(rect.y * scale)
    x2, y2 = round((rect.x + rect.width) * scale), round((rect.y + rect.height) * scale)
    cv2.rectangle(photo, (x1, y1), (x2, y2), _ACCENT, 1, cv2.LINE_AA)
    arm = max(10, (x2 - x1) // 6)
    for x, along in ((x1, arm), (x2, -arm)):
        for y, down in ((y1, arm), (y2, -arm)):
            cv2.line(photo, (x, y), (x + along, y), _ACCENT, 4, cv2.LINE_AA)
            cv2.line(photo, (x, y), (x, y + down), _ACCENT, 4, cv2.LINE_AA)
    for point in detection.landmarks5:
        at = round(point.x * scale), round(point.y * scale)
        cv2.circle(photo, at, 6, _TEXT, cv2.FILLED, cv2.LINE_AA)
        cv2.circle(photo, at, 4, _ACCENT, cv2.FILLED, cv2.LINE_AA)


def _measures(canvas: Picture, detection: images_pb2.FaceDetection, left: int, top: int) -> None:
    pose = detection.attributes.head_pose
    _text(canvas, "Head pose", (left, top), 0.5, font=_BOLD)
    angles = f"yaw {pose.yaw:+.0f}   pitch {pose.pitch:+.0f}   roll {pose.roll:+.0f}   degrees"
    _text(canvas, angles, (left, top + 24), 0.45)
    _text(canvas, "Quality", (left, top + 62), 0.5, font=_BOLD)
    quality = detection.quality
    for line, (name, value) in enumerate(
        (
            ("sharp", quality.blurriness),
            ("not dark", quality.dark),
            ("evenly lit", quality.illumination),
            ("no glare", quality.specularity),
            ("not too light", quality.light),
        )
    ):
        y = top + 86 + 24 * line
        _text(canvas, name, (left, y), 0.45, colour=_MUTED)
        _gauge(canvas, value, (left + 110, y - 9), _ACCENT)
        _text(canvas, f"{value:.2f}", (left + 110 + _BAR + 12, y), 0.45)


def _bar(
    canvas: Picture, name: str, value: float, threshold: float, at: tuple[int, int], colour: tuple[int, int, int]
) -> None:
    left, y = at
    start = left + 42
    _text(canvas, name, (left, y), 0.43, colour=_MUTED)
    _gauge(canvas, value, (start, y - 9), colour, _BAR - 24)
    mark = start + round(threshold * (_BAR - 24))
    cv2.line(canvas, (mark, y - 12), (mark, y + 2), _TEXT, 1)
    _text(canvas, f"{value:.3f}", (start + _BAR - 16, y), 0.43)


def _gauge(
    canvas: Picture, value: float, at: tuple[int, int], colour: tuple[int, int, int], length: int = _BAR
) -> None:
    x, y = at
    cv2.rectangle(canvas, (x, y), (x + length, y + 8), _TRACK, cv2.FILLED)
    if value > 0:
        cv2.rectangle(canvas, (x, y), (x + round(min(1.0, value) * length), y + 8), colour, cv2.FILLED)


def _tile(canvas: Picture, picture: Picture, left: int, top: int) -> None:
    """A panel with a picture in its upper, square part, cut to a square around its upper middle."""
    cv2.rectangle(canvas, (left, top), (left + _CELL - 1, top + _CELL + _CAPTION - 1), _PANEL, cv2.FILLED)
    height, width = picture.shape[:2]
    side = min(height, width)
    x = (width - side) // 2
    square = picture[:side, x : x + side]
    way = cv2.INTER_AREA if side > _CELL else cv2.INTER_CUBIC
    canvas[top : top + _CELL, left : left + _CELL] = cv2.resize(square, (_CELL, _CELL), interpolation=way)
