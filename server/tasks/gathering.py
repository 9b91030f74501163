"""Gathering: the descriptors of a population go into one file of the task, so that all of its parts see the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from uuid import UUID

from server.domain.descriptors import DescriptorSpec, Specs
from server.domain.event_conditions import Column, Operator
from server.domain.policies import DescriptorKind
from server.domain.populations import Population, Populations
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
    """What came of the objects that a population names by id.

    Attributes:
        missing: those that it does not have, by their order in it.
        bare: those without a descriptor.
    """

    missing: tuple[UUID, ...] = ()
    bare: tuple[UUID, ...] = ()


class Gathering:
    """Gathers descriptors.

    Args:
        populations: where objects are read.
        packer: what they are written with.
        layouts: asked when a task is split; it may raise `Unavailable`.
    """

    def __init__(self, populations: Populations, packer: Packer, layouts: Callable[[], Layouts]) -> None:
        self._populations = populations
        self._packer = packer
        self._layouts = layouts

    def spec(self, version: int) -> DescriptorSpec:
        """The layout of a version."""
        return self._layouts().specs[version]

    async def layout(
        self, context: TaskContext, population: Population, kind: DescriptorKind = DescriptorKind.FACE
    ) -> DescriptorSpec | None:
        """The layout of the descriptors that are compared: the server's version of faces, the commonest of bodies.

        None where no object has a body.
        """
        layouts = self._layouts()
        version: int | None = layouts.face_version
        if kind is DescriptorKind.BODY:
            if not isinstance(population, EventSelection):
                return None
            version = await self._populations.body_version(context.scope, population, context.task.create_time)
        return None if version is None else layouts.specs.get(version)

    def packing(self, spec: DescriptorSpec) -> Packing:
        """Begin to pack."""
        return self._packer.packing(spec)

    async def fill(
        self,
        context: TaskContext,
        packing: Packing,
        population: Population,
        version: int,
        labels: Mapping[UUID, int] | None = None,
    ) -> Gathered:
        """Add all objects of a population that have a descriptor, with their labels where there are any."""
        named = named_ids(population)
        wanted = set(named)
        seen: set[UUID] = set()
        bare: set[UUID] = set()
        batches = self._populations.members(context.scope, population, version, context.task.create_time)
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


def named_ids(population: Population) -> tuple[UUID, ...]:
    """The ids that a population names, each once."""
    ids: tuple[object, ...] = ()
    match population:
        case FaceSelection():
            ids = population.face_ids or ()
        case AttributeSelection():
            ids = population.attribute_ids
        case EventSelection():
            for condition in population.candidates.conditions:
                if (condition.of, condition.operator) == (Column.EVENT_ID, Operator.IN):
                    ids = condition.value if isinstance(condition.value, tuple) else ()
    return tuple(dict.fromkeys(one for one in ids if isinstance(one, UUID)))
