"""Users of this machine for lambdas: each has one of its own, so that what one owns is closed to another."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from pathlib import Path

FIRST = 0x70000000
"""The first of the numbers that neither people, nor services, nor containers are given (systemd's UIDS-GIDS)."""
FIRST_OF_CONTAINER = 50000
"""Where a container has but 65536 numbers: below them are people's, above them those of services."""
_OF_FOLDER = 1 << 12
_FOLDERS = 1 << 12
_OF_CONTAINER = 9000


class NoUser(Exception):
    """There is no user number for a lambda."""


def available() -> range:
    """The numbers that this process may give away.

    Raises:
        NoUser: its user namespace has none of them.
    """
    mapped = [tuple(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    for wanted in (
        range(FIRST, FIRST + _OF_FOLDER * _FOLDERS),
        range(FIRST_OF_CONTAINER, FIRST_OF_CONTAINER + _OF_CONTAINER),
    ):
        if any(begin <= wanted.start and wanted.stop <= begin + count for begin, _, count in mapped):
            return wanted
    message = "the user namespace of this process has no free user numbers"
    raise NoUser(message)


def free(folder: Path, taken: Iterable[int]) -> int | None:
    """A number that no other lambda of a data folder has; None where this process is not root.

    Services with other data folders on this machine begin elsewhere, so that they rarely share numbers.

    Raises:
        NoUser: there is none left.
    """
    if os.geteuid() != 0:
        return None
    numbers = available()
    used = set(taken)
    if len(numbers) > _OF_CONTAINER:
        begin = numbers.start + zlib.crc32(str(folder.resolve()).encode()) % _FOLDERS * _OF_FOLDER
        numbers = range(begin, begin + _OF_FOLDER)
    for number in numbers:
        if number not in used:
            return number
    message = f"all {len(numbers)} user numbers of lambdas are taken"
    raise NoUser(message)
