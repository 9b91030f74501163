"""Images that a caller gives: where their bytes come from, and how several are looked at side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType
from typing import Protocol, TypeVar
from uuid import UUID

from server.domain.access import Scope
from server.domain.engine import Engine, Look, feature
from server.domain.samples import SampleStore, SampleType
from server.domain.vision import (
    BODIES,
    BODY_HEIGHT,
    BODY_WIDTH,
    WARP_SIZE,
    DetectedBody,
    DetectedFace,
    DetectedImage,
    DetectedPerson,
    Estimation,
    Rect,
)
from server.errors import Busy, FeatureOff, LunaError, MultipleFaces, SampleNotFound

S = TypeVar("S")
T = TypeVar("T")

NOT_OF_SAMPLES = frozenset(
    {
        Estimation.HEAD_POSE,
        Estimation.LANDMARKS68,
        Estimation.GAZE,
        Estimation.LIVENESS,
        Estimation.PEOPLE_COUNT,
    }
)
"""What is not estimated of samples: they have been turned upright and cut (source: reference document)."""


class ImageType(Enum):
    """What an image is, as LUNA numbers it."""

    RAW = 0
    FACE_SAMPLE = 1
    BODY_SAMPLE = 2


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
    """One image to look at: its bytes, an address or a stored sample; exactly one of them.

    `box` and `body_box` tell where the face and the body are, and are ignored for samples.
    """

    filename: str
    data: bytes | None = None
    url: str | None = None
    sample_id: UUID | None = None
    box: Rect | None = None
    body_box: Rect | None = None

    def type_in(self, wanted: ImageType) -> ImageType:
        """What the image is in a call about images of a type: a stored sample is always a sample."""
        return ImageType.FACE_SAMPLE if self.sample_id is not None and wanted is ImageType.RAW else wanted


def faces_by_policy(image: DetectedImage, policy: MultifacePolicy, filename: str) -> tuple[DetectedFace, ...]:
    """The faces of an image that a policy leaves, largest first.

    Raises:
        MultipleFaces: the policy allows one.
    """
    faces = image.faces
    if policy is MultifacePolicy.NOT_ALLOWED and len(faces) > 1:
        raise MultipleFaces(filename=filename, count=len(faces))
    return faces[:1] if policy is MultifacePolicy.BEST else faces


def only_of_face(face: DetectedFace, estimations: frozenset[Estimation]) -> DetectedFace:
    """A face with some of its estimations: those that were made for the sake of others are taken away."""
    others = {one for one in Estimation if not one.of_body and one is not Estimation.PEOPLE_COUNT} - estimations
    return replace(face, **{one.name.lower(): None for one in others})  # type: ignore[arg-type]


def only_of_body(body: DetectedBody, estimations: frozenset[Estimation]) -> DetectedBody:
    """A body with some of its estimations."""
    others = {one for one in Estimation if one.of_body} - estimations
    return replace(body, **{one.name.lower(): None for one in others})  # type: ignore[arg-type]


def require(
    engine: Engine,
    estimations: Iterable[Estimation],
    *,
    bodies: bool = False,
    switches: Mapping[Estimation | str, str] = MappingProxyType({}),
) -> None:
    """Hold a call to what is served.

    Args:
        engine: what serves.
        estimations: what is wanted.
        bodies: bodies are looked for.
        switches: names of the switches that the caller knows by other names than `engine.feature`.

    Raises:
        FeatureOff: an estimation, or finding bodies, is not served; the error names the first by its name.
    """
    subjects: list[Estimation | str] = [*([BODIES] if bodies else []), *sorted(estimations, key=lambda e: e.value)]
    for subject in subjects:
        if (needs := engine.needs(subject)) is not None:
            raise FeatureOff(feature=switches.get(subject, feature(subject)), needs=needs)


class Images:
    """Looks at the images of callers.

    Args:
        engine: sees what is in them.
        samples: where samples that are given by their ids are.
        fetcher: gets images that are given by their addresses.
    """

    def __init__(self, engine: Engine, samples: SampleStore, fetcher: ImageFetcher) -> None:
        self.engine = engine
        self._samples = samples
        self._fetcher = fetcher

    async def each(self, sources: Sequence[S], work: Callable[[S], Awaitable[T]]) -> list[T | LunaError]:
        """Work on images, or whatever stands for them, side by side: what came of each, or its error.

        Raises:
            LunaError: the server is at fault or too busy, so that the whole call cannot be served.
        """

        async def one(source: S) -> T | LunaError:
            try:
                return await work(source)
            except LunaError as error:
                if error.status >= 500 or isinstance(error, Busy):
                    raise
                return error

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(source)) for source in sources]
        except* LunaError as failures:
            failed = failures
        else:
            return [task.result() for task in tasks]
        raise _first(failed)

    async def look(self, source: ImageSource, reads: Scope, wanted: ImageType, look: Look) -> DetectedImage:
        """What is in one image. Of samples only what can be is estimated.

        Args:
            source: the image.
            reads: where a stored sample may come from.
            wanted: what the images of the call are.
            look: what to look for; boxes come from the source.

        Raises:
            SampleNotFound, DownloadFailed: there are no bytes.
            NotAnImage, ImageTooLarge, WrongSampleSize: the bytes are not what they should be.
        """
        kind = source.type_in(wanted)
        data = await self.read(source, reads, kind)
        estimations = look.estimations - NOT_OF_SAMPLES
        match kind:
            case ImageType.RAW:
                return await self.engine.detect(data, replace(look, face_box=source.box, body_box=source.body_box))
            case ImageType.FACE_SAMPLE:
                asked = frozenset(one for one in estimations if not one.of_body)
                face = await self.engine.inspect(data, estimations=asked)
                return DetectedImage(WARP_SIZE, WARP_SIZE, (DetectedPerson(face=face),))
            case ImageType.BODY_SAMPLE:
                asked = frozenset(one for one in estimations if one.of_body)
                body: DetectedBody = await self.engine.inspect_body(data, estimations=asked)
                return DetectedImage(BODY_WIDTH, BODY_HEIGHT, (DetectedPerson(body=body),))

    async def read(self, source: ImageSource, reads: Scope, kind: ImageType) -> bytes:
        """The bytes of an image.

        Raises:
            SampleNotFound, DownloadFailed: there are none.
        """
        if source.data is not None:
            return source.data
        if source.sample_id is not None:
            folder = SampleType.BODIES if kind is ImageType.BODY_SAMPLE else SampleType.FACES
            data = await self._samples.read(reads, folder, source.sample_id)
            if data is None:
                raise SampleNotFound(sample_id=source.sample_id)
            return data
        return await self.fetch(source.url or "")

    async def fetch(self, url: str) -> bytes:
        """The bytes behind an address.

        Raises:
            DownloadFailed: it cannot be had, or the address is not allowed.
        """
        return await self._fetcher.fetch(url)


def _first(failures: BaseExceptionGroup[LunaError]) -> LunaError:
    """The first of the errors that ended a call."""
    failure = failures.exceptions[0]
    return _first(failure) if isinstance(failure, BaseExceptionGroup) else failure
