"""The packs that can be installed: one manifest for each, as a file beside this one."""

from __future__ import annotations

from importlib import resources

from engines.packs.errors import UnknownPack
from engines.packs.manifest import Manifest


def names() -> list[str]:
    """Names of the packs, sorted."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(".json") for file in files if file.name.endswith(".json"))


def manifest(name: str) -> Manifest:
    """The manifest of a pack.

    Raises:
        UnknownPack: the catalogue has no such pack.
    """
    known = names()
    if name not in known:
        message = f"there is no pack {name!r} in the catalogue; there are {', '.join(known)}"
        raise UnknownPack(message)
    return Manifest.from_json(resources.files(__name__).joinpath(f"{name}.json").read_text("utf-8"))
