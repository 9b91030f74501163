"""Temporary files of a process in a folder of its own, which goes with it.

A process that is killed cannot delete its files, and those of a worker are as large as the results of its tasks. Its
lock on the folder ends with it, however it ends, and the next process that starts deletes folders without one.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PREFIX: Final = "luna-worker-"
_UNLOCKED: Final = "luna-new-"
"""A folder has this name until it is locked, so that nobody takes it for one that was left."""

log = logging.getLogger(__name__)


@contextmanager
def own_folder() -> Iterator[Path]:
    """Let temporary files be made in a folder of this process until the block ends, and then delete it.

    What killed processes of this user have left beside it is deleted first.
    """
    before, base = tempfile.tempdir, Path(tempfile.gettempdir())
    _clear(base)
    new = Path(tempfile.mkdtemp(prefix=_UNLOCKED, dir=base))
    lock = os.open(new, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = new.rename(base / new.name.replace(_UNLOCKED, PREFIX, 1))
        tempfile.tempdir = str(folder)
        try:
            yield folder
        finally:
            tempfile.tempdir = before
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _clear(base: Path) -> None:
    for folder in base.glob(f"{PREFIX}*"):
        try:
            _clear_one(folder)
        except OSError as error:  # another user's, another process is deleting it, or it is no folder
            log.debug("%s stays: %s", folder, error)


def _clear_one(folder: Path) -> None:
    if folder.lstat().st_uid != os.geteuid():
        return  # others may write into the system's temporary folder, and would choose what is deleted
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
        log.info("what a killed process had left in %s is deleted", folder)
    finally:
        os.close(lock)
