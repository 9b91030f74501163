"""What root opens to the servers' account, asked of the kernel."""

from __future__ import annotations

import errno
import os
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.embedded import CannotPrepare
from storage.embedded.account import Account, own
from storage.embedded.reach import open_tree, open_way
from tests.folders import server_folder

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root opens anything to another account")

STRANGER = "nobody"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with server_folder() as folder:
        yield folder


@pytest.fixture
def account() -> Account:
    """Any account that is neither root nor the stranger."""
    entry = pwd.getpwnam("daemon")
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def may(name: str, flag: str, path: Path) -> bool:
    entry = pwd.getpwnam(name)
    argv = ["test", flag, str(path)]
    return subprocess.run(argv, user=name, group=entry.pw_gid, extra_groups=[], check=False).returncode == 0


def test_a_way_is_opened_for_passing_through_to_one_account_only(tmp_path, account):
    closed = tmp_path / "closed"
    (closed / "inner").mkdir(parents=True)
    closed.chmod(0o700)
    assert not may(account.name, "-x", closed / "inner")
    open_way(closed / "inner", account)
    assert may(account.name, "-x", closed / "inner")
    assert not may(account.name, "-r", closed)
    assert not may(account.name, "-w", closed)
    assert not may(STRANGER, "-x", closed)


def test_what_is_open_already_is_left_as_it_is(tmp_path, account):
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    open_way(folder, account)
    assert os.listxattr(folder) == []


def test_opening_twice_changes_nothing_the_second_time(tmp_path, account):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    open_way(folder, account)
    first = os.getxattr(folder, "system.posix_acl_access")
    open_way(folder, account)
    assert os.getxattr(folder, "system.posix_acl_access") == first


def test_two_accounts_can_be_let_in(tmp_path, account):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    other = pwd.getpwnam("bin")
    open_way(folder, account)
    open_way(folder, Account(other.pw_name, other.pw_uid, other.pw_gid))
    assert may(account.name, "-x", folder)
    assert may("bin", "-x", folder)
    assert not may(STRANGER, "-x", folder)


def test_an_installation_that_only_root_may_read_is_opened_to_the_account(tmp_path, account):
    tree = tmp_path / "install"
    (tree / "bin").mkdir(parents=True, mode=0o700)
    program = tree / "bin" / "program"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o700)
    library = tree / "library"
    library.write_text("")
    library.chmod(0o600)
    (tree / "link").symlink_to(library)
    tree.chmod(0o700)
    open_way(tree, account)
    open_tree(tree, account)
    assert subprocess.run([program], user=account.uid, group=account.gid, extra_groups=[], check=False).returncode == 0
    assert may(account.name, "-r", tree / "link")
    assert not may(account.name, "-x", library)
    assert not may(account.name, "-w", library)
    assert not may(STRANGER, "-x", tree)
    assert not may(STRANGER, "-r", library)


def test_a_filesystem_without_access_control_lists_is_reported_with_a_way_out(tmp_path, account, monkeypatch):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)

    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "setxattr", refuse)
    with pytest.raises(CannotPrepare, match=r"is closed to the account 'daemon'.*LUNA_DATA"):
        open_way(closed, account)


def test_a_folder_of_an_account_with_other_numbers_is_handed_over_without_following_links(tmp_path, account):
    folder = tmp_path / "data"
    (folder / "inner").mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.write_text("")
    (folder / "inner" / "link").symlink_to(outside)
    own(folder, account)
    assert {path.lstat().st_uid for path in (folder, *folder.rglob("*"))} == {account.uid}
    assert outside.stat().st_uid == 0
    assert folder.stat().st_mode & 0o777 == 0o700
