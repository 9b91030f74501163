"""ROC: how well descriptors tell people apart, measured on objects whose owners are known."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final, cast
from uuid import UUID

from server.domain.descriptors import DescriptorSpec
from server.domain.event_conditions import Column, Condition, Operator
from server.domain.galleries import Gallery
from server.domain.policies import EventCandidates
from server.domain.task_contents import AttributeSelection, ContentForm, EventSelection, FaceSelection, Mark, Roc
from server.domain.task_numbers import RocCurve, RocMaker, RocPoint
from server.domain.tasks import Collected, Subtask, TaskContext, TaskFailure, TaskSettings, TaskType
from server.errors import (
    AttributeNotFound,
    DescriptorNotFound,
    EventsNotFound,
    FacesNotFound,
    InvalidInput,
    LunaError,
)
from server.tasks.gathering import Gathering
from server.tasks.results import json_result
from server.tasks.roc_page import roc_page
from server.tasks.selections import content_of

OBJECTS: Final = "objects"
MOST_PAIRS: Final = 20_000_000
"""Pairs of objects that are ranked at the most: they are sorted in memory, in 200 to 600 MB."""


class RocKind:
    """Implements `server.domain.tasks.Kind`.

    Every object is matched with all others, each group of matches is cut to `limit`, and the ordered pairs that are
    left are ranked by similarity. Objects that are not there, or have no descriptor, end the task.
    """

    task_type = TaskType.ROC

    def __init__(self, form: ContentForm, gathering: Gathering, maker: RocMaker, settings: TaskSettings) -> None:
        self._form = form
        self._gathering = gathering
        self._maker = maker
        self._part_size = settings.part_size

    async def split(self, context: TaskContext) -> Sequence[Mapping[str, object]]:
        """Parts of so many objects.

        Raises:
            InvalidInput: an object has two labels, the rates are not defined, or there are too many pairs.
            FacesNotFound, EventsNotFound, AttributeNotFound: an object is not there.
            DescriptorNotFound: an object has no descriptor.
        """
        content = self._content(context)
        marks = _labels(content.marks)
        _check_pairs(content, [label for labels in marks.values() for label in labels.values()])
        galleries = _galleries(marks)
        spec = await self._gathering.layout(context, galleries[0][0])
        assert spec is not None  # noqa: S101 - faces always have a version
        packing = self._gathering.packing(spec)
        for gallery, labels in galleries:
            gathered = await self._gathering.fill(context, packing, gallery, spec.version, labels)
            if gathered.missing:
                raise _not_found(gallery, gathered.missing[0])
            if gathered.bare:
                raise DescriptorNotFound(id=gathered.bare[0], version=spec.version)
        size = packing.size
        await self._gathering.write(context, packing, OBJECTS)
        common = {"version": spec.version, "limit": content.limit, "cosine": spec.cosine(content.hit_threshold)}
        return [
            {"rows": [start, min(start + self._part_size, size)], **common} for start in range(0, size, self._part_size)
        ]

    async def work(self, context: TaskContext, part: Subtask) -> None:
        """Match some objects with all others."""
        objects = await context.files.read(OBJECTS)
        start, stop = cast("list[int]", part.content["rows"])
        limit, least = cast("int", part.content["limit"]), float(cast("float", part.content["cosine"]))
        work = partial(
            self._maker.ranks, objects, (start, stop), limit=limit, least_hit_cosine=least, check=context.check
        )
        await context.files.write(_ranks(part), await asyncio.to_thread(work))

    async def collect(self, context: TaskContext, parts: Sequence[Subtask], errors: Sequence[TaskFailure]) -> Collected:
        """Rank all pairs, and draw the curve."""
        content = self._content(context)
        spec = await self._gathering.spec(cast("int", parts[0].content["version"]))
        objects = await context.files.read(OBJECTS)
        ranks = [await context.files.read(_ranks(part)) for part in parts]
        fprs = content.fprs or _DECADES
        curve = await asyncio.to_thread(self._maker.curve, objects, ranks, fprs)
        result = json_result(_result(curve, spec, content.fprs), errors)
        return Collected(result, roc_page(context.task, content, curve, spec))

    def _content(self, context: TaskContext) -> Roc:
        return content_of(self._form, context.task, Roc)


_DECADES: Final = (1e-1, 1e-2, 1e-3, 1e-4)
"""Rates that the page tells of where the task names none."""


def _result(curve: RocCurve, spec: DescriptorSpec, fprs: Sequence[float]) -> dict[str, object]:
    return {
        "ROC": _points(curve.points, spec),
        "key_points": _points(curve.key_points, spec) if fprs else [],
        "AUC": curve.auc,
        "EER": _point(curve.eer, spec),
        "TOP_N": {str(number): share for number, share in enumerate(curve.top, 1)},
    }


def _points(points: Iterable[RocPoint], spec: DescriptorSpec) -> list[dict[str, float]]:
    return [_point(one, spec) for one in points]


def _point(point: RocPoint, spec: DescriptorSpec) -> dict[str, float]:
    """A point by similarity, which is 0 where even pairs count that were never ranked."""
    similarity = 0.0 if point.cosine is None else spec.similarity(point.cosine)
    return {"FPR": point.fpr, "TPR": point.tpr, "threshold": similarity}


_Labels = dict[str, dict[UUID, int]]
"""Labels by id, for each kind of objects."""


def _labels(marks: Sequence[Mark]) -> _Labels:
    labels: _Labels = {"face": {}, "event": {}, "attribute": {}}
    for mark in marks:
        for kind, one in (("face", mark.face_id), ("event", mark.event_id), ("attribute", mark.attribute_id)):
            if one is not None and labels[kind].setdefault(one, mark.label) != mark.label:
                message = f"{kind} {one} has two labels in content.markup, {labels[kind][one]} and {mark.label}"
                raise InvalidInput(message=message)
    return labels


def _check_pairs(content: Roc, labels: Sequence[int]) -> None:
    """Hold a markup to what has a curve."""
    different = len(set(labels))
    if different < 2 or different == len(labels):
        message = "content.markup needs two objects of one label, and two labels: without either a rate is not defined"
        raise InvalidInput(message=message)
    pairs = len(labels) * min(content.limit, len(labels) - 1)
    if pairs > MOST_PAIRS:
        message = (
            f"content.limit {content.limit} leaves {pairs} pairs of {len(labels)} objects, at most {MOST_PAIRS} are "
            f"ranked: a limit of {MOST_PAIRS // len(labels)} or less is needed"
        )
        raise InvalidInput(message=message)


def _galleries(labels: _Labels) -> list[tuple[Gallery, dict[UUID, int]]]:
    found: list[tuple[Gallery, dict[UUID, int]]] = []
    if labels["face"]:
        found.append((FaceSelection(face_ids=tuple(labels["face"])), labels["face"]))
    if labels["event"]:
        condition = Condition(Column.EVENT_ID, Operator.IN, tuple(labels["event"]))
        found.append((EventSelection(EventCandidates((condition,))), labels["event"]))
    if labels["attribute"]:
        found.append((AttributeSelection(tuple(labels["attribute"])), labels["attribute"]))
    return found


def _not_found(gallery: Gallery, one: UUID) -> LunaError:
    match gallery:
        case FaceSelection():
            return FacesNotFound(face_id=one)
        case EventSelection():
            return EventsNotFound(event_id=one)
        case AttributeSelection():
            return AttributeNotFound(attribute_id=one)


def _ranks(part: Subtask) -> str:
    return f"ranks-{part.number}"
