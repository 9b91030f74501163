"""What a program writes: read from a pipe at a bounded rate, kept in lines, the newest of them, also on disk."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

LINE_BYTES = 4096
"""A line that is longer is cut into several."""
RATE = 256 << 10
"""Bytes in a second that are read of one program; one that writes faster waits in its writes."""
BURST = 2 << 20
SAVE_SECONDS = 1.0
"""Longest time until what was written is on disk."""
_PIECE = 64 << 10


class Lines:
    """The newest lines, of at most so many bytes together."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lines: deque[str] = deque()
        self._bytes = 0

    def add(self, line: str) -> None:
        """Keep a line, and let go of the oldest ones that it leaves no place for."""
        self._lines.append(line)
        self._bytes += len(line.encode()) + 1
        while self._bytes > self._most and len(self._lines) > 1:
            self._bytes -= len(self._lines.popleft().encode()) + 1

    def tail(self, count: int | None) -> list[str]:
        """The last lines, the oldest first; None is all."""
        lines = list(self._lines)
        return lines if count is None else lines[max(0, len(lines) - count) :]


class Log:
    """The lines of one lambda in a file. They outlive the process that keeps them."""

    def __init__(self, path: Path, most: int) -> None:
        self._path = path
        self._lines = Lines(most)
        self._saving: asyncio.Task[None] | None = None
        if path.exists():
            for line in path.read_text(errors="replace").splitlines():
                self._lines.add(line)

    def add(self, line: str) -> None:
        """Keep a line."""
        self._lines.add(line)
        if self._saving is None:
            self._saving = asyncio.get_running_loop().create_task(self._save_soon())

    def tail(self, count: int | None) -> list[str]:
        """The last lines, the oldest first; None is all that are kept."""
        return self._lines.tail(count)

    async def save(self) -> None:
        """Write what is kept to disk. A log that cannot be written is kept in memory alone."""
        text = "".join(f"{line}\n" for line in self._lines.tail(None))
        await asyncio.to_thread(_replace, self._path, text)

    async def close(self) -> None:
        """Write the last lines and let go."""
        saving, self._saving = self._saving, None
        if saving is not None:
            saving.cancel()
            await asyncio.gather(saving, return_exceptions=True)
            await self.save()

    async def _save_soon(self) -> None:
        await asyncio.sleep(SAVE_SECONDS)
        self._saving = None
        await self.save()


class Reader:
    """Reads a pipe to the end, at a bounded rate, and hands on its lines.

    Args:
        told: is given each line.
        rate: bytes in a second.
    """

    def __init__(self, told: Callable[[str], None], rate: float = RATE) -> None:
        self._told = told
        self._rate = rate
        self._allowed = float(BURST)
        self._when = time.monotonic()
        self._rest = b""
        self._over = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._reading, self.writing = os.pipe2(os.O_CLOEXEC)
        fcntl.fcntl(self._reading, fcntl.F_SETFL, os.O_NONBLOCK)
        self._loop.add_reader(self._reading, self._read)

    def started(self) -> None:
        """The program has its end of the pipe."""
        os.close(self.writing)
        self.writing = -1

    async def close(self, seconds: float = 1.0) -> None:
        """Read what is left, for a moment: another process may still hold the pipe."""
        if self.writing >= 0:
            self.started()
        try:
            async with asyncio.timeout(seconds):
                await self._over.wait()
        except TimeoutError:
            self._end()

    def _read(self) -> None:
        now = time.monotonic()
        self._allowed = min(float(BURST), self._allowed + (now - self._when) * self._rate)
        self._when = now
        if self._allowed < _PIECE:
            self._loop.remove_reader(self._reading)
            self._loop.call_later(_PIECE / self._rate, self._again)
            return
        try:
            data = os.read(self._reading, _PIECE)
        except BlockingIOError:
            return
        self._allowed -= len(data)
        if data:
            self._split(data)
        else:
            self._end()

    def _again(self) -> None:
        if not self._over.is_set():
            self._loop.add_reader(self._reading, self._read)

    def _split(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._tell(line)
        while len(self._rest) >= LINE_BYTES:
            self._tell(self._rest[:LINE_BYTES])
            self._rest = self._rest[LINE_BYTES:]

    def _tell(self, line: bytes) -> None:
        for begin in range(0, max(1, len(line)), LINE_BYTES):
            self._told(readable(line[begin : begin + LINE_BYTES]))

    def _end(self) -> None:
        if not self._over.is_set():
            self._loop.remove_reader(self._reading)
            os.close(self._reading)
            if self._rest:
                self._tell(self._rest)
            self._over.set()


def readable(line: bytes) -> str:
    """A line as text: what is no UTF-8, and what steers terminals, becomes a mark. Databases take no NUL either."""
    return "".join(
        one if one.isprintable() or one == "\t" else "\N{REPLACEMENT CHARACTER}"
        for one in line.rstrip(b"\r").decode(errors="replace")
    )


def _replace(path: Path, text: str) -> None:
    """A file is whole, the old one or the new one."""
    if not path.parent.exists():
        return
    beside = path.with_name(path.name + ".new")
    try:
        beside.write_text(text)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)


class Collected:
    """The first bytes of what a program writes to a pipe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._data = bytearray()
        self._over = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._reading, self.writing = os.pipe2(os.O_CLOEXEC)
        fcntl.fcntl(self._reading, fcntl.F_SETFL, os.O_NONBLOCK)
        self._loop.add_reader(self._reading, self._read)

    async def close(self) -> bytes:
        """What was written, once the program has ended."""
        os.close(self.writing)
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self._over.wait()
        self._end()
        return bytes(self._data)

    def _read(self) -> None:
        data = os.read(self._reading, _PIECE)
        self._data += data
        if not data or len(self._data) > self._most:
            self._end()

    def _end(self) -> None:
        if not self._over.is_set():
            self._loop.remove_reader(self._reading)
            os.close(self._reading)
            del self._data[self._most :]
            self._over.set()
