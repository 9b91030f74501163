"""A large file among the files of a task: kept in pieces, and never in memory as a whole.

Readers are threads; the pieces come from the loop.
"""

from __future__ import annotations

import asyncio
import errno
import io
import json
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from server.domain.tasks import TaskFiles

PIECE: Final = 4 << 20
_KEPT: Final = 4
_MOST: Final = 32 << 20
"""Most bytes that are asked for at once: the directory of an archive with some hundred thousand files."""


class PieceMissing(Exception):
    """A piece is gone, and with it its task."""


class TooMuch(OSError):
    """More is asked for at once than a sound archive needs."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A file that is there: its bytes, and a mark that no other one has."""

    size: int
    mark: str


class PieceWriter:
    """Writes a file in pieces. It is there once it has been closed.

    Args:
        files: the files of the task.
        name: name of the file.
    """

    def __init__(self, files: TaskFiles, name: str) -> None:
        self._files = files
        self._name = name
        self._waiting = bytearray()
        self._size = 0

    async def write(self, data: bytes) -> None:
        """Add bytes."""
        self._waiting += data
        while len(self._waiting) >= PIECE:
            await self._flush(PIECE)

    async def close(self) -> None:
        """Nothing more will come."""
        if self._waiting:
            await self._flush(len(self._waiting))
        await self._files.write(f"{self._name}/size", json.dumps([self._size, secrets.token_hex(16)]).encode())

    async def _flush(self, size: int) -> None:
        await self._files.write(f"{self._name}/{self._size // PIECE}", bytes(self._waiting[:size]))
        del self._waiting[:size]
        self._size += size


async def whole(files: TaskFiles, name: str) -> Whole | None:
    """What is known of a file; None where it is not there, or not as a whole."""
    try:
        size, mark = json.loads(await files.read(f"{name}/size"))
    except FileNotFoundError:
        return None
    return Whole(int(size), str(mark))


class PieceReader(io.RawIOBase):
    """A file in pieces, for one thread at a time, and never for that of the loop.

    Args:
        files: the files of the task.
        name: name of the file.
        size: its bytes.
    """

    def __init__(self, files: TaskFiles, name: str, size: int) -> None:
        super().__init__()
        self._files = files
        self._name = name
        self._size = size
        self._loop = asyncio.get_running_loop()
        self._place = 0
        self._kept: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Where the next bytes come from."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place.

        Raises:
            OSError: it is before the beginning, as a file on a disk says it: `zipfile` looks there in short archives.
        """
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, "a place before the beginning")
        self._place = base + offset
        return self._place

    def read(self, size: int | None = -1, /) -> bytes:
        """So many bytes, fewer at the end.

        Raises:
            TooMuch: they are too many.
        """
        left = max(0, self._size - self._place)
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted > _MOST:
            raise TooMuch(f"{wanted} bytes at once")
        found = bytearray()
        while len(found) < wanted:
            number, inside = divmod(self._place, PIECE)
            part = self._piece(number)[inside : inside + wanted - len(found)]
            if not part:
                raise PieceMissing(self._name)
            found += part
            self._place += len(part)
        return bytes(found)

    def _piece(self, number: int) -> bytes:
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        reading = self._files.read(f"{self._name}/{number}")
        try:
            data = asyncio.run_coroutine_threadsafe(reading, self._loop).result()
        except FileNotFoundError:
            raise PieceMissing(self._name) from None
        self._kept[number] = data
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return data
