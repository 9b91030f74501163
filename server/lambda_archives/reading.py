"""ZIP archives of lambdas: names that are safe to unpack, and files that are measured while they are unpacked."""

from __future__ import annotations

import io
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from server.domain.zip_entries import CHUNK, check_places, grows, problem_of

MOST_PROBLEMS: Final = 20
"""Problems of one archive that are told."""
PATH_BYTES: Final = 512
NAME_BYTES: Final = 200
"""Longest name of a file with its folders, and longest part of it, in UTF-8: file systems take 255 and 4096."""
DEPTH: Final = 16
"""Most folders within each other."""
OWN: Final = frozenset({"luna_lambda", "luna_lambda.py"})
"""Names of the service's own, which would be imported in place of what it gives to lambdas."""

_UTF8: Final = 0x800
"""Flag of an entry whose name is UTF-8 (APPNOTE, appendix D); the name of another one is in whatever encoding."""
_BROKEN: Final = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OSError, RuntimeError)


class BadArchive(Exception):
    """An archive cannot be taken; `problems` says why, a sentence each."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class ArchiveRules:
    """What an archive may be.

    Attributes:
        bytes: its own bytes.
        unpacked_bytes: those of all its files.
        files: its entries, folders among them.
        ratio: how many times as large a file may become.
        requirements: names of packages that it may ask for; `*` is all.
    """

    bytes: int
    unpacked_bytes: int
    files: int
    ratio: float
    requirements: tuple[str, ...] = ("*",)


class LambdaArchive:
    """An archive whose names are safe. What macOS adds is no part of it.

    Attributes:
        names: its files, as they stand in it; folders have no entry of their own here.
    """

    def __init__(self, archive: zipfile.ZipFile, entries: Sequence[zipfile.ZipInfo], rules: ArchiveRules) -> None:
        self._archive = archive
        self._entries = {entry.filename: entry for entry in entries if not entry.is_dir()}
        self._rules = rules
        self.names = tuple(self._entries)

    @classmethod
    def open(cls, data: bytes, rules: ArchiveRules) -> LambdaArchive:
        """Read the directory of an archive.

        Raises:
            BadArchive: it is none, or holds what is dangerous, or too much.
        """
        if len(data) > rules.bytes:
            raise BadArchive(f"the archive has {len(data)} bytes, and may have {rules.bytes}")
        try:
            archive = zipfile.ZipFile(io.BytesIO(data))
            check_places(archive.infolist(), archive.start_dir)
        except _BROKEN as error:
            raise BadArchive(f"the archive is no ZIP archive, or a broken one: {_told(error)}") from None
        entries = archive.infolist()
        if len(entries) > rules.files:
            raise BadArchive(f"the archive has {len(entries)} files and folders, and may have {rules.files}")
        kept = [entry for entry in entries if not _is_mac(entry.filename)]
        problems = [f"{shown(entry.filename)}: {problem}" for entry in kept if (problem := _problem(entry, rules))]
        problems += _clashes(kept)
        if problems:
            raise BadArchive(*problems[:MOST_PROBLEMS])
        return cls(archive, kept, rules)

    def read(self, name: str, most: int) -> bytes | None:
        """The bytes of a file; None where there is none.

        Raises:
            BadArchive: it is broken, or has more bytes than `most`.
        """
        entry = self._entries.get(name)
        if entry is None:
            return None
        data = bytearray()
        for chunk in self._chunks(entry):
            data += chunk
            if len(data) > most:
                raise BadArchive(f"{shown(name)}: it has more than {most} bytes")
        return bytes(data)

    def measure(self) -> None:
        """Unpack everything to nowhere.

        Raises:
            BadArchive: a file is broken or grows too much, or all together do.
        """
        for _ in self._all():
            pass

    def unpack(self, folder: Path) -> None:
        """Write all files into a folder that is empty or not there. Where that fails, what is written so far stays.

        Raises:
            BadArchive: as for `measure`.
            OSError: the folder cannot be written to.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for name, chunks in self._all_files():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                for chunk in chunks:
                    file.write(chunk)

    def _all(self) -> Iterator[bytes]:
        for _, chunks in self._all_files():
            yield from chunks

    def _all_files(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        total = [0]
        for name, entry in self._entries.items():
            yield name, self._counted(entry, total)

    def _counted(self, entry: zipfile.ZipInfo, total: list[int]) -> Iterator[bytes]:
        for chunk in self._chunks(entry):
            total[0] += len(chunk)
            if total[0] > self._rules.unpacked_bytes:
                raise BadArchive(f"the files of the archive have more than {self._rules.unpacked_bytes} bytes together")
            yield chunk

    def _chunks(self, entry: zipfile.ZipInfo) -> Iterator[bytes]:
        size = 0
        try:
            with self._archive.open(entry) as stream:
                while chunk := stream.read(CHUNK):
                    size += len(chunk)
                    if grows(entry, size, self._rules.ratio):
                        raise BadArchive(
                            f"{shown(entry.filename)}: it becomes more than {self._rules.ratio:g} times as large"
                        )
                    yield chunk
        except _BROKEN as error:
            raise BadArchive(f"{shown(entry.filename)}: it is broken: {_told(error)}") from None


def shown(name: str) -> str:
    """A name as it may stand in a sentence, whatever its maker wrote."""
    return repr(name if len(name) <= NAME_BYTES else f"{name[:NAME_BYTES]}...")


def _is_mac(name: str) -> bool:
    return name.startswith("__MACOSX/") or name.split("/")[-1] == ".DS_Store"


def _problem(entry: zipfile.ZipInfo, rules: ArchiveRules) -> str | None:
    if not entry.flag_bits & _UTF8 and not entry.orig_filename.isascii():
        return "its name is not UTF-8"
    # the name as it stands there: `filename` ends at a zero byte, and has other separators on some systems
    return _problem_of_name(entry.orig_filename) or problem_of(entry, rules.ratio)


def _problem_of_name(name: str) -> str | None:
    parts = name.removesuffix("/").split("/")
    if not name.isprintable():
        return "its name has a character that is not printable"
    if "\\" in name:
        return "its name has a backslash: folders are told by /"
    if any(part in {"", ".", ".."} for part in parts) or ":" in name:
        return "its name leads out of the archive"
    if len(name.encode()) > PATH_BYTES or any(len(part.encode()) > NAME_BYTES for part in parts):
        return "its name is too long"
    if len(parts) > DEPTH + 1:
        return f"it lies deeper than {DEPTH} folders"
    if parts[0].casefold() in OWN:
        return "that name is the service's own"
    return None


def _clashes(entries: Sequence[zipfile.ZipInfo]) -> list[str]:
    """Entries that would be one file, or a file and a folder, where capitals or accents are written in other ways."""
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    found = []
    for entry in entries:
        parts = entry.filename.rstrip("/").split("/")
        inside = parts if entry.is_dir() else parts[:-1]
        for depth in range(1, len(inside) + 1):
            folder = "/".join(inside[:depth])
            if folders.setdefault(_key(folder), folder) != folder:
                found.append(f"{shown(entry.filename)}: another folder differs from its own by capitals alone")
                break
        if entry.is_dir():
            continue
        key = _key(entry.filename)
        if key in files:
            found.append(f"{shown(entry.filename)}: it is there twice, or differs from another file by capitals alone")
        files.setdefault(key, entry.filename)
    found += [f"{shown(name)}: it is a file and a folder" for key, name in files.items() if key in folders]
    return found


def _key(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _told(error: Exception) -> str:
    """What a library says, without what of it is the archive's own text."""
    return type(error).__name__
