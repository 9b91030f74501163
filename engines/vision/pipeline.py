"""The whole way from encoded bytes to what the domain knows of faces. Blocking; safe to use from several threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from engines.packs import pack as packs
from engines.packs.pack import Pack
from engines.runtime.runtime import Runtime, RuntimeFailure
from engines.vision import alignment, decoding, descriptor, expression, pose, quality
from engines.vision.boxes import overlap, squared
from engines.vision.decoding import Image
from engines.vision.descriptor import DescriptorNetwork
from engines.vision.detector import NOTHING, Detections, Detector
from engines.vision.expression import rounded
from engines.vision.landmarks import LandmarkPredictor
from server.domain.vision import (
    WARP_SIZE,
    DetectedFace,
    DetectedImage,
    Estimation,
    ExtractedDescriptor,
    HeadPose,
    Rect,
)
from server.settings import Engine

MIN_FACE = 20
"""Smallest face that MTCNN was trained to find, in pixels."""

_BOX_MARGIN = 0.5
_BOX_FACE = 0.3
"""In a given box the face is first looked for at this part of the box's longer side and above."""

ALWAYS = frozenset({Estimation.HEAD_POSE, Estimation.QUALITY})
WITH_68 = frozenset({Estimation.LANDMARKS68, Estimation.EYES, Estimation.MOUTH})


@dataclass(frozen=True, slots=True)
class _Sighting:
    """One face in one image: its rectangle, MTCNN's confidence and points [5, 2], and dlib's rectangle [1, 4]."""

    rect: Rect
    confidence: float
    points: npt.NDArray[np.float32]
    region: npt.NDArray[np.float32]


