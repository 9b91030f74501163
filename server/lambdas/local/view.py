"""What a sandbox sees of the file system: Python and its libraries, and nothing that is not named."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CODE, PACKAGES, BASE = "/lambda/code", "/lambda/packages", "/lambda/base"
"""Folders of a lambda: its archive, what its requirements installed, and the platform's own part."""
PLATFORM = "/run/luna/platform.sock"
"""Where the platform's gRPC is reached."""
TEMPORARY, SHARED_MEMORY = "/tmp", "/dev/shm"  # noqa: S108 - the sandbox's own
"""Writable folders, in memory."""
SHARED_MEMORY_BYTES = 16 << 20
"""Most bytes of the second one, which semaphores of `multiprocessing` are in."""

_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo")
_NETWORK = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/ssl",
    "/etc/pki",
    "/usr/share/ca-certificates",
)


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or folder of the host at a place of the sandbox."""

    source: str
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    value: str
    target: str


@dataclass(frozen=True, slots=True)
class Memory:
    """A writable folder of so many bytes, in memory."""

    target: str
    size: int


Mount = Bind | Link | Memory
View = tuple[Mount, ...]


def python() -> View:
    """The interpreter that runs this, its standard library and its installed packages, at their own places."""
    mounts: list[Mount] = []
    for name in _LIBRARIES:
        path = Path(name)
        if path.is_symlink():
            mounts.append(Link(str(path.readlink()), name))
        elif path.exists():
            mounts.append(Bind(name, name))
    if Path("/etc/ld.so.cache").exists():
        mounts.append(Bind("/etc/ld.so.cache", "/etc/ld.so.cache"))
    mounts.extend(_executable(Path(sys.executable)))
    covered = [mount.target for mount in mounts if isinstance(mount, Bind | Link)]
    for name in sorted(set(_folders())):
        if not any(name == one or name.startswith(one + "/") for one in covered):
            mounts.append(Bind(name, name))
            covered.append(name)
    return tuple(mounts)


def network() -> View:
    """What names are resolved and certificates are judged with."""
    return tuple(Bind(str(Path(name).resolve()), name) for name in _NETWORK if Path(name).exists())


def parents(view: View) -> list[str]:
    """The folders that have to be there for the mounts of a view, outer ones first."""
    found = {str(parent) for mount in view for parent in Path(mount.target).parents}
    return sorted(found - {"/"}, key=lambda name: (name.count("/"), name))


def _folders() -> Iterator[str]:
    """Folders that Python imports from, and those that its own libraries are in."""
    named = [sysconfig.get_path(key) for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    named += [*site.getsitepackages(), *(f"{prefix}/{lib}" for prefix in _prefixes() for lib in ("lib", "lib64"))]
    for name in named:
        if name and Path(name).is_dir():
            yield os.path.normpath(name)


def _prefixes() -> set[str]:
    return {prefix for prefix in (sys.prefix, sys.base_prefix) if prefix not in ("/", "/usr")}


def _executable(path: Path) -> Iterator[Mount]:
    """The interpreter with every link that leads to it: it finds its library and its packages by where it is."""
    settings = path.parent.parent / "pyvenv.cfg"
    if settings.exists():
        yield Bind(str(settings), str(settings))
    while path.is_symlink():
        value = path.readlink()
        yield Link(str(value), str(path))
        path = Path(os.path.normpath(path.parent / value))
    yield Bind(str(path), str(path))
