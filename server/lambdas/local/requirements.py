"""What a lambda asks to be installed: packages by name and version, and nothing else that pip understands."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.utils import canonicalize_name

from server.lambda_archives.requirements import ALL, MOST, BadRequirement, requirements

_WHEEL = ".whl"


class Refused(Exception):
    """Something that is asked for is not installed; the text says why."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A package that pip would install.

    Attributes:
        name: normalised.
        own: whether it is a wheel of the archive.
        sha256: of the wheel; empty where pip does not say.
    """

    name: str
    version: str
    own: bool
    sha256: str


def asked(text: str) -> tuple[str, ...]:
    """The requirements of a file.

    Raises:
        Refused: a line is something else.
    """
    try:
        found = tuple(str(one) for one in requirements(text))
    except BadRequirement as error:
        raise Refused(str(error)) from error
    if len(found) > MOST:
        raise Refused(f"there are {len(found)} requirements, and may be {MOST}")
    return found


def planned(report: bytes, wheels: str) -> tuple[Planned, ...]:
    """What a report of pip's names for installation.

    Args:
        report: pip's installation report, version 1.
        wheels: folder of the archive's own wheels, as pip saw it.

    Raises:
        Refused: it is no such report, or names something that is no wheel.
    """
    try:
        entries = json.loads(report)["install"]
        return tuple(_planned(entry, wheels) for entry in entries)
    except (ValueError, KeyError, TypeError) as error:
        raise Refused("what pip would install cannot be read") from error


def judge(plan: Iterable[Planned], allowed: Iterable[str]) -> None:
    """Refuse what the operator has not allowed. Packages that others need are judged like those that were asked for.

    Raises:
        Refused: a package is not allowed, or there are too many.
    """
    names = {ALL if name == ALL else canonicalize_name(name) for name in allowed}
    refused = sorted(one.name for one in plan if ALL not in names and one.name not in names and not one.own)
    if refused:
        raise Refused(f"not among the packages that this service allows: {', '.join(refused)}")
    if len(tuple(plan)) > MOST:
        raise Refused(f"more than {MOST} packages would be installed")


def pinned(plan: Iterable[Planned]) -> str:
    """A requirements file that installs exactly what was planned."""
    plan = tuple(plan)
    hashed = all(one.sha256 for one in plan)
    return "".join(f"{one.name}=={one.version}{f' --hash=sha256:{one.sha256}' if hashed else ''}\n" for one in plan)


def installer() -> None:
    """Return where packages can be installed.

    Raises:
        Refused: pip is not there.
    """
    if importlib.util.find_spec("pip") is None:
        raise Refused("pip is not installed in this service's environment, so that lambdas can have no requirements")


def wheels(folder: Path) -> bool:
    """Whether a folder has wheels."""
    return folder.is_dir() and any(path.suffix == _WHEEL for path in folder.iterdir())


def _planned(entry: Mapping[str, Any], wheels: str) -> Planned:
    address = urlsplit(entry["download_info"]["url"])
    path = unquote(address.path)
    if not path.endswith(_WHEEL):
        raise Refused(f"{path.rpartition('/')[2][:100]} is no wheel, and nothing else is installed")
    return Planned(
        name=canonicalize_name(entry["metadata"]["name"]),
        version=str(entry["metadata"]["version"]),
        own=address.scheme == "file" and path.rpartition("/")[0] == wheels,
        sha256=str(entry["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256", "")),
    )
