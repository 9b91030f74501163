"""The embedded PostgreSQL under the supervisor: real server, real client, real kills."""

from __future__ import annotations

import asyncio
import itertools
import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from server.settings import Settings
from server.supervisor import Event, Happening, Supervisor, backing
from storage.embedded import CannotPrepare, EmbeddedPostgres
from storage.embedded.sockets import LONGEST, ROOM
from tests.folders import server_folder

ROOT = os.geteuid() == 0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    """A data folder with a cluster in it that was never started; tests copy it."""
    with server_folder() as folder:
        asyncio.run(EmbeddedPostgres(folder).prepare())
        yield folder


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with server_folder() as folder:
        yield folder


@pytest.fixture
def data(cluster: Path, tmp_path: Path) -> Path:
    """A data folder of the test's own."""
    folder = tmp_path / "d"
    shutil.copytree(cluster, folder)
    return folder


class Up:
    """A running server and what has happened to it."""

    def __init__(self, data: Path) -> None:
        self.events: list[Event] = []
        self.changed = asyncio.Event()
        self.server = EmbeddedPostgres(data)
        self.supervisor = Supervisor(data, backing(Settings(data=data)).programs[:1], listener=self.note)

    def note(self, event: Event) -> None:
        self.events.append(event)
        self.changed.set()

    @property
    def pid(self) -> int:
        return next(event.pid for event in reversed(self.events) if event.what is Happening.STARTED and event.pid)

    async def ready(self, times: int = 1) -> None:
        async with asyncio.timeout(30):
            while sum(event.what is Happening.READY for event in self.events) < times:
                self.changed.clear()
                await self.changed.wait()

    async def connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(self.server.url)


