"""Makes the default pack: reads the reviewed sources, converts them, and puts the result in place in one step."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engines.packs import dlib_landmarks, dlib_resnet, mtcnn_networks, sources
from engines.packs.default import manifest
from engines.packs.errors import PackError
from engines.packs.manifest import Origin, PackFile
from engines.packs.pack import (
    DEFAULT,
    DESCRIPTOR,
    LANDMARKS5,
    LANDMARKS68,
    MANIFEST,
    OUTPUT,
    PROPOSAL,
    REFINEMENT,
    Pack,
    load,
)
from engines.packs.place import alone, replacing
from engines.packs.sources import Locate, Source

VERSION = "1"
"""Version of the default pack: it changes when its networks give other results."""

CONVERTER = "2"
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
        pack: the pack's name; `default` is the only one that can be made, others have to be there.
        landmarks68: include the 68-point model. Its training data excludes commercial use.
        progress: is told how far it is.
        locate: finds the source files.

    Raises:
        PackMissing, PackDamaged: the name is not `default`, and no such pack is there, or it cannot be used.
        SourceMissing, SourceChanged, SourceUnreadable: a source cannot be used; nothing is changed.
    """
    if pack != DEFAULT:
        return load(folder, pack)
    with alone(folder, pack):
        prepared = _prepared(folder, pack, landmarks68=landmarks68)
        if prepared is not None:
            return prepared
        with replacing(folder, pack) as home:
            _make(home, pack, landmarks68=landmarks68, progress=progress, locate=locate)
    return load(folder, pack)


def _prepared(folder: Path, pack: str, *, landmarks68: bool) -> Pack | None:
    try:
        found = load(folder, pack)
    except PackError:
        return None
    if pack == DEFAULT and (found.manifest.version, found.manifest.converter) != (VERSION, CONVERTER):
        return None
    return found if found.has(LANDMARKS68) or not landmarks68 else None


def _make(home: Path, pack: str, *, landmarks68: bool, progress: Progress, locate: Locate) -> None:
    recipes = [recipe for recipe in _RECIPES if landmarks68 or recipe.name != LANDMARKS68]
    files = []
    for done, recipe in enumerate(recipes):
        progress(recipe.name, done, len(recipes))
        content = recipe.convert(sources.read(recipe.source, locate))
        (home / recipe.name).write_bytes(content)
        origin = Origin.model_validate({name: getattr(recipe.source, name) for name in Origin.model_fields})
        digest = hashlib.sha256(content).hexdigest()
        files.append(PackFile(name=recipe.name, size=len(content), sha256=digest, origin=origin))
    described = manifest(pack, VERSION, CONVERTER, files, landmarks68=landmarks68)
    (home / MANIFEST).write_text(described.to_json(), "utf-8")
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
