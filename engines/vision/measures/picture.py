"""Checks of the file, of the picture, and of where the face's rectangle is in it."""

from __future__ import annotations

from engines.vision.measures.measure import OF_SAMPLE, Measures
from engines.vision.view import FaceView
from server.domain.checks import CheckName

_NAMES = tuple(CheckName)[: tuple(CheckName).index(CheckName.INDENT_LOWER) + 1]


def measured(view: FaceView) -> Measures:
    """What needs no more than the file and the detector's rectangle.

    image_format: the file's, as a word in capitals. image_size: bytes of the file. image_width, image_height: pixels,
    after rotation by EXIF. aspect_ratio: width over height; a full frontal image of ISO/IEC 19794-5 is .74 to .8.
    face_width, face_height: the rectangle's, in pixels. indent_left, -right, -upper, -lower: pixels between the
    rectangle and the picture's edge, negative where the rectangle reaches over it.
    """
    if view.sample:
        return dict.fromkeys(_NAMES, OF_SAMPLE)
    height, width = view.image.shape[:2]
    rect = view.rect
    return {
        CheckName.IMAGE_FORMAT: view.picture.format.name,
        CheckName.IMAGE_SIZE: view.picture.size,
        CheckName.IMAGE_WIDTH: width,
        CheckName.IMAGE_HEIGHT: height,
        CheckName.ASPECT_RATIO: width / height,
        CheckName.FACE_WIDTH: rect.width,
        CheckName.FACE_HEIGHT: rect.height,
        CheckName.INDENT_LEFT: rect.x,
        CheckName.INDENT_RIGHT: width - rect.x - rect.width,
        CheckName.INDENT_UPPER: rect.y,
        CheckName.INDENT_LOWER: height - rect.y - rect.height,
    }
