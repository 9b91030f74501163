"""ZIP archives: read where they are, entry by entry, and never unpacked to a disk.

Archives come from strangers. So their directory must fit its entries (overlapping ones are how a few kilobytes become
terabytes), only methods are read whose output can be bounded, and nothing counts for more bytes than it declared.
"""

from __future__ import annotations

import asyncio
import io
import re
import stat
import zipfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Final

import pyzipper

from server.domain.task_contents import ZipSource
from server.errors import InvalidInput
from storage.sources.listing import Limits, Listing, too_large, unreadable

_CHUNK: Final = 1 << 20
_HEADER: Final = 30
"""Bytes of a local header without its name (APPNOTE 4.3.7)."""
_AES: Final = 99
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
"""bzip2 and LZMA give their output at once, however much it is, and pictures do not need them."""
_ENCRYPTED: Final = 0x1
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
            _check_places(archive.infolist(), archive.start_dir)
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
                while chunk := stream.read(_CHUNK):
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
        name = entry.filename
        if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name):
            return "its name leads out of the archive"
        mode = entry.external_attr >> 16
        if stat.S_IFMT(mode) not in {0, stat.S_IFREG}:
            return "it is a link or no regular file"
        if entry.flag_bits & _ENCRYPTED and not self._password:
            return "it is encrypted, and no password is given"
        if entry.compress_type not in _METHODS:
            return f"compression method {entry.compress_type} is not supported"
        if entry.file_size > _CHUNK and entry.file_size > self._sizes.ratio * entry.compress_size:
            return f"it would become more than {self._sizes.ratio:g} times as large"
        return None


def _is_file(entry: zipfile.ZipInfo) -> bool:
    if entry.is_dir() or entry.filename.startswith("__MACOSX/") or entry.filename.endswith("/.DS_Store"):
        return False
    return _NESTED.search(entry.filename) is None


def _check_places(entries: Iterable[zipfile.ZipInfo], end: int) -> None:
    """See that no entry lies in another one, or in the directory.

    Raises:
        InvalidInput: one does.
    """
    places = sorted((entry.header_offset, entry.compress_size) for entry in entries)
    ends = [offset for offset, _ in places[1:]] + [end]
    for (offset, size), following in zip(places, ends, strict=False):
        if offset < 0 or offset + _HEADER + size > following:
            raise _unusable("its entries overlap")


def _unusable(message: str) -> InvalidInput:
    return InvalidInput(message=f"the archive cannot be used: {message}")
