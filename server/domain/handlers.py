"""Handlers: named sets of policies, and where they are kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol
from uuid import UUID

from server.domain.access import Scope
from server.domain.faces import Page
from server.domain.policies import Policies


class HandlerType(Enum):
    """Kinds of handlers, as LUNA numbers them."""

    STATIC = 0
    DYNAMIC = 1
    LAMBDA = 2


@dataclass(frozen=True, slots=True)
class Handler:
    """A handler. `policies` are there for a static one alone, `lambda_id` for a lambda one. `version` grows from 1."""

    handler_id: UUID
    account_id: UUID
    handler_type: HandlerType
    description: str
    policies: Policies | None
    lambda_id: UUID | None
    create_time: datetime
    last_update_time: datetime
    version: int = 1


@dataclass(frozen=True, slots=True)
class HandlerFilter:
    """Which handlers. `description` is a part of it, as it is written; `not_type` excludes one kind."""

    handler_type: HandlerType | None = None
    not_type: HandlerType | None = None
    description: str | None = None


class HandlerStore(Protocol):
    """Where handlers are kept. Nothing outside the given scope is seen or changed."""

    async def create(self, new: Handler) -> None:
        """Keep a new handler."""
        ...

    async def get(self, scope: Scope, handler_id: UUID) -> Handler | None:
        """One handler.

        Raises:
            HandlerCorrupted: what is kept of it cannot be read.
        """
        ...

    async def find(self, scope: Scope, where: HandlerFilter, page: Page) -> list[Handler]:
        """A page of handlers, newest first; ties go by id.

        Raises:
            HandlerCorrupted: as for `get`, of any of them.
        """
        ...

    async def count(self, scope: Scope, where: HandlerFilter) -> int:
        """How many handlers."""
        ...

    async def replace(self, scope: Scope, handler: Handler) -> int | None:
        """Replace a handler but for its id, account and time of creation. Its new version; None where there is none."""
        ...

    async def remove(self, scope: Scope, handler_id: UUID) -> bool:
        """Delete a handler. False where there is none."""
        ...
