"""The default engine: the port `FaceEngine`, served by a model pack through one limiter."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import cv2

from engines.limiter import Limiter
from engines.packs.pack import Pack
from engines.runtime.onnx_runtime import OnnxRuntime
from engines.runtime.runtime import Runtime, RuntimeFailure
from engines.vision import descriptor
from engines.vision.pipeline import ALWAYS, WITH_68, Pipeline
from server.domain.vision import DetectedFace, DetectedImage, Estimation, ExtractedDescriptor, Rect
from server.errors import EngineFailure, FeatureOff, Unavailable
from server.settings import Engine

T = TypeVar("T")

_GROUP = 16
"""Samples that are described in one turn: a long list takes its turns between the images of others."""

_SUBJECTS = {
    Estimation.EMOTIONS: "emotions",
    Estimation.MASK: "masks",
    Estimation.GLASSES: "glasses",
    Estimation.GAZE: "gaze",
    Estimation.LIVENESS: "liveness",
    Estimation.FACE_QUALITY: "face quality checks",
    Estimation.BASIC_ATTRIBUTES: "age, gender and ethnicity",
}


class DefaultFaceEngine:
    """Finds and describes faces with the networks of a pack (port: `server.domain.vision.FaceEngine`).

    Owns its limiter, so there is one for each process that has one engine. `start` before use, `close` after it.

    Args:
        pack: a prepared pack.
        settings: threads, limits and switches.
        runtime: what executes the networks; ONNX Runtime on the CPU where none is given.
    """

    def __init__(self, pack: Pack, settings: Engine, runtime: Runtime | None = None) -> None:
        self._pack = pack
        self._settings = settings
        self._runtime = runtime or OnnxRuntime(threads=settings.threads)
        self._limiter = Limiter(settings.workers or _cores(), settings.max_queue)
        self._pipeline: Pipeline | None = None

    @property
    def descriptor_version(self) -> int:
        """Version of the descriptors that `describe` makes."""
        return descriptor.VERSION_WITH_FLIP if self._settings.flip_averaging else descriptor.VERSION

    @property
    def runtime(self) -> str:
        """Name of the runtime and its device."""
        return self._runtime.name

    async def start(self) -> None:
        """Load the networks and prove on an empty picture that each gives what it should.

        Raises:
            PackDamaged: the 68-point model is switched on and the pack has been prepared without it.
            EngineFailure: a network cannot be loaded, or gives something else.
        """
        # Images are worked on side by side already; threads of OpenCV's own would only fight over the cores.
        cv2.setNumThreads(1)
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        self._pipeline = await self._run(self._load)

    async def close(self) -> None:
        """Refuse further work, wait for what is running, and free the networks."""
        await self._limiter.close()
        self._pipeline = None

    def needs(self, estimation: Estimation) -> str | None:
        """What must be installed or switched on to serve an estimation; None where it is served."""
        if estimation in ALWAYS or (estimation in WITH_68 and self._settings.landmarks68):
            return None
        if estimation in WITH_68:
            return "the 68-point landmark model (LUNA_ENGINE__LANDMARKS68=true)"
        return f"a model pack for {_SUBJECTS[estimation]}"

    async def detect(
        self,
        image: bytes,
        *,
        estimations: frozenset[Estimation] = frozenset(),
        use_exif: bool = True,
        extract_exif: bool = False,
        box: Rect | None = None,
    ) -> DetectedImage:
        """Find the faces of one encoded image; with `box`, only the face inside it is looked for.

        A box's face is the one whose centre lies in the box and which overlaps it most.

        Raises:
            NotAnImage: the bytes are no image that can be decoded.
            ImageTooLarge: the image has more pixels than the limit.
            FeatureOff: an estimation is not served.
            Busy: the limiter's queue is full.
        """
        self._check(estimations)
        return await self._run(
            partial(
                self._ready().detect,
                image,
                estimations=estimations,
                use_exif=use_exif,
                extract_exif=extract_exif,
                box=box,
            )
        )

    async def inspect(self, sample: bytes, *, estimations: frozenset[Estimation] = frozenset()) -> DetectedFace:
        """Take an encoded face sample as a face.

        Raises:
            WrongSampleSize: the image is not 250x250.
            NotAnImage, FeatureOff, Busy: as for `detect`.
        """
        self._check(estimations)
        return await self._run(partial(self._ready().inspect, sample, estimations=estimations))

    async def describe(self, samples: Sequence[bytes]) -> list[ExtractedDescriptor]:
        """Descriptors of face samples, in their order.

        Raises:
            NotAnImage, WrongSampleSize, Busy: as for `inspect`.
        """
        described: list[ExtractedDescriptor] = []
        for begin in range(0, len(samples), _GROUP):
            group = samples[begin : begin + _GROUP]
            described += await self._run(partial(self._ready().describe, group))
        return described

    async def normalise(self, image: bytes, *, width: int, height: int) -> bytes:
        """An encoded image of exactly this size as JPEG.

        Raises:
            WrongSampleSize: the image has another size.
            NotAnImage, Busy: as for `detect`.
        """
        return await self._run(partial(self._ready().normalise, image, width=width, height=height))

    async def to_jpeg(self, image: bytes) -> bytes:
        """An encoded image as JPEG; the bytes as they are where they are JPEG already.

        Raises:
            NotAnImage, ImageTooLarge, Busy: as for `detect`.
        """
        return await self._run(partial(self._ready().to_jpeg, image))

    def aggregate(self, descriptors: Sequence[ExtractedDescriptor]) -> ExtractedDescriptor:
        """One descriptor of several of the same person: their mean by score, of unit length; the score is the mean."""
        return descriptor.aggregate(descriptors)

    def _load(self) -> Pipeline:
        pipeline = Pipeline(self._pack, self._runtime, self._settings)
        pipeline.warm_up()
        return pipeline

    def _check(self, estimations: frozenset[Estimation]) -> None:
        for estimation in Estimation:
            needs = self.needs(estimation) if estimation in estimations else None
            if needs is not None:
                raise FeatureOff(feature=f"estimate_{estimation.value}", needs=needs)

    def _ready(self) -> Pipeline:
        if self._pipeline is None:
            raise Unavailable(component="The inference engine")
        return self._pipeline

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await self._limiter.run(work)
        except RuntimeFailure as failure:
            raise EngineFailure(message=failure) from failure


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
