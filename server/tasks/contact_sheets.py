"""Contact sheets: a page with the faces of the largest clusters, small enough for any browser."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from server.domain.populations import Thumbnails
from server.domain.tasks import Subtask, TaskContext, TaskResult
from server.tasks.objects import ObjectReader, Picture, kept_pictures
from server.tasks.pages import data_uri, page

MOST_CLUSTERS: Final = 50
MOST_MEMBERS: Final = 10
"""Clusters on a page, and members of each: a thumbnail has some three thousand bytes, a page less than two million."""
SIZE: Final = 96
"""Pixels of a thumbnail's longer side."""
AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Member:
    """One of a cluster. `picture` is an address with the picture in it; empty where there is no sample."""

    object_id: UUID
    picture: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """What is shown of a cluster."""

    number: int
    size: int
    members: tuple[Member, ...]


class ContactSheets:
    """Makes pages.

    Args:
        reader: reads samples.
        thumbnails: makes them small.
    """

    def __init__(self, reader: ObjectReader, thumbnails: Thumbnails) -> None:
        self._reader = reader
        self._thumbnails = thumbnails

    async def page(
        self,
        context: TaskContext,
        clustering_id: int,
        members: Sequence[tuple[int, UUID]],
        parts: Sequence[Subtask],
        *,
        of_events: bool,
    ) -> TaskResult:
        """The page of a clustering.

        Args:
            context: the task that reports it.
            clustering_id: the task that made it.
            members: numbers of clusters with their objects.
            parts: have left lists of pictures.
            of_events: what the objects are.
        """
        sizes = Counter(number for number, _ in members)
        largest = sorted(sizes, key=lambda number: (-sizes[number], number))[:MOST_CLUSTERS]
        shown: dict[int, list[UUID]] = {number: [] for number in largest}
        for number, one in members:
            if number in shown and len(shown[number]) < MOST_MEMBERS:
                shown[number].append(one)
        pictures = await self._pictures(context, {one for some in shown.values() for one in some}, parts)
        sheets = [
            Sheet(number, sizes[number], tuple(Member(one, pictures.get(one, "")) for one in some))
            for number, some in shown.items()
        ]
        return page(
            "clusters.html",
            clustering_id=clustering_id,
            task_id=context.task.task_id,
            made=context.task.create_time.strftime("%Y-%m-%d %H:%M UTC"),
            word="events" if of_events else "faces",
            objects=len(members),
            clusters=len(sizes),
            single=sum(size == 1 for size in sizes.values()),
            largest=max(sizes.values(), default=0),
            hidden=len(members) - sum(sizes[number] for number in largest),
            sheets=sheets,
        )

    async def _pictures(self, context: TaskContext, wanted: set[UUID], parts: Sequence[Subtask]) -> dict[UUID, str]:
        """The first picture of each object, small."""
        first: dict[UUID, Picture] = {}
        for part in parts:
            for one in await kept_pictures(context.files, part):
                if one.object_id in wanted:
                    first.setdefault(one.object_id, one)
        made: dict[UUID, str] = {}
        pictures = list(first.values())
        for start in range(0, len(pictures), AT_ONCE):
            context.check()
            some = pictures[start : start + AT_ONCE]
            small = await asyncio.gather(*(self._small(context, one) for one in some))
            made |= {one.object_id: data_uri(jpeg) for one, jpeg in zip(some, small, strict=True) if jpeg is not None}
        return made

    async def _small(self, context: TaskContext, picture: Picture) -> bytes | None:
        sample = await self._reader.bytes_of(context.scope, picture)
        return None if sample is None else await self._thumbnails.make(sample, SIZE)
