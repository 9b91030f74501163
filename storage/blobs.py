"""Blobs: bytes under keys, in a local folder or an object store."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import LocalStore, ObjectStore, from_url

from server import settings
from server.errors import Conflict, Unavailable

COMPONENT: Final = "The blob store"
ATTEMPT_SECONDS: Final = 15
"""How long one request to a remote store may take, its retries included."""
CHUNK: Final = 1000
_UNFINISHED: Final = re.compile(r"#\d+$")
"""How the names end of files that object_store still writes."""
PROBE: Final = "ready"
"""A key that is never written: reading it asks the store and nothing else."""


@dataclass(frozen=True, slots=True)
class BlobEntry:
    """A blob that is there: its key, its size in bytes and when it was written (aware, UTC)."""

    key: str
    size: int
    written: datetime


class BlobStore:
    """Keeps blobs. Keys are relative paths with `/`.

    A blob that is written to a local folder is on the disk (fsync of the file and of its folders) before `put` and
    `create` return: object_store itself only writes and renames. Remote stores answer when they have it safe.
    """

    def __init__(self, options: settings.Blobs, data: Path) -> None:
        url = options.url or (data / "blobs").absolute().as_uri()
        self._root = Path(unquote(urlsplit(url).path)) if url.startswith("file:") else None
        self._synced: set[Path] = set()
        self._store = _store(url, self._root, options)

    async def ready(self) -> bool:
        """True where the store answers."""
        try:
            await self.get(PROBE)
        except Unavailable:
            return False
        return True

    async def put(self, key: str, data: bytes) -> None:
        """Keep bytes, in place of what may be there.

        Raises:
            Unavailable: the store cannot be reached or refuses.
        """
        with _neutral_errors(key):
            await self._store.put_async(key, data, mode="overwrite")
        await self._sync(key)

    async def create(self, key: str, data: bytes) -> None:
        """Keep bytes under a key that is free.

        Raises:
            Conflict: the key is taken; what is there stays.
            Unavailable: as for `put`.
        """
        with _neutral_errors(key):
            await self._store.put_async(key, data, mode="create")
        await self._sync(key)

    async def get(self, key: str) -> bytes | None:
        """The bytes under a key, or None.

        Raises:
            Unavailable: as for `put`.
        """
        with _neutral_errors(key):
            try:
                found = await self._store.get_async(key)
                return bytes(await found.bytes_async())
            except (NotFoundError, FileNotFoundError):
                return None

    async def put_file(self, key: str, file: Path) -> None:
        """Keep what a local file holds, in pieces, in place of what may be there.

        Raises:
            Unavailable: as for `put`; also where the file cannot be read.
        """
        with _neutral_errors(key):
            await self._store.put_async(key, file, mode="overwrite")
        await self._sync(key)

    async def size(self, key: str) -> int | None:
        """How many bytes are under a key; None where there is nothing.

        Raises:
            Unavailable: as for `put`.
        """
        with _neutral_errors(key):
            try:
                return (await self._store.head_async(key))["size"]
            except (NotFoundError, FileNotFoundError):
                return None

    async def get_range(self, key: str, start: int, length: int) -> bytes | None:
        """Bytes from `start` on, which must be below the size; fewer than asked for at the end; None without a blob.

        Raises:
            Unavailable: as for `put`.
        """
        with _neutral_errors(key):
            try:
                return bytes(await self._store.get_range_async(key, start=start, length=length))
            except (NotFoundError, FileNotFoundError):
                return None

    async def delete(self, key: str) -> None:
        """Delete the bytes under a key, if there are any.

        Raises:
            Unavailable: as for `put`.
        """
        with _neutral_errors(key):
            try:
                await self._store.delete_async(key)
            except (NotFoundError, FileNotFoundError):
                return

    async def entries(self, prefix: str) -> AsyncIterator[list[BlobEntry]]:
        """What is under a folder, in batches of at most a thousand.

        Raises:
            Unavailable: as for `put`.
        """
        with _neutral_errors(prefix):
            async for batch in self._store.list(prefix, chunk_size=CHUNK):
                yield [BlobEntry(entry["path"], entry["size"], entry["last_modified"]) for entry in batch]

    async def discard_unfinished(self, prefix: str, before: datetime) -> int:
        """Delete what was half written under a folder, by a process that was killed, and not touched since a time.

        A local folder is written to beside the key, and what is there is renamed once it is whole; no key leads to it
        before, and `entries` leaves it out. Remote stores see to it by themselves.

        Returns:
            How many files were deleted.

        Raises:
            Unavailable: as for `put`.
        """
        if self._root is None:
            return 0
        with _neutral_errors(prefix):
            return await asyncio.to_thread(_discard_unfinished, self._root / prefix, before.timestamp())

    async def _sync(self, key: str) -> None:
        if self._root is not None:
            await asyncio.to_thread(self._sync_file, self._root, self._root / key)

    def _sync_file(self, root: Path, file: Path) -> None:
        """Bring a file's bytes and the folder entries that lead to it to the disk."""
        _fsync(file)
        _fsync(file.parent)
        for folder in file.parents:
            if folder == root.parent or folder in self._synced:
                break
            _fsync(folder.parent)
            self._synced.add(folder)


def _store(url: str, root: Path | None, options: settings.Blobs) -> ObjectStore:
    if root is not None:
        return LocalStore(root, mkdir=True)
    config = {name: secret.get_secret_value() for name, secret in options.options.items()}
    limit = timedelta(seconds=ATTEMPT_SECONDS)
    make: Callable[..., ObjectStore] = from_url  # its overloads want to know the kind of store beforehand
    return make(
        url,
        client_options={"timeout": limit, "allow_http": config.get("endpoint", "").startswith("http://")},
        retry_config={"max_retries": 3, "retry_timeout": limit},
        **config,
    )


def _discard_unfinished(folder: Path, before: float) -> int:
    discarded = 0
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names if _UNFINISHED.search(name)):
            with suppress(FileNotFoundError):  # it was finished just now
                if path.stat().st_mtime <= before:
                    path.unlink()
                    discarded += 1
    return discarded


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _neutral_errors(key: str) -> Iterator[None]:
    try:
        yield
    except AlreadyExistsError as error:
        raise Conflict(message=f"'{key}' exists already") from error
    except (BaseError, OSError) as error:
        raise Unavailable(component=COMPONENT) from error
