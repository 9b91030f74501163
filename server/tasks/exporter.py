"""Export: objects as CSV in a ZIP archive, with their samples where asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from server.domain.populations import Populations
from server.domain.task_contents import ContentForm, EventSelection, Export
from server.domain.tasks import (
    ZIP_RESULT,
    Collected,
    Subtask,
    TaskContext,
    TaskFailure,
    TaskResult,
    TaskType,
)
from server.tasks.archives import archive
from server.tasks.cells import cells
from server.tasks.objects import ObjectReader, keep_pictures, keep_rows, kept_pictures, table_of
from server.tasks.selections import content_of, ids_of, parts_of
from server.tasks.tables import Table, export_columns

TABLE: Final = "report.csv"
"""The table in the archives of exports and reports."""


class Exporter:
    """Implements `server.domain.tasks.Kind`.

    Args:
        form: reads contents.
        populations: selects objects.
        reader: reads them.
        part_size: objects of a part.
    """

    task_type = TaskType.EXPORTER

    def __init__(self, form: ContentForm, populations: Populations, reader: ObjectReader, part_size: int) -> None:
        self._form = form
        self._populations = populations
        self._reader = reader
        self._part_size = part_size

    async def split(self, context: TaskContext) -> Sequence[Mapping[str, object]]:
        """Parts of ids.

        Raises:
            BadBody: a column is none, or the delimiter cannot be one.
        """
        content = content_of(self._form, context.task, Export)
        _table(content)
        return await parts_of(self._populations, context, content.objects, self._part_size)

    async def work(self, context: TaskContext, part: Subtask) -> None:
        """Leave the lines of a part, and the list of its pictures. Objects that are gone are left out."""
        content = content_of(self._form, context.task, Export)
        table, columns = _table(content)
        ids = ids_of(part)
        found = await self._reader.read(context.scope, ids, of_events=_of_events(content))
        there = [found[one] for one in ids if one in found]
        await keep_rows(context.files, part, table.rows(cells(one, columns) for one in there))
        if content.images:
            await keep_pictures(context.files, part, await self._reader.pictures(context, there))

    async def collect(self, context: TaskContext, parts: Sequence[Subtask], errors: Sequence[TaskFailure]) -> Collected:
        """The archive."""
        content = content_of(self._form, context.task, Export)
        table, _ = _table(content)
        async with archive(context.task.create_time) as (target, path):
            await target.table(TABLE, table_of(context, table.head(), parts))
            if content.images:
                for part in parts:
                    await self._reader.pack(context, target, await kept_pictures(context.files, part))
        return Collected(TaskResult(b"", ZIP_RESULT, archive_name(context), path))


def archive_name(context: TaskContext) -> str:
    """The name of an archive of a task."""
    return f"task_{context.task.task_id}.zip"


def _of_events(content: Export) -> bool:
    return isinstance(content.objects, EventSelection)


def _table(content: Export) -> tuple[Table, tuple[str, ...]]:
    columns = export_columns(content.columns, of_events=_of_events(content))
    return Table(columns, content.delimiter), columns
