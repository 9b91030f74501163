"""Migrations: they agree with the schema, may be applied twice, and by several processes at once."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import Connection, text

from server import settings
from storage.database import Database
from storage.migrate import FOLDER, SchemaUnknown, configuration, upgrade
from storage.schema import Xid8, metadata
from tests.servers import PostgresServer

SCRIPTS = ScriptDirectory(str(FOLDER))
HEAD = SCRIPTS.get_current_head()
REVISIONS = [script.revision for script in SCRIPTS.walk_revisions()][::-1]

QUEUE = "0005"
"""The revision that makes the tables of the queue."""


def downgraded(connection: Connection, revision: str) -> None:
    command.downgrade(configuration(connection), revision)


def upgraded(connection: Connection, revision: str) -> None:
    command.upgrade(configuration(connection), revision)


def partitions(connection: Connection) -> set[str]:
    """Tables that are parts of others: they follow from those, and the months are made as time goes by."""
    return set(connection.scalars(text("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'")))


def queue_tables(connection: Connection) -> set[str]:
    """Tables of the library that keeps the queue of jobs."""
    known = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename LIKE 'procrastinate\\_%'"
    return set(connection.scalars(text(known)))


def differences(connection: Connection) -> list[object]:
    connection.dialect.ischema_names["xid8"] = Xid8
    parts = partitions(connection) | queue_tables(connection)
    options = {
        "compare_type": True,
        "compare_server_default": True,
        "include_name": lambda name, kind, _: kind != "table" or name not in parts,
    }
    context = MigrationContext.configure(connection, opts=options)
    return list(compare_metadata(context, metadata))


@pytest.fixture
async def empty_url(postgres: PostgresServer) -> AsyncIterator[SecretStr]:
    url = await postgres.create()
    yield url
    await postgres.drop(url)


async def test_migrations_lead_to_the_schema(database: Database) -> None:
    async with database.transaction() as connection:
        assert await connection.run_sync(differences) == []


@pytest.mark.parametrize("revision", REVISIONS[:-1])
async def test_a_database_that_went_back_and_forth_again_has_the_schema(database: Database, revision: str) -> None:
    async with database.transaction() as connection:
        await connection.run_sync(downgraded, revision)
        left = await connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        tables = {row.tablename for row in left} - await connection.run_sync(partitions)
        if revision >= QUEUE:
            tables -= await connection.run_sync(queue_tables)
        assert tables <= set(metadata.tables) | {"alembic_version"}
        assert await connection.run_sync(differences) != []
    async with database.transaction() as connection:
        await connection.run_sync(upgraded, "head")
        assert await connection.run_sync(differences) == []


async def test_going_back_one_step_keeps_what_was_there_before(database: Database) -> None:
    """A release that is taken back must not cost accounts."""
    add = text("INSERT INTO accounts VALUES (gen_random_uuid(), 'a@b.cd', 'x', 'user', '', now(), now())")
    async with database.transaction() as connection:
        await connection.execute(add)
        await connection.run_sync(downgraded, "0001")
        await connection.run_sync(upgraded, "head")
        assert [row.login for row in await connection.execute(text("SELECT login FROM accounts"))] == ["a@b.cd"]


async def test_a_difference_would_be_seen(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(text("ALTER TABLE lists DROP COLUMN user_data"))
        await connection.execute(text("DROP INDEX faces_external_id_idx"))
        await connection.execute(text("ALTER TABLE face_descriptors DROP CONSTRAINT face_descriptors_face_id_fkey"))
        assert len(await connection.run_sync(differences)) == 3


async def test_a_database_that_a_later_version_has_used_is_refused_in_a_sentence(
    database: Database, database_url: SecretStr
) -> None:
    async with database.transaction() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaUnknown, match="9999, which this version of Luna does not know"):
        await upgrade(database_url)


async def test_a_worker_that_is_started_by_itself_brings_an_empty_database_to_the_schema(
    empty_url: SecretStr, tmp_path: Path
) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LUNA_")}
    environment |= {"LUNA_DATA": str(tmp_path), "LUNA_DATABASE__URL": empty_url.get_secret_value()}
    environment["LUNA_REDIS__URL"] = "redis://127.0.0.1:1/0"  # a worker connects when it needs it
    luna = str(Path(sys.executable).with_name("luna"))
    with (tmp_path / "log").open("wb") as log:
        worker = await asyncio.create_subprocess_exec(luna, "worker", env=environment, stdout=log, stderr=log)
    try:
        async with asyncio.timeout(30):
            while "working" not in (tmp_path / "log").read_text():
                assert worker.returncode is None, (tmp_path / "log").read_text()
                await asyncio.sleep(0.1)
    finally:
        worker.terminate()
        async with asyncio.timeout(20):
            await worker.wait()
    database = Database(empty_url, settings.Database())
    try:
        async with database.transaction() as connection:
            assert await connection.run_sync(differences) == []
    finally:
        await database.close()


async def test_several_processes_migrate_an_empty_database_at_once(empty_url: SecretStr) -> None:
    await asyncio.gather(*(upgrade(empty_url) for _ in range(4)))
    await upgrade(empty_url)
    database = Database(empty_url, settings.Database())
    try:
        assert [row.version_num for row in await database.fetch(text("SELECT * FROM alembic_version"))] == [HEAD]
    finally:
        await database.close()


async def test_a_migration_that_fails_leaves_nothing_behind(empty_url: SecretStr) -> None:
    connection = await asyncpg.connect(empty_url.get_secret_value())
    try:
        await connection.execute("CREATE TABLE list_faces (a int)")
        with pytest.raises(Exception, match="already exists"):
            await upgrade(empty_url)
        assert [
            row[0] for row in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname='public'")
        ] == ["list_faces"]
        await connection.execute("DROP TABLE list_faces")
    finally:
        await connection.close()
    await upgrade(empty_url)


async def test_vectors_are_stored_without_compression_and_changes_without_a_log(database: Database) -> None:
    rows = await database.fetch(
        text("SELECT attstorage FROM pg_attribute WHERE attrelid = 'face_descriptors'::regclass AND attname = 'data'")
    )
    assert rows[0][0] == b"e"
    unlogged = await database.fetch(text("SELECT relname FROM pg_class WHERE relpersistence = 'u' AND relkind = 'r'"))
    assert {row.relname for row in unlogged} == {"event_changes", "index_changes", "index_floor"}
