"""Clustering: objects whose descriptors are similar enough share a cluster, and so do all that hang together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final, cast

from server.domain.task_contents import Clustering, ContentForm
from server.domain.task_numbers import Clusterer
from server.domain.tasks import Collected, Subtask, TaskContext, TaskFailure, TaskType
from server.errors import ClusteringSelectionEmpty
from server.tasks.clustering_page import clustering_page
from server.tasks.gathering import Gathering
from server.tasks.results import json_result
from server.tasks.selections import content_of, texts

OBJECTS: Final = "objects"


class ClusteringKind:
    """Implements `server.domain.tasks.Kind`.

    The result is a list of clusters, the largest first, each a list of ids in ascending order. Every object that has a
    descriptor is in one of them: alone, where nothing is similar to it.
    """

    task_type = TaskType.CLUSTERING

    def __init__(self, form: ContentForm, gathering: Gathering, clusterer: Clusterer) -> None:
        self._form = form
        self._gathering = gathering
        self._clusterer = clusterer

    async def split(self, context: TaskContext) -> Sequence[Mapping[str, object]]:
        """Parts of about equal numbers of pairs.

        Raises:
            ClusteringSelectionEmpty: no object has a descriptor.
        """
        content = self._content(context)
        spec = await self._gathering.layout(context, content.objects, content.descriptor)
        if spec is None:
            raise ClusteringSelectionEmpty
        packing = self._gathering.packing(spec)
        await self._gathering.fill(context, packing, content.objects, spec.version)
        size = packing.size
        if not size:
            raise ClusteringSelectionEmpty
        await self._gathering.write(context, packing, OBJECTS)
        least = spec.cosine(content.threshold)
        return [{"blocks": blocks, "cosine": least} for blocks in self._clusterer.parts(size, spec.dimensions)]

    async def work(self, context: TaskContext, part: Subtask) -> None:
        """Find the links of some blocks."""
        blocks, least = cast("list[int]", part.content["blocks"]), float(cast("float", part.content["cosine"]))
        objects = await context.files.read(OBJECTS)
        links = await asyncio.to_thread(self._clusterer.links, objects, blocks, least, context.check)
        await context.files.write(_links(part), links)

    async def collect(self, context: TaskContext, parts: Sequence[Subtask], errors: Sequence[TaskFailure]) -> Collected:
        """Put all links together."""
        content = self._content(context)
        objects = await context.files.read(OBJECTS)
        links = [await context.files.read(_links(part)) for part in parts]
        work = partial(self._clusterer.clusters, objects, _used_up(links), by_track=content.use_tracks)
        clusters = await asyncio.to_thread(work)
        result = await asyncio.to_thread(json_result, list(map(texts, clusters)), errors)
        return Collected(result, clustering_page(context.task, content, clusters))

    def _content(self, context: TaskContext) -> Clustering:
        return content_of(self._form, context.task, Clustering)


def _links(part: Subtask) -> str:
    return f"links-{part.number}"


def _used_up(links: list[bytes]) -> Iterator[bytes]:
    """Each once, and none is kept."""
    while links:
        yield links.pop()
