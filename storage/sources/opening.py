"""Opening sources of every kind, under the settings of the operator."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

from server import settings
from server.domain.access import Scope
from server.domain.estimation_rules import check_source, object_of
from server.domain.image_files import ImageFiles
from server.domain.media import MediaKind, MediaStore
from server.domain.task_contents import DiskSource, FtpSource, S3Source, SambaSource, Source, ZipSource
from server.domain.tasks import TaskFiles
from server.errors import DownloadFailed, InvalidInput, ObjectNotFound
from storage.fetch import HttpFetcher
from storage.sources import ftp, s3, samba
from storage.sources.archive import Archive, ArchiveFiles, ArchiveLimits
from storage.sources.disk import DiskFiles
from storage.sources.listing import Limits
from storage.sources.pieces import PieceMissing, PieceReader, PieceWriter, Whole, whole

ARCHIVE: Final = "archive"
"""The archive among the files of a task."""

_TALKATIVE: Final = ("botocore", "aiobotocore", "aioftp", "smbprotocol", "smbclient", "spnego")
"""Libraries that write into the log what goes over the line, as far as they are let."""


class Sources:
    """Implements `server.domain.image_files.ImageSources`.

    Args:
        fetch: which hosts are allowed, and the largest file.
        tasks: the other limits, and the folders that are allowed.
        fetcher: downloads archives.
        media: has the objects of accounts.
    """

    def __init__(self, fetch: settings.Fetch, tasks: settings.Tasks, fetcher: HttpFetcher, media: MediaStore) -> None:
        self._allow_private = fetch.allow_private
        self._folders = tasks.folders
        self._limits = Limits(tasks.max_files, fetch.max_bytes, tasks.source_timeout_seconds)
        self._sizes = ArchiveLimits(
            tasks.archive_max_bytes,
            tasks.archive_max_unpacked_bytes,
            tasks.archive_max_ratio,
            tasks.archive_timeout_seconds,
        )
        self._fetcher = fetcher
        self._media = media
        self._turn = asyncio.Lock()
        self._last: tuple[str, Archive] | None = None
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.WARNING)

    @asynccontextmanager
    async def open(
        self, source: Source, scope: Scope, files: TaskFiles, check: Callable[[], None]
    ) -> AsyncIterator[ImageFiles]:
        """Open a source. See `ImageSources.open`."""
        check_source(source)
        allow_private, limits = self._allow_private, self._limits
        match source:
            case ZipSource():
                archive = await self._archive(source, scope, files, check)
                yield ArchiveFiles(archive, source, limits, self._sizes, check)
            case S3Source():
                async with s3.opened(source, limits, check, allow_private=allow_private) as bucket:
                    yield bucket
            case DiskSource():
                yield await asyncio.to_thread(DiskFiles, source, self._folders, limits, check)
            case FtpSource():
                async with ftp.opened(source, limits, check, allow_private=allow_private) as folder:
                    yield folder
            case SambaSource():
                async with samba.opened(source, limits, check, allow_private=allow_private) as share:
                    yield share

    async def _archive(self, source: ZipSource, scope: Scope, files: TaskFiles, check: Callable[[], None]) -> Archive:
        """The archive of a task. The last one stays open: its next part needs it at once."""
        stored = await whole(files, ARCHIVE) or await self._fetched(source, scope, files, check)
        async with self._turn:
            if self._last is None or self._last[0] != stored.mark:
                self._last = None
                reader = PieceReader(files, ARCHIVE, stored.size)
                self._last = stored.mark, await asyncio.to_thread(Archive.open, reader)
            return self._last[1]

    async def _fetched(self, source: ZipSource, scope: Scope, files: TaskFiles, check: Callable[[], None]) -> Whole:
        """Put the archive among the files of the task."""
        writer = PieceWriter(files, ARCHIVE)
        object_id = object_of(source.reference)
        if object_id is not None:
            kept = await self._media.get(scope, MediaKind.OBJECTS, object_id)
            data = None if kept is None else await self._media.read(kept)
            if data is None:
                raise ObjectNotFound(object_id=object_id)
            await writer.write(data)
        else:
            await self._download(source.reference, writer, check)
        await writer.close()
        stored = await whole(files, ARCHIVE)
        if stored is None:
            raise PieceMissing(ARCHIVE)
        return stored

    async def _download(self, address: str, writer: PieceWriter, check: Callable[[], None]) -> None:
        async def take(chunk: bytes) -> None:
            check()
            await writer.write(chunk)

        try:
            await self._fetcher.download(address, take, limit=self._sizes.bytes, seconds=self._sizes.seconds)
        except DownloadFailed as error:
            # what stands behind the path of an address may be its key
            place = urlsplit(address)._replace(query="", fragment="").geturl()
            raise InvalidInput(message=f"the archive cannot be had from '{place}': {error.values['message']}") from None
