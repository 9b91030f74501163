"""Liveness: what a score means, and the liveness of the one face of each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.domain.access import Scope
from server.domain.engine import Look
from server.domain.images import Images, ImageSource, ImageType
from server.domain.vision import Estimation, Liveness, LivenessState
from server.errors import LegacyNoFaces, LivenessOff, LunaError, TooManyFaces

MAX_FACES = 1
"""Most faces of an image whose liveness is predicted."""


@dataclass(frozen=True, slots=True)
class LivenessThresholds:
    """When a face is called a living one.

    Attributes:
        score: smallest score of a living face, in [0, 1].
        quality: smallest quality that allows a prediction, in [0, 1].
    """

    score: float = 0.88
    quality: float = 0.0

    def state(self, liveness: Liveness) -> LivenessState:
        """The prediction."""
        return liveness.state(threshold=self.score, quality_threshold=self.quality)


@dataclass(frozen=True, slots=True)
class LivenessOfImage:
    """The liveness of an image's face, or why there is none."""

    source: ImageSource
    liveness: Liveness | None = None
    error: LunaError | None = None


class LivenessPrediction:
    """Predicts the liveness of faces."""

    def __init__(self, images: Images) -> None:
        self._images = images

    async def predict(self, reads: Scope, sources: Sequence[ImageSource]) -> list[LivenessOfImage]:
        """Work on images side by side; a failure of one stays its own.

        Args:
            reads: what the caller may read.
            sources: the images, none of them a sample.

        Raises:
            LivenessOff: no installed model serves it.
            Busy, Unavailable: the whole call cannot be served.
        """
        if (needs := self._images.engine.needs(Estimation.LIVENESS)) is not None:
            raise LivenessOff(needs=needs)

        async def one(source: ImageSource) -> Liveness:
            look = Look(estimations=frozenset({Estimation.LIVENESS}), warps=False)
            faces = (await self._images.look(source, reads, ImageType.RAW, look)).faces
            if len(faces) > MAX_FACES:
                raise TooManyFaces(filename=source.filename, count=len(faces), limit=MAX_FACES)
            if not faces or faces[0].liveness is None:
                raise LegacyNoFaces
            return faces[0].liveness

        found = await self._images.each(sources, one)
        return [
            LivenessOfImage(source, error=result)
            if isinstance(result, LunaError)
            else LivenessOfImage(source, liveness=result)
            for source, result in zip(sources, found, strict=True)
        ]
