"""Cross-matching against plain sorting of all cosines, and its kind of tasks."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from engines.tasks.nearest import ExactNeighbours
from engines.tasks.packing import DescriptorPacker
from server.domain.descriptors import LAYOUTS, spec
from server.domain.galleries import Member
from server.domain.policies import DescriptorKind
from server.domain.task_contents import AttributeSelection, CrossMatching, EventSelection, FaceSelection
from server.domain.tasks import TaskSettings, TaskType
from server.errors import CrossMatchSelectionEmpty
from server.tasks.cross_matching import CrossMatchingKind
from server.tasks.gathering import Gathering
from tests.galleries import MemoryGalleries, done, form_of, layouts
from tests.unit.tasks.test_clustering import members_of, packed_of, people


def slow_neighbours(
    references: Sequence[Member], candidates: Sequence[Member], dtype: str, least: float, limit: int
) -> list[tuple[uuid.UUID, list[tuple[uuid.UUID, float]]]]:
    """All cosines by their definition, sorted."""

    def unit(members: Sequence[Member]) -> np.ndarray:
        rows = np.stack([np.frombuffer(one.descriptor or b"", dtype).astype(np.float64) for one in members])
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300)

    cosines = unit(references) @ unit(candidates).T
    found = []
    for number, reference in enumerate(references):
        order = sorted(range(len(candidates)), key=lambda row: (-cosines[number, row], candidates[row].object_id))
        best = [(candidates[row].object_id, float(cosines[number, row])) for row in order]
        found.append((reference.object_id, [one for one in best if one[1] >= least][:limit]))
    return sorted(found)


@pytest.mark.parametrize(("least", "limit"), [(-1.0, 3), (0.5, 1000), (0.6, 7), (0.99, 5)])
@pytest.mark.parametrize(("version", "dtype"), [(1001, "<f2"), (1004, "<f2"), (46, "<i1")])
def test_neighbours_are_those_of_sorting_all_cosines(version: int, dtype: str, least: float, limit: int) -> None:
    layout = LAYOUTS[version]
    vectors = people(np.random.default_rng(1), 50, 900, layout.dimensions, 0.6)
    if dtype == "<i1":
        vectors = np.rint(vectors.astype(np.float32).clip(-3, 3) * 40).astype(np.int8)
    members = members_of(vectors)
    references, candidates = members[:300], members[200:]
    found = ExactNeighbours().neighbours(
        packed_of(layout, references),
        packed_of(layout, candidates),
        (0, 300),
        limit=limit,
        least_cosine=least,
        check=lambda: None,
    )
    for one, (reference_id, wanted) in zip(
        found, slow_neighbours(references, candidates, dtype, least, limit), strict=True
    ):
        assert one.reference_id == reference_id
        assert [candidate for candidate, _ in one.candidates] == [candidate for candidate, _ in wanted]
        assert [cosine for _, cosine in one.candidates] == pytest.approx([cosine for _, cosine in wanted], abs=1e-12)


def test_equal_candidates_come_by_their_id() -> None:
    rows = np.repeat(people(np.random.default_rng(1), 1, 1, 128, 0.5), 40, axis=0)
    members = members_of(rows)
    found = ExactNeighbours().neighbours(
        *(packed_of(spec(1001), members),) * 2, (0, 1), limit=5, least_cosine=0.5, check=lambda: None
    )
    (one,) = found
    assert one.candidates == tuple((object_id, 1.0) for object_id in sorted(m.object_id for m in members)[:5])


def kind_of(content: CrossMatching, galleries: MemoryGalleries, part_size: int = 1000) -> CrossMatchingKind:
    gathering = Gathering(galleries, DescriptorPacker(), layouts)
    settings = TaskSettings(part_size=part_size)
    return CrossMatchingKind(form_of(TaskType.CROSS_MATCH, content), gathering, ExactNeighbours(), settings)


async def told(kind: CrossMatchingKind) -> dict[str, list[dict[str, object]]]:
    """The result, whose file is deleted."""
    result = (await done(kind)).result
    assert isinstance(result.file, Path)
    found: dict[str, list[dict[str, object]]] = json.loads(result.file.read_bytes())
    result.file.unlink()
    return found


async def test_every_reference_is_told_with_its_candidates_by_similarity() -> None:
    members = members_of(people(np.random.default_rng(9), 12, 80, 128, 0.3))
    named = tuple(one.object_id for one in members[:25])
    content = CrossMatching(FaceSelection(face_ids=named), FaceSelection(), threshold=0.4, limit=4)
    found = await told(kind_of(content, MemoryGalleries(members), part_size=10))
    layout = spec(1001)
    wanted = slow_neighbours(members[:25], members, "<f2", layout.cosine(0.4), 4)
    assert [one["reference_id"] for one in found["result"]] == [str(reference) for reference, _ in wanted]
    for one, (reference, candidates) in zip(found["result"], wanted, strict=True):
        told_candidates = one["candidates"]
        assert isinstance(told_candidates, list)
        assert [each["candidate_id"] for each in told_candidates] == [str(each) for each, _ in candidates]
        assert told_candidates[0]["candidate_id"] == str(reference)
        assert [each["similarity"] for each in told_candidates] == pytest.approx(
            [layout.similarity(cosine) for _, cosine in candidates], abs=1e-6
        )
        assert all(each["similarity"] >= 0.4 for each in told_candidates)
    assert found["errors"] == []


async def test_references_that_are_not_there_or_have_no_descriptor_are_told_as_errors() -> None:
    (member,) = members_of(people(np.random.default_rng(9), 1, 1, 128, 0.3))
    bare, missing = uuid.UUID(int=5), uuid.UUID(int=6)
    content = CrossMatching(
        FaceSelection(face_ids=(missing, bare, member.object_id)), FaceSelection(), threshold=0.999999, limit=4
    )
    found = await told(kind_of(content, MemoryGalleries([member, Member(bare, None)])))
    assert [(one["error_code"], one["additional_info"]) for one in found["errors"]] == [
        (28023, "references"),
        (22018, "references"),
    ]
    assert str(missing) in str(found["errors"][0]["detail"])
    assert found["errors"][0]["error_time"] == "2026-03-01T12:00:00.123456Z"
    assert found["result"] == [{"reference_id": str(member.object_id), "candidates": []}]


@pytest.mark.parametrize("side", ["reference", "candidate"])
async def test_a_side_without_descriptors_is_an_error(side: str) -> None:
    (member,) = members_of(people(np.random.default_rng(9), 1, 1, 128, 0.3))
    nobody, somebody = AttributeSelection((uuid.UUID(int=5),)), AttributeSelection((member.object_id,))
    sides = (nobody, somebody) if side == "reference" else (somebody, nobody)
    with pytest.raises(CrossMatchSelectionEmpty, match=side) as caught:
        await told(kind_of(CrossMatching(*sides, threshold=0.5, limit=1), MemoryGalleries([member])))
    assert caught.value.code == 28022


async def test_bodies_of_no_event_are_an_error() -> None:
    content = CrossMatching(EventSelection(), EventSelection(), 0.5, 1, DescriptorKind.BODY)
    with pytest.raises(CrossMatchSelectionEmpty):
        await told(kind_of(content, MemoryGalleries([])))
