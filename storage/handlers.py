"""Handlers in PostgreSQL. Their policies are JSON; how it is written and read, `PolicyForm` knows."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Row, case, delete, func, insert, null, select, update

from server.domain.access import Scope
from server.domain.faces import Page
from server.domain.handlers import Handler, HandlerFilter, HandlerType
from server.domain.policies import Policies, PolicyForm
from server.errors import Conflict, HandlerCorrupted
from storage.database import ConstraintViolated, Database
from storage.filters import inside, offset
from storage.schema import handlers

MOST_DECODED: Final = 1000
"""Handlers whose policies are kept decoded."""


class PostgresHandlerStore:
    """Implements `server.domain.handlers.HandlerStore`.

    Decoding policies takes about a millisecond. Those of the handlers that were read last are kept as values, by the
    version that they are of; the version is read from the database each time.
    """

    def __init__(self, database: Database, form: PolicyForm) -> None:
        self._database = database
        self._form = form
        self._decoded: OrderedDict[UUID, tuple[int, Policies]] = OrderedDict()

    async def create(self, new: Handler) -> None:
        """Keep a new handler.

        Raises:
            Conflict: a handler with this id exists already.
        """
        try:
            async with self._database.transaction(made=(new.handler_id,)) as connection:
                await connection.execute(insert(handlers).values(self._columns(new)))
        except ConstraintViolated as violated:
            raise Conflict(message=f"Handler with id '{new.handler_id}' exists already") from violated

    async def get(self, scope: Scope, handler_id: UUID) -> Handler | None:
        """One handler. See `HandlerStore.get`."""
        version, _ = self._decoded.get(handler_id, (0, None))
        policies = case((handlers.c.version == version, null()), else_=handlers.c.policies).label("policies")
        columns = [policies if one is handlers.c.policies else one for one in handlers.c]
        conditions = (handlers.c.handler_id == handler_id, *inside(handlers.c.account_id, scope))
        rows = await self._database.fetch(select(*columns).where(*conditions))
        if not rows:
            return None
        handler = self._handler(rows[0])
        if handler.policies is not None:
            self._remember(handler_id, handler.version, handler.policies)
        return handler

    async def find(self, scope: Scope, where: HandlerFilter, page: Page) -> list[Handler]:
        """A page of handlers. See `HandlerStore.find`.

        Raises:
            HandlerCorrupted: what is kept of one of them cannot be read.
        """
        chosen = select(handlers).where(*_conditions(scope, where))
        newest = chosen.order_by(handlers.c.create_time.desc(), handlers.c.handler_id)
        rows = await self._database.fetch(newest.limit(page.size).offset(offset(page)))
        # a thousand of them take a second
        return await asyncio.to_thread(lambda: [self._handler(row) for row in rows])

    async def count(self, scope: Scope, where: HandlerFilter) -> int:
        """How many handlers."""
        counted = select(func.count()).select_from(handlers).where(*_conditions(scope, where))
        (row,) = await self._database.fetch(counted)
        return int(row[0])

    async def replace(self, scope: Scope, handler: Handler) -> int | None:
        """Replace a handler. See `HandlerStore.replace`."""
        kept = {"handler_id", "account_id", "create_time", "version"}
        values = {name: value for name, value in self._columns(handler).items() if name not in kept}
        values["version"] = handlers.c.version + 1
        conditions = (handlers.c.handler_id == handler.handler_id, *inside(handlers.c.account_id, scope))
        async with self._database.transaction() as connection:
            changed = update(handlers).where(*conditions).values(values).returning(handlers.c.version)
            version = await connection.scalar(changed)
        return None if version is None else int(version)

    async def remove(self, scope: Scope, handler_id: UUID) -> bool:
        """Delete a handler. False where there is none."""
        conditions = (handlers.c.handler_id == handler_id, *inside(handlers.c.account_id, scope))
        async with self._database.transaction() as connection:
            return (await connection.execute(delete(handlers).where(*conditions))).rowcount > 0

    def _columns(self, handler: Handler) -> dict[str, object]:
        return {
            "handler_id": handler.handler_id,
            "account_id": handler.account_id,
            "handler_type": handler.handler_type.value,
            "description": handler.description,
            "policies": None if handler.policies is None else self._form.write(handler.policies),
            "lambda_id": handler.lambda_id,
            "create_time": handler.create_time,
            "last_update_time": handler.last_update_time,
            "version": handler.version,
        }

    def _handler(self, row: Row[*tuple[Any, ...]]) -> Handler:
        try:
            kind = HandlerType(row.handler_type)
            policies = self._policies(row)
            if kind is HandlerType.STATIC and policies is None:
                message = "it has no policies"
                raise ValueError(message)
        except ValueError as error:
            raise HandlerCorrupted(handler_id=row.handler_id, message=error) from error
        return Handler(**{**row._mapping, "handler_type": kind, "policies": policies})

    def _policies(self, row: Row[*tuple[Any, ...]]) -> Policies | None:
        version, decoded = self._decoded.get(row.handler_id, (0, None))
        if version == row.version:
            return decoded
        if row.policies is None:
            return None
        if not isinstance(row.policies, dict):
            message = "its policies are no object"
            raise ValueError(message)
        return self._form.read(row.policies)

    def _remember(self, handler_id: UUID, version: int, policies: Policies) -> None:
        known, _ = self._decoded.get(handler_id, (0, None))
        if version >= known:
            self._decoded[handler_id] = (version, policies)
        self._decoded.move_to_end(handler_id)
        if len(self._decoded) > MOST_DECODED:
            self._decoded.popitem(last=False)


def _conditions(scope: Scope, where: HandlerFilter) -> list[ColumnElement[bool]]:
    conditions = inside(handlers.c.account_id, scope)
    if where.handler_type is not None:
        conditions.append(handlers.c.handler_type == where.handler_type.value)
    if where.not_type is not None:
        conditions.append(handlers.c.handler_type != where.not_type.value)
    if where.description is not None:
        conditions.append(handlers.c.description.contains(where.description, autoescape=True))
    return conditions
