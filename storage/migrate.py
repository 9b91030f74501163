"""Bringing a database to the present schema."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import Connection, text

from server import settings
from storage.database import Database

FOLDER: Final = Path(__file__).with_name("migrations")
LOCK: Final = 0x6C756E61
"""Key of the advisory lock: several processes may start at once, one migrates, the others wait and find it done."""
LONGEST_SECONDS: Final = 6 * 3600.0


def configuration(connection: Connection) -> Config:
    """Alembic's configuration for one connection."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


class SchemaUnknown(Exception):
    """The database was brought to a schema that this version does not know: a later version has been there."""

    def __init__(self, revision: str) -> None:
        super().__init__(
            f"the database has the schema {revision}, which this version of Luna does not know: "
            "a later version has used it. Run that one, or restore a backup from before"
        )


def _upgrade(connection: Connection) -> None:
    config = configuration(connection)
    found = MigrationContext.configure(connection).get_current_revision()
    if found is not None and found not in {one.revision for one in ScriptDirectory(str(FOLDER)).walk_revisions()}:
        raise SchemaUnknown(found)
    command.upgrade(config, "head")


async def upgrade(url: SecretStr) -> None:
    """Apply every migration that the database lacks, all in one transaction.

    Raises:
        Unavailable: PostgreSQL cannot be reached.
        SchemaUnknown: a later version has used the database.
    """
    options = settings.Database(pool_size=1, pool_overflow=0, statement_timeout_seconds=LONGEST_SECONDS)
    database = Database(url, options, application_name="luna migrate")
    try:
        async with database.transaction() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
            await connection.run_sync(_upgrade)
    finally:
        await database.close()
