"""Folders that the worker sees: only below those that the operator allows, and never out of them.

Paths are opened step by step without following links, so that a link which is put into the way at the last moment
leads nowhere. Where links are followed, they are resolved first, and must stay inside the folder of the source.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path

from server.domain.task_contents import DiskSource
from server.errors import InvalidInput
from storage.sources.listing import Limits, Listing, too_large, unreadable

_CHUNK = 1 << 20


class DiskFiles:
    """Implements `server.domain.image_files.ImageFiles` for a folder.

    Args:
        source: the folder.
        allowed: the folders below which it may be.
        limits: limits of the source.
        check: called in every loop.

    Raises:
        InvalidInput: the folder is not there, or not below an allowed one. Which of both is not told.
    """

    def __init__(self, source: DiskSource, allowed: Sequence[Path], limits: Limits, check: Callable[[], None]) -> None:
        if not allowed:
            raise InvalidInput(message="network_disk is off: no folder is allowed, see LUNA_TASKS__FOLDERS")
        self._source = source
        self._limits = limits
        self._check = check
        self._root = _below(source.path, allowed)

    async def names(self, after: str = "") -> AsyncIterator[str]:
        """The names of the files. See `ImageFiles.names`."""
        for name in await asyncio.to_thread(self._list, after):
            yield name

    async def read(self, name: str) -> bytes:
        """The bytes of a file. See `ImageFiles.read`."""
        return await asyncio.to_thread(self._read, name)

    def _list(self, after: str) -> list[str]:
        listing = Listing(self._limits, self._check, self._source.prefix, self._source.postfix)
        self._walk(self._root, "", listing, {os.path.realpath(self._root)})
        return listing.after(after)

    def _walk(self, folder: Path, path: str, listing: Listing, seen: set[str]) -> None:
        waiting = [(folder, path)]
        while waiting:
            place, above = waiting.pop()
            listing.enter()
            try:
                with os.scandir(place) as entries:
                    for entry in entries:
                        # what is no text is listed in a form that can be written down, and is not found when it is read
                        shown = os.fsencode(entry.name).decode("utf-8", "backslashreplace")
                        target = self._target(entry)
                        if target is None:
                            continue
                        if target.is_dir():
                            real = os.path.realpath(target)
                            if self._source.recursive and real not in seen:
                                seen.add(real)
                                waiting.append((target, f"{above}{shown}/"))
                        elif target.is_file():
                            listing.add(f"{above}{shown}", shown)
            except OSError as error:
                if place == self._root:
                    raise _refused(error) from None
                listing.trouble(above.rstrip("/"))

    def _target(self, entry: os.DirEntry[str]) -> Path | None:
        """What an entry is; None for a link that is not followed."""
        if not entry.is_symlink():
            return Path(entry.path)
        if not self._source.follow_links:
            return None
        with suppress(OSError, RuntimeError):
            target = Path(entry.path).resolve(strict=True)
            if target.is_relative_to(self._root):
                return target
        return None

    def _read(self, name: str) -> bytes:
        try:
            steps = self._steps(name)
            if not steps:
                raise unreadable(name, "it is not in the folder")
            descriptor = _open(self._root, steps)
        except (OSError, ValueError, RuntimeError) as error:
            raise unreadable(name, _reason(error)) from None
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise unreadable(name, "it is no regular file")
            data = bytearray()
            while True:
                self._check()
                try:
                    chunk = file.read(_CHUNK)
                except OSError as error:
                    raise unreadable(name, _reason(error)) from None
                if not chunk:
                    return bytes(data)
                data += chunk
                if len(data) > self._limits.file_bytes:
                    raise too_large(name, self._limits.file_bytes)

    def _steps(self, name: str) -> tuple[str, ...]:
        """The steps that lead to a file from the folder of the source; none where it is not inside."""
        steps = tuple(name.split("/"))
        if any(step in {"", ".", ".."} for step in steps):
            return ()
        if not self._source.follow_links:
            return steps
        real = self._root.joinpath(*steps).resolve(strict=True)
        return real.relative_to(self._root).parts if real.is_relative_to(self._root) else ()


def _below(path: str, allowed: Sequence[Path]) -> Path:
    try:
        real = Path(path).resolve(strict=True)
        if real.is_dir() and any(real.is_relative_to(one.resolve()) for one in allowed):
            return real
    except (OSError, RuntimeError, ValueError):
        pass
    raise InvalidInput(message=f"'{path}' is no folder that may be read, see LUNA_TASKS__FOLDERS")


def _open(root: Path, steps: Sequence[str]) -> int:
    """Open a file step by step, without following links or waiting for the other end of a pipe."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for step in steps[:-1]:
            inner = os.open(step, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(steps[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


def _refused(error: OSError) -> InvalidInput:
    return InvalidInput(message=f"the folder cannot be read: {_reason(error)}")
