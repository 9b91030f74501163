"""What every lambda stands upon besides Python and the platform's packages: its program, and the generated protos."""

from __future__ import annotations

import compileall
import hashlib
import importlib.util
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

from server.version import VERSION

SDK, PROTOS = "luna_lambda", "luna"
_SOURCES = {SDK: "server.lambda_sdk", PROTOS: "luna"}
_CODE = (".py", ".pyi", ".typed")


def version() -> str:
    """What a build says that it stands upon."""
    return ".".join(str(part) for part in VERSION)


def interpreter() -> str:
    """Builds for another one cannot be used: what they have installed may be compiled."""
    return f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}"


def prepare(folder: Path) -> Path:
    """The folder of the base below `folder`, made where it is not there, and older ones removed.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    files = sorted(_files())
    digest = hashlib.sha256()
    for name, source in files:
        digest.update(f"{name}\0".encode())
        digest.update(source.read_bytes())
    wanted = folder / f"{version()}-{digest.hexdigest()[:12]}"
    if not wanted.exists():
        made = Path(tempfile.mkdtemp(prefix=".new-", dir=folder))
        for name, source in files:
            target = made / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        # lambdas cannot write what they have compiled
        compileall.compile_dir(made, quiet=2)
        for path in (made, *made.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        made.replace(wanted)
    for other in folder.iterdir():
        if other != wanted:
            shutil.rmtree(other, ignore_errors=True)
    return wanted


def _files() -> Iterator[tuple[str, Path]]:
    """Every file of the base: its name there, and where it is now."""
    for name, package in _SOURCES.items():
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            message = f"The package {package} is not installed"
            raise FileNotFoundError(message)
        root = Path(spec.submodule_search_locations[0])
        for path in root.rglob("*"):
            if path.suffix in _CODE and path.is_file():
                yield str(Path(name) / path.relative_to(root)), path
