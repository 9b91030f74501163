"""Pictures with a known number of faces, for measurements: one face of a photograph in each cell of a grid.

Pictures are uint8 [height, width, 3], BGR, as OpenCV has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from server.commands.demo_pictures import Picture, jpeg, portraits
from server.domain.engine import Engine, Look
from server.domain.vision import Rect

WIDTH, HEIGHT = 640, 480
SMALLEST = 40
"""A face of fewer pixels is no face that the default settings promise to find."""

_GRIDS = {1: (1, 1), 2: (2, 1), 20: (5, 4)}
_VIEWS = (3.0, 2.5, 2.2, 2.0, 1.8, 1.6)
"""Heights of a cell in heights of its face that are tried until exactly the wanted faces are found."""
_QUALITY = 90
_LOOK = Look(warps=False)


class NoScene(Exception):
    """The photographs give no picture with so many faces."""


@dataclass(frozen=True, slots=True)
class Photo:
    """A photograph and the largest face in it."""

    picture: Picture
    face: Rect


async def scenes(engine: Engine, files: Sequence[Path]) -> Mapping[int, bytes]:
    """JPEG pictures of 640x480 by the number of faces in them: 1, 2 and 20. The engine confirms the number.

    Args:
        engine: finds the faces.
        files: photographs with a face; none takes the public-domain portraits of `luna demo`.

    Raises:
        NoScene: a file is no picture with a face, or no arrangement shows exactly so many.
        PicturesMissing: no file is given, and the packages with the portraits are not installed.
    """
    pictures = [_read(file) for file in files] if files else [portrait.picture for portrait in portraits()]
    photos = [await _photo(engine, picture) for picture in pictures]
    return {count: await _scene(engine, photos, count) for count in _GRIDS}


def arranged(photos: Sequence[Photo], columns: int, rows: int, view: float) -> Picture:
    """A grid of cells of which each shows a face in its middle, the photographs in turns.

    Args:
        photos: the photographs.
        columns: cells side by side.
        rows: cells above each other.
        view: height of a cell in heights of its face; what lies outside the photograph repeats its edge.
    """
    width, height = WIDTH // columns, HEIGHT // rows
    canvas = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for cell in range(columns * rows):
        photo = photos[cell % len(photos)]
        top, left = cell // columns * height, cell % columns * width
        canvas[top : top + height, left : left + width] = _cell(photo, width, height, view)
    return canvas


def _cell(photo: Photo, width: int, height: int, view: float) -> Picture:
    face = photo.face
    scale = height / (view * face.height)
    picture, centre = photo.picture, np.array([face.x + face.width / 2, face.y + face.height / 2])
    if scale < 1:
        # interpolation alone would skip pixels
        size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
        centre = centre * (size[0] / picture.shape[1], size[1] / picture.shape[0])
        picture, scale = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8), 1.0
    shift = np.array([width, height]) / 2 - centre * scale
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    return np.asarray(cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _read(file: Path) -> Picture:
    try:
        content = np.frombuffer(file.read_bytes(), np.uint8)
    except OSError as error:
        raise NoScene(str(error)) from None
    picture = cv2.imdecode(content, cv2.IMREAD_COLOR) if len(content) else None
    if picture is None:
        message = f"{file} is no picture"
        raise NoScene(message)
    return np.asarray(picture, np.uint8)


async def _photo(engine: Engine, picture: Picture) -> Photo:
    found = await engine.detect(jpeg(picture, _QUALITY), _LOOK)
    if not found.faces:
        raise NoScene("no face is found in one of the photographs")
    return Photo(picture, found.faces[0].rect)


async def _scene(engine: Engine, photos: Sequence[Photo], count: int) -> bytes:
    for view in _VIEWS:
        image = jpeg(arranged(photos, *_GRIDS[count], view), _QUALITY)
        faces = (await engine.detect(image, _LOOK)).faces
        if len(faces) == count and min(min(face.rect.width, face.rect.height) for face in faces) >= SMALLEST:
            return image
    message = f"the photographs give no picture of {WIDTH}x{HEIGHT} in which exactly {count} faces are found"
    raise NoScene(message)
