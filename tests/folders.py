"""Folders for servers: of an account of their own, and in memory."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY = Path("/dev/shm")
ROOM = 4 << 30
"""Bytes that must be free there; in many containers it is far smaller."""


@contextmanager
def server_folder() -> Iterator[Path]:
    """A folder beside pytest's own, and not in it.

    Under root the embedded servers' account is let into the folder by an access control list. Each start of another
    pytest of the same user closes the folder that all of them share, with chmod, which closes it to that account too.
    """
    folder = Path(tempfile.mkdtemp(prefix="luna-")).resolve()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def memory_folder(prefix: str) -> Iterator[Path]:
    """A folder in memory where the machine has enough of it, otherwise on the disk, for a server with many databases.

    A file system on a disk takes the longer to copy a database the more of them there have been, 0.03 to 0.4 s.
    """
    roomy = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM
    with tempfile.TemporaryDirectory(prefix=prefix, dir=MEMORY if roomy else None) as folder:
        yield Path(folder)
