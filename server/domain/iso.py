"""Checking the faces of images by ISO/IEC 19794-5, without keeping anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.domain import checks
from server.domain.access import Scope
from server.domain.checks import ChecksResult
from server.domain.engine import Look
from server.domain.images import Images, ImageSource, ImageType, MultifacePolicy, faces_by_policy, require
from server.domain.vision import DetectedFace, Estimation
from server.errors import LunaError

_MEASURES = frozenset({Estimation.FACE_QUALITY})


@dataclass(frozen=True, slots=True)
class IsoWish:
    """What a caller wants of the images."""

    image_type: ImageType = ImageType.RAW
    policy: MultifacePolicy = MultifacePolicy.NOT_ALLOWED
    extract_exif: bool = False


@dataclass(frozen=True, slots=True)
class CheckedFace:
    """A face and its checks."""

    face: DetectedFace
    checks: ChecksResult


@dataclass(frozen=True, slots=True)
class CheckedImage:
    """What became of one image: its faces, largest first, or why it failed. `sample` tells that it was a sample."""

    source: ImageSource
    faces: tuple[CheckedFace, ...] = ()
    sample: bool = False
    exif: dict[str, str] | None = None
    error: LunaError | None = None


class IsoChecks:
    """Checks the faces of images."""

    def __init__(self, images: Images) -> None:
        self._images = images

    async def check(self, reads: Scope, sources: Sequence[ImageSource], wish: IsoWish) -> list[CheckedImage]:
        """Work on images side by side; a failure of one stays its own.

        Args:
            reads: where samples that are given as input may come from.
            sources: the images.
            wish: what is wanted of them.

        Raises:
            FeatureOff: nothing that is installed measures faces.
            Busy, Unavailable: the whole call cannot be served.
        """
        require(self._images.engine, _MEASURES)
        look = Look(estimations=_MEASURES, extract_exif=wish.extract_exif, warps=False)

        async def one(source: ImageSource) -> CheckedImage:
            image = await self._images.look(source, reads, wish.image_type, look)
            faces = faces_by_policy(image, wish.policy, source.filename)
            checked = tuple(
                CheckedFace(face, checks.iso(face.face_quality)) for face in faces if face.face_quality is not None
            )
            sample = source.type_in(wish.image_type) is not ImageType.RAW
            return CheckedImage(source, checked, sample, image.exif)

        found = await self._images.each(sources, one)
        return [
            CheckedImage(source, error=result) if isinstance(result, LunaError) else result
            for source, result in zip(sources, found, strict=True)
        ]
