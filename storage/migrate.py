"""Bringing a database to the present schema."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
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


async def upgrade(url: SecretStr) -> None:
    """Apply every migration that the database lacks, all in one transaction.

    Raises:
        Unavailable: PostgreSQL cannot be reached.
    """
    options = settings.Database(pool_size=1, pool_overflow=0, statement_timeout_seconds=LONGEST_SECONDS)
    database = Database(url, options, application_name="luna migrate")
    try:
        async with database.transaction() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
            await connection.run_sync(lambda sync: command.upgrade(configuration(sync), "head"))
    finally:
        await database.close()
