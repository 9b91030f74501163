"""The unprivileged system account that the servers run as when Luna itself runs as root.

PostgreSQL refuses to run as root, and Redis has no need to.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from storage.embedded.errors import CannotPrepare

NAME = "luna-data"
"""Nobody else uses this account: whoever shares it could read the databases."""

MAKE = (
    "useradd",
    "--system",
    "--user-group",
    "--no-create-home",
    "--home-dir",
    "/nonexistent",
    "--shell",
    "/usr/sbin/nologin",
    NAME,
)

OTHER_SECONDS = 5
"""How long somebody else may take to make the account."""


@dataclass(frozen=True, slots=True)
class Account:
    """A system account: its name and its numbers."""

    name: str
    uid: int
    gid: int


def running_as_root() -> bool:
    """True where the servers need an account of their own."""
    return os.geteuid() == 0


def server_account() -> Account:
    """The account that the servers run as: the current one, or `luna-data`, made if need be, under root.

    Raises:
        CannotPrepare: the current account has no name, or `luna-data` cannot be made.
    """
    if not running_as_root():
        return current_account()
    found = _look_up(NAME)
    if found is None:
        try:
            made = subprocess.run(MAKE, check=False, capture_output=True, text=True, timeout=30)  # noqa: S603
        except FileNotFoundError as error:
            message = f"As root, Luna needs the system account {NAME!r}: make it, or run Luna as another user."
            raise CannotPrepare(message) from error
        # Both servers are prepared at the same time: then one useradd fails while the other is at it.
        deadline = monotonic() + OTHER_SECONDS
        while (found := _look_up(NAME)) is None:
            if monotonic() >= deadline:
                message = f"The system account {NAME!r} cannot be made: {made.stderr.strip()}"
                raise CannotPrepare(message)
            sleep(0.05)
    return found


def current_account() -> Account:
    """The account of this process.

    Raises:
        CannotPrepare: it has no name, which PostgreSQL needs.
    """
    uid = os.geteuid()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError as error:
        message = f"User id {uid} has no name in the password database; PostgreSQL does not run without one."
        raise CannotPrepare(message) from error
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def own(folder: Path, account: Account) -> None:
    """Make `folder`, closed to everybody but `account`, and hand it over with all that is in it.

    Under root the numbers of `luna-data` may differ from those of the last start, for example in a newer container.

    Raises:
        CannotPrepare: the folder belongs to somebody else and cannot be handed over.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != account.uid:
        if not running_as_root():
            message = (
                f"{folder} does not belong to {account.name!r}. It may have been made by root: give it back or move it."
            )
            raise CannotPrepare(message)
        for root, folders, files in os.walk(folder):
            for name in (*folders, *files):
                os.chown(Path(root) / name, account.uid, account.gid, follow_symlinks=False)
        # Last, so that a hand-over that was cut short is begun again.
        os.chown(folder, account.uid, account.gid)
    folder.chmod(0o700)


def _look_up(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
