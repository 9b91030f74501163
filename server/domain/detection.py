"""From images to samples: faces are found, filtered by the caller's wishes, and stored as warps."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from server.domain.access import Scope
from server.domain.engine import Look
from server.domain.filters import ANY_FACE, FaceLimits, Reason, needed, reasons
from server.domain.ids import uuid7
from server.domain.images import (
    NOT_OF_SAMPLES,
    Images,
    ImageSource,
    ImageType,
    MultifacePolicy,
    faces_by_policy,
    only_of_face,
    require,
)
from server.domain.liveness import LivenessThresholds
from server.domain.samples import Sample, SampleStore, SampleType
from server.domain.vision import DetectedFace, Estimation
from server.errors import LunaError

_SWITCHES: Mapping[Estimation | str, str] = {Estimation.LANDMARKS68: "detect_landmarks68"}
"""What the detector calls an estimation that other methods call otherwise."""


@dataclass(frozen=True, slots=True)
class DetectionWish:
    """What a caller wants of the images."""

    policy: MultifacePolicy = MultifacePolicy.ALLOWED
    estimations: frozenset[Estimation] = frozenset()
    limits: FaceLimits = ANY_FACE
    use_exif: bool = True
    extract_exif: bool = False
    samples_given: bool = False

    @property
    def image_type(self) -> ImageType:
        """What the images are."""
        return ImageType.FACE_SAMPLE if self.samples_given else ImageType.RAW


@dataclass(frozen=True, slots=True)
class StoredFace:
    """A face and the sample that was stored of it."""

    sample_id: UUID
    face: DetectedFace


@dataclass(frozen=True, slots=True)
class FilteredFace:
    """A face that was left out, and every reason."""

    face: DetectedFace
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class ImageResult:
    """What became of one image: its faces, or why it failed. `sample` tells that it was a sample."""

    source: ImageSource
    faces: tuple[StoredFace, ...] = ()
    filtered: tuple[FilteredFace, ...] = ()
    sample: bool = False
    exif: dict[str, str] | None = None
    error: LunaError | None = None


class Detection:
    """Finds faces and stores their samples."""

    def __init__(self, images: Images, samples: SampleStore, liveness: LivenessThresholds) -> None:
        self._images = images
        self._samples = samples
        self._liveness = liveness

    async def detect(
        self, account_id: UUID, reads: Scope, sources: Sequence[ImageSource], wish: DetectionWish
    ) -> list[ImageResult]:
        """Work on images side by side; a failure of one stays its own.

        Args:
            account_id: the account that the samples will belong to.
            reads: where samples that are given as input may come from.
            sources: the images.
            wish: what is wanted of them.

        Raises:
            FeatureOff: no installed model serves an estimation.
            Busy, Unavailable: the whole call cannot be served.
        """
        # what a face is filtered by is needed also where the caller does not want to see it
        made = wish.estimations | needed(wish.limits)
        asked = made - NOT_OF_SAMPLES if wish.samples_given else made
        require(self._images.engine, asked, switches=_SWITCHES)

        async def one(source: ImageSource) -> ImageResult:
            return await self._image(account_id, reads, source, wish, made)

        found = await self._images.each(sources, one)
        return [
            ImageResult(source, error=result) if isinstance(result, LunaError) else result
            for source, result in zip(sources, found, strict=True)
        ]

    async def _image(
        self, account_id: UUID, reads: Scope, source: ImageSource, wish: DetectionWish, made: frozenset[Estimation]
    ) -> ImageResult:
        look = Look(estimations=made, use_exif=wish.use_exif, extract_exif=wish.extract_exif)
        image = await self._images.look(source, reads, wish.image_type, look)
        sample = source.type_in(wish.image_type) is not ImageType.RAW
        kept: list[StoredFace] = []
        filtered: list[FilteredFace] = []
        samples: list[tuple[Sample, bytes]] = []
        for face in faces_by_policy(image, wish.policy, source.filename):
            why = reasons(face, wish.limits, self._liveness, sample=sample)
            shown = only_of_face(face, wish.estimations)
            if why:
                filtered.append(FilteredFace(shown, why))
            else:
                row = sample_of(account_id, SampleType.FACES, face.warp)
                samples.append((row, face.warp))
                kept.append(StoredFace(row.sample_id, shown))
        await self._samples.add_all(samples)
        return ImageResult(source, tuple(kept), tuple(filtered), sample, image.exif)


def sample_of(account_id: UUID, sample_type: SampleType, data: bytes) -> Sample:
    """The row of a new sample."""
    return Sample(uuid7(), account_id, sample_type, len(data), hashlib.sha256(data).digest(), datetime.now(UTC))
