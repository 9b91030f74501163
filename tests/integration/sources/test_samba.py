"""Samba shares as sources, by smbd on loopback where it is installed."""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from server.domain.task_contents import SambaSource
from server.errors import InvalidInput, Unavailable
from tests.integration.sources.conftest import MakeLooking
from tests.ports import free_ports

SMBD = shutil.which("smbd", path="/usr/sbin:/usr/local/sbin:/usr/bin")


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SambaSource]:
    """A share with files, for one user and for guests."""
    if SMBD is None:
        pytest.skip("smbd is not installed: apt-get install samba")
    folder = tmp_path_factory.mktemp("samba")
    files = folder / "files"
    (files / "in" / "deep").mkdir(parents=True)
    for name in ("in/b.jpg", "in/a.jpg", "in/лицо 1.png", "in/deep/c.jpg", "top.jpg"):
        (files / name).write_bytes(name.encode())
    (files / "in" / "empty.jpg").write_bytes(b"")
    (files / "in" / "large.jpg").write_bytes(bytes(3 << 20))
    (files / "in" / "out.jpg").symlink_to("/etc/passwd")
    user, (port,) = getpass.getuser(), free_ports(1)
    for one in ("private", "lock", "state", "cache", "pid", "ncalrpc"):
        (folder / one).mkdir()
    configuration = folder / "smb.conf"
    configuration.write_text(
        f"""
[global]
    server role = standalone server
    interfaces = lo
    bind interfaces only = yes
    smb ports = {port}
    private dir = {folder}/private
    lock directory = {folder}/lock
    state directory = {folder}/state
    cache directory = {folder}/cache
    pid directory = {folder}/pid
    ncalrpc dir = {folder}/ncalrpc
    passdb backend = smbpasswd:{folder}/passwords
    map to guest = bad user
    guest account = {user}
    load printers = no
    disable spoolss = yes
[images]
    path = {files}
    read only = yes
    valid users = {user}
    guest ok = no
[open]
    path = {files}
    read only = yes
    guest ok = yes
    force user = {user}
"""
    )
    subprocess.run(
        ["smbpasswd", "-c", configuration, "-L", "-a", "-s", user],
        input=b"pass word\npass word\n",
        check=True,
        capture_output=True,
    )
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [SMBD, "--foreground", "--no-process-group", "--debug-stdout", "-s", configuration],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + 20
        while True:
            assert server.poll() is None, (folder / "log").read_text()
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < end, (folder / "log").read_text()
                time.sleep(0.1)
        yield SambaSource("127.0.0.1", "images/in", port, user=user, password="pass word")
    finally:
        server.terminate()
        server.wait(10)


async def test_files_come_by_their_names(looking: MakeLooking, share: SambaSource) -> None:
    found = await looking().all(replace(share, recursive=True))
    assert "larger than" in str(found.pop("large.jpg"))
    assert found.pop("empty.jpg") == b""
    found.pop("out.jpg", None)
    assert found == {name: f"in/{name}".encode() for name in ("a.jpg", "b.jpg", "deep/c.jpg", "лицо 1.png")}
    assert list(found) == sorted(found)


async def test_a_link_on_the_server_leads_nowhere(looking: MakeLooking, share: SambaSource) -> None:
    found = await looking().all(share)
    assert not isinstance(found.get("out.jpg", ""), bytes)


async def test_only_the_folder_itself_is_looked_into_unless_more_is_asked_for(
    looking: MakeLooking, share: SambaSource
) -> None:
    look = looking()
    assert "deep/c.jpg" not in await look.names(share)
    assert await look.names(replace(share, prefix="a")) == ["a.jpg"]
    assert await look.names(replace(share, postfix=".png")) == ["лицо 1.png"]
    assert await look.names(replace(share, path="images")) == ["top.jpg"]
    assert await look.names(replace(share, path="\\images\\in\\deep\\")) == ["c.jpg"]


async def test_guests_read_where_they_may(looking: MakeLooking, share: SambaSource) -> None:
    guest = replace(share, path="open/in", user="", password="", prefix="a")
    assert await looking().all(guest) == {"a.jpg": b"in/a.jpg"}
    with pytest.raises(InvalidInput):
        await looking().names(replace(guest, path="images/in"))


async def test_a_wrong_password_is_an_error_of_the_task_that_does_not_tell_it(
    looking: MakeLooking, share: SambaSource
) -> None:
    wrong = replace(share, password="geheim")
    with pytest.raises(InvalidInput) as caught:
        await looking().names(wrong)
    assert "geheim" not in caught.value.detail + repr(wrong)


@pytest.mark.parametrize("path", ["nowhere/in", "images/nowhere"])
async def test_a_share_or_folder_that_is_not_there_is_an_error_of_the_task(
    looking: MakeLooking, share: SambaSource, path: str
) -> None:
    with pytest.raises(InvalidInput):
        await looking().names(replace(share, path=path))


@pytest.mark.parametrize("path", ["images/../in", "images/in/.."])
async def test_a_path_does_not_lead_upwards(looking: MakeLooking, share: SambaSource, path: str) -> None:
    with pytest.raises(InvalidInput, match="share/folder"):
        await looking().names(replace(share, path=path))


async def test_a_file_that_is_gone_is_an_error_of_that_file(looking: MakeLooking, share: SambaSource) -> None:
    async with looking().open(share) as files:
        for name in ("gone.jpg", "../top.jpg"):
            with pytest.raises(Exception, match="cannot be accessed"):
                await files.read(name)
        assert await files.read("a.jpg") == b"in/a.jpg"


async def test_a_private_host_is_refused_unless_the_operator_allows_it(looking: MakeLooking) -> None:
    with pytest.raises(InvalidInput, match="not a public one"):
        await looking(allow_private=False).names(SambaSource("127.0.0.1", "images"))


async def test_a_server_that_is_not_there_may_come_back(looking: MakeLooking) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable, match="Samba server"):
            await looking().names(SambaSource("127.0.0.1", "images", probe.getsockname()[1]))


async def test_a_silent_server_is_given_up_in_time(looking: MakeLooking) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        with pytest.raises(Unavailable):
            await looking(source_timeout_seconds=1).names(SambaSource("127.0.0.1", "images", silent.getsockname()[1]))
        assert time.monotonic() - began < 5
