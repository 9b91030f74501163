"""Garbage collection: objects or descriptors are deleted, with their samples and the images that they came from.

A part first notes what belongs to its objects, then deletes the objects, and then what nothing else uses any more. The
note stands through every repetition, so that nothing is left behind by a worker that dies in between.

LUNA deletes samples whoever else uses them. Here a sample or an image stays as long as an object that is linked with
the deleted one uses it: the face that was made with an event or of it, or another event of the same moment. A face
would otherwise lose its avatar, and what its descriptor can be extracted anew from, because an old event went.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from server.domain.access import Scope
from server.domain.events import EventRecord, EventStore
from server.domain.faces import FaceStore
from server.domain.media import MediaKind
from server.domain.populations import Cleaning, InUse, Links, Origins, Populations, StoredFace, image_at, sample_at
from server.domain.samples import SampleStore, SampleType
from server.domain.task_contents import Cleaning as CleaningContent
from server.domain.task_contents import ContentForm, DescriptorSelection, EventSelection
from server.domain.tasks import Collected, Subtask, TaskContext, TaskFailure, TaskType
from server.errors import OriginNotRemoved
from server.tasks.results import json_result
from server.tasks.selections import content_of, ids_of, parts_of, texts


@dataclass(frozen=True, slots=True)
class Plan:
    """What a part deletes: what was there when it was noted. `links` find what else uses samples and images."""

    ids: tuple[UUID, ...]
    links: Links = field(default_factory=Links)
    faces: tuple[UUID, ...] = ()
    bodies: tuple[UUID, ...] = ()
    images: tuple[UUID, ...] = ()
    addresses: tuple[str, ...] = ()


class GarbageCollection:
    """Implements `server.domain.tasks.Kind`.

    Args:
        form: reads contents.
        populations: selects and reads objects.
        faces: deletes faces.
        events: deletes events.
        samples: knows which samples are there.
        cleaning: deletes what belongs to objects.
        origins: deletes images that lie elsewhere.
        part_size: objects of a part.
    """

    task_type = TaskType.GC

    def __init__(
        self,
        form: ContentForm,
        populations: Populations,
        faces: FaceStore,
        events: EventStore,
        samples: SampleStore,
        cleaning: Cleaning,
        origins: Origins,
        part_size: int,
    ) -> None:
        self._form = form
        self._populations = populations
        self._faces = faces
        self._events = events
        self._samples = samples
        self._cleaning = cleaning
        self._origins = origins
        self._part_size = part_size

    async def split(self, context: TaskContext) -> Sequence[Mapping[str, object]]:
        """Parts of ids."""
        content = content_of(self._form, context.task, CleaningContent)
        return await parts_of(self._populations, context, content.target, self._part_size)

    async def work(self, context: TaskContext, part: Subtask) -> None:
        """Delete a part, and leave what became of it."""
        content = content_of(self._form, context.task, CleaningContent)
        plan = await self._noted(context, part, content)
        context.check()
        scope, target = context.scope, content.target
        if isinstance(target, DescriptorSelection):
            if target.of_events:
                await self._cleaning.remove_event_descriptors(scope, target, plan.ids)
            else:
                await self._cleaning.remove_face_descriptors(scope, target.version, plan.ids)
            counts = {"descriptors": len(plan.ids)}
        else:
            if isinstance(target, EventSelection):
                await self._events.remove(scope, plan.ids)
            else:
                await self._faces.remove(scope, plan.ids, ignore_missing=True)
            counts = await self._clear(context, plan)
        outcome = {"ids": texts(plan.ids), "counts": counts}
        await context.files.write(f"outcome/{part.number}.json", json.dumps(outcome).encode())

    async def collect(self, context: TaskContext, parts: Sequence[Subtask], errors: Sequence[TaskFailure]) -> Collected:
        """How much was deleted, and the ids of the objects."""
        content = content_of(self._form, context.task, CleaningContent)
        target = content.target
        counts = {"descriptors": 0}
        if not isinstance(target, DescriptorSelection):
            counts = {"samples": 0, "samples_in_use": 0, "image_origins": 0, "image_origins_in_use": 0}
        ids: list[str] = []
        for part in parts:
            outcome = json.loads(await context.files.read(f"outcome/{part.number}.json"))
            ids += outcome["ids"]
            counts = {name: count + outcome["counts"].get(name, 0) for name, count in counts.items()}
        result = {"target": _target(target), "count": len(ids), **counts, "ids": ids}
        return Collected(json_result(result, errors))

    async def _noted(self, context: TaskContext, part: Subtask, content: CleaningContent) -> Plan:
        """The plan of a part: made once, and then read."""
        name = f"plan/{part.number}.json"
        try:
            return _read(json.loads(await context.files.read(name)))
        except FileNotFoundError:
            plan = await self._plan(context.scope, ids_of(part), content)
            await context.files.write(name, json.dumps(_written(plan)).encode())
            return plan

    async def _plan(self, scope: Scope, ids: Sequence[UUID], content: CleaningContent) -> Plan:
        if isinstance(content.target, DescriptorSelection):
            return Plan(tuple(ids))
        if isinstance(content.target, EventSelection):
            events = await self._populations.events(scope, ids)
            return await self._plan_of_events(scope, [events[one] for one in ids if one in events], content)
        faces = await self._populations.faces(scope, ids)
        return await self._plan_of_faces(scope, [faces[one] for one in ids if one in faces], content)

    async def _plan_of_faces(self, scope: Scope, found: Sequence[StoredFace], content: CleaningContent) -> Plan:
        ids = tuple(one.face.face_id for one in found)
        named = {one for each in found for one in (sample_at(each.face.avatar), *each.samples) if one is not None}
        return Plan(
            ids=ids,
            links=Links(ids, tuple({one.face.event_id for one in found if one.face.event_id is not None})),
            faces=await self._there(scope, SampleType.FACES, named) if content.samples else (),
        )

    async def _plan_of_events(self, scope: Scope, found: Sequence[EventRecord], content: CleaningContent) -> Plan:
        ids = tuple(one.event_id for one in found)
        faces = {one.sample_id for each in found for one in each.face_detections if one.sample_id is not None}
        bodies = {one.sample_id for each in found for one in each.body_detections if one.sample_id is not None}
        both = (one for each in found for one in (*each.face_detections, *each.body_detections))
        origins = {one.image_origin for one in both if one.image_origin} if content.image_origins else set()
        images = {one for one in map(image_at, origins) if one is not None}
        return Plan(
            ids=ids,
            links=Links(
                face_ids=tuple({one.face_id for one in found if one.face_id is not None}),
                event_ids=ids,
                times=tuple({one.create_time for one in found}),
            ),
            faces=await self._there(scope, SampleType.FACES, faces) if content.samples else (),
            bodies=await self._there(scope, SampleType.BODIES, bodies) if content.samples else (),
            images=tuple(await self._cleaning.media(scope, MediaKind.IMAGES, images)) if images else (),
            addresses=tuple(sorted(one for one in origins if not one.startswith("/"))),
        )

    async def _there(self, scope: Scope, sample_type: SampleType, ids: set[UUID]) -> tuple[UUID, ...]:
        return tuple(sorted(ids - await self._samples.missing(scope, sample_type, ids)))

    async def _clear(self, context: TaskContext, plan: Plan) -> dict[str, int]:
        """Delete what nothing uses any more, now that the objects are gone, and those of other parts perhaps too."""
        scope = context.scope
        if not any((plan.faces, plan.bodies, plan.images, plan.addresses)):
            return {}
        addresses_of_images = (f"/6/images/{one}" for one in plan.images)
        wanted = InUse(frozenset((*plan.faces, *plan.bodies)), frozenset((*plan.addresses, *addresses_of_images)))
        used = await self._cleaning.in_use(scope, plan.links, wanted)
        faces = [one for one in plan.faces if one not in used.samples]
        bodies = [one for one in plan.bodies if one not in used.samples]
        await self._cleaning.remove_samples(scope, SampleType.FACES, faces)
        await self._cleaning.remove_samples(scope, SampleType.BODIES, bodies)
        images, addresses = _unused(plan, used)
        await self._cleaning.remove_media(scope, MediaKind.IMAGES, images)
        removed = len(images)
        for address in addresses:
            context.check()
            removed += await self._ask(context, address)
        return {
            "samples": len(faces) + len(bodies),
            "samples_in_use": len(plan.faces) + len(plan.bodies) - len(faces) - len(bodies),
            "image_origins": removed,
            "image_origins_in_use": len(plan.images) + len(plan.addresses) - len(images) - len(addresses),
        }

    async def _ask(self, context: TaskContext, address: str) -> bool:
        try:
            await self._origins.delete(address)
        except OriginNotRemoved as error:
            await context.report(error, address)
            return False
        return True


def _unused(plan: Plan, used: InUse) -> tuple[list[UUID], list[str]]:
    images = [one for one in plan.images if f"/6/images/{one}" not in used.origins]
    return images, [one for one in plan.addresses if one not in used.origins]


def _target(target: object) -> str:
    if isinstance(target, DescriptorSelection):
        return "event_descriptors" if target.of_events else "face_descriptors"
    return "events" if isinstance(target, EventSelection) else "faces"


def _written(plan: Plan) -> dict[str, object]:
    return {
        "ids": texts(plan.ids),
        "face_ids": texts(plan.links.face_ids),
        "event_ids": texts(plan.links.event_ids),
        "times": [one.isoformat() for one in plan.links.times],
        "faces": texts(plan.faces),
        "bodies": texts(plan.bodies),
        "images": texts(plan.images),
        "addresses": list(plan.addresses),
    }


def _read(form: Mapping[str, Any]) -> Plan:
    def ids(name: str) -> tuple[UUID, ...]:
        return tuple(UUID(one) for one in form[name])

    times = tuple(datetime.fromisoformat(one) for one in form["times"])
    return Plan(
        ids=ids("ids"),
        links=Links(ids("face_ids"), ids("event_ids"), times),
        faces=ids("faces"),
        bodies=ids("bodies"),
        images=ids("images"),
        addresses=tuple(form["addresses"]),
    )
