"""Bodies: their warps, which of them is in a given box, and which face belongs to which of them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from engines.vision.boxes import Boxes, Scores, overlap
from engines.vision.decoding import Image, Picture
from engines.vision.view import BodyView
from server.domain.vision import BODY_HEIGHT, BODY_WIDTH, DetectedBody, DetectedFace, DetectedPerson, Rect

_HEAD = 0.45
"""A face belongs to a body only where its centre lies in this upper part of the body's rectangle."""


def view(picture: Picture, box: Boxes, score: np.floating) -> BodyView:
    """A body from its box [4] and its score."""
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    rect = Rect(x1, y1, max(1, x2 - x1), max(1, y2 - y1))
    return BodyView(picture, rect, min(1.0, max(0.0, float(score))), warp(picture.pixels, rect))


def warp(image: Image, rect: Rect) -> Image:
    """The body's crop stretched to uint8 [256, 128, 3]; what lies outside the image is black."""
    height, width = image.shape[:2]
    left, top = max(rect.x, 0), max(rect.y, 0)
    right, bottom = min(rect.x + rect.width, width), min(rect.y + rect.height, height)
    if left >= right or top >= bottom:
        return np.zeros((BODY_HEIGHT, BODY_WIDTH, 3), np.uint8)
    border = top - rect.y, rect.y + rect.height - bottom, left - rect.x, rect.x + rect.width - right
    part = cv2.copyMakeBorder(image[top:bottom, left:right], *border, cv2.BORDER_CONSTANT)
    shrinks = part.shape[0] > BODY_HEIGHT and part.shape[1] > BODY_WIDTH
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(part, (BODY_WIDTH, BODY_HEIGHT), interpolation=interpolation), np.uint8)


def inside(boxes: Boxes, scores: Scores, box: Rect) -> tuple[Boxes, Scores]:
    """The one body whose centre is in a box and which fits it best, or none."""
    wanted = np.array([box.x, box.y, box.x + box.width, box.y + box.height], np.float32)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    within = np.flatnonzero(((centre >= wanted[:2]) & (centre < wanted[2:])).all(axis=1))
    if not len(within):
        return boxes[:0], scores[:0]
    best = within[[np.argmax(overlap(boxes[within], wanted))]]
    return boxes[best], scores[best]


def persons(faces: Sequence[DetectedFace], found: Sequence[DetectedBody]) -> tuple[DetectedPerson, ...]:
    """Faces and bodies as persons, faces first. Both are ordered, largest first, and stay so.

    A face belongs to the body in whose upper part its centre lies; where there are several, to the one whose upper
    middle is nearest, measured in widths of that body. Nearer pairs are made first, and nobody is in two of them.
    """
    pairs = sorted(
        (distance, i, j)
        for i, face in enumerate(faces)
        for j, body in enumerate(found)
        if (distance := _distance(face.rect, body.rect)) is not None
    )
    of_face: dict[int, int] = {}
    for _, i, j in pairs:
        if i not in of_face and j not in of_face.values():
            of_face[i] = j
    together = [DetectedPerson(face, found[of_face[i]] if i in of_face else None) for i, face in enumerate(faces)]
    alone = [DetectedPerson(None, body) for j, body in enumerate(found) if j not in of_face.values()]
    return (*together, *alone)


def _distance(face: Rect, body: Rect) -> float | None:
    """How far a face is from where the body's would be; None where it is no face of this body."""
    x, y = face.x + face.width / 2 - body.x, face.y + face.height / 2 - body.y
    if not (0 <= x <= body.width and 0 <= y <= _HEAD * body.height):
        return None
    return float(np.hypot(x - body.width / 2, y - body.height / 8)) / body.width
