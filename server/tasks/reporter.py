"""Report: a clustering as CSV in a ZIP archive, with samples where asked for, and as a page of contact sheets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from server.domain.task_contents import Clustering, ContentForm, EventSelection, Report
from server.domain.tasks import (
    ZIP_RESULT,
    Collected,
    ResultForm,
    Subtask,
    Task,
    TaskContext,
    TaskFailure,
    TaskResult,
    TaskStatus,
    TaskStore,
    TaskType,
)
from server.errors import BadBody, NoClusters, TaskNotFound, TaskNotReportable
from server.tasks.archives import archive
from server.tasks.cells import cells
from server.tasks.contact_sheets import ContactSheets
from server.tasks.exporter import TABLE, archive_name
from server.tasks.objects import ObjectReader, keep_pictures, keep_rows, kept_pictures, table_of
from server.tasks.selections import content_of, ids_of
from server.tasks.tables import Table, report_columns


@dataclass(frozen=True, slots=True)
class _Shape:
    """How the report looks. `of_events` tells what the clustering was of."""

    of_events: bool
    columns: tuple[str, ...]
    table: Table


class Reporter:
    """Implements `server.domain.tasks.Kind`.

    Args:
        form: reads contents.
        tasks: has the clustering.
        reader: reads objects.
        sheets: makes the page.
        part_size: objects of a part.
    """

    task_type = TaskType.REPORTER

    def __init__(
        self, form: ContentForm, tasks: TaskStore, reader: ObjectReader, sheets: ContactSheets, part_size: int
    ) -> None:
        self._form = form
        self._tasks = tasks
        self._reader = reader
        self._sheets = sheets
        self._part_size = part_size

    async def split(self, context: TaskContext) -> Sequence[Mapping[str, object]]:
        """Parts of objects with the numbers of their clusters, which count from 0.

        Raises:
            TaskNotFound: there is no such task in the account.
            TaskNotReportable: it is not done.
            NoClusters: it has no result.
            BadBody: it is no clustering, a column is none, or the delimiter cannot be one.
        """
        content = content_of(self._form, context.task, Report)
        clustering = await self._tasks.get(context.scope, content.task_id)
        if clustering is None:
            raise TaskNotFound(task_id=content.task_id)
        of_events = self._of_events(clustering)
        if clustering.status is not TaskStatus.DONE:
            raise TaskNotReportable(task_id=clustering.task_id, status=clustering.status.name.lower())
        _shape(content, of_events=of_events)
        clusters = await self._clusters(clustering)
        rows = [(number, one) for number, members in enumerate(clusters) for one in members]
        return [
            {
                "of_events": of_events,
                "clusters": [number for number, _ in some],
                "ids": [one for _, one in some],
            }
            for some in (rows[start : start + self._part_size] for start in range(0, len(rows), self._part_size))
        ]

    async def work(self, context: TaskContext, part: Subtask) -> None:
        """Leave the lines of a part, and the list of its pictures. Of an object that is gone the line says no more."""
        content = content_of(self._form, context.task, Report)
        shape = _shape(content, of_events=bool(part.content["of_events"]))
        ids = ids_of(part)
        found = await self._reader.read(context.scope, ids, of_events=shape.of_events)
        nothing = [""] * len(shape.columns)
        rows = (
            [str(number), str(one), *(cells(found[one], shape.columns) if one in found else nothing)]
            for number, one in zip(_numbers(part), ids, strict=True)
        )
        await keep_rows(context.files, part, shape.table.rows(rows))
        there = [found[one] for one in dict.fromkeys(ids) if one in found]
        await keep_pictures(context.files, part, await self._reader.pictures(context, there))

    async def collect(self, context: TaskContext, parts: Sequence[Subtask], errors: Sequence[TaskFailure]) -> Collected:
        """The archive and the page."""
        content = content_of(self._form, context.task, Report)
        of_events = any(part.content["of_events"] for part in parts)
        shape = _shape(content, of_events=of_events)
        members = [(number, one) for part in parts for number, one in zip(_numbers(part), ids_of(part), strict=True)]
        page = await self._sheets.page(context, content.task_id, members, parts, of_events=of_events)
        async with archive(context.task.create_time) as (target, path):
            await target.table(TABLE, table_of(context, shape.table.head(), parts))
            if content.images:
                for part in parts:
                    await self._reader.pack(context, target, await kept_pictures(context.files, part))
        return Collected(TaskResult(b"", ZIP_RESULT, archive_name(context), path), page)

    def _of_events(self, clustering: Task) -> bool:
        if clustering.task_type is not TaskType.CLUSTERING:
            raise BadBody(field="content.task_id", message=f"task {clustering.task_id} is no clustering")
        return isinstance(content_of(self._form, clustering, Clustering).objects, EventSelection)

    async def _clusters(self, clustering: Task) -> list[list[str]]:
        result = await self._tasks.result(clustering, ResultForm.DATA)
        if result is None:
            raise NoClusters(task_id=clustering.task_id)
        return [[str(UUID(one)) for one in members] for members in json.loads(result.data)["result"]]


def _shape(content: Report, *, of_events: bool) -> _Shape:
    columns = report_columns(content.columns, of_events=of_events)
    header = ("cluster", "event_id" if of_events else "face_id", *columns)
    return _Shape(of_events, columns, Table(header, content.delimiter))


def _numbers(part: Subtask) -> list[int]:
    numbers = part.content["clusters"]
    if not isinstance(numbers, list):
        message = f"part {part.number} of task {part.task_id} has no clusters"
        raise ValueError(message)
    return [int(one) for one in numbers]
