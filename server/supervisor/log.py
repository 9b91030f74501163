"""The log file of one program."""

from __future__ import annotations

import os
from pathlib import Path

LARGEST = 16 << 20
"""Bytes; a log that is larger when its program starts is put aside, and the one put aside before is dropped."""

TAIL_BYTES = 8192
TAIL_LINES = 20


class Log:
    """What a program writes to its standard output and error."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.log"
        self._start = 0

    def open(self) -> int:
        """A descriptor to append to, for a child to inherit; whoever asked for it closes it."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.path.exists() and self.path.stat().st_size > LARGEST:
            self.path.replace(self.path.with_suffix(".log.1"))
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._start = os.fstat(handle).st_size
        return handle

    def tail(self) -> str:
        """The last lines since the last start."""
        try:
            with self.path.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(self._start, end - TAIL_BYTES))
                text = file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-TAIL_LINES:])
