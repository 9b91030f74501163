"""Putting a pack in its place in one step, by one process at a time."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def alone(folder: Path, pack: str) -> Iterator[None]:
    """Holds the lock of a pack's place; others wait. The system frees it when the process ends.

    What a process that was killed has left behind is removed.

    Args:
        folder: the folder that holds all packs; it is created.
        pack: the pack's name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".{pack}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in folder.glob(f".{pack}.new-*"):
            shutil.rmtree(leftover)
        yield


@contextmanager
def replacing(folder: Path, pack: str) -> Iterator[Path]:
    """An empty folder that takes the pack's place where the block ends well, and is gone where it does not.

    To be used while `alone` is held.
    """
    with tempfile.TemporaryDirectory(prefix=f".{pack}.new-", dir=folder) as temporary:
        work = Path(temporary)
        (work / "new").mkdir()
        yield work / "new"
        home = folder / pack
        if home.exists():
            home.rename(work / "old")
        (work / "new").rename(home)
