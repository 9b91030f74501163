"""What has to be cleared away from time to time. The worker calls these; each call does a bounded piece of work."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import PurePosixPath
from typing import Final, TypeAlias
from uuid import UUID

from sqlalchemy import Executable, select, text

from server.domain.media import MediaKind
from server.domain.samples import SampleType
from storage.blobs import BlobStore
from storage.database import Database
from storage.filters import among
from storage.lambdas import ARCHIVES
from storage.media import media_folder
from storage.samples import SHARDS, shard_folder
from storage.schema import lambdas, media, samples, tasks
from storage.task_files import FILES, PAGES, RESULTS, task_of
from storage.task_rows import UNFINISHED, numbered

AGE: Final = timedelta(hours=1)
"""A blob without a row may be one whose row is on its way; a change may be one that a follower has yet to read."""


class TaskBlobs(Enum):
    """Results of tasks, and pages of them, by the folder that they are in."""

    RESULTS = RESULTS
    PAGES = PAGES


class LambdaBlobs(Enum):
    """Archives of lambdas, by the folder that they are in."""

    ARCHIVES = ARCHIVES


Kind: TypeAlias = SampleType | MediaKind | TaskBlobs | LambdaBlobs
FOLDERS: Final[tuple[tuple[Kind, str], ...]] = (
    *((kind, shard_folder(kind, shard)) for kind in SampleType for shard in SHARDS),
    *((kind, media_folder(kind, shard)) for kind in MediaKind for shard in SHARDS),
    *((kind, f"{kind.value}/{shard}") for kind in (*TaskBlobs, *LambdaBlobs) for shard in SHARDS),
)
ROWS: Final = 10_000

#: All transactions below a snapshot's xmin have ended. What was xmin an hour ago is therefore a floor for changes that
#: are an hour old, without a time in every row.
RAISE_FLOOR: Final = text("""
    UPDATE index_floor SET floor = mark, mark = pg_snapshot_xmin(pg_current_snapshot()), marked_at = now()
    WHERE marked_at <= now() - CAST(:age AS interval)
""")

DELETE_BELOW_FLOOR: Final = tuple(
    text(f"""
        DELETE FROM {table} WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM {table} WHERE xid < (SELECT floor FROM index_floor) LIMIT :rows
        ))
    """)  # noqa: S608 - of constants
    for table in ("index_changes", "event_changes")
)


class Sweeper:
    """Removes blobs that no row knows or that are half written, and notes of changes that every follower has read."""

    def __init__(self, database: Database, blobs: BlobStore, *, age: timedelta = AGE) -> None:
        self._database = database
        self._blobs = blobs
        self._age = age
        self._next = secrets.randbelow(len(FOLDERS))  # so that workers that restart often reach every folder

    async def sweep_blobs(self, folders: int = 32) -> int:
        """Look through the next folders, all of which are seen after `len(FOLDERS) / folders` calls.

        Returns:
            How many blobs were removed.
        """
        removed = 0
        for _ in range(min(folders, len(FOLDERS))):
            kind, folder = FOLDERS[self._next]
            removed += await self._sweep_folder(kind, folder)
            self._next = (self._next + 1) % len(FOLDERS)
        return removed

    async def sweep_task_files(self) -> int:
        """Look through the files of tasks: only tasks that are worked on have any, so that they are few.

        Returns:
            How many files were removed, of tasks that have ended or are gone, and half written ones.
        """
        removed = await self._blobs.discard_unfinished(FILES, datetime.now(UTC) - self._age)
        async for batch in self._blobs.entries(FILES):
            before = datetime.now(UTC) - self._age
            keys = {entry.key: task_of(entry.key) for entry in batch if entry.written <= before}
            wanted = tuple({task_id for task_id in keys.values() if task_id is not None})
            open_tasks = (numbered(tasks.c.task_id, wanted), tasks.c.status.in_(UNFINISHED))
            rows = await self._database.fetch(select(tasks.c.task_id).where(*open_tasks)) if wanted else []
            kept = {None, *(row.task_id for row in rows)}
            for key in (key for key, task_id in keys.items() if task_id not in kept):
                await self._blobs.delete(key)
                removed += 1
        return removed

    async def prune_changes(self, batches: int = 100) -> int:
        """Delete notes that are older than the age, and raise the floor before: who is below it starts anew.

        Returns:
            How many notes were deleted: at most 10,000 of faces, and of events, for each batch.
        """
        async with self._database.transaction() as connection:
            await connection.execute(RAISE_FLOOR, {"age": self._age})
        return sum([await self._prune(statement, batches) for statement in DELETE_BELOW_FLOOR])

    async def _prune(self, statement: Executable, batches: int) -> int:
        deleted = 0
        for _ in range(batches):
            async with self._database.transaction() as connection:
                count = (await connection.execute(statement, {"rows": ROWS})).rowcount
            deleted += count
            if count < ROWS:
                break
        return deleted

    async def _sweep_folder(self, kind: Kind, folder: str) -> int:
        removed = await self._blobs.discard_unfinished(folder, datetime.now(UTC) - self._age)
        async for batch in self._blobs.entries(folder):
            before = datetime.now(UTC) - self._age
            keys = {_blob_id(entry.key): entry.key for entry in batch if entry.written <= before}
            keys.pop(None, None)
            for blob_id in set(keys) - await self._known(kind, [key for key in keys if key is not None]):
                await self._blobs.delete(keys[blob_id])
                removed += 1
        return removed

    async def _known(self, kind: Kind, ids: list[UUID]) -> set[UUID]:
        if not ids:
            return set()
        if isinstance(kind, TaskBlobs):
            rows = await self._database.fetch(select(tasks.c.result_id).where(among(tasks.c.result_id, ids)))
            return {row[0] for row in rows}
        if isinstance(kind, LambdaBlobs):
            rows = await self._database.fetch(select(lambdas.c.archive_id).where(among(lambdas.c.archive_id, ids)))
            return {row[0] for row in rows}
        if isinstance(kind, SampleType):
            column, table_kind = samples.c.sample_id, samples.c.sample_type
        else:
            column, table_kind = media.c.media_id, media.c.kind
        rows = await self._database.fetch(select(column).where(among(column, ids), table_kind == kind.value))
        return {row[0] for row in rows}


def _blob_id(key: str) -> UUID | None:
    """The id in the name of a blob; None where somebody else put a file there, which is left alone."""
    try:
        return UUID(PurePosixPath(key).stem)
    except ValueError:
        return None
