"""The result of a clustering as a page: how many clusters of which size, and the largest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from server.domain.tasks import Task, TaskResult
from server.tasks.charts import bars
from server.tasks.page import card, page, row, table, tiles

MOST_SHOWN: Final = 100
"""Clusters that the table has."""
_FIRST_IDS: Final = 3


def clustering_page(task: Task, threshold: float, clusters: Sequence[Sequence[UUID]]) -> TaskResult:
    """The page, for clusters of which the largest comes first."""
    objects = sum(map(len, clusters))
    alone = sum(len(cluster) == 1 for cluster in clusters)
    numbers = [
        ("objects", f"{objects:,}"),
        ("clusters", f"{len(clusters):,}"),
        ("of two objects or more", f"{len(clusters) - alone:,}"),
        ("objects alone", f"{alone:,}"),
        ("largest cluster", f"{max(map(len, clusters), default=0):,}"),
        ("least similarity", f"{threshold:g}"),
    ]
    largest = [
        [str(number), f"{len(cluster):,}", ", ".join(map(str, cluster[:_FIRST_IDS])) + _more(len(cluster))]
        for number, cluster in enumerate(clusters[:MOST_SHOWN])
    ]
    return page(
        task,
        "Clusters",
        [
            tiles(numbers),
            row([card("Clusters by size", bars("Clusters by size", "objects in a cluster", _sizes(clusters)))]),
            row([card("The largest clusters", table(["cluster", "objects", "ids"], largest), wide=True)]),
        ],
    )


def _sizes(clusters: Sequence[Sequence[UUID]]) -> list[tuple[str, int]]:
    """How many clusters have 1 object, 2, 3 to 4, 5 to 8, and so on by powers of two."""
    counts: dict[int, int] = {}
    for cluster in clusters:
        group = (len(cluster) - 1).bit_length()
        counts[group] = counts.get(group, 0) + 1
    return [(_span(group), counts.get(group, 0)) for group in range(max(counts, default=0) + 1)]


def _span(group: int) -> str:
    last = 2**group
    first = last // 2 + 1
    return str(last) if first >= last else f"{first}\u2013{last}"


def _more(size: int) -> str:
    return f" and {size - _FIRST_IDS:,} more" if size > _FIRST_IDS else ""
