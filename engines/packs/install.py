"""Installing a pack: its files are gathered, checked, and put in place in one step.

Where a file may come from, the first that has it: the pack as it is installed already, what the operator gives, the
address in the manifest. How something is fetched from an address is the caller's business.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.packs.errors import FileRefused, FileUnknown, InstallFailed, LicenceNotAccepted, PackError
from engines.packs.manifest import Archive, Manifest, PackFile
from engines.packs.pack import MANIFEST, Pack, load, sha256
from engines.packs.place import alone, replacing

Progress = Callable[[str, int, int], None]
"""Told the name of the file that is gathered, how many bytes of it are there, and how many it has."""

Fetch = Callable[[str, int, Path, Callable[[int], None]], None]
"""Fetches an address of so many bytes into a file, telling how many are there; raises PackError where it cannot."""

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Given:
    """Files that the operator has. One is taken for a file of the pack by its name, or else by its checksum."""

    paths: tuple[Path, ...] = ()

    def find(self, file: PackFile) -> Path | None:
        """The path that is meant for a file of the pack; None where there is none."""
        named = [path for path in self.paths if path.name == file.name]
        if named:
            return named[0]
        same = (path for path in self.paths if path.stat().st_size == file.size and sha256(path) == file.sha256)
        return next(same, None)


def given(files: Sequence[Path], folder: Path | None) -> Given:
    """The operator's files: those that are named, and those in a folder.

    Raises:
        FileUnknown: one is not there.
    """
    for path in files:
        if not path.is_file():
            raise FileUnknown(f"{path} is no file")
    if folder is not None and not folder.is_dir():
        raise FileUnknown(f"{folder} is no folder")
    inside = sorted(path for path in folder.iterdir() if path.is_file()) if folder is not None else []
    return Given((*files, *inside))


def install(
    folder: Path, manifest: Manifest, *, files: Given, fetch: Fetch, progress: Progress, accept_license: bool
) -> Pack:
    """Install a pack, or replace it. Where anything fails, what was there before stays as it was.

    Args:
        folder: the folder that holds all packs; it is created.
        manifest: of the pack.
        files: what the operator gives.
        fetch: fetches what has an address.
        progress: is told how far it is.
        accept_license: the operator accepts the pack's licence.

    Raises:
        LicenceNotAccepted: the licence has to be accepted, and is not.
        FileUnknown: a file has no address and is not given.
        FileRefused: a file is not the one that the manifest means.
        InstallFailed: the disk is full, or something cannot be read or written.
        PackError: what `fetch` raises.
    """
    if manifest.accept_license and not accept_license:
        raise LicenceNotAccepted(
            f"the licence of {manifest.name!r} has to be accepted with --accept-license: {manifest.licence}"
        )
    try:
        with alone(folder, manifest.name):
            present = _present(folder, manifest.name)
            with replacing(folder, manifest.name) as home:
                work = _Work(home, files, present, fetch, progress)
                for file in manifest.files:
                    work.gather(file)
                work.clean()
                (home / MANIFEST).write_text(manifest.to_json(), "utf-8")
            return load(folder, manifest.name)
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else str(error)
        message = f"{manifest.name!r} is not installed: {reason}"
        raise InstallFailed(message) from error


def _present(folder: Path, pack: str) -> Given:
    """The files of the pack that is there already."""
    try:
        there = load(folder, pack)
    except PackError:
        return Given()
    return Given(tuple(there.folder / file.name for file in there.manifest.files))


@dataclass(frozen=True, slots=True)
class _Work:
    """One installation: the new folder, and where files come from."""

    home: Path
    files: Given
    present: Given
    fetch: Fetch
    progress: Progress

    def gather(self, file: PackFile) -> None:
        """Put one file into the new folder, checked."""
        target = self.home / file.name
        self.progress(file.name, 0, file.size)
        path = self.files.find(file)
        if path is None and (there := self.present.find(file)) is not None and sha256(there) == file.sha256:
            path = there
        if path is not None:
            _check(path, file.size, file.sha256)
            shutil.copyfile(path, target)
            self.progress(file.name, file.size, file.size)
        elif file.url is not None:
            self.fetch(file.url, file.size, target, lambda count: self.progress(file.name, count, file.size))
        elif file.archive is not None:
            self._unpack(file, file.archive, target)
        else:
            raise FileUnknown(f"{file.name} has no address that could be checked: get it and give it with --file PATH")
        _check(target, file.size, file.sha256)

    def clean(self) -> None:
        """Remove the archives that files were taken out of."""
        for path in self.home.glob(".archive-*"):
            path.unlink()

    def _unpack(self, file: PackFile, archive: Archive, target: Path) -> None:
        path = self.home / f".archive-{archive.sha256}"
        if not path.exists():
            label = archive.url.rsplit("/", 1)[-1]
            self.fetch(archive.url, archive.size, path, lambda count: self.progress(label, count, archive.size))
            _check(path, archive.size, archive.sha256, shown=archive.url)
        try:
            with zipfile.ZipFile(path) as opened, opened.open(archive.member) as source, target.open("wb") as sink:
                left = file.size + 1  # one byte more shows that the member is longer than it should be
                while left and (block := source.read(min(left, _BLOCK))):
                    sink.write(block)
                    left -= len(block)
        except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError) as error:
            message = f"{archive.url} has no {archive.member}: {error}"
            raise FileRefused(message) from error


def _check(path: Path, size: int, digest: str, *, shown: str | None = None) -> None:
    """Refuses a file that is not the one that is meant."""
    found = path.stat().st_size
    name = shown or str(path.name)
    if found != size:
        raise FileRefused(f"{name} has {found} bytes, it should have {size}")
    with path.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    if actual != digest:
        raise FileRefused(f"{name} has sha256 {actual}, it should have {digest}")
