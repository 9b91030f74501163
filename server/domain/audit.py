"""The audit trail: who changed what, when, and from where. It holds ids and names, never what was changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change that was answered with success.

    `account_id` is None for what needs no account. `objects` are the ids that request and response named.
    """

    time: datetime
    account_id: UUID | None
    token_id: UUID | None
    method: str
    objects: tuple[UUID, ...]
    address: str
    request_id: str


class AuditTrail(Protocol):
    """Where the trail is kept."""

    async def add(self, entry: AuditEntry) -> None:
        """Keep an entry; it is safe when this returns."""
        ...

    async def newest(self, account_id: UUID | None, limit: int) -> list[AuditEntry]:
        """The last entries, of one account where it is named, newest first."""
        ...
