"""Clusters against a slow independent reference, and the kind of tasks that finds them."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.tasks.clustering import BLOCK, ComponentClusterer
from engines.tasks.components import Components
from engines.tasks.packing import DescriptorPacker, Packed
from server.domain.descriptors import LAYOUTS, DescriptorSpec, spec
from server.domain.galleries import Member
from server.domain.policies import DescriptorKind
from server.domain.task_contents import Clustering, EventSelection, FaceSelection
from server.domain.tasks import TaskStopped, TaskType
from server.errors import ClusteringSelectionEmpty
from server.tasks.clustering import ClusteringKind
from server.tasks.gathering import Gathering
from tests.galleries import MemoryGalleries, context_of, done, form_of, layouts

CLUSTERER = ComponentClusterer()


def people(rng: np.random.Generator, persons: int, objects: int, dimensions: int, spread: float) -> NDArray[np.float16]:
    """Vectors around those of persons, of different lengths."""
    centres = rng.standard_normal((persons, dimensions))
    vectors = centres[rng.integers(persons, size=objects)] + spread * rng.standard_normal((objects, dimensions))
    return (vectors * rng.uniform(0.2, 3, (objects, 1))).astype(np.float16)


def members_of(vectors: NDArray[np.generic], tracks: Sequence[str | None] = ()) -> list[Member]:
    """Members with random ids."""
    rng = np.random.default_rng(len(vectors))
    ids = [uuid.UUID(bytes=rng.bytes(16)) for _ in vectors]
    return [
        Member(one, vector.tobytes(), tracks[number] if tracks else None)
        for number, (one, vector) in enumerate(zip(ids, vectors, strict=True))
    ]


def packed_of(layout: DescriptorSpec, members: Sequence[Member]) -> bytes:
    packing = DescriptorPacker().packing(layout)
    packing.add(members)
    return packing.packed()


def clusters_of(layout: DescriptorSpec, members: Sequence[Member], least: float) -> list[list[uuid.UUID]]:
    packed = packed_of(layout, members)
    parts = CLUSTERER.parts(len(members), layout.dimensions)
    links = [CLUSTERER.links(packed, part, least, lambda: None) for part in parts]
    return CLUSTERER.clusters(packed, links, by_track=False)


def slow_clusters(members: Sequence[Member], dtype: str, least: float) -> list[list[uuid.UUID]]:
    """Depth-first search over the graph, with cosines in float64 from the definition."""
    vectors = np.stack([np.frombuffer(one.descriptor or b"", dtype).astype(np.float64) for one in members])
    norms = np.sqrt((vectors**2).sum(axis=1))
    near = (vectors @ vectors.T) / np.where(norms > 0, norms, 1)[:, None] / np.where(norms > 0, norms, 1) >= least
    unseen, found = set(range(len(members))), []
    while unseen:
        stack, cluster = [unseen.pop()], []
        while stack:
            one = stack.pop()
            cluster.append(members[one].object_id)
            reached = unseen & set(np.flatnonzero(near[one]).tolist())
            unseen -= reached
            stack += reached
        found.append(sorted(cluster))
    return sorted(found, key=lambda cluster: (-len(cluster), cluster[0]))


@pytest.mark.parametrize("least", [-1.0, 0.2, 0.5, 0.75, 0.95, 1.1])
def test_clusters_are_the_components_that_a_slow_search_finds(least: float) -> None:
    rng = np.random.default_rng(5)
    members = members_of(people(rng, 300, 2 * BLOCK + 77, 128, 0.6))
    assert clusters_of(spec(1001), members, least) == slow_clusters(members, "<f2", least)


def test_clusters_of_descriptors_of_bytes_are_exact_too() -> None:
    rng = np.random.default_rng(6)
    vectors = np.rint(people(rng, 60, 700, 256, 0.5).astype(np.float32).clip(-3, 3) * 40).astype(np.int8)
    members = members_of(vectors)
    found = clusters_of(LAYOUTS[46], members, 0.7)
    assert found == slow_clusters(members, "<i1", 0.7)
    assert len(found[0]) > 1


def test_a_threshold_that_pairs_meet_exactly_connects_them() -> None:
    # cosines of whole numbers: (1, 1, 0, 0) and (1, 0, 0, 0) padded; parallel vectors of other lengths have exactly 1
    rows = np.zeros((3, 128), np.float16)
    rows[0, :4], rows[1, :4], rows[2, 1] = [3, 4, 0, 0], [30, 40, 0, 0], 5
    members = members_of(rows)
    assert clusters_of(spec(1001), members, 1.0) == [
        *slow_clusters(members[:2], "<f2", 0.9999),
        [members[2].object_id],
    ]
    assert len(clusters_of(spec(1001), members, 0.8)) == 1
    assert len(clusters_of(spec(1001), members, np.nextafter(0.8, 1))) == 2


def test_vectors_without_direction_are_alone() -> None:
    rows = people(np.random.default_rng(1), 1, 4, 128, 0.01)
    rows[2] = 0
    rows[3, 5] = np.inf
    assert sorted(map(len, clusters_of(spec(1001), members_of(rows), 0.5))) == [1, 1, 2]


def test_every_pair_of_rows_is_in_one_part_and_parts_are_of_equal_work() -> None:
    for size in (1, BLOCK, BLOCK + 1, 5 * BLOCK, 100_000):
        parts = CLUSTERER.parts(size, 128)
        blocks = sorted(block for part in parts for block in part)
        assert blocks == list(range(-(-size // BLOCK)))
        work = [sum(len(blocks) - block for block in part) for part in parts]
        assert max(work) <= min(work) + len(blocks) + 1
    assert len(CLUSTERER.parts(100_000, 128)) >= 8


def test_components_of_many_random_edges_are_those_of_a_plain_union_find() -> None:
    rng = np.random.default_rng(3)
    for edges in (0, 1, 300, 3000):
        first, second = rng.integers(2000, size=(2, edges))
        components = Components(2000)
        for start in range(0, edges, 100):
            components.join(first[start : start + 100], second[start : start + 100])
        roots = list(range(2000))
        for one, two in zip(first.tolist(), second.tolist(), strict=True):
            a, b = roots[one], roots[two]
            roots = [min(a, b) if root in (a, b) else root for root in roots]
        assert components.root.tolist() == roots


def test_a_long_chain_becomes_one_component_at_once() -> None:
    order = np.random.default_rng(4).permutation(100_000)
    components = Components(100_000)
    began = time.perf_counter()
    components.join(order[:-1], order[1:])
    assert not components.root.any()
    assert time.perf_counter() - began < 10


def kind_of(content: Clustering, galleries: MemoryGalleries) -> ClusteringKind:
    gathering = Gathering(galleries, DescriptorPacker(), layouts)
    return ClusteringKind(form_of(TaskType.CLUSTERING, content), gathering, CLUSTERER)


async def test_a_clustering_task_tells_clusters_by_size_and_leaves_out_objects_without_descriptor() -> None:
    members = members_of(people(np.random.default_rng(7), 40, 600, 128, 0.25))
    bare = Member(uuid.UUID(int=5), None)
    kind = kind_of(Clustering(FaceSelection(), 0.5), MemoryGalleries([bare, *members]))
    collected = await done(kind)
    wanted = slow_clusters(members, "<f2", spec(1001).cosine(0.5))
    assert json.loads(collected.result.data) == {
        "result": [[str(one) for one in cluster] for cluster in wanted],
        "errors": [],
    }
    assert 1 < len(wanted) < 600
    assert collected.page is not None
    assert f"<b>{len(wanted)}</b>clusters" in collected.page.data.decode()
    assert str(bare.object_id) not in collected.page.data.decode()


async def test_events_of_one_track_share_a_cluster_where_asked_for() -> None:
    rows = np.eye(6, 128).astype(np.float16)
    members = members_of(rows, ["a", None, "a", "b", None, "b"])
    ids = sorted(str(one.object_id) for one in members)
    for use_tracks, sizes in ((True, [2, 2, 1, 1]), (False, [1] * 6)):
        kind = kind_of(Clustering(EventSelection(), 0.9, use_tracks=use_tracks), MemoryGalleries(members))
        found = json.loads((await done(kind)).result.data)["result"]
        assert [len(cluster) for cluster in found] == sizes
        assert sorted(one for cluster in found for one in cluster) == ids


async def test_bodies_are_compared_in_the_version_that_most_events_have() -> None:
    rows = people(np.random.default_rng(2), 1, 3, 512, 0.01)
    galleries = MemoryGalleries(members_of(rows), body_version=1911)
    kind = kind_of(Clustering(EventSelection(), 0.5, DescriptorKind.BODY), galleries)
    found = json.loads((await done(kind)).result.data)["result"]
    assert [len(cluster) for cluster in found] == [3]
    assert set(galleries.asked) == {1911}


@pytest.mark.parametrize("descriptor", [DescriptorKind.FACE, DescriptorKind.BODY])
async def test_nothing_to_cluster_is_an_error(descriptor: DescriptorKind) -> None:
    kind = kind_of(Clustering(EventSelection(), 0.9, descriptor), MemoryGalleries([Member(uuid.UUID(int=5), None)]))
    with pytest.raises(ClusteringSelectionEmpty) as caught:
        await kind.split(context_of(TaskType.CLUSTERING))
    assert caught.value.code == 28010


async def test_a_cancelled_task_stops_between_two_blocks() -> None:
    members = members_of(people(np.random.default_rng(7), 40, 100, 128, 0.25))
    kind = kind_of(Clustering(FaceSelection(), 0.5), MemoryGalleries(members))
    context = context_of(TaskType.CLUSTERING)
    assert len(await kind.split(context)) == 1
    context.cancelled = True
    with pytest.raises(TaskStopped):
        CLUSTERER.links(context.files.kept["objects"], [0], 0.5, context.check)


def test_packed_descriptors_are_by_ascending_id_with_everything_at_its_row() -> None:
    rows = people(np.random.default_rng(8), 5, 50, 128, 0.5)
    members = members_of(rows, [f"{number % 3}" for number in range(50)])
    packing = DescriptorPacker().packing(spec(1001))
    packing.add(members[:20], range(20))
    packing.add(members[20:], range(20, 50))
    assert packing.size == 50
    packed = Packed.read(packing.packed())
    order = sorted(range(50), key=lambda row: members[row].object_id)
    assert [packed.uuid(row) for row in range(50)] == sorted(one.object_id for one in members)
    assert packed.labels.tolist() == order
    assert packed.tracks.tolist() == [row % 3 for row in order]
    assert np.array_equal(packed.elements, rows[order])
