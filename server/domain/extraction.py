"""From samples to attributes: descriptors are extracted and kept for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from server.domain.access import Scope
from server.domain.attributes import AttributeContent, AttributeStore, TemporaryAttribute
from server.domain.descriptors import Descriptor
from server.domain.engine import Engine
from server.domain.ids import uuid7
from server.domain.samples import SampleStore, SampleType
from server.domain.vision import Estimation, ExtractedDescriptor
from server.errors import FeatureOff, NothingToExtract, SampleNotFound


@dataclass(frozen=True, slots=True)
class ExtractionWish:
    """What a caller wants of the samples. `score_threshold` in [0, 1], `ttl_seconds` at least 1."""

    descriptor: bool = True
    basic_attributes: bool = False
    aggregate: bool = False
    score_threshold: float = 0.0
    ttl_seconds: int = 300


@dataclass(frozen=True, slots=True)
class Extracted:
    """An attribute that was kept, and the score of its descriptor in [0, 1]."""

    attribute: TemporaryAttribute
    score: float | None


class Extraction:
    """Extracts attributes from stored face samples."""

    def __init__(self, engine: Engine, samples: SampleStore, attributes: AttributeStore) -> None:
        self._engine = engine
        self._samples = samples
        self._attributes = attributes

    async def extract(
        self, account_id: UUID, reads: Scope, sample_ids: Sequence[UUID], wish: ExtractionWish
    ) -> list[Extracted]:
        """Extract one attribute of each sample, or one of them all; nothing is kept where anything fails.

        Raises:
            NothingToExtract: neither a descriptor nor basic attributes are wanted.
            FeatureOff: no installed model estimates basic attributes.
            SampleNotFound: a sample is not there.
        """
        if not wish.descriptor and not wish.basic_attributes:
            raise NothingToExtract
        if wish.basic_attributes and (needs := self._engine.needs(Estimation.BASIC_ATTRIBUTES)) is not None:
            raise FeatureOff(feature="extract_basic_attributes", needs=needs)
        warps = await asyncio.gather(*(self._warp(reads, sample_id) for sample_id in sample_ids))
        found = await self._engine.describe(warps)
        if wish.aggregate:
            groups = [(tuple(sample_ids), self._engine.aggregate(found))]
        else:
            groups = [((sample_id,), one) for sample_id, one in zip(sample_ids, found, strict=True)]
        kept = [
            Extracted(_attribute(account_id, samples, one), one.score)
            for samples, one in groups
            if one.score >= wish.score_threshold
        ]
        await asyncio.gather(*(self._attributes.add(one.attribute, wish.ttl_seconds) for one in kept))
        return kept

    async def again(
        self, reads: Scope, sample_ids: Sequence[UUID], version: int | None = None
    ) -> list[ExtractedDescriptor]:
        """Descriptors of stored face samples in another version (additional extraction), in their order.

        Nothing is kept: whoever asks knows what the descriptors belong to.

        Args:
            reads: what the caller may read.
            sample_ids: the samples.
            version: of the descriptors; None is the engine's own.

        Raises:
            SampleNotFound: a sample is not there.
            VersionNotEstimated: no installed model makes descriptors of this version.
        """
        warps = await asyncio.gather(*(self._warp(reads, sample_id) for sample_id in sample_ids))
        return await self._engine.describe(warps, version=version)

    async def _warp(self, reads: Scope, sample_id: UUID) -> bytes:
        data = await self._samples.read(reads, SampleType.FACES, sample_id)
        if data is None:
            raise SampleNotFound(sample_id=sample_id)
        return data


def _attribute(account_id: UUID, samples: tuple[UUID, ...], one: ExtractedDescriptor) -> TemporaryAttribute:
    content = AttributeContent((Descriptor(one.version, one.data),), samples)
    return TemporaryAttribute(uuid7(), account_id, datetime.now(UTC), content)
