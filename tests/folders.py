"""Folders for servers that run as an account of their own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
