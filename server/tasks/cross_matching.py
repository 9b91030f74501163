"""Cross-matching: every reference is compared with every candidate, and the best candidates are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Final, cast
from uuid import UUID

from server.domain.descriptors import DescriptorSpec
from server.domain.galleries import Gallery
from server.domain.task_contents import ContentForm, CrossMatching
from server.domain.task_numbers import Check, NeighbourFinder
from server.domain.tasks import Collected, Subtask, TaskContext, TaskFailure, TaskSettings, TaskType
from server.errors import CrossMatchObjectMissing, CrossMatchSelectionEmpty, DescriptorNotFound
from server.tasks.gathering import Gathering
from server.tasks.long_results import items, json_file
from server.tasks.selections import content_of

REFERENCES, CANDIDATES = "references", "candidates"
_SINGULAR: Final = {REFERENCES: "reference", CANDIDATES: "candidate"}


class CrossMatchingKind:
    """Implements `server.domain.tasks.Kind`.

    The result has an entry for each reference with a descriptor, by ascending id, with its candidates, best first. A
    reference that is among the candidates finds itself. Objects that are named by id and are not there, or have no
    descriptor, are errors that do not end the task.
    """

    task_type = TaskType.CROSS_MATCH

    def __init__(
        self, form: ContentForm, gathering: Gathering, finder: NeighbourFinder, settings: TaskSettings
    ) -> None:
        self._form = form
        self._gathering = gathering
        self._finder = finder
        self._part_size = settings.part_size

    async def split(self, context: TaskContext) -> Sequence[Mapping[str, object]]:
        """Parts of so many references.

        Raises:
            CrossMatchSelectionEmpty: no reference, or no candidate, has a descriptor.
        """
        content = self._content(context)
        spec = await self._gathering.layout(context, content.candidates, content.descriptor)
        if spec is None:
            raise CrossMatchSelectionEmpty(side=_SINGULAR[CANDIDATES])
        size = await self._gather(context, content.references, spec, REFERENCES)
        await self._gather(context, content.candidates, spec, CANDIDATES)
        common = {"version": spec.version, "cosine": spec.cosine(content.threshold), "limit": content.limit}
        return [
            {"rows": [start, min(start + self._part_size, size)], **common} for start in range(0, size, self._part_size)
        ]

    async def work(self, context: TaskContext, part: Subtask) -> None:
        """Search some references."""
        references = await context.files.read(REFERENCES)
        candidates = await context.files.read(CANDIDATES)
        spec = await self._gathering.spec(cast("int", part.content["version"]))
        work = partial(self._search, references, candidates, part.content, spec.similarity, context.check)
        found = await asyncio.to_thread(work)
        await context.files.write(_found(part), found)

    async def collect(self, context: TaskContext, parts: Sequence[Subtask], errors: Sequence[TaskFailure]) -> Collected:
        """String the parts together."""
        found = _read(context, parts)
        async with aclosing(found):
            return Collected(await json_file(found, errors))

    async def _gather(self, context: TaskContext, gallery: Gallery, spec: DescriptorSpec, side: str) -> int:
        packing = self._gathering.packing(spec)
        gathered = await self._gathering.fill(context, packing, gallery, spec.version)
        for one in gathered.missing:
            await context.report(CrossMatchObjectMissing(id=one), side)
        for one in gathered.bare:
            await context.report(DescriptorNotFound(id=one, version=spec.version), side)
        size = packing.size
        if not size:
            raise CrossMatchSelectionEmpty(side=_SINGULAR[side])
        await self._gathering.write(context, packing, side)
        return size

    def _search(
        self,
        references: bytes,
        candidates: bytes,
        part: Mapping[str, object],
        similarity: Callable[[float], float],
        check: Check,
    ) -> bytes:
        start, stop = cast("list[int]", part["rows"])
        search = partial(self._finder.neighbours, references, candidates, (start, stop), check=check)
        found = search(limit=cast("int", part["limit"]), least_cosine=float(cast("float", part["cosine"])))

        def entry(candidate: tuple[UUID, float]) -> dict[str, object]:
            return {"candidate_id": candidate[0], "similarity": similarity(candidate[1])}

        return items(
            [{"reference_id": one.reference_id, "candidates": list(map(entry, one.candidates))} for one in found]
        )

    def _content(self, context: TaskContext) -> CrossMatching:
        return content_of(self._form, context.task, CrossMatching)


async def _read(context: TaskContext, parts: Sequence[Subtask]) -> AsyncGenerator[bytes, None]:
    for part in parts:
        context.check()
        yield await context.files.read(_found(part))


def _found(part: Subtask) -> str:
    return f"found-{part.number}"
