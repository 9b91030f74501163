"""Extraction of attributes: what is kept, and what is told, of descriptors and of basic attributes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID, uuid4

import pytest
from domain_stores import NOW, MemorySamples

from server.domain.access import Scope
from server.domain.attributes import BasicAttributes, Ethnicity, Gender, TemporaryAttribute
from server.domain.extraction import Extracted, Extraction, ExtractionWish
from server.domain.samples import Sample, SampleType
from server.domain.vision import Estimation
from server.errors import FeatureOff, NothingToExtract
from tests.scripted_engine import ScriptedEngine, face

ACCOUNT = UUID(int=1)
ENGINE = ScriptedEngine({b"one": [face(1, age=20.4, male=0.9)], b"two": [face(2, age=130.0, male=0.2)]})


class Kept:
    """Attributes in memory."""

    def __init__(self) -> None:
        self.rows: list[TemporaryAttribute] = []

    async def add(self, attribute: TemporaryAttribute, ttl_seconds: int) -> None:
        self.rows.append(attribute)

    async def get(self, scope: Scope, attribute_ids: Sequence[UUID]) -> list[TemporaryAttribute]:
        return [one for one in self.rows if one.attribute_id in attribute_ids]

    async def remove(self, scope: Scope, attribute_id: UUID) -> bool:
        return False


async def extract(wish: ExtractionWish, engine: ScriptedEngine = ENGINE) -> tuple[list[UUID], list[Extracted], Kept]:
    """The samples, what was told of them and what was kept."""
    samples, kept, ids = MemorySamples(), Kept(), [uuid4(), uuid4()]
    for sample_id, data in zip(ids, (b"one", b"two"), strict=True):
        await samples.add(Sample(sample_id, ACCOUNT, SampleType.FACES, 3, b"", NOW), data)
    told = await Extraction(engine, samples, kept).extract(ACCOUNT, Scope(None), ids, wish)
    assert [one.attribute for one in told] == kept.rows
    assert all(isinstance(one.create_time, datetime) for one in kept.rows)
    return ids, told, kept


async def test_descriptors_alone_are_kept_by_default() -> None:
    ids, told, kept = await extract(ExtractionWish())
    assert [one.content.descriptor_samples for one in kept.rows] == [(one,) for one in ids]
    assert [(one.score, one.basic_attributes) for one in told] == [(0.5, None)] * 2
    assert all(one.content.basic_attributes is None for one in kept.rows)


async def test_basic_attributes_are_told_as_estimated_and_kept_as_what_is_most_probable() -> None:
    ids, told, kept = await extract(ExtractionWish(descriptor=False, basic_attributes=True, score_threshold=1))
    assert [one.basic_attributes for one in told] == [face(1, age=20.4, male=0.9).basic_attributes,
                                                      face(2, age=130.0, male=0.2).basic_attributes]  # fmt: skip
    assert [one.score for one in told] == [None, None]
    assert [one.content.basic_attributes for one in kept.rows] == [
        BasicAttributes(20, Gender.MALE, Ethnicity.ASIAN),
        BasicAttributes(100, Gender.FEMALE, Ethnicity.ASIAN),
    ]
    assert [one.content.basic_attributes_samples for one in kept.rows] == [(one,) for one in ids]
    assert all(one.content.descriptors == one.content.descriptor_samples == () for one in kept.rows)


async def test_all_samples_may_be_one_attribute() -> None:
    ids, told, kept = await extract(ExtractionWish(basic_attributes=True, aggregate=True))
    (one,) = kept.rows
    assert one.content.descriptor_samples == one.content.basic_attributes_samples == tuple(ids)
    assert told[0].basic_attributes is not None
    assert told[0].basic_attributes.age == pytest.approx(75.2)
    assert one.content.basic_attributes == BasicAttributes(75, Gender.MALE, Ethnicity.ASIAN)


async def test_a_descriptor_below_the_threshold_takes_the_whole_attribute_with_it() -> None:
    _, told, kept = await extract(ExtractionWish(basic_attributes=True, score_threshold=0.6))
    assert (told, kept.rows) == ([], [])


async def test_what_is_not_served_and_nothing_at_all_are_refused() -> None:
    off = ScriptedEngine(ENGINE.seen, off=frozenset({Estimation.BASIC_ATTRIBUTES}))
    with pytest.raises(FeatureOff, match="extract_basic_attributes"):
        await extract(ExtractionWish(basic_attributes=True), off)
    with pytest.raises(NothingToExtract):
        await extract(ExtractionWish(descriptor=False))
