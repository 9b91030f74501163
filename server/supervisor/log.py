"""The log file of one program."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

LARGEST = 16 << 20
"""Bytes; a log that is larger is put aside, and the one put aside before is dropped."""

TAIL_BYTES = 8192
TAIL_LINES = 20


class Log:
    """What a program writes to its standard output and error."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.log"
        self._start: int | None = None

    def open(self) -> int:
        """A descriptor to append to, for a child to inherit; whoever asked for it closes it."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.path.exists() and self.path.stat().st_size > LARGEST:
            self.path.replace(self.path.with_suffix(".log.1"))
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._start = os.fstat(handle).st_size
        return handle

    def trim(self) -> None:
        """Put a log that has become too large aside while its program goes on writing; a line or two may be lost.

        Decoders write a warning of their own for each broken image, so that strangers could fill the disk.
        """
        if not self.path.exists() or self.path.stat().st_size <= LARGEST:
            return
        # the program keeps its descriptor, which appends: the file has to stay the same one
        shutil.copyfile(self.path, self.path.with_suffix(".log.1"))
        self.path.with_suffix(".log.1").chmod(0o600)
        os.truncate(self.path, 0)
        self._start = 0

    def tail(self) -> str:
        """The last lines since the last start; what an earlier supervisor's program wrote is not of this one's."""
        if self._start is None:
            return ""
        try:
            with self.path.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(self._start, end - TAIL_BYTES))
                text = file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-TAIL_LINES:])
