"""Gathering: the descriptors of a gallery go into one file of the task, so that all of its parts see the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from uuid import UUID

from server.domain.descriptors import DescriptorSpec, Specs
from server.domain.event_conditions import Column, Operator
from server.domain.galleries import Galleries, Gallery
from server.domain.policies import DescriptorKind
from server.domain.task_contents import AttributeSelection, EventSelection, FaceSelection
from server.domain.task_numbers import Packer, Packing
from server.domain.tasks import TaskContext


@dataclass(frozen=True, slots=True)
class Layouts:
    """The version of the face descriptors that are compared, and what every version's cosines mean."""

    face_version: int
    specs: Specs


@dataclass(frozen=True, slots=True)
class Gathered:
    """What came of the objects that a gallery names by id.

    Attributes:
        missing: those that it does not have, by their order in it.
        bare: those without a descriptor.
    """

    missing: tuple[UUID, ...] = ()
    bare: tuple[UUID, ...] = ()


class Gathering:
    """Gathers descriptors.

    Args:
        galleries: where objects are read.
        packer: what they are written with.
        layouts: asked when a task is split; it may raise `Unavailable`.
    """

    def __init__(self, galleries: Galleries, packer: Packer, layouts: Callable[[], Awaitable[Layouts]]) -> None:
        self._galleries = galleries
        self._packer = packer
        self._layouts = layouts

    async def spec(self, version: int) -> DescriptorSpec:
        """The layout of a version."""
        return (await self._layouts()).specs[version]

    async def layout(
        self, context: TaskContext, gallery: Gallery, kind: DescriptorKind = DescriptorKind.FACE
    ) -> DescriptorSpec | None:
        """The layout of the descriptors that are compared: the server's version of faces, the commonest of bodies.

        None where no object has a body.
        """
        layouts = await self._layouts()
        version: int | None = layouts.face_version
        if kind is DescriptorKind.BODY:
            if not isinstance(gallery, EventSelection):
                return None
            version = await self._galleries.body_version(context.scope, gallery, context.task.create_time)
        return None if version is None else layouts.specs.get(version)

    def packing(self, spec: DescriptorSpec) -> Packing:
        """Begin to pack."""
        return self._packer.packing(spec)

    async def fill(
        self,
        context: TaskContext,
        packing: Packing,
        gallery: Gallery,
        version: int,
        labels: Mapping[UUID, int] | None = None,
    ) -> Gathered:
        """Add all objects of a gallery that have a descriptor, with their labels where there are any."""
        named = named_ids(gallery)
        wanted = set(named)
        seen: set[UUID] = set()
        bare: set[UUID] = set()
        batches = self._galleries.members(context.scope, gallery, version, context.task.create_time)
        async with aclosing(batches):
            async for batch in batches:
                context.check()
                packing.add(batch, [labels[one.object_id] for one in batch] if labels is not None else ())
                if wanted:
                    seen.update(one.object_id for one in batch)
                    bare.update(one.object_id for one in batch if one.descriptor is None)
        return Gathered(tuple(one for one in named if one not in seen), tuple(one for one in named if one in bare))

    async def write(self, context: TaskContext, packing: Packing, name: str) -> None:
        """Keep what was packed as a file of the task."""
        context.check()
        await context.files.write(name, await asyncio.to_thread(packing.packed))


def named_ids(gallery: Gallery) -> tuple[UUID, ...]:
    """The ids that a gallery names, each once."""
    ids: tuple[object, ...] = ()
    match gallery:
        case FaceSelection():
            ids = gallery.face_ids or ()
        case AttributeSelection():
            ids = gallery.attribute_ids
        case EventSelection():
            for condition in gallery.candidates.conditions:
                if (condition.of, condition.operator) == (Column.EVENT_ID, Operator.IN):
                    ids = condition.value if isinstance(condition.value, tuple) else ()
    return tuple(dict.fromkeys(one for one in ids if isinstance(one, UUID)))
