"""From samples to attributes: descriptors are extracted and kept for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from server.domain.access import Scope
from server.domain.aggregation import mean_basic_attributes
from server.domain.attributes import AttributeContent, AttributeStore, BasicAttributes, TemporaryAttribute
from server.domain.descriptors import Descriptor
from server.domain.engine import Engine
from server.domain.ids import uuid7
from server.domain.samples import SampleStore, SampleType
from server.domain.vision import BasicAttributesEstimation, Estimation, ExtractedDescriptor
from server.errors import FeatureOff, NothingToExtract, SampleNotFound


@dataclass(frozen=True, slots=True)
class ExtractionWish:
    """What a caller wants of the samples. `score_threshold` in [0, 1], `ttl_seconds` at least 1."""

    descriptor: bool = True
    basic_attributes: bool = False
    aggregate: bool = False
    score_threshold: float = 0.0
    ttl_seconds: int = 300


OLDEST = 100
"""Highest age that is kept, in years."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """An attribute that was kept, the score of its descriptor in [0, 1], and the estimate of its basic attributes."""

    attribute: TemporaryAttribute
    score: float | None
    basic_attributes: BasicAttributesEstimation | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    """What was extracted of some samples, as one."""

    samples: tuple[UUID, ...]
    descriptor: ExtractedDescriptor | None
    basic_attributes: BasicAttributesEstimation | None

    @property
    def score(self) -> float | None:
        return None if self.descriptor is None else self.descriptor.score


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
        described = await self._engine.describe(warps) if wish.descriptor else [None] * len(warps)
        basic = await self._basic_attributes(warps) if wish.basic_attributes else [None] * len(warps)
        each = list(zip(sample_ids, described, basic, strict=True))
        if wish.aggregate:
            found = [self._together(each)]
        else:
            found = [_Found((sample_id,), one, estimated) for sample_id, one, estimated in each]
        kept = [
            Extracted(_attribute(account_id, one), one.score, one.basic_attributes)
            for one in found
            if one.score is None or one.score >= wish.score_threshold
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

    async def _basic_attributes(self, warps: Sequence[bytes]) -> list[BasicAttributesEstimation | None]:
        wanted = frozenset({Estimation.BASIC_ATTRIBUTES})
        faces = await asyncio.gather(*(self._engine.inspect(warp, estimations=wanted) for warp in warps))
        return [face.basic_attributes for face in faces]

    def _together(
        self, each: Sequence[tuple[UUID, ExtractedDescriptor | None, BasicAttributesEstimation | None]]
    ) -> _Found:
        descriptors = [one for _, one, _ in each if one is not None]
        return _Found(
            samples=tuple(sample_id for sample_id, _, _ in each),
            descriptor=self._engine.aggregate(descriptors) if descriptors else None,
            basic_attributes=mean_basic_attributes([one for _, _, one in each if one is not None]),
        )


def _attribute(account_id: UUID, found: _Found) -> TemporaryAttribute:
    descriptors: tuple[Descriptor, ...] = ()
    basic = None
    if found.descriptor is not None:
        descriptors = (Descriptor(found.descriptor.version, found.descriptor.data),)
    if found.basic_attributes is not None:
        basic = kept(found.basic_attributes)
    content = AttributeContent(
        descriptors=descriptors,
        descriptor_samples=found.samples if descriptors else (),
        basic_attributes=basic,
        basic_attributes_samples=found.samples if basic is not None else (),
    )
    return TemporaryAttribute(uuid7(), account_id, datetime.now(UTC), content)


def kept(estimated: BasicAttributesEstimation) -> BasicAttributes:
    """What is kept of an estimation: years, and the most probable gender and ethnic group."""
    age = None if estimated.age is None else min(OLDEST, max(0, round(estimated.age)))
    return BasicAttributes(age=age, gender=estimated.gender, ethnicity=estimated.ethnicity)
