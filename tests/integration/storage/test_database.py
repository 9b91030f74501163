"""The pool of connections: restarts are survived, trouble has one name, limits are answered and nothing leaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from server import settings
from server.errors import Busy, DeadlineExceeded, Unavailable
from storage import database as module
from storage.database import ConstraintViolated, Database
from storage.migrate import upgrade
from tests.servers import PostgresServer

ONE = text("SELECT 1")


class Wire:
    """Carries TCP connections to PostgreSQL's socket, and can cut them: at once, or when something is next sent."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.accepted = 0
        self.sent = 0
        self.forgotten = False

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        there, back = await asyncio.open_unix_connection(self.socket)
        ends = {writer, back}
        self.writers |= ends
        try:
            await asyncio.gather(self.send(reader, back), self.pump(there, writer))
        finally:
            self.writers -= ends

    async def send(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            self.sent += 1
            if self.forgotten:
                self.forgotten = False
                self.cut()
            writer.write(data)
        writer.close()

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


@asynccontextmanager
async def wire_to(postgres: PostgresServer) -> AsyncIterator[Wire]:
    wire = Wire(postgres.socket)
    server = await asyncio.start_server(wire.carry, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        wire.cut()
        await server.wait_closed()
        await asyncio.sleep(0.05)


@pytest.fixture
async def wire(postgres: PostgresServer) -> AsyncIterator[Wire]:
    async with wire_to(postgres) as carried:
        yield carried


@pytest.fixture
async def wired(wire: Wire) -> AsyncIterator[Database]:
    pool = Database(SecretStr(f"postgresql://postgres@127.0.0.1:{wire.port}/postgres"), settings.Database())
    yield pool
    await pool.close()


async def test_both_kinds_of_address_work(database: Database, wired: Database) -> None:
    for pool in (database, wired):
        assert (await pool.fetch(ONE))[0][0] == 1
        assert await pool.ready()


async def test_connections_say_who_they_are_and_what_they_allow(database_url: SecretStr) -> None:
    pool = Database(database_url, settings.Database(statement_timeout_seconds=7), application_name="luna test")
    try:
        names = ("application_name", "statement_timeout", "timezone")
        rows = await pool.fetch(text("SELECT " + ", ".join(f"current_setting('{name}')" for name in names)))
        assert tuple(rows[0]) == ("luna test", "7s", "UTC")
    finally:
        await pool.close()


async def test_a_restart_of_postgresql_is_survived(postgres: PostgresServer, database: Database) -> None:
    await asyncio.gather(*(database.fetch(text("SELECT pg_sleep(0.1)")) for _ in range(5)))
    await postgres.restart()
    outcomes = await asyncio.gather(*(database.fetch(ONE) for _ in range(5)))
    assert [rows[0][0] for rows in outcomes] == [1] * 5
    await postgres.restart()
    async with database.transaction() as connection:
        assert await connection.scalar(ONE) == 1


async def test_connections_that_were_cut_are_replaced(wire: Wire, wired: Database) -> None:
    await asyncio.gather(*(wired.fetch(text("SELECT pg_sleep(0.05)")) for _ in range(3)))
    wire.cut()
    await asyncio.sleep(0.05)
    async with wired.transaction() as connection:
        assert await connection.scalar(ONE) == 1
    assert (await wired.fetch(ONE))[0][0] == 1


async def test_a_connection_that_has_rested_is_tried_and_replaced_where_nobody_knows_it_any_more(
    wire: Wire, wired: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await wired.fetch(ONE)
    before = wire.sent
    await wired.fetch(ONE)
    alone = wire.sent - before
    monkeypatch.setattr(module, "RESTED_SECONDS", 0)
    await wired.fetch(ONE)
    assert wire.sent - before > 2 * alone
    wire.forgotten = True
    async with wired.transaction() as connection:
        assert await connection.scalar(ONE) == 1
    assert wire.accepted == 2


async def test_a_reading_statement_whose_connection_dies_is_sent_again(wire: Wire, wired: Database) -> None:
    reading = asyncio.create_task(wired.fetch(text("SELECT pg_sleep(0.5), 1")))
    await asyncio.sleep(0.2)
    wire.cut()
    assert (await reading)[0][1] == 1
    assert wire.accepted == 2


async def test_a_writing_statement_whose_connection_dies_is_not_sent_again(wire: Wire, wired: Database) -> None:
    async def write() -> None:
        async with wired.transaction() as connection:
            await connection.execute(text("SELECT pg_sleep(0.5)"))

    writing = asyncio.create_task(write())
    await asyncio.sleep(0.2)
    wire.cut()
    with pytest.raises(Unavailable, match="PostgreSQL"):
        await writing
    assert wire.accepted == 1


async def test_a_postgresql_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    for address in ("postgresql://u:p@127.0.0.1:1/x", f"postgresql://u@/x?host={tmp_path}"):
        pool = Database(SecretStr(address), settings.Database())
        try:
            with pytest.raises(Unavailable, match="PostgreSQL"):
                await pool.fetch(ONE)
            with pytest.raises(Unavailable, match="PostgreSQL"):
                async with pool.transaction():
                    pass
            with pytest.raises(Unavailable, match="PostgreSQL"):
                await upgrade(SecretStr(address))
            assert not await pool.ready()
        finally:
            await pool.close()


async def test_a_database_that_is_not_there_is_unavailable(postgres: PostgresServer) -> None:
    pool = Database(postgres.url("nowhere"), settings.Database())
    try:
        with pytest.raises(Unavailable):
            await pool.fetch(ONE)
    finally:
        await pool.close()


async def test_a_statement_that_takes_too_long_is_ended(database_url: SecretStr) -> None:
    pool = Database(database_url, settings.Database(statement_timeout_seconds=0.1, pool_size=1, pool_overflow=0))
    try:
        with pytest.raises(DeadlineExceeded):
            await pool.fetch(text("SELECT pg_sleep(10)"))
        assert await pool.ready()
    finally:
        await pool.close()


async def test_a_pool_without_a_free_connection_is_busy(
    database_url: SecretStr, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POOL_SECONDS", 0.1)
    pool = Database(database_url, settings.Database(pool_size=1, pool_overflow=0))
    try:
        async with pool.transaction() as connection:
            await connection.execute(ONE)
            with pytest.raises(Busy):
                await pool.fetch(ONE)
            with pytest.raises(Busy):
                async with pool.transaction():
                    pass
        assert await pool.ready()
    finally:
        await pool.close()


async def test_a_call_that_is_cancelled_gives_its_connection_back(database_url: SecretStr) -> None:
    pool = Database(database_url, settings.Database(pool_size=1, pool_overflow=0))
    try:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await pool.fetch(text("SELECT pg_sleep(10)"))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1), pool.transaction() as connection:
                    await connection.execute(text("SELECT pg_sleep(10)"))
        assert (await pool.fetch(ONE))[0][0] == 1
        rows = await pool.fetch(text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"))
        assert rows[0][0] <= 2
    finally:
        await pool.close()


async def test_a_transaction_is_kept_or_dropped_as_a_whole(database: Database) -> None:
    with pytest.raises(ConstraintViolated) as violated:
        async with database.transaction() as connection:
            await connection.execute(text("CREATE TABLE t (a int CONSTRAINT once UNIQUE)"))
            await connection.execute(text("INSERT INTO t VALUES (1), (1)"))
    assert violated.value.constraint == "once"
    assert (await database.fetch(text("SELECT to_regclass('t')")))[0][0] is None


async def test_a_mistake_in_a_statement_is_not_hidden(database: Database) -> None:
    with pytest.raises(Exception, match="no_such_table"):
        await database.fetch(text("SELECT * FROM no_such_table"))


async def test_isolation_ends_with_its_transaction(database_url: SecretStr) -> None:
    pool = Database(database_url, settings.Database(pool_size=1, pool_overflow=0))
    level = text("SELECT current_setting('transaction_isolation')")
    try:
        async with pool.transaction("REPEATABLE READ") as connection:
            assert await connection.scalar(level) == "repeatable read"
        async with pool.transaction() as connection:
            assert await connection.scalar(level) == "read committed"
    finally:
        await pool.close()


async def test_a_statement_is_planned_for_its_values_where_that_is_asked_for(database: Database) -> None:
    """And the next one on the same connection is not."""
    mode = text("SELECT current_setting('plan_cache_mode')")
    assert [row[0] for row in await database.fetch(mode, planned=True)] == ["force_custom_plan"]
    assert [row[0] for row in await database.fetch(mode)] == ["auto"]