def alive(pid: int) -> bool:
    """A zombie is not; who has no parent left may be one until init gets round to it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def may(account: str, flag: str, path: Path) -> bool:
    """Ask the kernel what an account may do with a path (test(1))."""
    argv = ["test", flag, str(path)]
    entry = pwd.getpwnam(account)
    return subprocess.run(argv, user=account, group=entry.pw_gid, extra_groups=[], check=False).returncode == 0


@asynccontextmanager
async def running(data: Path) -> AsyncIterator[Up]:
    up = Up(data)
    task = asyncio.create_task(up.supervisor.run(signals=False))
    try:
        waiting = asyncio.create_task(up.ready())
        await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        yield up
    finally:
        up.supervisor.stop()
        await task


async def test_data_is_there_after_a_stop_and_a_second_start(data):
    async with running(data) as up:
        connection = await up.connect()
        await connection.execute("CREATE TABLE kept (v vector(3)); INSERT INTO kept VALUES ('[1,2,3]')")
        await connection.close()
    assert up.events[-1].detail == "ended with status 0"
    async with running(data) as up:
        connection = await up.connect()
        assert await connection.fetchval("SELECT v <-> '[1,2,5]' FROM kept") == 2
        await connection.close()
    log = await asyncio.to_thread((data / "logs" / "postgres.log").read_text)
    assert "was not properly shut down" not in log


async def test_a_first_start_takes_less_than_five_seconds_and_a_later_one_less_than_one_and_a_half(tmp_path):
    taken = []
    for _ in range(2):
        begun = time.monotonic()
        async with running(tmp_path / "new"):
            taken.append(time.monotonic() - begun)
    assert taken[0] < 5
    assert taken[1] < 1.5


async def test_sqlalchemy_takes_the_address(data):
    async with running(data) as up:
        engine = create_async_engine(make_url(up.server.url).set(drivername="postgresql+asyncpg"))
        async with engine.connect() as connection:
            assert (await connection.execute(text("SELECT current_user, current_database()"))).one() == ("luna", "luna")
        await engine.dispose()


async def test_nothing_acknowledged_is_slept_on(data):
    async with running(data) as up:
        connection = await up.connect()
        for name in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
            assert await connection.fetchval(f"SHOW {name}") == "on"
        assert await connection.fetchval("SHOW listen_addresses") == ""
        assert await connection.fetchval("SHOW server_encoding") == "UTF8"
        await connection.close()


async def test_the_role_is_no_superuser_and_may_make_databases_with_vectors(data):
    async with running(data) as up:
        connection = await up.connect()
        assert not await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("COPY (SELECT 1) TO PROGRAM 'true'")
        await connection.execute("CREATE DATABASE other")
        await connection.close()
        other = await asyncpg.connect(up.server.url.replace("/luna?", "/other?"))
        assert await other.fetchval("SELECT '[3,4]'::vector <-> '[0,0]'") == 5
        await other.close()


async def test_nobody_gets_in_as_the_superuser(data):
    async with running(data) as up:
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
            await asyncpg.connect(up.server.url.replace("luna@", "postgres@"))


@pytest.mark.skipif(not ROOT, reason="only root can try it as somebody else")
async def test_another_account_of_the_machine_gets_in_neither_by_the_folder_nor_past_it(data):
    psql = str(EmbeddedPostgres(data).binaries / "psql")

    def try_it(url: str) -> str:
        return subprocess.run(
            [psql, "-w", url, "-c", "SELECT 1"], user="nobody", group="nogroup", extra_groups=[], cwd="/",
            capture_output=True, text=True, check=False, env={},
        ).stderr  # fmt: skip

    async with running(data) as up:
        assert "Permission denied" in await asyncio.to_thread(try_it, up.server.url)
        # Were the folder and the socket open, the kernel's word would still stand between.
        await asyncio.to_thread(open_to_all, up.server.sockets)
        assert "Peer authentication failed" in await asyncio.to_thread(try_it, up.server.url)


def open_to_all(sockets: Path) -> None:
    for folder in (*sockets.parents, sockets):
        if folder.stat().st_mode & stat.S_IXOTH == 0:
            folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
    (sockets / ".s.PGSQL.5432").chmod(0o777)


async def write_until_killed(up: Up, numbers: Iterator[int], acknowledged: set[int]) -> None:
    """Insert numbers one by one, and note each one that the server has acknowledged."""
    connection = await up.connect()
    try:
        for number in numbers:
            await connection.execute("INSERT INTO written VALUES ($1)", number)
            acknowledged.add(number)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
        connection.terminate()


async def test_every_acknowledged_write_survives_kills_of_the_server(data):
    async with running(data) as up:
        connection = await up.connect()
        await connection.execute("CREATE TABLE written (number bigint)")
        await connection.close()
        numbers = itertools.count(1)
        acknowledged: set[int] = set()
        for times in (1, 2, 3):
            before = len(acknowledged)
            writer = asyncio.create_task(write_until_killed(up, numbers, acknowledged))
            # More than a second, so that the program has settled and is restarted for ever.
            await asyncio.sleep(1.1)
            os.kill(up.pid, signal.SIGKILL)
            await writer
            assert len(acknowledged) > before
            await up.ready(times + 1)
            connection = await up.connect()
            assert acknowledged <= {row["number"] for row in await connection.fetch("SELECT number FROM written")}
            await connection.close()
    assert [event.detail for event in up.events if event.what is Happening.ENDED] == ["ended by SIGKILL"] * 3


async def test_a_backend_that_outlives_its_killed_server_does_not_hinder_the_next(data):
    async with running(data) as up:
        connection = await up.connect()
        await connection.execute("CREATE TABLE kept AS SELECT 7 AS seven")
        backend = await connection.fetchval("SELECT pg_backend_pid()")
        # Never waits for anything, so it never notices that its postmaster is gone.
        busy = asyncio.create_task(
            connection.fetchval("SELECT count(*) FROM generate_series(1, 1000000000) a WHERE a % 7 = 9")
        )
        await asyncio.sleep(1.2)
        os.kill(up.pid, signal.SIGKILL)
        await asyncio.sleep(0.05)
        assert await asyncio.to_thread(alive, backend)
        await up.ready(2)
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await busy
        connection.terminate()
        assert not await asyncio.to_thread(alive, backend)
        again = await up.connect()
        assert await again.fetchval("SELECT seven FROM kept") == 7
        await again.close()
    starts = [event for event in up.events if event.what is Happening.STARTED]
    assert len(starts) == 2


async def test_a_stale_pid_file_with_the_number_of_another_process_does_not_hinder_a_start(data):
    server = EmbeddedPostgres(data)
    account = server.command().user or pwd.getpwuid(os.geteuid()).pw_name
    stranger = await asyncio.create_subprocess_exec("sleep", "60", user=account if ROOT else None)
    try:
        async with running(data):
            content = await asyncio.to_thread((server.folder / "postmaster.pid").read_text)
        lines = [str(stranger.pid), *content.splitlines()[1:]]
        await asyncio.to_thread((server.folder / "postmaster.pid").write_text, "\n".join(lines) + "\n")
        async with running(data) as up:
            connection = await up.connect()
            await connection.close()
        assert stranger.returncode is None
        assert [event for event in up.events if event.what is Happening.ENDED] == []
    finally:
        stranger.kill()
        await stranger.wait()


async def test_a_half_made_cluster_is_made_again(tmp_path, monkeypatch):
    server = EmbeddedPostgres(tmp_path)
    monkeypatch.setattr("storage.embedded.postgres.FIRST_STATEMENTS", "SELECT nonsense;\n")
    with pytest.raises(CannotPrepare, match='column "nonsense" does not exist'):
        await server.prepare()
    assert not server.folder.exists()
    monkeypatch.undo()
    await server.prepare()
    assert server.folder.exists()
    assert [path.name for path in tmp_path.glob("postgres-new-*")] == []


async def test_a_cluster_of_another_version_is_refused(data):
    server = EmbeddedPostgres(data)
    await asyncio.to_thread((server.folder / "PG_VERSION").write_text, "16\n")
    with pytest.raises(CannotPrepare, match="made by PostgreSQL 16, this is 18"):
        await server.prepare()


async def test_a_folder_that_is_no_cluster_is_refused(tmp_path):
    (tmp_path / "postgres").mkdir()
    with pytest.raises(CannotPrepare, match="no PostgreSQL cluster"):
        await EmbeddedPostgres(tmp_path).prepare()


@pytest.mark.parametrize("name", ["x" * 120, "white space", "comma,colon:", "größe"])
async def test_a_folder_whose_path_fits_no_address_gets_its_socket_elsewhere(cluster, tmp_path, name):
    data = tmp_path / name
    await asyncio.to_thread(shutil.copytree, cluster, data)
    sockets = EmbeddedPostgres(data).sockets
    try:
        async with running(data) as up:
            connection = await up.connect()
            assert await connection.fetchval("SELECT 1") == 1
            await connection.close()
        assert data not in sockets.parents
        assert len(bytes(sockets)) + ROOM <= LONGEST
        assert sockets.stat().st_mode & 0o777 == 0o700
    finally:
        await asyncio.to_thread(shutil.rmtree, sockets)


@pytest.mark.skipif(not ROOT, reason="only under root does the server have an account of its own")
async def test_under_root_a_closed_folder_is_opened_to_the_server_alone(cluster, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    await asyncio.to_thread(shutil.copytree, cluster, closed / "d")
    async with running(closed / "d"):
        pass
    assert await asyncio.to_thread(may, "luna-data", "-x", closed)
    assert not await asyncio.to_thread(may, "luna-data", "-r", closed)
    assert not await asyncio.to_thread(may, "nobody", "-x", closed)
