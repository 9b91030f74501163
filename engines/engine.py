"""The default engine: the port `server.domain.engine.Engine`, served by model packs through one limiter."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Concatenate

from engines.crew.crew import Crew, P, Served, T, Work
from engines.limiter import Limiter
from engines.packs.describing import calibrations
from engines.packs.pack import Pack
from engines.runtime.runtime import Runtime, RuntimeFailure
from engines.turn import EngineObserver, Turn, reporting
from engines.vision.raw_descriptors import aggregate
from server.domain.descriptors import Calibration
from server.domain.engine import Look, feature
from server.domain.vision import BODIES, DetectedBody, DetectedFace, DetectedImage, Estimation, ExtractedDescriptor
from server.errors import BadQuery, EngineFailure, FeatureOff, Unavailable
from server.settings import Engine

_LOOK = Look()

_GROUP = 16
"""Samples that are described in one turn: a long list takes its turns between the images of others."""


class DefaultEngine:
    """Finds and describes faces and bodies with the models of packs (port: `server.domain.engine.Engine`).

    Owns its limiter, so there is one for each process that has one engine. `start` before use, `close` after it.

    Args:
        installed: prepared packs; where several serve a task, the first does.
        settings: threads, limits and switches.
        runtime: what executes the networks of a crew of threads; the one that the settings name where none is given.
        observer: is told what runs, and for how long.
        crew: does the work, and tells the same observer of networks; threads of this process where none is given.
    """

    def __init__(
        self,
        installed: Sequence[Pack],
        settings: Engine,
        runtime: Runtime | None = None,
        observer: EngineObserver | None = None,
        crew: Crew | None = None,
    ) -> None:
        self._installed = installed
        self._settings = settings
        self._observer = observer
        at_once = settings.at_once(cores())
        self._limiter = Limiter(at_once, settings.waiting(at_once))
        self._crew = _threads(installed, settings, runtime, observer) if crew is None else crew
        self._served: Served | None = None

    @property
    def descriptor_version(self) -> int:
        """Version of the face descriptors that are made where none is named; known from `start` on."""
        return self._known().descriptor_version

    @property
    def calibrations(self) -> Mapping[int, Calibration]:
        """Calibrations in the manifests, by the version of the descriptors; of two packs, the first one's."""
        return calibrations(self._installed)

    @property
    def runtime(self) -> str:
        """Name of the runtime and its device; known from `start` on."""
        return self._known().runtime

    @property
    def places(self) -> int:
        """Images that it works on and keeps waiting at the most; further ones are refused."""
        return self._limiter.workers + self._limiter.max_queue

    @property
    def waiting(self) -> int:
        """Images that wait for a thread."""
        return self._limiter.waiting

    async def start(self) -> None:
        """Load the networks on their device, and prove that each gives what it should.

        Raises:
            PackDamaged: the 68-point model is switched on and the pack has been prepared without it.
            EngineFailure: a network cannot be loaded, or gives something else; or a process cannot be started.
        """
        try:
            # not through the limiter, which learns from what it runs how long images take
            self._served = await asyncio.to_thread(self._crew.start, self._limiter.workers)
        except RuntimeFailure as failure:
            raise EngineFailure(message=failure) from failure

    async def close(self) -> None:
        """Refuse further work, wait for what is running, and free the networks."""
        await self._limiter.close()
        await asyncio.to_thread(self._crew.close)

    def needs(self, subject: Estimation | str) -> str | None:
        """What must be installed or switched on to serve an estimation, or `BODIES`; None where it is served."""
        return self._known().needs[subject]

    async def detect(self, image: bytes, look: Look = _LOOK) -> DetectedImage:
        """Find who is in one encoded image.

        Raises:
            NotAnImage: the bytes are no image that can be decoded.
            ImageTooLarge: the image has more pixels than the limit.
            FeatureOff: an estimation is not served.
            Busy: the limiter's queue is full.
        """
        self._check(look.estimations, bodies=look.bodies)
        return await self._run(Work.detect, image, look)

    async def inspect(self, sample: bytes, *, estimations: frozenset[Estimation] = frozenset()) -> DetectedFace:
        """Take an encoded face sample as a face.

        Raises:
            WrongSampleSize: the image is not 250x250.
            NotAnImage, FeatureOff, Busy: as for `detect`.
        """
        self._check(estimations)
        if Estimation.LIVENESS in estimations:
            message = "liveness cannot be estimated of a face sample: image_type must be 0"
            raise BadQuery(field=feature(Estimation.LIVENESS), message=message)
        return await self._run(Work.inspect, sample, estimations=estimations)

    async def inspect_body(self, sample: bytes, *, estimations: frozenset[Estimation] = frozenset()) -> DetectedBody:
        """Take an encoded body sample as a body.

        Raises:
            WrongSampleSize: the image is not 128x256.
            NotAnImage, FeatureOff, Busy: as for `detect`.
        """
        self._check(estimations)
        return await self._run(Work.inspect_body, sample, estimations=estimations)

    async def describe(self, samples: Sequence[bytes], *, version: int | None = None) -> list[ExtractedDescriptor]:
        """Descriptors of face samples, in their order.

        Raises:
            VersionNotEstimated: no installed model makes descriptors of this version.
            NotAnImage, WrongSampleSize, Busy: as for `inspect`.
        """
        wanted = version or self.descriptor_version
        described: list[ExtractedDescriptor] = []
        for begin in range(0, len(samples), _GROUP):
            group = samples[begin : begin + _GROUP]
            described += await self._run(Work.describe, group, wanted)
        return described

    async def normalise(self, image: bytes, *, width: int, height: int) -> bytes:
        """An encoded image of exactly this size as JPEG.

        Raises:
            WrongSampleSize: the image has another size.
            NotAnImage, Busy: as for `detect`.
        """
        return await self._run(Work.normalise, image, width=width, height=height)

    async def to_jpeg(self, image: bytes) -> bytes:
        """An encoded image as JPEG; the bytes as they are where they are JPEG already.

        Raises:
            NotAnImage, ImageTooLarge, Busy: as for `detect`.
        """
        return await self._run(Work.to_jpeg, image)

    def aggregate(self, descriptors: Sequence[ExtractedDescriptor]) -> ExtractedDescriptor:
        """One descriptor of several of the same person: their mean by score, of unit length; the score is the mean."""
        return aggregate(descriptors)

    def _check(self, estimations: frozenset[Estimation], *, bodies: bool = False) -> None:
        subjects: list[Estimation | str] = [one for one in Estimation if one in estimations]
        for subject in [*subjects, *([BODIES] if bodies else [])]:
            needs = self.needs(subject)
            if needs is not None:
                raise FeatureOff(feature=feature(subject), needs=needs)

    def _known(self) -> Served:
        if self._served is None:
            raise Unavailable(component="The inference engine")
        return self._served

    async def _run(self, method: Callable[Concatenate[Work, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        self._known()
        kind = method.__name__
        with reporting(kind, self._observer):
            try:
                work = partial(self._crew.work, method, *args, **kwargs)
                return await self._limiter.run(Turn(kind, work, self._observer))
            except RuntimeFailure as failure:
                raise EngineFailure(message=failure) from failure


def _threads(
    installed: Sequence[Pack], settings: Engine, runtime: Runtime | None, observer: EngineObserver | None
) -> Crew:
    # here, so that a process whose crew is another one imports no networks, and has the memory for something else
    from engines.crew.threads import ThreadCrew

    return ThreadCrew(installed, settings, runtime, observer)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
