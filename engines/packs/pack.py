"""A prepared pack: a folder with a manifest that lists its files, their checksums, and where they come from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath

from engines.packs.errors import PackDamaged, PackMissing

MANIFEST = "manifest.json"
FORMAT = 1
"""Version of the manifest's own layout."""

DEFAULT = "default"
"""Name of the pack that can be made from pip packages alone."""

DESCRIPTOR = "descriptor.onnx"
PROPOSAL = "detector_proposal.onnx"
REFINEMENT = "detector_refinement.onnx"
OUTPUT = "detector_output.onnx"
LANDMARKS5 = "landmarks5.npz"
LANDMARKS68 = "landmarks68.npz"


@dataclass(frozen=True, slots=True)
class PackFile:
    """A file of a pack: its name in the folder, its length in bytes and its checksum."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Origin:
    """A file that the pack was made from."""

    package: str
    version: str
    path: str
    sha256: str
    licence: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a pack says about itself. `converter` is the version of the code that made it."""

    name: str
    version: str
    converter: str
    files: tuple[PackFile, ...]
    sources: tuple[Origin, ...]

    def to_json(self) -> str:
        """The manifest as it is stored."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read a stored manifest.

        Raises:
            ValueError: it is no JSON, has another format, or names a file outside the pack's folder.
        """
        try:
            data = json.loads(text)
            if data.pop("format") != FORMAT:
                raise ValueError("its format is not known")
            files = tuple(PackFile(**item) for item in data.pop("files"))
            sources = tuple(Origin(**item) for item in data.pop("sources"))
            manifest = cls(files=files, sources=sources, **data)
        except (KeyError, TypeError, AttributeError) as error:
            message = f"its fields are not those of a manifest ({error})"
            raise ValueError(message) from None
        for file in files:
            if PurePath(file.name).name != file.name:
                message = f"{file.name!r} is no name of a file in the pack's folder"
                raise ValueError(message)
        return manifest


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack on disk."""

    folder: Path
    manifest: Manifest

    @property
    def landmarks68(self) -> bool:
        """True where the pack has the 68-point model."""
        return self.has(LANDMARKS68)

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
            with (self.folder / file.name).open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
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
        message = f"there is no model pack in {home}; it has to be prepared first"
        raise PackMissing(message) from None
    try:
        manifest = Manifest.from_json(text)
    except ValueError as error:
        message = f"{home / MANIFEST} cannot be used: {error}"
        raise PackDamaged(message) from error
    for file in manifest.files:
        _check_size(home, file)
    return Pack(home, manifest)


def _check_size(folder: Path, file: PackFile) -> None:
    path = folder / file.name
    found = path.stat().st_size if path.is_file() else None
    if found != file.size:
        message = f"{path} is missing" if found is None else f"{path} has {found} bytes, its manifest says {file.size}"
        raise PackDamaged(message)
