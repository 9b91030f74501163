"""Descriptors of stored samples, of faces and of bodies, from an engine that others use too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from server.domain.access import Scope
from server.domain.descriptors import BODY_SPECS
from server.domain.engine import Engine
from server.domain.extraction import Extraction
from server.domain.policies import DescriptorKind
from server.domain.samples import SampleStore, SampleType
from server.domain.vision import Estimation, ExtractedDescriptor
from server.errors import Busy, SampleNotFound, VersionNotEstimated

ATTEMPTS: Final = 60
BUSY_SECONDS: Final = 1.0
"""How often, and how long, an engine that is busy is waited for: a task has time."""
_BODY: Final = frozenset({Estimation.BODY_DESCRIPTOR})


def kind_of(version: int) -> DescriptorKind:
    """Whether descriptors of a version are of faces or of bodies: no version is of both."""
    return DescriptorKind.BODY if version in BODY_SPECS else DescriptorKind.FACE


class SampleDescriptors:
    """Extracts descriptors.

    Args:
        extraction: extracts from face samples.
        engine: extracts from body samples, and makes one descriptor of several.
        samples: has the bodies.
        busy_seconds: the wait before an engine is tried again that is busy.
    """

    def __init__(
        self, extraction: Extraction, engine: Engine, samples: SampleStore, *, busy_seconds: float = BUSY_SECONDS
    ) -> None:
        self._extraction = extraction
        self._engine = engine
        self._samples = samples
        self._busy_seconds = busy_seconds

    async def extract(
        self, scope: Scope, sample_ids: Sequence[UUID], version: int, check: Callable[[], None]
    ) -> ExtractedDescriptor:
        """The descriptor of samples of one person, at least one, in a version.

        Args:
            scope: whose samples may be read.
            sample_ids: samples of what the version is of.
            version: of the descriptor.
            check: is called before each attempt.

        Raises:
            SampleNotFound: a sample is not there.
            NotAnImage, WrongSampleSize: the bytes of one are none.
            FeatureOff, VersionNotEstimated: no installed model makes descriptors of this version.
            Busy: the engine stayed busy.
        """
        of_bodies = kind_of(version) is DescriptorKind.BODY
        for _ in range(ATTEMPTS - 1):
            check()
            try:
                return await self._extract(scope, sample_ids, version, of_bodies=of_bodies)
            except Busy:
                await asyncio.sleep(self._busy_seconds)
        return await self._extract(scope, sample_ids, version, of_bodies=of_bodies)

    async def _extract(
        self, scope: Scope, sample_ids: Sequence[UUID], version: int, *, of_bodies: bool
    ) -> ExtractedDescriptor:
        if of_bodies:
            found = [await self._of_body(scope, one, version) for one in sample_ids]
        else:
            found = await self._extraction.again(scope, sample_ids, version)
        return found[0] if len(found) == 1 else self._engine.aggregate(found)

    async def _of_body(self, scope: Scope, sample_id: UUID, version: int) -> ExtractedDescriptor:
        data = await self._samples.read(scope, SampleType.BODIES, sample_id)
        if data is None:
            raise SampleNotFound(sample_id=sample_id)
        seen = await self._engine.inspect_body(data, estimations=_BODY)
        if seen.body_descriptor is None or seen.body_descriptor.version != version:
            raise VersionNotEstimated(version=version)
        return seen.body_descriptor
