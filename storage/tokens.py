"""Tokens and the keys that sign them, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Delete, Row, Update, delete, insert, select, update

from server.domain.access import Scope
from server.domain.faces import Page
from server.domain.permissions import EmitEvents, Permissions
from server.domain.tokens import SigningKey, Token, VisibilityArea
from storage.database import Database
from storage.filters import between, inside, offset
from storage.rows import columns_of
from storage.schema import token_keys, tokens

FRESH: Final = timedelta(hours=1)
"""How long a call may still use a key that it has read."""


class PostgresTokenStore:
    """Implements `server.domain.tokens.TokenStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, token: Token) -> None:
        """Keep a new token."""
        async with self._database.transaction(made=(token.token_id,)) as connection:
            await connection.execute(insert(tokens).values(token_columns(token)))

    async def get(self, scope: Scope, token_id: UUID) -> Token | None:
        """One token."""
        rows = await self._database.fetch(select(tokens).where(*_one(scope, token_id)))
        return _token(rows[0]) if rows else None

    async def find(
        self, scope: Scope, create_time_gte: datetime | None, create_time_lt: datetime | None, page: Page
    ) -> list[Token]:
        """A page of tokens, newest first; ties go by id."""
        conditions = (
            *inside(tokens.c.account_id, scope),
            *between(tokens.c.create_time, create_time_gte, create_time_lt),
        )
        statement = select(tokens).where(*conditions).order_by(tokens.c.create_time.desc(), tokens.c.token_id)
        rows = await self._database.fetch(statement.limit(page.size).offset(offset(page)))
        return [_token(row) for row in rows]

    async def replace(self, scope: Scope, token: Token) -> bool:
        """Replace a token but for its account and create_time. False where there is none."""
        values = token_columns(token)
        for name in ("token_id", "account_id", "create_time"):
            del values[name]
        return await self._changed(update(tokens).where(*_one(scope, token.token_id)).values(values))

    async def remove(self, scope: Scope, token_id: UUID) -> bool:
        """Delete a token. False where there is none."""
        return await self._changed(delete(tokens).where(*_one(scope, token_id)))

    async def key(self, key_id: UUID) -> SigningKey | None:
        """One key."""
        rows = await self._database.fetch(select(token_keys).where(token_keys.c.key_id == key_id))
        return SigningKey(**rows[0]._mapping) if rows else None

    async def newest_key(self) -> SigningKey | None:
        """The key that new tokens are signed with."""
        newest = select(token_keys).order_by(token_keys.c.create_time.desc(), token_keys.c.key_id).limit(1)
        rows = await self._database.fetch(newest)
        return SigningKey(**rows[0]._mapping) if rows else None

    async def add_key(self, key: SigningKey) -> None:
        """Keep a new key. It is the service's own, whoever called when it was needed."""
        async with self._database.transaction(traced=False) as connection:
            await connection.execute(insert(token_keys).values(columns_of(key)))

    async def remove_unused_keys(self) -> int:
        """Delete the keys that no token was signed with, but for the newest one. How many there were.

        Nothing is done while the newest one is fresh: a token that is being made may still use the one before.
        """
        newest = await self.newest_key()
        if newest is None or newest.create_time > datetime.now(UTC) - FRESH:
            return 0
        statement = delete(token_keys).where(
            token_keys.c.create_time < newest.create_time, token_keys.c.key_id.not_in(select(tokens.c.key_id))
        )
        async with self._database.transaction() as connection:
            return int((await connection.execute(statement)).rowcount)

    async def _changed(self, statement: Update | Delete) -> bool:
        async with self._database.transaction() as connection:
            return bool((await connection.execute(statement)).rowcount)


def _one(scope: Scope, token_id: UUID) -> list[ColumnElement[bool]]:
    return [tokens.c.token_id == token_id, *inside(tokens.c.account_id, scope)]


def token_columns(token: Token) -> dict[str, object]:
    """The row of a token."""
    return {
        "token_id": token.token_id,
        "account_id": token.account_id,
        "description": token.description,
        "expiration_time": token.expiration_time,
        "permissions": written(token.permissions),
        "visibility_area": token.visibility_area.value,
        "key_id": token.key_id,
        "revision": token.revision,
        "create_time": token.create_time,
        "last_update_time": token.last_update_time,
    }


def written(permissions: Permissions) -> dict[str, object]:
    """Permissions as they are kept."""
    emit = permissions.emit_events
    return {
        "grants": sorted(permissions.grants),
        "resources": sorted(permissions.resources),
        "emit_events": {
            "allowed": emit.allowed,
            "white_list": sorted(map(str, emit.white_list)),
            "black_list": sorted(map(str, emit.black_list)),
        },
    }


def read(kept: Mapping[str, Any]) -> Permissions:
    """Permissions from what is kept of them."""
    emit = kept["emit_events"]
    return Permissions(
        grants=frozenset((kind, action) for kind, action in kept["grants"]),
        resources=frozenset(kept["resources"]),
        emit_events=EmitEvents(
            allowed=emit["allowed"],
            white_list=frozenset(map(UUID, emit["white_list"])),
            black_list=frozenset(map(UUID, emit["black_list"])),
        ),
    )


def _token(row: Row[*tuple[Any, ...]]) -> Token:
    area = VisibilityArea(row.visibility_area)
    return Token(**{**row._mapping, "permissions": read(row.permissions), "visibility_area": area})
