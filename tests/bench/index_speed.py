"""How fast the face index is: loading, searching under filters, memory. Run `python tests/bench/index_speed.py`."""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
import psutil  # type: ignore[import-untyped]
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from engines.index.shelves import Shelves
from server.domain.access import Scope
from server.domain.descriptors import Descriptor, Element, spec
from server.domain.search import IndexedObject, Query, Where

ACCOUNT = UUID(int=1)
SMALL, LARGE = UUID(int=2), UUID(int=3)
START = datetime(2026, 1, 1, tzinfo=UTC)
SAMPLES = 10
"""Descriptors of one person."""
BATCH = 32


def gallery(version: int, faces: int) -> list[Descriptor]:
    """Descriptors in clusters: people, ten of each.

    Version 1001 is made like dlib's: cosines between people of .85 with a deviation of .04. Others lie all around.
    """
    layout = spec(version)
    rng = np.random.default_rng(version)
    spectrum = np.ones(layout.dimensions, np.float32)
    if version == 1001:
        spectrum = np.geomspace(1, 0.01, layout.dimensions, dtype=np.float32)
    people = _of_length_one(rng.standard_normal((-(-faces // SAMPLES), layout.dimensions), np.float32) * spectrum)
    noise = _of_length_one(rng.standard_normal((faces, layout.dimensions), np.float32) * spectrum)
    vectors = _of_length_one(np.repeat(people, SAMPLES, axis=0)[:faces] + 0.65 * noise)
    if version == 1001:
        vectors = _of_length_one(np.sqrt(0.15) * vectors + np.sqrt(0.85) * spectrum[::-1] / np.linalg.norm(spectrum))
    if layout.element is Element.INT8:
        raw = np.rint(vectors / np.abs(vectors).max(axis=1, keepdims=True) * 127).astype("<i1")
        return [Descriptor(version, row.tobytes()) for row in raw]
    return [Descriptor(version, row.tobytes()) for row in vectors.astype("<f2")]


def _of_length_one(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds."""

    median: float
    p99: float

    @classmethod
    def of(cls, call: Callable[[], object], times: int) -> Timing:
        """Time a call, after a few that are not counted."""
        for _ in range(5):
            call()
        taken = []
        for _ in range(times):
            start = time.perf_counter()
            call()
            taken.append(1000 * (time.perf_counter() - start))
        return cls(float(np.median(taken)), float(np.percentile(taken, 99)))


def load(descriptors: Sequence[Descriptor]) -> Shelves:
    """An index of faces, some in a list of 1 %, some in one of 49 %."""
    dice = random.Random(1)
    index = Shelves()
    for start in range(0, len(descriptors), 1000):
        faces = []
        for number, descriptor in enumerate(descriptors[start : start + 1000], start):
            lists = [one for one, share in ((SMALL, 0.01), (LARGE, 0.49)) if dice.random() < share]
            created = START + timedelta(seconds=number)
            face_id = UUID(int=dice.getrandbits(128))
            faces.append(IndexedObject(face_id, ACCOUNT, created, "", (descriptor,), tuple(lists)))
        index.apply(faces)
    return index


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=300, help="searches per row of the table")
    parser.add_argument("--limit", type=int, default=10, help="the best so many")
    chosen = parser.parse_args()
    table = Table(title=f"{chosen.faces:,} faces, best {chosen.limit}, one thread, milliseconds")
    for heading in ("version", "dimensions", "search", "median", "p99", "per query"):
        table.add_column(heading, justify="left" if heading == "search" else "right")
    loads = Table(title="Loading")
    for heading in ("version", "seconds", "bytes per row held", "bytes per face in the process"):
        loads.add_column(heading, justify="right")
    for version in (1001, 59):
        measure(version, chosen.faces, chosen.times, chosen.limit, table, loads)
    console = Console()
    console.print(loads)
    console.print(table)


def measure(version: int, faces: int, times: int, limit: int, table: Table, loads: Table) -> None:
    """Fill in the rows of one version."""
    descriptors = gallery(version, faces)
    before = psutil.Process().memory_info().rss
    start = time.perf_counter()
    index = load(descriptors)
    seconds = time.perf_counter() - start
    grown = psutil.Process().memory_info().rss - before
    loads.add_row(str(version), f"{seconds:.2f}", f"{index.byte_size / faces:.0f}", f"{grown / faces:.0f}")
    dice = random.Random(2)
    everyone = Where()
    for name, where, together in (
        ("no filter", everyone, 1),
        ("list of 1 %", Where(group_id=SMALL), 1),
        ("list of 49 %", Where(group_id=LARGE), 1),
        (f"batch of {BATCH}", everyone, BATCH),
    ):

        def ask(where: Where = where, together: int = together) -> None:
            asked = dice.choices(descriptors, k=together)
            index.search([Query(one, Scope(ACCOUNT), where, limit) for one in asked])

        timing = Timing.of(ask, times if together == 1 else max(10, times // 10))
        figures = (timing.median, timing.p99, timing.median / together)
        table.add_row(str(version), str(spec(version).dimensions), name, *(f"{figure:.2f}" for figure in figures))


if __name__ == "__main__":
    main()
