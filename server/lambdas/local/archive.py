"""The files of an archive on disk. The archive was judged when it was taken; nothing of that is relied on here."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path, PurePosixPath

_PIECE = 1 << 20


class BadArchive(Exception):
    """The archive cannot be unpacked; the text says why."""


def unpack(archive: bytes, folder: Path, most_bytes: int, most_files: int) -> None:
    """Unpack a ZIP archive into a new folder: files and folders below it, and nothing else.

    Raises:
        BadArchive: it is none, or a name leads elsewhere, or it is too large.
    """
    folder.mkdir(mode=0o755)
    left = most_bytes
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            entries = opened.infolist()
            if len(entries) > most_files:
                raise BadArchive(f"it has {len(entries)} entries, and may have {most_files}")
            for entry in entries:
                left -= _put(opened, entry, folder, left)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise BadArchive(f"it cannot be read: {error}") from error


def _put(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, most: int) -> int:
    """Write one entry; its bytes."""
    name = PurePosixPath(entry.filename)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    wrong = name.is_absolute() or ".." in name.parts or "\\" in entry.filename or not name.parts
    if wrong or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise BadArchive(f"{entry.filename!r} is no file below its folder")
    target = folder.joinpath(*name.parts)
    if entry.is_dir():
        target.mkdir(mode=0o755, parents=True, exist_ok=True)
        return 0
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    written = 0
    with opened.open(entry) as source, target.open("xb") as file:
        while piece := source.read(_PIECE):
            written += len(piece)
            if written > most:
                raise BadArchive("its files are too large")
            file.write(piece)
    target.chmod(0o644)
    return written
