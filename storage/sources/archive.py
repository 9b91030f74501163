"""ZIP archives: read where they are, entry by entry, and never unpacked to a disk.

Archives come from strangers (`server.domain.zip_entries`), and nothing counts for more bytes than it declared.
"""

from __future__ import annotations

import asyncio
import io
import re
import zipfile
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

import pyzipper

from server.domain.task_contents import ZipSource
from server.domain.zip_entries import CHUNK, EntriesOverlap, check_places, problem_of
from server.errors import InvalidInput
from storage.sources.listing import Limits, Listing, too_large, unreadable

_AES: Final = 99
_NESTED: Final = re.compile(r"(?i)\.(zip|7z|rar|tar|t?gz|t?bz2?|t?xz|zst|jar|cab|iso)$")
_BROKEN: Final = (
    zipfile.BadZipFile,
    pyzipper.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    ValueError,
    OSError,
)
"""What reading an entry may raise besides RuntimeError, which tells of passwords."""


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Limits of an archive.

    Attributes:
        bytes: its own bytes.
        unpacked_bytes: those of all its files.
        ratio: how many times as large a file may become.
        seconds: the longest download.
    """

    bytes: int
    unpacked_bytes: int
    ratio: float
    seconds: float


class Archive:
    """An archive that has been opened: what its directory says. It may be read by several threads.

    Directories, other archives and what macOS adds are no files of it.
    """

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        self.entries = {entry.filename: entry for entry in archive.infolist() if _is_file(entry)}

    @classmethod
    def open(cls, file: io.RawIOBase) -> Archive:
        """Open an archive. Takes a while where it has many entries, and is for a thread.

        Raises:
            InvalidInput: it is none, or a dangerous one.
        """
        try:
            archive = zipfile.ZipFile(file)
            if any(entry.compress_type == _AES for entry in archive.infolist()):
                archive = pyzipper.AESZipFile(file)
            check_places(archive.infolist(), archive.start_dir)
        except EntriesOverlap as error:
            raise _unusable(str(error)) from None
        except _BROKEN as error:
            raise _unusable(f"it is broken: {type(error).__name__}") from None
        return cls(archive)


class ArchiveFiles:
    """Implements `server.domain.image_files.ImageFiles` for an archive.

    What is dangerous or broken is listed, and is refused when it is read.
    """

    def __init__(
        self, archive: Archive, source: ZipSource, limits: Limits, sizes: ArchiveLimits, check: Callable[[], None]
    ) -> None:
        self._archive = archive
        self._password = source.password.encode()
        self._source = source
        self._limits = limits
        self._sizes = sizes
        self._check = check

    async def names(self, after: str = "") -> AsyncIterator[str]:
        """The names of the files. See `ImageFiles.names`.

        Raises:
            InvalidInput: together they have too many bytes.
        """
        self._limit()
        listing = Listing(self._limits, self._check, self._source.prefix, self._source.postfix)
        for name in self._archive.entries:
            listing.add(name)
        for name in listing.after(after):
            yield name

    async def read(self, name: str) -> bytes:
        """The bytes of a file. See `ImageFiles.read`."""
        entry = self._archive.entries.get(name)
        if entry is None:
            raise unreadable(name, "it is not in the archive")
        if entry.file_size > self._limits.file_bytes:
            raise too_large(name, self._limits.file_bytes)
        problem = self._problem(entry)
        if problem is not None:
            raise unreadable(name, problem)
        return await asyncio.to_thread(self._read, entry)

    def _limit(self) -> None:
        sound = sum(entry.file_size for entry in self._archive.entries.values() if self._problem(entry) is None)
        if sound > self._sizes.unpacked_bytes:
            raise _unusable(
                f"its files have more than {self._sizes.unpacked_bytes} bytes, "
                "see LUNA_TASKS__ARCHIVE_MAX_UNPACKED_BYTES"
            )

    def _read(self, entry: zipfile.ZipInfo) -> bytes:
        data = bytearray()
        try:
            with self._archive.archive.open(entry, pwd=self._password or None) as stream:
                while chunk := stream.read(CHUNK):
                    self._check()
                    data += chunk
                    if len(data) > self._limits.file_bytes:
                        raise too_large(entry.filename, self._limits.file_bytes)
        except RuntimeError as error:
            if isinstance(error, NotImplementedError):
                raise unreadable(entry.filename, "its method is not supported") from None
            raise unreadable(entry.filename, "the password is wrong") from None
        except _BROKEN as error:
            raise unreadable(entry.filename, f"it is broken: {type(error).__name__}") from None
        return bytes(data)

    def _problem(self, entry: zipfile.ZipInfo) -> str | None:
        """Why an entry is not read; None where it is."""
        return problem_of(entry, self._sizes.ratio, password=bool(self._password))


def _is_file(entry: zipfile.ZipInfo) -> bool:
    if entry.is_dir() or entry.filename.startswith("__MACOSX/") or entry.filename.endswith("/.DS_Store"):
        return False
    return _NESTED.search(entry.filename) is None


def _unusable(message: str) -> InvalidInput:
    return InvalidInput(message=f"the archive cannot be used: {message}")
