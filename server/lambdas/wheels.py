"""Installing what a lambda asks for: wheels alone, which pip unpacks and runs nothing of, and none that is not allowed.

It takes two steps. The first one decides and installs nothing; what it decided, dependencies included, is held against
the operator's list. The second one installs exactly that, by its hashes, and decides nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from server.lambda_archives.requirements import ALL

_ALWAYS = (
    "-m",
    "pip",
    "install",
    "--no-input",
    "--disable-pip-version-check",
    "--no-cache-dir",
    "--no-color",
    "--progress-bar=off",
    "--root-user-action=ignore",
    "--only-binary=:all:",
    "--no-compile",
)


class NotAllowed(ValueError):
    """Packages may not be installed; the text says which."""


def sources(index_url: str, folders: Iterable[Path], *, index: bool = True) -> list[str]:
    """Where packages come from, as arguments of pip.

    Args:
        index_url: the index; empty leaves it to pip's own settings.
        folders: of wheels.
        index: whether an index is asked at all.
    """
    given = [f"--find-links={folder}" for folder in folders]
    if not index:
        return [*given, "--no-index"]
    return [*given, f"--index-url={index_url}"] if index_url else given


def deciding(requirements: Path, report: Path, source: Sequence[str]) -> list[str]:
    """Arguments of Python for the first step: what would be installed is written to `report`."""
    return [*_ALWAYS, "--dry-run", "--ignore-installed", f"--report={report}", "-r", str(requirements), *source]


def installing(pinned: Path, target: Path, source: Sequence[str]) -> list[str]:
    """Arguments of Python for the second step: what `pins` wrote is installed into a folder."""
    return [*_ALWAYS, "--no-deps", "--require-hashes", f"--target={target}", "-r", str(pinned), *source]


def pins(report: bytes, allowed: Iterable[str], brought: Iterable[str]) -> str:
    """What was decided, as requirements with hashes.

    Args:
        report: pip's, version 1 of its format.
        allowed: names of packages that may be installed, `*` is all.
        brought: normalised names of those whose wheels the archive has: they may be installed in any case.

    Raises:
        NotAllowed: something else would be installed as well.
    """
    names = list(allowed)
    may = {canonicalize_name(name) for name in names if name != ALL} | set(brought)
    found = list(_decided(json.loads(report)))
    refused = sorted({name for name, _, _ in found if ALL not in names and name not in may})
    if refused:
        raise NotAllowed(f"not allowed on this server, and needed: {', '.join(refused)}")
    return "".join(f"{name}=={version} --hash=sha256:{digest}\n" for name, version, digest in found)


def _decided(report: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for one in report["install"]:
        metadata = one["metadata"]
        yield (
            canonicalize_name(metadata["name"]),
            metadata["version"],
            one["download_info"]["archive_info"]["hashes"]["sha256"],
        )
