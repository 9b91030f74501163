"""The whole way from encoded bytes to what the domain knows of faces and bodies. Blocking; safe in several threads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engines.vision import alignment, bodies, decoding, rotation
from engines.vision.boxes import overlap, squared
from engines.vision.decoding import Image, Picture
from engines.vision.detections import NOTHING, Detections
from engines.vision.estimates import Estimates
from engines.vision.expression import rounded
from engines.vision.models import Models
from engines.vision.view import BodyView, FaceView
from server.domain.engine import Look
from server.domain.vision import (
    BODY_HEIGHT,
    BODY_WIDTH,
    WARP_SIZE,
    DetectedBody,
    DetectedFace,
    DetectedImage,
    Estimation,
    ExtractedDescriptor,
    Rect,
)
from server.errors import VersionNotEstimated
from server.settings import Engine

MIN_FACE = 20
"""Smallest face that MTCNN was trained to find, in pixels."""

_BOX_MARGIN = 0.5
_BOX_FACE = 0.3
"""In a given box the face is first looked for at this part of the box's longer side and above."""

_WHOLE = Rect(0, 0, WARP_SIZE, WARP_SIZE)


class Pipeline:
    """Applies models to pictures.

    Args:
        models: the models.
        settings: limits and switches.
    """

    def __init__(self, models: Models, settings: Engine) -> None:
        self._models = models
        self._settings = settings
        self.estimates = Estimates(models)

    @property
    def descriptor_version(self) -> int:
        """Version of the face descriptors that are made where none is named."""
        return self._models.descriptor_version

    def detect(self, image: bytes, look: Look) -> DetectedImage:
        """As `Engine.detect`; what is wanted is known to be served."""
        picture = decoding.decode(
            image, max_pixels=self._settings.max_pixels, use_exif=look.use_exif, extract_exif=look.extract_exif
        )
        faces: list[DetectedFace] = []
        if look.faces:
            picture, found = self._found(picture, look)
            faces = self._faces(picture, found, look)
        people, count = self._bodies(picture, look)
        height, width = picture.pixels.shape[:2]
        persons = bodies.persons(faces, people)
        return DetectedImage(width, height, persons, picture.exif, count)

    def inspect(self, sample: bytes, *, estimations: frozenset[Estimation]) -> DetectedFace:
        """As `Engine.inspect`; `estimations` are known to be served."""
        picture = decoding.decode_sample(sample)
        view = self._sample(picture)
        face = DetectedFace(_WHOLE, view.confidence, rounded(view.points), decoding.as_jpeg(sample, picture.pixels))
        return self.estimates.of_faces([view], [face], estimations)[0]

    def inspect_body(self, sample: bytes, *, estimations: frozenset[Estimation]) -> DetectedBody:
        """As `Engine.inspect_body`; `estimations` are known to be served."""
        picture = decoding.decode_sample(sample, width=BODY_WIDTH, height=BODY_HEIGHT)
        rect = Rect(0, 0, BODY_WIDTH, BODY_HEIGHT)
        body = DetectedBody(rect, 1.0, decoding.as_jpeg(sample, picture.pixels))
        view = BodyView(picture, rect, 1.0, picture.pixels)
        return self.estimates.of_bodies([view], [body], estimations)[0]

    def normalise(self, image: bytes, *, width: int, height: int) -> bytes:
        """As `Engine.normalise`."""
        return decoding.as_jpeg(image, decoding.decode_sample(image, width=width, height=height).pixels)

    def to_jpeg(self, image: bytes) -> bytes:
        """As `Engine.to_jpeg`."""
        return decoding.as_jpeg(image, decoding.decode(image, max_pixels=self._settings.max_pixels).pixels)

    def describe(self, samples: Sequence[bytes], version: int) -> list[ExtractedDescriptor]:
        """As `Engine.describe`.

        Raises:
            VersionNotEstimated: no model makes this version.
        """
        if version not in self._models.describers:
            raise VersionNotEstimated(version=version)
        if not samples:
            return []
        pictures = [decoding.decode_sample(sample) for sample in samples]
        return self.estimates.described([self._plain(picture) for picture in pictures], version)

    def _faces(self, picture: Picture, found: Detections, look: Look) -> list[DetectedFace]:
        """The faces by the area of their rectangle, largest first."""
        views = self._views(picture, found)
        seen = [
            DetectedFace(
                view.rect,
                view.confidence,
                rounded(view.points),
                decoding.encode_jpeg(view.warp) if look.warps else b"",
            )
            for view in views
        ]
        wanted = frozenset(one for one in look.estimations if not one.of_body)
        return self.estimates.of_faces(views, seen, wanted)

    def _bodies(self, picture: Picture, look: Look) -> tuple[list[DetectedBody], int | None]:
        """The bodies by the area of their rectangle, largest first, and how many people there are, where asked for."""
        counted = Estimation.PEOPLE_COUNT in look.estimations
        if self._models.bodies is None or not (look.bodies or counted):
            return [], None
        boxes, scores = self._models.bodies.detect(picture.pixels)
        count = len(boxes) if counted else None
        if not look.bodies:
            return [], count
        if look.body_box is not None:
            boxes, scores = bodies.inside(boxes, scores, look.body_box)
        views = [bodies.view(picture, box, score) for box, score in zip(boxes, scores, strict=True)]
        views.sort(key=lambda view: -view.rect.width * view.rect.height)
        seen = [
            DetectedBody(view.rect, view.confidence, decoding.encode_jpeg(view.warp) if look.warps else b"")
            for view in views
        ]
        wanted = frozenset(one for one in look.estimations if one.of_body)
        return self.estimates.of_bodies(views, seen, wanted), count

    def _views(self, picture: Picture, found: Detections) -> list[FaceView]:
        regions = alignment.rectangles(found.points)
        views = []
        for i, landmarks in enumerate(self._models.landmarks5.predict(picture.pixels, regions)):
            x1, y1, x2, y2 = (round(float(value)) for value in found.boxes[i])
            rect = Rect(x1, y1, max(1, x2 - x1), max(1, y2 - y1))
            warp = alignment.warp(picture.pixels, alignment.warp_transform(landmarks))
            views.append(FaceView(picture, rect, _unit(found.scores[i]), found.points[i], regions[i : i + 1], warp))
        return sorted(views, key=lambda view: -view.rect.width * view.rect.height)

    def _sample(self, picture: Picture) -> FaceView:
        """A sample as a face, with what the detector sees in it."""
        seen = self._models.detector.examine(picture.pixels, squared(alignment.CANONICAL_BOX))
        region = alignment.rectangles(seen.points)
        return FaceView(picture, _WHOLE, _unit(seen.scores[0]), seen.points[0], region, picture.pixels, sample=True)

    def _plain(self, picture: Picture) -> FaceView:
        """A sample as a face with the points where they should be: all that a descriptor needs."""
        points = alignment.CANONICAL_POINTS
        return FaceView(picture, _WHOLE, 1.0, points, alignment.rectangles(points[None]), picture.pixels, sample=True)

    def _found(self, picture: Picture, look: Look) -> tuple[Picture, Detections]:
        """The faces, and the picture that they are in: turned where that is switched on and no box is given in it."""
        if look.face_box is not None:
            return picture, self._inside(picture.pixels, look.face_box)
        if self._settings.auto_rotation and look.body_box is None:
            return rotation.upright(picture, self._detect)
        return picture, self._detect(picture.pixels)

    def _detect(self, pixels: Image) -> Detections:
        return self._models.detector.detect(pixels, self._settings.min_face)

    def _inside(self, image: Image, box: Rect) -> Detections:
        """The one face whose centre is in the box and which fits it best, or none."""
        height, width = image.shape[:2]
        margin = round(_BOX_MARGIN * max(box.width, box.height))
        left, right = np.clip((box.x - margin, box.x + box.width + margin), 0, width)
        top, bottom = np.clip((box.y - margin, box.y + box.height + margin), 0, height)
        if right - left < MIN_FACE or bottom - top < MIN_FACE:
            return NOTHING
        crop = np.ascontiguousarray(image[top:bottom, left:right])
        wanted = np.array([box.x, box.y, box.x + box.width, box.y + box.height], np.float32)
        large = max(MIN_FACE, round(_BOX_FACE * max(box.width, box.height)))
        small = max(MIN_FACE, min(self._settings.min_face, large))
        for min_face in sorted({large, small}, reverse=True):
            found = self._models.detector.detect(crop, min_face).moved(int(left), int(top))
            centre = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
            within = (centre >= wanted[:2]) & (centre < wanted[2:])
            found = found.only(np.flatnonzero(within.all(axis=1)))
            if len(found):
                best = np.argmax(overlap(found.boxes, wanted))
                return found.only(np.array([best]))
        return NOTHING


def _unit(score: np.floating) -> float:
    return min(1.0, max(0.0, float(score)))
