"""`luna audit`: the newest entries of the audit trail, as a table."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from datetime import UTC
from uuid import UUID

from pydantic import SecretStr
from rich.console import Console
from rich.table import Table
from rich.text import Text

from server.domain.audit import AuditEntry
from server.errors import LunaError
from server.settings import Settings
from server.supervisor import backing
from storage.audit import PostgresAuditTrail
from storage.database import Database
from storage.embedded import CannotPrepare

SHOWN_OBJECTS = 3
"""Ids that a row shows; the trail keeps all of them."""
WIDE = 250
"""Columns of a table that goes to a file or a pipe: nothing is then cut to the width of a terminal."""
PACKAGE = "luna.v6."


def run(settings: Settings, account_id: UUID | None, limit: int) -> int:
    """Print the newest entries, of one account where it is named. The exit status: 1 where they cannot be read."""
    try:
        url = SecretStr(backing(settings).database_url)
        entries = asyncio.run(_newest(settings, url, account_id, limit))
    except (CannotPrepare, LunaError) as error:
        print(error, file=sys.stderr)
        if settings.database.url is None:
            print("`luna up` must run from this data folder (LUNA_DATA), or set LUNA_DATABASE__URL", file=sys.stderr)
        return 1
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    console.print(table(entries))
    return 0


def table(entries: Iterable[AuditEntry]) -> Table:
    """The entries as rows, in their order. Times are UTC. A method has `?` where it is not known to be done."""
    made = Table("time", "account", "token", "method", "objects", "address", "request")
    for entry in entries:
        row = (
            entry.time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S"),
            str(entry.account_id or "-"),
            str(entry.token_id or "-"),
            entry.method.removeprefix(PACKAGE) + ("" if entry.done else " ?"),
            _objects(entry.objects),
            entry.address or "-",
            entry.request_id,
        )
        # what a client sent must not be read as markup
        made.add_row(*(Text(cell, overflow="fold") for cell in row))
    return made


async def _newest(settings: Settings, url: SecretStr, account_id: UUID | None, limit: int) -> list[AuditEntry]:
    database = Database(url, settings.database, application_name="luna audit")
    try:
        return await PostgresAuditTrail(database).newest(account_id, limit)
    finally:
        await database.close()


def _objects(ids: tuple[UUID, ...]) -> str:
    """The first ids; how many more there are."""
    more = len(ids) - SHOWN_OBJECTS
    lines = [str(one) for one in ids[:SHOWN_OBJECTS]]
    return "\n".join([*lines, f"and {more} more"] if more > 0 else lines) or "-"
