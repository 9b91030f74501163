"""The packages that a lambda asks for: lines of requirements.txt, and the wheels that it brings.

Only plain requirements are taken (PEP 508): a name, extras, versions, markers. What pip would also take - options,
other files, addresses, paths - would let an archive choose where packages come from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

REQUIREMENTS_FILE: Final = "requirements.txt"
WHEELS: Final = "wheels/"
REQUIREMENTS_BYTES: Final = 64 << 10
MOST: Final = 200
"""Requirements of one lambda."""
ALL: Final = "*"

_COMMENT: Final = re.compile(r"(^|\s)#.*$")


class BadRequirement(ValueError):
    """A line cannot be taken; the text says why."""


def requirements(text: str) -> Iterator[Requirement]:
    """The requirements of a file, line by line.

    Raises:
        BadRequirement: a line is no plain requirement.
    """
    for number, line in enumerate(text.splitlines(), 1):
        wanted = _COMMENT.sub("", line).strip()
        if wanted:
            yield _requirement(wanted, number)


def wheel_names(names: Iterable[str]) -> Iterator[str]:
    """The normalised names of the packages whose wheels are among some files.

    Raises:
        BadRequirement: a file of the folder is no wheel by its name.
    """
    for name in names:
        if not name.startswith(WHEELS):
            continue
        try:
            yield parse_wheel_filename(name.removeprefix(WHEELS))[0]
        except InvalidWheelFilename:
            raise BadRequirement(
                f"{_shown(name)}: the folder wheels/ has wheels alone, named as PEP 427 says"
            ) from None


def problems_of_requirements(data: bytes, names: Iterable[str], allowed: Iterable[str]) -> list[str]:
    """What is wrong with a file of requirements and the wheels beside it.

    Args:
        data: the file.
        names: the files of the archive.
        allowed: names of packages that may be asked for, besides those whose wheels the archive has; `*` is all.
    """
    try:
        brought = set(wheel_names(names))
        wanted = list(requirements(data.decode("utf-8-sig")))
    except UnicodeDecodeError:
        return [f"{REQUIREMENTS_FILE} is not UTF-8"]
    except BadRequirement as error:
        return [str(error)]
    if len(wanted) > MOST:
        return [f"{REQUIREMENTS_FILE} has {len(wanted)} requirements, and may have {MOST}"]
    may = {canonicalize_name(name) for name in allowed if name != ALL}
    if ALL in allowed:
        return []
    refused = {name for one in wanted if (name := canonicalize_name(one.name)) not in may | brought}
    return [f"{REQUIREMENTS_FILE}: package {_shown(name)} is not allowed on this server" for name in sorted(refused)]


def _requirement(text: str, number: int) -> Requirement:
    place = f"{REQUIREMENTS_FILE}, line {number}"
    if text.startswith("-"):
        raise BadRequirement(f"{place}: options are not taken: {_shown(text)}")
    try:
        found = Requirement(text)
    except InvalidRequirement:
        raise BadRequirement(f"{place}: it is no requirement: {_shown(text)}") from None
    if found.url is not None:
        raise BadRequirement(f"{place}: addresses are not taken: {_shown(found.name)}")
    return found


def _shown(text: str) -> str:
    return repr(text if len(text) <= 100 else f"{text[:100]}...")
