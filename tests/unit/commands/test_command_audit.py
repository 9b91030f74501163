"""The table of `luna audit`."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from rich.console import Console

from server.commands.audit import table
from server.domain.audit import AuditEntry


def shown(*, done: bool) -> str:
    entry = AuditEntry(
        datetime(2026, 1, 1, tzinfo=UTC), None, None, "luna.v6.Attributes.CreateAttribute", (UUID(int=7),), "", "", done
    )
    console = Console(width=250)
    with console.capture() as capture:
        console.print(table([entry]))
    return capture.get()


def test_a_change_that_may_not_have_been_made_is_marked() -> None:
    assert "Attributes.CreateAttribute ?" in shown(done=False)
    assert "?" not in shown(done=True)
