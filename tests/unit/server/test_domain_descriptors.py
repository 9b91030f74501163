"""Versions of descriptors and their calibrations, and extracting a stored sample in another version."""

from __future__ import annotations

import math
from collections.abc import Sequence
from uuid import UUID

import pytest
from domain_stores import MemoryAttributes, MemoryFaces, SlowComparer, SlowIndex, descriptor
from event_stores import MemoryEvents

from server.domain.access import Scope
from server.domain.descriptors import BODY_SPECS, SPECS, Calibration, calibrated
from server.domain.extraction import Extraction
from server.domain.matching import Matching
from server.domain.samples import SampleType
from server.domain.vision import ExtractedDescriptor
from server.errors import SampleNotFound


def test_a_version_that_nobody_measured_tells_its_cosine_and_no_more() -> None:
    for version in (1003, 1004, 1901, 1902, 1903):
        assert SPECS[version].calibration is None
        assert SPECS[version].similarity(0.31) == 0.31
        assert SPECS[version].similarity(-0.2) == 0


def test_an_installations_calibration_takes_the_place_of_the_known_one() -> None:
    specs = calibrated(SPECS, {1001: Calibration(10, 1), 1003: Calibration(12, 1.1)})
    assert specs[1001].calibration == Calibration(10, 1)
    assert specs[1003].similarity(1 - 1.1**2 / 2) == pytest.approx(0.5)
    assert specs[1002] == SPECS[1002]
    assert SPECS[1001].calibration == Calibration(20, 0.4356)
    assert set(specs) == set(SPECS)


def test_versions_of_faces_and_bodies_do_not_overlap() -> None:
    assert not set(SPECS) & set(BODY_SPECS)


async def test_matching_tells_similarities_by_the_calibration_it_was_given() -> None:
    faces = MemoryFaces()
    specs = calibrated(SPECS, {1001: Calibration(5, 0.8)})
    matching = Matching(
        SlowIndex(faces),
        SlowComparer(),
        faces,
        MemoryAttributes(),
        MemoryEvents(),
        None,
        descriptor_version=1001,
        specs=specs,
    )
    one, other = descriptor(1), descriptor(3, 4)
    ((similarity,),) = await matching.compare([one], [other])
    distance = math.sqrt(2 - 2 * 0.6)
    assert similarity == pytest.approx(1 / (1 + math.exp(5 * (distance - 0.8))), abs=1e-3)


class Samples:
    """One sample of one account."""

    async def read(self, reads: Scope, kind: SampleType, sample_id: UUID) -> bytes | None:
        return b"warp" if (kind, sample_id) == (SampleType.FACES, UUID(int=1)) else None


class Describes:
    """An engine that tells what it was asked."""

    async def describe(self, samples: Sequence[bytes], *, version: int | None = None) -> list[ExtractedDescriptor]:
        return [ExtractedDescriptor(version or 1001, sample, 1.0) for sample in samples]


async def test_a_stored_sample_is_extracted_in_another_version() -> None:
    extraction = Extraction(Describes(), Samples(), MemoryAttributes())  # type: ignore[arg-type]
    reads = Scope(UUID(int=100))
    found = await extraction.again(reads, [UUID(int=1), UUID(int=1)], 1003)
    assert found == [ExtractedDescriptor(1003, b"warp", 1.0)] * 2
    assert (await extraction.again(reads, [UUID(int=1)]))[0].version == 1001
    with pytest.raises(SampleNotFound):
        await extraction.again(reads, [UUID(int=2)], 1003)
