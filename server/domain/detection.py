"""From images to samples: faces are found, filtered by the caller's wishes, and stored as warps."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Protocol
from uuid import UUID

from server.domain.access import Scope
from server.domain.engine import Engine, Look, feature
from server.domain.ids import uuid7
from server.domain.samples import Sample, SampleStore, SampleType
from server.domain.vision import DetectedFace, DetectedImage, DetectedPerson, Estimation, Rect
from server.errors import Busy, FeatureOff, LunaError, MultipleFaces, SampleNotFound


class MultifacePolicy(Enum):
    """What to do with an image that has several faces."""

    NOT_ALLOWED = 0
    ALLOWED = 1
    BEST = 2


class ImageFetcher(Protocol):
    """Downloads images that are given as addresses."""

    async def fetch(self, url: str) -> bytes:
        """The bytes behind an address.

        Raises:
            DownloadFailed: it cannot be had, or the address is not allowed.
        """
        ...


@dataclass(frozen=True, slots=True)
class ImageSource:
    """One image to look at: its bytes, an address or a stored face sample; exactly one of them."""

    filename: str
    data: bytes | None = None
    url: str | None = None
    sample_id: UUID | None = None
    box: Rect | None = None


@dataclass(frozen=True, slots=True)
class AngleLimits:
    """Largest allowed angles in degrees; None is no limit, and so is 180."""

    pitch: int | None = None
    roll: int | None = None
    yaw: int | None = None

    def __bool__(self) -> bool:
        return any(limit is not None and limit < 180 for limit in (self.pitch, self.roll, self.yaw))


@dataclass(frozen=True, slots=True)
class DetectionWish:
    """What a caller wants of the images."""

    policy: MultifacePolicy = MultifacePolicy.ALLOWED
    estimations: frozenset[Estimation] = frozenset()
    angles: AngleLimits = AngleLimits()
    use_exif: bool = True
    extract_exif: bool = False
    samples_given: bool = False


@dataclass(frozen=True, slots=True)
class StoredFace:
    """A face and the sample that was stored of it."""

    sample_id: UUID
    face: DetectedFace


@dataclass(frozen=True, slots=True)
class FilteredFace:
    """A face that was left out: which parameter it did not pass, what was measured, what was allowed."""

    face: DetectedFace
    parameter: str
    value: float
    threshold: float


@dataclass(frozen=True, slots=True)
class ImageResult:
    """What became of one image: its faces, or why it failed."""

    source: ImageSource
    faces: tuple[StoredFace, ...] = ()
    filtered: tuple[FilteredFace, ...] = ()
    exif: dict[str, str] | None = None
    error: LunaError | None = None


class Detection:
    """Finds faces and stores their samples."""

    def __init__(self, engine: Engine, samples: SampleStore, fetcher: ImageFetcher) -> None:
        self._engine = engine
        self._samples = samples
        self._fetcher = fetcher

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
        for estimation in sorted(wish.estimations, key=lambda e: e.value):
            if (needs := self._engine.needs(estimation)) is not None:
                raise FeatureOff(feature=feature(estimation), needs=needs)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._image(account_id, reads, source, wish)) for source in sources]
        except* LunaError as failures:
            failed = failures
        else:
            return [task.result() for task in tasks]
        raise _first(failed)

    async def _image(self, account_id: UUID, reads: Scope, source: ImageSource, wish: DetectionWish) -> ImageResult:
        try:
            image = await self._look(await self._bytes(source, reads), source, wish)
            if wish.policy is MultifacePolicy.NOT_ALLOWED and len(image.faces) > 1:
                raise MultipleFaces(filename=source.filename, count=len(image.faces))
            faces = image.faces[:1] if wish.policy is MultifacePolicy.BEST else image.faces
            filtered = tuple(found for face in faces if (found := _filtered(face, wish.angles)) is not None)
            dropped = {id(found.face) for found in filtered}
            kept = [face for face in faces if id(face) not in dropped]
            stored = tuple([StoredFace(await self._store(account_id, face), face) for face in kept])
            return ImageResult(source, stored, filtered, image.exif)
        except LunaError as error:
            if error.status >= 500 or isinstance(error, Busy):
                raise
            return ImageResult(source, error=error)

    async def _bytes(self, source: ImageSource, reads: Scope) -> bytes:
        if source.data is not None:
            return source.data
        if source.sample_id is not None:
            data = await self._samples.read(reads, SampleType.FACES, source.sample_id)
            if data is None:
                raise SampleNotFound(sample_id=source.sample_id)
            return data
        return await self._fetcher.fetch(source.url or "")

    async def _look(self, data: bytes, source: ImageSource, wish: DetectionWish) -> DetectedImage:
        # the angles are needed to filter by them, also where the caller does not want to see them
        estimations = wish.estimations | ({Estimation.HEAD_POSE} if wish.angles else frozenset())
        if wish.samples_given or source.sample_id is not None:
            face = await self._engine.inspect(data, estimations=estimations)
            return DetectedImage(face.rect.width, face.rect.height, (DetectedPerson(face),))
        look = Look(
            estimations=estimations, use_exif=wish.use_exif, extract_exif=wish.extract_exif, face_box=source.box
        )
        return await self._engine.detect(data, look)

    async def _store(self, account_id: UUID, face: DetectedFace) -> UUID:
        sample = sample_of(account_id, SampleType.FACES, face.warp)
        await self._samples.add(sample, face.warp)
        return sample.sample_id


def _first(failures: BaseExceptionGroup[LunaError]) -> LunaError:
    """The first of the errors that ended a call."""
    failure = failures.exceptions[0]
    return _first(failure) if isinstance(failure, BaseExceptionGroup) else failure


def sample_of(account_id: UUID, sample_type: SampleType, data: bytes) -> Sample:
    """The row of a new sample."""
    return Sample(uuid7(), account_id, sample_type, len(data), hashlib.sha256(data).digest(), datetime.now(UTC))


def _filtered(face: DetectedFace, limits: AngleLimits) -> FilteredFace | None:
    """The first limit that a face breaks. 180 and None switch a limit off."""
    pose = face.head_pose
    if pose is None:
        return None
    for name, limit, angle in (
        ("pitch_threshold", limits.pitch, pose.pitch),
        ("roll_threshold", limits.roll, pose.roll),
        ("yaw_threshold", limits.yaw, pose.yaw),
    ):
        # 0 drops everything: no measured angle is exactly 0 (reference document, note on 0)
        if limit is not None and limit < 180 and (abs(angle) > limit or limit == 0):
            return FilteredFace(face, name, angle, float(limit))
    return None
