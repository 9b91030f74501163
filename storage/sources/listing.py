"""What every source does alike: choosing files by their names, and putting them into a stable order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from server.errors import ImageNotAccessible, InvalidInput


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a source: files, bytes of one file, and seconds that a server may take for an answer or a file."""

    files: int
    file_bytes: int
    seconds: float


class Listing:
    """The names of a source's files, as they are found.

    Args:
        limits: how many there may be.
        check: called now and then; what it raises ends the listing.
        prefix, postfix: what names must begin and end with.
    """

    def __init__(self, limits: Limits, check: Callable[[], None], prefix: str = "", postfix: str = "") -> None:
        self._limits = limits
        self._check = check
        self._prefix = prefix
        self._postfix = postfix
        self._names: set[str] = set()
        self._folders = 0

    def add(self, name: str, judged: str | None = None) -> None:
        """A file was found.

        Args:
            name: its name.
            judged: what must begin and end as is asked for, where that is not the whole name.

        Raises:
            InvalidInput: there are too many.
        """
        self._check()
        part = name if judged is None else judged
        if part.startswith(self._prefix) and part.endswith(self._postfix):
            self._names.add(name)
            self._limit(len(self._names), "files")

    def trouble(self, name: str) -> None:
        """A folder cannot be looked into: it is listed, so that reading it says why.

        Raises:
            InvalidInput: there are too many.
        """
        self._names.add(name)
        self._limit(len(self._names), "files")

    def enter(self) -> None:
        """A folder is looked into.

        Raises:
            InvalidInput: there are too many.
        """
        self._check()
        self._folders += 1
        self._limit(self._folders, "folders")

    def after(self, name: str) -> list[str]:
        """The names behind one, ascending by their code points."""
        return sorted(one for one in self._names if one > name)

    def _limit(self, count: int, what: str) -> None:
        if count > self._limits.files:
            raise InvalidInput(
                message=f"the source has more than {self._limits.files} {what}, see LUNA_TASKS__MAX_FILES"
            )


def unreadable(name: str, message: str) -> ImageNotAccessible:
    """A file cannot be read."""
    return ImageNotAccessible(image=name, message=message)


def too_large(name: str, limit: int) -> ImageNotAccessible:
    """A file has too many bytes."""
    return unreadable(name, f"it is larger than {limit} bytes, see LUNA_FETCH__MAX_BYTES")


def is_name(part: str) -> bool:
    """True for one step of a path that leads to a file or folder below, and can be said to a server."""
    return part not in {"", ".", ".."} and not any(one in part for one in "/\\\r\n\0")