class Pipeline:
    """Loads the networks of a pack and applies them.

    Args:
        pack: the networks.
        runtime: what executes them.
        settings: limits and switches.

    Raises:
        PackDamaged: the 68-point model is switched on and the pack has been prepared without it.
        RuntimeFailure: a network cannot be loaded.
    """

    def __init__(self, pack: Pack, runtime: Runtime, settings: Engine) -> None:
        self._settings = settings
        self._detector = Detector(
            proposal=runtime.load(pack.path(packs.PROPOSAL)),
            refinement=runtime.load(pack.path(packs.REFINEMENT)),
            output=runtime.load(pack.path(packs.OUTPUT)),
        )
        self._descriptor = DescriptorNetwork(
            runtime.load(pack.path(packs.DESCRIPTOR)), flip_averaging=settings.flip_averaging
        )
        self._landmarks5 = LandmarkPredictor(pack.path(packs.LANDMARKS5))
        self._landmarks68 = LandmarkPredictor(pack.path(packs.LANDMARKS68)) if settings.landmarks68 else None
        self._pose_model = pose.model68(self._landmarks68.mean) if self._landmarks68 else None

    def warm_up(self) -> None:
        """Run every network once and check what it gives.

        Raises:
            RuntimeFailure: a network fails or gives something of another shape.
        """
        grey = np.full((2 * WARP_SIZE, 2 * WARP_SIZE, 3), 128, np.uint8)
        self._detector.detect(grey, self._settings.min_face)
        seen = self._detector.examine(grey, squared(np.repeat(alignment.CANONICAL_BOX, 2, axis=0)))
        described = self._descriptor.describe([grey[:WARP_SIZE, :WARP_SIZE]] * 2)
        shapes = seen.boxes.shape, seen.scores.shape, seen.points.shape, described.shape
        if shapes != ((2, 4), (2,), (2, 5, 2), (2, descriptor.DIMENSIONS)):
            message = f"the networks give arrays of the shapes {shapes}"
            raise RuntimeFailure(message)
        if not np.allclose(np.linalg.norm(described, axis=1), 1, atol=1e-3):
            raise RuntimeFailure("the descriptor network gives no vectors of unit length")

    def detect(
        self,
        image: bytes,
        *,
        estimations: frozenset[Estimation],
        use_exif: bool,
        extract_exif: bool,
        box: Rect | None,
    ) -> DetectedImage:
        """As `FaceEngine.detect`; `estimations` are known to be served."""
        picture = decoding.decode(
            image, max_pixels=self._settings.max_pixels, use_exif=use_exif, extract_exif=extract_exif
        )
        pixels = picture.pixels
        found = self._detector.detect(pixels, self._settings.min_face) if box is None else self._inside(pixels, box)
        faces = [self._face(pixels, sighting, estimations) for sighting in _sightings(found)]
        height, width = pixels.shape[:2]
        return DetectedImage(width, height, tuple(faces), picture.exif)

    def inspect(self, sample: bytes, *, estimations: frozenset[Estimation]) -> DetectedFace:
        """As `FaceEngine.inspect`; `estimations` are known to be served."""
        pixels = decoding.decode_sample(sample)
        seen = self._detector.examine(pixels, squared(alignment.CANONICAL_BOX))
        sighting = _Sighting(
            Rect(0, 0, WARP_SIZE, WARP_SIZE), _unit(seen.scores[0]), seen.points[0], alignment.rectangles(seen.points)
        )
        return self._described(pixels, pixels, decoding.as_jpeg(sample, pixels), sighting, estimations)

    def normalise(self, image: bytes, *, width: int, height: int) -> bytes:
        """As `FaceEngine.normalise`."""
        return decoding.as_jpeg(image, decoding.decode_sample(image, width=width, height=height))

    def to_jpeg(self, image: bytes) -> bytes:
        """As `FaceEngine.to_jpeg`."""
        return decoding.as_jpeg(image, decoding.decode(image, max_pixels=self._settings.max_pixels).pixels)

    def describe(self, samples: Sequence[bytes]) -> list[ExtractedDescriptor]:
        """As `FaceEngine.describe`."""
        warps = [decoding.decode_sample(sample) for sample in samples]
        if not warps:
            return []
        vectors = self._descriptor.describe(warps)
        return [
            ExtractedDescriptor(self._descriptor.version, descriptor.raw(vector), self._score(warp))
            for vector, warp in zip(vectors, warps, strict=True)
        ]

    def _score(self, warp: Image) -> float:
        seen = self._detector.examine(warp, squared(alignment.CANONICAL_BOX))
        return quality.score(quality.estimate(warp), _unit(seen.scores[0]), alignment.misalignment(seen.points[0]))

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
            found = self._detector.detect(crop, min_face).moved(int(left), int(top))
            centre = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
            within = (centre >= wanted[:2]) & (centre < wanted[2:])
            found = found.only(np.flatnonzero(within.all(axis=1)))
            if len(found):
                best = np.argmax(overlap(found.boxes, wanted))
                return found.only(np.array([best]))
        return NOTHING

    def _face(self, image: Image, sighting: _Sighting, estimations: frozenset[Estimation]) -> DetectedFace:
        landmarks = self._landmarks5.predict(image, sighting.region)[0]
        warp = alignment.warp(image, alignment.warp_transform(landmarks))
        return self._described(image, warp, decoding.encode_jpeg(warp), sighting, estimations)

    def _described(
        self, image: Image, warp: Image, encoded: bytes, sighting: _Sighting, estimations: frozenset[Estimation]
    ) -> DetectedFace:
        """The face with the estimations that were asked for. Points are found in `image`, quality in `warp`."""
        points68 = None
        if self._landmarks68 and estimations & (WITH_68 | {Estimation.HEAD_POSE}):
            points68 = self._landmarks68.predict(image, sighting.region)[0]

        face = DetectedFace(sighting.rect, sighting.confidence, rounded(sighting.points), encoded)
        if Estimation.HEAD_POSE in estimations:
            face = replace(face, head_pose=self._pose(sighting.points, points68))
        if Estimation.QUALITY in estimations:
            face = replace(face, quality=quality.estimate(warp))
        if points68 is None:
            return face
        if Estimation.LANDMARKS68 in estimations:
            face = replace(face, landmarks68=rounded(points68))
        if Estimation.EYES in estimations:
            face = replace(face, eyes=expression.eyes(points68))
        if Estimation.MOUTH in estimations:
            face = replace(face, mouth=expression.mouth(points68, sighting.confidence))
        return face

    def _pose(self, points: npt.NDArray[np.float32], points68: npt.NDArray[np.float32] | None) -> HeadPose:
        if points68 is not None and self._pose_model is not None:
            return pose.from_68(points68, self._pose_model)
        return pose.from_five(points)


def _sightings(found: Detections) -> list[_Sighting]:
    """The faces by the area of their rectangle, largest first."""
    regions = alignment.rectangles(found.points)
    sightings = []
    for box, score, points, region in zip(found.boxes, found.scores, found.points, regions, strict=True):
        x1, y1, x2, y2 = (round(float(value)) for value in box)
        rect = Rect(x1, y1, max(1, x2 - x1), max(1, y2 - y1))
        sightings.append(_Sighting(rect, _unit(score), points, region[None]))
    return sorted(sightings, key=lambda sighting: -sighting.rect.width * sighting.rect.height)


def _unit(score: np.floating) -> float:
    return min(1.0, max(0.0, float(score)))
