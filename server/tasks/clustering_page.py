"""The result of a clustering as a page: how many clusters of which size, and the largest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from server.domain.task_contents import Clustering, EventSelection
from server.domain.tasks import Task, TaskResult
from server.tasks.charts import bars
from server.tasks.pages import page

MOST_SHOWN: Final = 20
"""Clusters that the table has."""


def clustering_page(task: Task, content: Clustering, clusters: Sequence[Sequence[UUID]]) -> TaskResult:
    """The page, for clusters of which the largest comes first."""
    word = "events" if isinstance(content.objects, EventSelection) else "faces"
    alone = sum(len(cluster) == 1 for cluster in clusters)
    return page(
        "clustering.html",
        task=task,
        made=task.create_time.strftime("%Y-%m-%d %H:%M UTC"),
        word=word,
        facts=[
            (word, f"{sum(map(len, clusters)):,}"),
            ("clusters", f"{len(clusters):,}"),
            ("with one member", f"{alone:,}"),
            ("in the largest one", f"{max(map(len, clusters), default=0):,}"),
            ("least similarity", f"{content.threshold:g}"),
        ],
        sizes=bars("Clusters by size", f"{word} in a cluster", _sizes(clusters)),
        largest=[
            (number, f"{len(some):,}", some[0]) for number, some in enumerate(clusters[:MOST_SHOWN]) if len(some) > 1
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
