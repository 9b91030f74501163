"""Where the servers' Unix sockets are.

They are in a folder that only the servers' account may enter: the way to a server is closed to every other account.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from pathlib import Path

from storage.embedded.account import Account, own, running_as_root
from storage.embedded.errors import CannotPrepare

LONGEST = 107
"""Bytes of a socket's path that fit into `sockaddr_un.sun_path` with its final zero (unix(7))."""

ROOM = len("/.s.PGSQL.5432.lock")
"""Bytes that the longest file name in the folder takes."""

_PLAIN = re.compile(r"[A-Za-z0-9/._~-]+")


def mark(data: Path) -> str:
    """A name for the servers of the folder `data` that no other folder's servers have."""
    return "luna-" + hashlib.sha256(bytes(data)).hexdigest()[:16]


def socket_folder(data: Path) -> Path:
    """The folder of the sockets: `run` in `data`, or a short one elsewhere if that path does not fit.

    A path with signs that mean something in an address (`:`, `,`, `?`, spaces) does not fit either.

    Raises:
        CannotPrepare: no short folder is to be had.
    """
    # A folder in XDG_RUNTIME_DIR would vanish when its user logs out, with the servers still running.
    elsewhere = Path("/run") if running_as_root() else Path(tempfile.gettempdir())
    for folder in (data / "run", elsewhere / mark(data)):
        if len(bytes(folder)) + ROOM <= LONGEST and _PLAIN.fullmatch(str(folder)):
            return folder
    message = f"{elsewhere} is too long for a Unix socket: set TMPDIR to a short folder."
    raise CannotPrepare(message)


def make_socket_folder(folder: Path, account: Account) -> None:
    """Make the folder of the sockets, closed to all but `account`.

    Raises:
        CannotPrepare: somebody else made it, perhaps to listen in.
    """
    if folder.is_symlink():
        message = f"{folder} is a link, and not the folder that Luna made: remove it."
        raise CannotPrepare(message)
    own(folder, account)
