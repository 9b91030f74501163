"""Entries of ZIP archives that strangers made: whether they lie apart, and what is dangerous about one.

What an archive says of itself is its maker's word. So its directory must fit its entries (overlapping ones are how a
few kilobytes become terabytes), and only methods are read whose output can be bounded.
"""

from __future__ import annotations

import re
import stat
import zipfile
from collections.abc import Iterable
from typing import Final

CHUNK: Final = 1 << 20
"""Bytes that are unpacked at a time, and that a file of any ratio may have."""
METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
"""bzip2 and LZMA give their output at once, however much it is."""

_HEADER: Final = 30
"""Bytes of a local header without its name (APPNOTE 4.3.7)."""
_ENCRYPTED: Final = 0x1
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_SEPARATORS: Final = re.compile(r"[/\\]")


class EntriesOverlap(ValueError):
    """An entry of an archive lies in another one, or in the directory."""


def check_places(entries: Iterable[zipfile.ZipInfo], end: int) -> None:
    """See that no entry lies in another one, or in the directory, which begins at `end`.

    Raises:
        EntriesOverlap: one does.
    """
    places = sorted((entry.header_offset, entry.compress_size) for entry in entries)
    ends = [offset for offset, _ in places[1:]] + [end]
    for (offset, size), following in zip(places, ends, strict=False):
        if offset < 0 or offset + _HEADER + size > following:
            raise EntriesOverlap("its entries overlap")


def problem_of(entry: zipfile.ZipInfo, ratio: float, *, password: bool = False) -> str | None:
    """Why an entry is not read; None where it is. `ratio` is how many times as large it may become."""
    name = entry.filename
    if name.startswith(("/", "\\")) or _DRIVE.match(name) or ".." in _SEPARATORS.split(name):
        return "its name leads out of the archive"
    regular = {0, stat.S_IFDIR} if entry.is_dir() else {0, stat.S_IFREG}
    if stat.S_IFMT(entry.external_attr >> 16) not in regular:
        return "it is a link or no regular file"
    if entry.flag_bits & _ENCRYPTED and not password:
        return "it is encrypted, and no password is given"
    if entry.compress_type not in METHODS:
        return f"compression method {entry.compress_type} is not supported"
    if grows(entry, entry.file_size, ratio):
        return f"it would become more than {ratio:g} times as large"
    return None


def grows(entry: zipfile.ZipInfo, size: int, ratio: float) -> bool:
    """True where so many bytes are more than an entry may become."""
    return size > CHUNK and size > ratio * entry.compress_size
