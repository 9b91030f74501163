"""Keeps a second supervisor out of a data folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

NAME = "up.lock"


class AlreadyRunning(RuntimeError):
    """Another supervisor is at work in the folder.

    Attributes:
        pid: Its process; None if it has not written it yet.
    """

    def __init__(self, folder: Path, pid: int | None) -> None:
        self.pid = pid
        who = f" (process {pid})" if pid else ""
        super().__init__(f"Luna is already running in {folder}{who}: stop it, or choose another folder with LUNA_DATA.")


class FolderLock:
    """A lock that the kernel releases when its process ends, however it ends.

    The process id in the file is for people; a stale one means nothing. The file stays: removing it would let two
    processes lock two different files of that name.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._handle: int | None = None

    def __enter__(self) -> FolderLock:
        # Python's descriptors close on exec, so no child keeps the lock.
        handle = os.open(self._folder / NAME, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            written = os.pread(handle, 32, 0).strip()
            os.close(handle)
            raise AlreadyRunning(self._folder, int(written) if written.isdigit() else None) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        self._handle = handle
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = None
