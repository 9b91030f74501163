"""The schema of the queue of jobs, which is the library's own, and how later versions of it are reached.

Which version a database has stands in a comment on the library's main table, so that a migration of Luna finds the
same end whether the queue was made by an old release or by this one (`docs/adr/0009-tasks-on-procrastinate.md`).
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Final

from packaging.version import Version
from procrastinate.schema import SchemaManager
from sqlalchemy import Connection, text

LIBRARY: Final = "procrastinate"
MAIN: Final = "procrastinate_jobs"

REMOVE: Final = """
    DO $$
    DECLARE found text;
    BEGIN
        FOR found IN SELECT oid::regclass FROM pg_class
            WHERE relname LIKE 'procrastinate\\_%' AND relkind = 'r' AND relnamespace = current_schema()::regnamespace
        LOOP
            EXECUTE 'DROP TABLE ' || found || ' CASCADE';
        END LOOP;
        FOR found IN SELECT oid::regprocedure FROM pg_proc
            WHERE proname LIKE 'procrastinate\\_%' AND pronamespace = current_schema()::regnamespace
        LOOP
            EXECUTE 'DROP FUNCTION ' || found || ' CASCADE';
        END LOOP;
        FOR found IN SELECT oid::regtype FROM pg_type
            WHERE typname LIKE 'procrastinate\\_%' AND typtype IN ('e', 'c')
            AND typnamespace = current_schema()::regnamespace
        LOOP
            EXECUTE 'DROP TYPE ' || found || ' CASCADE';
        END LOOP;
    END $$
"""


def install(connection: Connection) -> None:
    """Make the queue, as the installed library has it, on a connection of asyncpg."""
    _script(connection, SchemaManager.get_schema())
    _note(connection)


def advance(connection: Connection) -> None:
    """Bring the queue from the version that the database has to that of the installed library.

    For migrations that come with a newer library. Nothing is done where the queue is as new already.
    """
    known = connection.scalar(text(f"SELECT obj_description('{MAIN}'::regclass)"))
    reached = Version(str(known).removeprefix(LIBRARY).strip())
    for script in sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql")):
        if Version(script.name.split("_")[0]) > reached:
            _script(connection, script.read_text(encoding="utf-8"))
    _note(connection)


def remove(connection: Connection) -> None:
    """Take the queue away, with every job in it."""
    connection.execute(text(REMOVE))


def _script(connection: Connection, statements: str) -> None:
    """Run several statements as they are: prepared, as SQLAlchemy sends them, they would have to come one by one."""
    raw = connection.connection.dbapi_connection
    if raw is None:
        message = "the connection is closed"
        raise ValueError(message)
    raw.run_async(lambda driver: driver.execute(statements))


def _note(connection: Connection) -> None:
    connection.execute(text(f"COMMENT ON TABLE {MAIN} IS '{LIBRARY} {version(LIBRARY)}'"))
