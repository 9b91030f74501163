"""A pack on disk: a folder with a manifest that lists its models, its files, and their checksums."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from engines.packs import catalogue
from engines.packs.errors import PackDamaged, PackMissing
from engines.packs.manifest import Manifest, Model, PackFile, Task

MANIFEST = "manifest.json"

DEFAULT = "default"
"""Name of the pack that can be made from pip packages alone."""

DESCRIPTOR = "descriptor.onnx"
PROPOSAL = "detector_proposal.onnx"
REFINEMENT = "detector_refinement.onnx"
OUTPUT = "detector_output.onnx"
LANDMARKS5 = "landmarks5.npz"
LANDMARKS68 = "landmarks68.npz"


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack on disk."""

    folder: Path
    manifest: Manifest

    def models(self, task: Task) -> tuple[Model, ...]:
        """The models of a task, in the manifest's order."""
        return tuple(model for model in self.manifest.models if model.task is task)

    def has(self, name: str) -> bool:
        """True where the pack has a file of that name."""
        return any(file.name == name for file in self.manifest.files)

    def path(self, name: str) -> Path:
        """Path of a file.

        Raises:
            PackDamaged: the manifest has no such file.
        """
        if not self.has(name):
            message = f"the pack in {self.folder} has no {name}"
            raise PackDamaged(message)
        return self.folder / name

    def verify(self) -> None:
        """Compare every file with its checksum. Takes about as long as reading the pack.

        Raises:
            PackDamaged: a file is missing or differs.
        """
        for file in self.manifest.files:
            _check_size(self.folder, file)
            digest = sha256(self.folder / file.name)
            if digest != file.sha256:
                message = f"{self.folder / file.name} has sha256 {digest}, its manifest says {file.sha256}"
                raise PackDamaged(message)


def load(folder: Path, pack: str) -> Pack:
    """Open a prepared pack. Sizes are compared with the manifest, checksums are not (`Pack.verify`).

    Args:
        folder: the folder that holds all packs.
        pack: the pack's name.

    Raises:
        PackMissing: there is no such pack.
        PackDamaged: its manifest cannot be read, or a file is missing or has another size.
    """
    home = folder / pack
    try:
        text = (home / MANIFEST).read_text("utf-8")
    except FileNotFoundError:
        message = f"there is no model pack in {home}; {cure(pack)}"
        raise PackMissing(message) from None
    try:
        manifest = Manifest.from_json(text)
    except ValueError as error:
        message = f"{home / MANIFEST} cannot be used: {error}"
        raise PackDamaged(message) from error
    for file in manifest.files:
        _check_size(home, file)
    return Pack(home, manifest)


def cure(pack: str) -> str:
    """What the operator does where a pack is not there."""
    if pack == DEFAULT:
        return "`luna models prepare` makes it"
    if pack in catalogue.names():
        return f"`luna models install {pack}` installs it"
    known = ", ".join(catalogue.names())
    return f"`luna models install {pack} --folder FOLDER` installs one of your own; the catalogue has {known}"


def sha256(path: Path) -> str:
    """Checksum of a file, lower-case hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_size(folder: Path, file: PackFile) -> None:
    path = folder / file.name
    found = path.stat().st_size if path.is_file() else None
    if found != file.size:
        message = f"{path} is missing" if found is None else f"{path} has {found} bytes, its manifest says {file.size}"
        raise PackDamaged(message)
