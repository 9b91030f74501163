"""Makes the default pack: reads the reviewed sources, converts them, and puts the result in place in one step."""

from __future__ import annotations

import fcntl
import hashlib
import io
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engines.packs import dlib_landmarks, dlib_resnet, mtcnn_networks, sources
from engines.packs.errors import PackError, UnknownPack
from engines.packs.pack import (
    DEFAULT,
    DESCRIPTOR,
    LANDMARKS5,
    LANDMARKS68,
    MANIFEST,
    OUTPUT,
    PROPOSAL,
    REFINEMENT,
    Manifest,
    Origin,
    Pack,
    PackFile,
    load,
)
from engines.packs.sources import Locate, Source

VERSION = "1"
"""Version of the default pack: it changes when its networks give other results."""

CONVERTER = "1"
"""Version of this code: a pack that another version made is made again."""

Progress = Callable[[str, int, int], None]
"""Told the name of the file that is made next, how many are done, and how many there are."""


@dataclass(frozen=True, slots=True)
class _Recipe:
    """How one file of the pack is made from one source."""

    name: str
    source: Source
    convert: Callable[[bytes], bytes]


def is_prepared(folder: Path, pack: str, *, landmarks68: bool) -> bool:
    """True where `prepare` would have nothing to do. Looks at the manifest and at sizes only."""
    return _prepared(folder, pack, landmarks68=landmarks68) is not None


def prepare(
    folder: Path, pack: str, *, landmarks68: bool, progress: Progress, locate: Locate = sources.installed
) -> Pack:
    """Make a pack, or open it where it has been made.

    The pack is made in a temporary folder beside its place and renamed, so that a preparation that was cut off leaves
    nothing that could be taken for a pack. Other processes that prepare in the same folder wait.

    Args:
        folder: the folder that holds all packs; it is created.
        pack: the pack's name; `default` is the only one that can be made.
        landmarks68: include the 68-point model. Its training data excludes commercial use.
        progress: is told how far it is.
        locate: finds the source files.

    Raises:
        UnknownPack: the name is not `default`, and no such pack is there.
        SourceMissing, SourceChanged, SourceUnreadable: a source cannot be used; nothing is changed.
    """
    if pack != DEFAULT:
        return _made_elsewhere(folder, pack)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / f".{pack}.lock"):
        prepared = _prepared(folder, pack, landmarks68=landmarks68)
        if prepared is not None:
            return prepared
        for leftover in folder.glob(f".{pack}-*"):
            shutil.rmtree(leftover)
        with tempfile.TemporaryDirectory(prefix=f".{pack}-", dir=folder) as temporary:
            work = Path(temporary)
            _make(work / "new", pack, landmarks68=landmarks68, progress=progress, locate=locate)
            home = folder / pack
            if home.exists():
                home.rename(work / "old")
            (work / "new").rename(home)
    return load(folder, pack)


def _made_elsewhere(folder: Path, pack: str) -> Pack:
    try:
        return load(folder, pack)
    except PackError as error:
        message = f"a pack named {pack!r} cannot be made here: {error}"
        raise UnknownPack(message) from error


def _prepared(folder: Path, pack: str, *, landmarks68: bool) -> Pack | None:
    try:
        found = load(folder, pack)
    except PackError:
        return None
    if pack == DEFAULT and (found.manifest.version, found.manifest.converter) != (VERSION, CONVERTER):
        return None
    return found if found.landmarks68 or not landmarks68 else None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Holds the lock that one preparation at a time may have; the system frees it when the process ends."""
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(home: Path, pack: str, *, landmarks68: bool, progress: Progress, locate: Locate) -> None:
    recipes = [recipe for recipe in _RECIPES if landmarks68 or recipe.name != LANDMARKS68]
    home.mkdir()
    files = []
    for done, recipe in enumerate(recipes):
        progress(recipe.name, done, len(recipes))
        content = recipe.convert(sources.read(recipe.source, locate))
        (home / recipe.name).write_bytes(content)
        files.append(PackFile(recipe.name, len(content), hashlib.sha256(content).hexdigest()))
    origins = (
        Origin(source.package, source.version, source.path, source.sha256, source.licence)
        for source in (recipe.source for recipe in recipes)
    )
    manifest = Manifest(pack, VERSION, CONVERTER, tuple(files), tuple(origins))
    (home / MANIFEST).write_text(manifest.to_json(), "utf-8")
    progress(MANIFEST, len(recipes), len(recipes))


def _landmarks(data: bytes) -> bytes:
    buffer = io.BytesIO()
    arrays = dlib_landmarks.arrays(data)
    np.savez(
        buffer,
        mean=arrays["mean"],
        first=arrays["first"],
        second=arrays["second"],
        threshold=arrays["threshold"],
        leaf=arrays["leaf"],
        anchor=arrays["anchor"],
        delta=arrays["delta"],
    )
    return buffer.getvalue()


_RECIPES = (
    _Recipe(PROPOSAL, sources.PNET, lambda data: mtcnn_networks.proposal(mtcnn_networks.weights(data))),
    _Recipe(REFINEMENT, sources.RNET, lambda data: mtcnn_networks.refinement(mtcnn_networks.weights(data))),
    _Recipe(OUTPUT, sources.ONET, lambda data: mtcnn_networks.output(mtcnn_networks.weights(data))),
    _Recipe(DESCRIPTOR, sources.DESCRIPTOR, dlib_resnet.convert),
    _Recipe(LANDMARKS5, sources.LANDMARKS5, _landmarks),
    _Recipe(LANDMARKS68, sources.LANDMARKS68, _landmarks),
)
