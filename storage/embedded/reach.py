"""Lets the servers' account reach the folders it needs, and nobody else.

Under root the data folder or the virtual environment often lies below a closed folder such as /root. Opening it with
chmod would open it to everybody; an entry in its access control list (POSIX.1e, acl(5)) opens it to one account.

A later chmod of such a folder that takes the group's bits away closes it to that account again, for a running server
too: they are the mask of the list. The next start opens it.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from storage.embedded.account import Account
from storage.embedded.errors import CannotPrepare

READ = 4
ENTER = 1
"""Permission bits: to read a file or list a folder; to run a file or pass through a folder."""

_ATTRIBUTE = "system.posix_acl_access"
_HEADER = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")
_VERSION = 2
_NO_ID = 0xFFFFFFFF
_OWNER, _USER, _GROUP_OWNER, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20


@dataclass(frozen=True, slots=True, order=True)
class _Entry:
    """One line of an access control list, ordered as the kernel wants them."""

    tag: int
    id: int
    bits: int


def open_way(path: Path, account: Account) -> None:
    """Let `account` pass through every folder above `path` and through `path` itself.

    Raises:
        CannotPrepare: a folder is closed and its filesystem has no access control lists.
    """
    resolved = path.resolve()
    for folder in (*reversed(resolved.parents), resolved):
        _allow(folder, account, ENTER)


def open_tree(path: Path, account: Account) -> None:
    """Let `account` read all that is below `path`, and run what its owner may run.

    Raises:
        CannotPrepare: a file is closed and its filesystem has no access control lists.
    """
    _allow(path, account, READ | ENTER)
    for root, folders, files in os.walk(path):
        for name in folders:
            _allow(Path(root) / name, account, READ | ENTER)
        for name in files:
            _allow(Path(root) / name, account, READ)


def _allow(path: Path, account: Account, bits: int) -> None:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return
    if stat.S_ISREG(status.st_mode) and status.st_mode & stat.S_IXUSR:
        bits |= ENTER
    entries = set(_read(path, status.st_mode))
    if bits & ~_granted(entries, status, account) == 0:
        return
    mine = {entry for entry in entries if entry.tag == _USER and entry.id == account.uid}
    masks = {entry for entry in entries if entry.tag == _MASK}
    limited = masks or {entry for entry in entries if entry.tag == _GROUP_OWNER}
    mask = bits
    for entry in limited:
        mask |= entry.bits
    for entry in mine:
        bits |= entry.bits
    entries = (entries - mine - masks) | {_Entry(_USER, account.uid, bits), _Entry(_MASK, _NO_ID, mask)}
    packed = _HEADER.pack(_VERSION) + b"".join(_ENTRY.pack(one.tag, one.bits, one.id) for one in sorted(entries))
    try:
        os.setxattr(path, _ATTRIBUTE, packed)
    except OSError as error:
        message = (
            f"{path} is closed to the account {account.name!r}, which PostgreSQL and Redis run as under root, and "
            f"cannot be opened to it alone ({error.strerror}). Open it with `chmod o+x`, use a data folder elsewhere "
            "(LUNA_DATA), or run Luna as another user."
        )
        raise CannotPrepare(message) from error


def _read(path: Path, mode: int) -> Iterator[_Entry]:
    try:
        packed = os.getxattr(path, _ATTRIBUTE)
    except OSError as error:
        if error.errno not in {errno.ENODATA, errno.EOPNOTSUPP}:
            raise
        yield _Entry(_OWNER, _NO_ID, mode >> 6 & 7)
        yield _Entry(_GROUP_OWNER, _NO_ID, mode >> 3 & 7)
        yield _Entry(_OTHER, _NO_ID, mode & 7)
        return
    for tag, bits, number in _ENTRY.iter_unpack(packed[_HEADER.size :]):
        yield _Entry(tag, number, bits)


def _granted(entries: set[_Entry], status: os.stat_result, account: Account) -> int:
    """What the kernel lets `account` do (acl(5), "access check algorithm"; only its first group is considered)."""

    def bits(tag: int, number: int = _NO_ID) -> int | None:
        return next((entry.bits for entry in entries if entry.tag == tag and entry.id == number), None)

    mask = bits(_MASK)
    limit = 7 if mask is None else mask
    if status.st_uid == account.uid:
        return bits(_OWNER) or 0
    named = bits(_USER, account.uid)
    if named is not None:
        return named & limit
    in_group = bits(_GROUP, account.gid)
    if status.st_gid == account.gid:
        in_group = (in_group or 0) | (bits(_GROUP_OWNER) or 0)
    if in_group is not None:
        return in_group & limit
    return bits(_OTHER) or 0
