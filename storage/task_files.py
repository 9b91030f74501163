"""Blobs of tasks: the files that their parts hand to each other, and their results."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID

from storage.blobs import BlobStore

FILES: Final = "tasks"
RESULTS: Final = "task_results"
PAGES: Final = "task_pages"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9][A-Za-z0-9._-]{0,99}){0,3}")


def result_key(folder: str, result_id: UUID) -> str:
    """Where a result or a page of it is; the last digits choose the folder, as for samples."""
    return f"{folder}/{result_id.hex[-2:]}/{result_id}"


class BlobTaskFiles:
    """Implements `server.domain.tasks.TaskFiles` in the blob store, below a folder of the task."""

    def __init__(self, blobs: BlobStore, task_id: int) -> None:
        self._blobs = blobs
        self._folder = f"{FILES}/{task_id}"

    async def write(self, name: str, data: bytes) -> None:
        """Keep a file in place of what may be there."""
        await self._blobs.put(self._key(name), data)

    async def read(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
            FileNotFoundError: there is none.
        """
        found = await self._blobs.get(self._key(name))
        if found is None:
            raise FileNotFoundError(name)
        return found

    def _key(self, name: str) -> str:
        if not NAME.fullmatch(name):
            message = f"'{name}' is no name of a task's file"
            raise ValueError(message)
        return f"{self._folder}/{name}"


def task_of(key: str) -> int | None:
    """The task that a file is of; None where somebody else put it there."""
    number = key.removeprefix(f"{FILES}/").split("/")[0]
    return int(number) if number.isascii() and number.isdecimal() and len(number) < 19 else None


async def files_of(blobs: BlobStore, task_id: int) -> AsyncIterator[list[str]]:
    """The keys of a task's files, in batches."""
    async for batch in blobs.entries(f"{FILES}/{task_id}"):
        yield [entry.key for entry in batch]
