"""The index finds what a full scan in float64 finds, where descriptors are made to mislead the int8 codes."""

from __future__ import annotations

import itertools
from uuid import UUID

import numpy as np
import pytest
from index_model import ACCOUNT, Model, agree, halves, indexed, query
from numpy.typing import NDArray

from engines.index.block import Block
from engines.index.shelves import Shelf, Shelves
from server.domain.descriptors import Descriptor, spec
from server.domain.search import Where

LIST = UUID(int=77)


def like_dlib(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Unit vectors around one direction, cosines of .85 with a deviation of .04, on a falling spectrum."""
    spread = rng.standard_normal((count, 128)) * np.geomspace(1, 0.01, 128)
    spread *= np.sqrt((1 / 0.85 - 1) / np.mean(np.sum(spread**2, axis=1)))
    vectors = spread + np.eye(128)[0] @ np.linalg.qr(rng.standard_normal((128, 128)))[0]
    unit: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def near_duplicates(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """One vector, and others that differ from it by a few float16 steps: closer than int8 codes can tell."""
    vector = rng.standard_normal(128)
    return vector / np.linalg.norm(vector) + 2e-4 * rng.standard_normal((count, 128))


def spiky(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """One huge element leaves nearly nothing of the others in the codes."""
    vectors = rng.standard_normal((count, 128)) * 0.01
    vectors[np.arange(count), rng.integers(0, 4, count)] = 3
    return vectors


def mixed(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """All of them, and vectors without direction."""
    parts = [kind(rng, count // 4) for kind in (like_dlib, near_duplicates, spiky)]
    return np.concatenate([*parts, np.zeros((10, 128)), np.full((10, 128), 0.1), np.full((10, 128), -0.1)])


@pytest.mark.parametrize("kind", [like_dlib, near_duplicates, spiky, mixed])
def test_the_best_are_those_of_a_full_scan(kind: object) -> None:
    rng = np.random.default_rng(5)
    assert callable(kind)
    vectors = kind(rng, 12_000)
    model, index = Model(), Shelves()
    faces = [
        indexed(UUID(int=n + 1), halves(vector), groups=(LIST,) if n % 3 else ())
        for n, vector in enumerate(vectors[rng.permutation(len(vectors))])
    ]
    index.apply(faces, ())
    model.objects = {one.object_id: one for one in faces}
    questions = [
        query(halves(vectors[n] + noise * rng.standard_normal(128)), where, limit=limit)
        for n, noise, (where, limit) in zip(
            rng.integers(0, len(vectors), 10),
            itertools.cycle((0, 0.02)),
            itertools.cycle(((Where(), 10), (Where(group_id=LIST), 100), (Where(), 1))),
            strict=False,
        )
    ]
    for one, hits in zip(questions, index.search(questions), strict=True):
        agree(hits, model.search(one), one.limit)


def test_what_the_codes_of_the_probe_leave_out_is_allowed_for() -> None:
    rng = np.random.default_rng(10)
    signs = rng.choice((-1.0, 1.0), 127)
    # All but the first element of the probe is lost in its codes, and only the last face agrees with that part.
    probe = np.array([3, *(0.01 * signs)])
    others = [np.array([1, *(8 * rng.choice((-1.0, 1.0), 127))]) for _ in range(5000)]
    index = Shelves()
    index.apply([indexed(UUID(int=n + 1), halves(row)) for n, row in enumerate([*others, np.array([0, *signs])])], ())
    (hits,) = index.search([query(halves(probe), limit=1)])
    assert [hit.object_id.int for hit in hits] == [5001]


def test_equal_descriptors_come_by_ascending_id_wherever_they_lie() -> None:
    rng = np.random.default_rng(6)
    twin = halves(rng.standard_normal(128))
    ids = [UUID(int=int(high) << 64 | n) for n, high in enumerate(rng.integers(0, 3, 4000))]
    order = rng.permutation(4000)
    index = Shelves()
    for n in order:
        index.apply([indexed(ids[n], twin if n % 5 == 0 else halves(rng.standard_normal(128)))], ())
    (hits,) = index.search([query(twin, limit=300)])
    assert [hit.object_id for hit in hits] == sorted(ids[::5])[:300]
    assert len({hit.cosine for hit in hits}) == 1


def test_the_bound_of_every_row_holds() -> None:
    rng = np.random.default_rng(7)
    vectors = mixed(rng, 4000)
    block = Block(spec(1001))
    block.reserve(len(vectors))
    rows = np.arange(len(vectors))
    block.put(rows, [halves(vector).data for vector in vectors])
    for n in rng.integers(0, len(vectors), 50):
        probe = block.probe(halves(vectors[n]).data)
        scores = (block.codes[rows].astype(np.int64) @ probe.codes.astype(np.int64)) * (
            block.scale[rows].astype(np.float64) * probe.scale
        )
        bound = block.residual[rows].astype(np.float64) * (1 + probe.residual) + probe.residual
        assert (np.abs(block.cosines(probe, rows) - scores) <= bound + 1e-9).all()


def test_a_vector_without_direction_has_cosine_0_with_everything() -> None:
    index = Shelves()
    index.apply(
        [
            indexed(UUID(int=1), Descriptor(59, bytes(512))),
            indexed(UUID(int=2), Descriptor(59, bytes([1]) * 512)),
            indexed(UUID(int=3), Descriptor(59, bytes([0x80]) * 512)),
        ],
        (),
    )
    (hits,) = index.search([query(Descriptor(59, bytes([1]) * 512))])
    assert [(hit.object_id.int, hit.cosine) for hit in hits] == [(2, 1.0), (1, 0.0), (3, -1.0)]
    (hits,) = index.search([query(Descriptor(59, bytes(512)))])
    assert [(hit.object_id.int, hit.cosine) for hit in hits] == [(1, 0.0), (2, 0.0), (3, 0.0)]


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_an_element_that_is_not_finite_spoils_only_its_own_face(poison: float) -> None:
    rng = np.random.default_rng(8)
    vectors = rng.standard_normal((2000, 128))
    vectors[[0, 700, 1999], 5] = poison
    index, model = Shelves(), Model()
    faces = [indexed(UUID(int=n + 1), halves(vector)) for n, vector in enumerate(vectors)]
    index.apply(faces, ())
    model.objects = {one.object_id: one for one in faces}
    for asked in (vectors[3], vectors[700]):
        one = query(halves(asked), limit=2000)
        agree(index.search([one])[0], model.search(one), 2000)


def test_what_is_removed_or_replaced_is_overwritten() -> None:
    rng = np.random.default_rng(9)
    for version in (1001, 59):
        shelf = Shelf(version)
        raw = [bytes(rng.integers(1, 60, spec(version).byte_length, np.uint8)) for _ in range(3000)]
        faces = [indexed(UUID(int=n + 1), Descriptor(version, data)) for n, data in enumerate(raw)]
        outgrown = memories(shelf)
        shelf.put([(one, data) for one, data in zip(faces[:500], raw, strict=False)])
        small = memories(shelf)
        assert all(before is after for before, after in zip(outgrown, small, strict=True))
        shelf.put(list(zip(faces[500:], raw[500:], strict=True)))
        assert not any(array.any() for array in small), "memory that was outgrown still holds descriptors"
        shelf.remove([one.object_id for one in faces[1:]])
        assert shelf.register.row(faces[0].object_id) == 0
        for array in memories(shelf):
            assert array[0].any()
            assert not array[1:].any()
        shelf.block.wipe_all()
        assert not any(array.any() for array in memories(shelf))


def memories(shelf: Shelf) -> list[NDArray[np.generic]]:
    """Every array of a block that says something about a vector."""
    block = shelf.block
    halves = [] if block._halves is None else [block._halves]
    return [block.codes, block.scale, block._squared, *halves]


def test_free_rows_are_used_again_and_memory_grows_geometrically() -> None:
    shelf = Shelf(59)
    data = bytes([1]) * 512
    for n in range(5000):
        shelf.put([(indexed(UUID(int=n + 1), Descriptor(59, data)), data)])
        if n >= 100:
            shelf.remove([UUID(int=n - 99)])
    assert shelf.register.height == 101
    assert shelf.block.capacity == 1024
    shelf.put([(indexed(UUID(int=n + 1), Descriptor(59, data)), data) for n in range(10_000, 12_000)])
    assert 2100 <= shelf.block.capacity <= 1.5 * 2100


def test_a_face_leaves_the_block_of_a_version_that_it_has_no_more() -> None:
    index = Shelves()
    old, new = halves(np.ones(128)), Descriptor(59, bytes([3]) * 512)
    index.apply([indexed(UUID(int=1), old, new)], ())
    assert [len(hits) for hits in index.search([query(old), query(new)])] == [1, 1]
    index.apply([indexed(UUID(int=1), new)], ())
    assert [len(hits) for hits in index.search([query(old), query(new)])] == [0, 1]
    index.apply([indexed(UUID(int=1))], ())
    assert [len(hits) for hits in index.search([query(old), query(new)])] == [0, 0]


def test_descriptors_of_a_version_from_the_future_are_passed_over() -> None:
    index = Shelves()
    known = halves(np.ones(128))
    index.apply([indexed(UUID(int=1), known, Descriptor(9999, b"?")), indexed(UUID(int=2), Descriptor(9999, b"?"))], ())
    (hits,) = index.search([query(known, account_id=ACCOUNT)])
    assert [hit.object_id.int for hit in hits] == [1]
