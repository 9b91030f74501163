"""Clustering: how well clusters are those of people, how long it takes and how much memory, beside scikit-learn.

    python -m tests.bench.clustering --lfw ../shared/data/lfw-2folds --faces 100000

Faces of LFW are described with the default pack. Synthetic descriptors are 128-d vectors around one centre for each
person. Thresholds are those of the task: pairs of this similarity or more are connected. DBSCAN has the same metric and
eps and min_samples 1, which makes it find the same components; a process of its own measures each one's memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from engines.tasks.clustering import ComponentClusterer
from engines.tasks.packing import DescriptorPacker
from server.domain.descriptors import spec
from server.domain.galleries import Member

VERSION = 1001
Labels = NDArray[np.int64]


def pairs(labels: Labels) -> int:
    """Unordered pairs of equal labels."""
    return sum(count * (count - 1) // 2 for count in Counter(labels.tolist()).values())


def pairwise_f(found: Labels, truth: Labels) -> tuple[float, float, float]:
    """Precision, recall and F-score of the pairs that share a cluster."""
    both = pairs(np.unique(np.stack((found, truth)), axis=1, return_inverse=True)[1].ravel())
    precision, recall = both / max(pairs(found), 1), both / max(pairs(truth), 1)
    return precision, recall, 2 * precision * recall / max(precision + recall, 1e-12)


def b_cubed(found: Labels, truth: Labels) -> tuple[float, float, float]:
    """Precision, recall and F-score of B-cubed (Bagga and Baldwin, 1998): means over objects."""
    both = Counter(zip(found.tolist(), truth.tolist(), strict=True))
    clusters, people = Counter(found.tolist()), Counter(truth.tolist())
    precision = sum(count * count / clusters[cluster] for (cluster, _), count in both.items()) / len(found)
    recall = sum(count * count / people[person] for (_, person), count in both.items()) / len(found)
    return precision, recall, 2 * precision * recall / (precision + recall)


def synthetic(faces: int, each: int, spread: float) -> tuple[NDArray[np.float16], Labels]:
    """Unit vectors around a centre for each person, in a random order. `spread` is the noise's length beside 1."""
    rng = np.random.default_rng(1)
    people = -(-faces // each)
    centres = rng.standard_normal((people, 128), np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    truth = rng.permutation(np.repeat(np.arange(people), each)[:faces])
    vectors = centres[truth] + spread / np.sqrt(128) * rng.standard_normal((faces, 128), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float16), truth


def of_lfw(folder: Path) -> tuple[NDArray[np.float16], Labels]:
    """Descriptors of every face of LFW's folds that the default pack finds, the largest one of each image."""
    from engines.engine import DefaultEngine
    from server.settings import Engine
    from tests.packs import default_pack

    async def describe() -> tuple[list[bytes], list[str]]:
        engine = DefaultEngine([default_pack()], Engine())
        await engine.start()
        found, names = [], []
        for path in sorted((folder / "images").glob("*/*.jpg")):
            detected = await engine.detect(path.read_bytes())
            if detected.faces:
                (one,) = await engine.describe([detected.faces[0].warp], version=VERSION)
                found.append(one.data)
                names.append(path.parent.name)
        await engine.close()
        return found, names

    data, names = asyncio.run(describe())
    vectors = np.frombuffer(b"".join(data), "<f2").reshape(len(data), -1)
    return vectors, np.unique(names, return_inverse=True)[1]


def by_luna(vectors: NDArray[np.float16], cosine: float, workers: int) -> Labels:
    """Split, work and collect as the task does, with parts handed to processes where there are several workers."""
    packing = DescriptorPacker().packing(spec(VERSION))
    packing.add([Member(uuid.UUID(int=row), vector.tobytes()) for row, vector in enumerate(vectors)])
    packed = packing.packed()
    parts = ComponentClusterer().parts(len(vectors), 128)
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "objects"
        file.write_bytes(packed)
        jobs = [(file, part, cosine) for part in parts]
        if workers > 1:
            with multiprocessing.get_context("spawn").Pool(workers) as pool:
                links = pool.map(part_of, jobs, chunksize=1)
        else:
            links = list(map(part_of, jobs))
    labels = np.empty(len(vectors), np.int64)
    for number, cluster in enumerate(ComponentClusterer().clusters(packed, links, by_track=False)):
        labels[[one.int for one in cluster]] = number
    return labels


def part_of(job: tuple[Path, list[int], float]) -> bytes:
    """What one worker does for one part."""
    file, blocks, cosine = job
    return ComponentClusterer().links(file.read_bytes(), blocks, cosine, lambda: None)


def by_dbscan(vectors: NDArray[np.float16], cosine: float, workers: int) -> Labels:
    """scikit-learn's DBSCAN."""
    from sklearn.cluster import DBSCAN

    exact = vectors.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    eps = float(np.sqrt(max(0.0, 2 - 2 * cosine)))
    found: Labels = DBSCAN(eps=eps, min_samples=1, metric="euclidean", n_jobs=workers).fit_predict(exact)
    return found


def measured(
    method: Callable[[NDArray[np.float16], float, int], Labels], file: Path, cosine: float, workers: int
) -> tuple[Labels, float, float]:
    """Labels, seconds and peak megabytes, in a process of its own (without that of further workers)."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (method, file, cosine, workers))


def _measure(
    method: Callable[[NDArray[np.float16], float, int], Labels], file: Path, cosine: float, workers: int
) -> tuple[Labels, float, float]:
    vectors = np.load(file)
    began = time.perf_counter()
    labels = method(vectors, cosine, workers)
    seconds = time.perf_counter() - began
    return labels, seconds, peak()


def peak() -> float:
    """Most megabytes of memory that this process has had; unlike `ru_maxrss` without its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def report(
    console: Console,
    title: str,
    vectors: NDArray[np.float16],
    truth: Labels,
    similarities: Sequence[float],
    methods: Sequence[tuple[str, Callable[[NDArray[np.float16], float, int], Labels], int]],
) -> None:
    """Measure and print."""
    table = Table(title=f"{title}: {len(vectors):,} descriptors of {len(set(truth.tolist())):,} people")
    for name in ("method", "similarity", "clusters", "pairwise P / R / F", "B-cubed P / R / F", "seconds", "peak MB"):
        table.add_column(name, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vectors.npy"
        np.save(file, vectors)
        for similarity in similarities:
            cosine = spec(VERSION).cosine(similarity)
            for name, method, workers in methods:
                labels, seconds, memory = measured(method, file, cosine, workers)
                scores = [" / ".join(f"{one:.4f}" for one in score(labels, truth)) for score in (pairwise_f, b_cubed)]
                numbers = (f"{len(set(labels.tolist())):,}", *scores, f"{seconds:.2f}", f"{memory:.0f}")
                table.add_row(name, f"{similarity:g}", *numbers)
    console.print(table)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lfw", type=Path, help="folder with images/NAME/NAME_0001.jpg")
    parser.add_argument("--faces", type=int, default=100_000)
    parser.add_argument("--each", type=int, default=10, help="descriptors of one person")
    parser.add_argument("--spread", type=float, default=0.25)
    parser.add_argument("--similarity", type=json.loads, default=[0.5], help="as [0.5, 0.9]")
    parser.add_argument("--dbscan", type=int, default=20_000, help="most descriptors that DBSCAN is given")
    parser.add_argument("--workers", type=int, default=1, help="worker processes of the clusterer")
    options = parser.parse_args()
    console = Console(width=150)
    ours = (f"Luna, {options.workers} worker(s)", by_luna, options.workers)
    theirs = ("DBSCAN", by_dbscan, 1)
    if options.lfw is not None:
        report(console, "LFW", *of_lfw(options.lfw), [0.5, 0.7, 0.8, 0.9], [ours, theirs])
    if options.faces:
        vectors, truth = synthetic(options.faces, options.each, options.spread)
        both = [ours, theirs] if options.faces <= options.dbscan else [ours]
        report(console, f"Synthetic, spread {options.spread}", vectors, truth, options.similarity, both)


if __name__ == "__main__":
    main()
