"""Lambdas: rows and states in PostgreSQL, archives in the blob store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Row, delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from server.domain.access import Scope
from server.domain.faces import Page
from server.domain.lambdas import ImageStatus, Lambda, LambdaChange, LambdaFilter, LambdaState, LambdaStatus, LambdaType
from server.domain.permissions import Permissions
from server.domain.tokens import Token
from server.errors import Conflict, LambdaNameTaken, TooManyLambdas
from storage.blobs import BlobStore
from storage.database import ConstraintViolated, Database
from storage.filters import among, between, inside, offset
from storage.schema import lambda_states, lambdas, tokens
from storage.tokens import read, token_columns, written

ARCHIVES: Final = "lambdas"
"""The folder of archives."""
NAMES: Final = "lambdas_account_id_name_key"

#: Accounts have no row that everybody locks. The lock is let go with the transaction.
ONE_BY_ONE: Final = text("SELECT pg_advisory_xact_lock(hashtextextended('luna lambdas of ' || :account, 0))")

_SHORT: Final = [one for one in lambda_states.c if one.name not in {"image_logs", "documentation"}]


def archive_key(archive_id: UUID) -> str:
    """Where the bytes of an archive are; the last digits choose the folder, as for samples."""
    return f"{ARCHIVES}/{archive_id.hex[-2:]}/{archive_id}"


class PostgresLambdaStore:
    """Implements `server.domain.lambdas.LambdaStore`."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    async def create(self, new: Lambda, token: Token, archive: bytes, most: int) -> None:
        """Keep a new lambda. See `LambdaStore.create`.

        Raises:
            LambdaNameTaken, TooManyLambdas: as there.
            Conflict: a lambda with this id exists already.
        """
        await self._blobs.create(archive_key(new.archive_id), archive)
        try:
            async with self._database.transaction(made=(new.lambda_id, new.token_id)) as connection:
                await _count(connection, new.account_id, most)
                await connection.execute(insert(tokens).values(token_columns(token)))
                await connection.execute(insert(lambdas).values(_columns(new)))
        except (ConstraintViolated, TooManyLambdas) as refused:
            await self._blobs.delete(archive_key(new.archive_id))
            if isinstance(refused, TooManyLambdas):
                raise
            raise _meant(refused, new) from refused

    async def get(self, scope: Scope, lambda_id: UUID) -> Lambda | None:
        """One lambda."""
        rows = await self._database.fetch(select(lambdas).where(*_one(scope, lambda_id)))
        return lambda_of(rows[0]) if rows else None

    async def find(self, scope: Scope, where: LambdaFilter, page: Page) -> list[Lambda]:
        """A page of lambdas, newest first; ties go by id."""
        chosen = select(lambdas).where(*_conditions(scope, where))
        newest = chosen.order_by(lambdas.c.create_time.desc(), lambdas.c.lambda_id)
        return [lambda_of(row) for row in await self._database.fetch(newest.limit(page.size).offset(offset(page)))]

    async def replace(
        self, scope: Scope, wanted: Lambda, archive: bytes, within: Permissions | None = None
    ) -> int | None:
        """Replace a lambda. See `LambdaStore.replace`.

        Raises:
            LambdaNameTaken: the account has another one of that name.
        """
        before = await self.get(scope, wanted.lambda_id)
        if before is None:
            return None
        await self._blobs.create(archive_key(wanted.archive_id), archive)
        version = None
        try:
            async with self._database.transaction() as connection:
                before = await _locked(connection, scope, wanted.lambda_id)
                if before is not None:
                    version = await _replaced(connection, before, wanted)
                    await _cut(connection, before.token_id, within)
        except ConstraintViolated as violated:
            await self._blobs.delete(archive_key(wanted.archive_id))
            raise _meant(violated, wanted) from violated
        await self._blobs.delete(archive_key(wanted.archive_id if before is None else before.archive_id))
        return version

    async def rebuild(self, scope: Scope, lambda_id: UUID) -> int | None:
        """Ask for a new build of the same archive. The new version; None where there is no such lambda."""
        values = {"version": lambdas.c.version + 1, "last_update_time": func.now()}
        changed = update(lambdas).where(*_one(scope, lambda_id)).values(values).returning(lambdas.c.version)
        async with self._database.transaction() as connection:
            version = await connection.scalar(changed)
        return None if version is None else int(version)

    async def patch(self, scope: Scope, lambda_id: UUID, change: LambdaChange) -> bool:
        """Change the texts of a lambda. False where there is none.

        Raises:
            LambdaNameTaken: the account has another one of that name.
        """
        values = {name: value for name, value in asdict(change).items() if value is not None}
        changed = update(lambdas).where(*_one(scope, lambda_id)).values(**values, last_update_time=func.now())
        try:
            async with self._database.transaction() as connection:
                return (await connection.execute(changed)).rowcount > 0
        except ConstraintViolated as violated:
            raise LambdaNameTaken(lambda_name=change.name) from violated

    async def remove(self, scope: Scope, lambda_id: UUID) -> Lambda | None:
        """Delete a lambda. See `LambdaStore.remove`."""
        deleted = delete(lambdas).where(*_one(scope, lambda_id)).returning(*lambdas.c)
        async with self._database.transaction() as connection:
            row = (await connection.execute(deleted)).first()
            if row is None:
                return None
            await connection.execute(delete(tokens).where(tokens.c.token_id == row.token_id))
        await self._blobs.delete(archive_key(row.archive_id))
        return lambda_of(row)

    async def has_archive(self, wanted: Lambda) -> bool:
        """Whether the archive of a lambda is there."""
        return await self._blobs.size(archive_key(wanted.archive_id)) is not None

    async def state(self, lambda_id: UUID) -> LambdaState | None:
        """What was last reported of a lambda."""
        rows = await self._database.fetch(select(lambda_states).where(lambda_states.c.lambda_id == lambda_id))
        return _state(rows[0], tuple(rows[0].image_logs), rows[0].documentation) if rows else None

    async def states(self, lambda_ids: Sequence[UUID]) -> Mapping[UUID, LambdaState]:
        """What was last reported of some lambdas, without the long texts."""
        if not lambda_ids:
            return {}
        rows = await self._database.fetch(select(*_SHORT).where(among(lambda_states.c.lambda_id, lambda_ids)))
        return {row.lambda_id: _state(row) for row in rows}


async def _count(connection: AsyncConnection, account_id: UUID, most: int) -> None:
    """Hold an account to its number of lambdas; others of it that create one wait until this one is committed."""
    await connection.execute(ONE_BY_ONE, {"account": str(account_id)})
    count = await connection.scalar(select(func.count()).where(lambdas.c.account_id == account_id)) or 0
    if count >= most:
        raise TooManyLambdas(count=count, limit=most)


async def _locked(connection: AsyncConnection, scope: Scope, lambda_id: UUID) -> Lambda | None:
    row = (await connection.execute(select(lambdas).where(*_one(scope, lambda_id)).with_for_update())).first()
    return None if row is None else lambda_of(row)


async def _replaced(connection: AsyncConnection, before: Lambda, wanted: Lambda) -> int:
    kept = {"lambda_id", "account_id", "token_id", "create_time"}
    values = {name: value for name, value in _columns(wanted).items() if name not in kept}
    values["version"] = before.version + 1
    await connection.execute(update(lambdas).where(lambdas.c.lambda_id == before.lambda_id).values(values))
    return before.version + 1


async def _cut(connection: AsyncConnection, token_id: UUID, within: Permissions | None) -> None:
    """Take from a token what is outside of some permissions. Its JWT stays: the row alone says what it may."""
    if within is None:
        return
    locked = select(tokens.c.permissions).where(tokens.c.token_id == token_id).with_for_update()
    kept = await connection.scalar(locked)
    if kept is not None:
        values = {"permissions": written(read(kept).within(within)), "last_update_time": func.now()}
        await connection.execute(update(tokens).where(tokens.c.token_id == token_id).values(values))


def _meant(violated: ConstraintViolated, wanted: Lambda) -> Exception:
    if violated.constraint == NAMES:
        return LambdaNameTaken(lambda_name=wanted.name)
    return Conflict(message=f"Lambda with id '{wanted.lambda_id}' or its token exists already, or its account is gone")


def _columns(wanted: Lambda) -> dict[str, object]:
    return asdict(wanted) | {"lambda_type": wanted.lambda_type.value, "commands": list(wanted.commands)}


def lambda_of(row: Row[*tuple[Any, ...]]) -> Lambda:
    """A lambda from its row."""
    kind = LambdaType(row.lambda_type)
    return Lambda(**{**row._mapping, "lambda_type": kind, "commands": tuple(row.commands)})


def _state(row: Row[*tuple[Any, ...]], logs: tuple[str, ...] = (), documentation: str = "") -> LambdaState:
    return LambdaState(
        version=row.version,
        status=LambdaStatus(row.status),
        image_status=ImageStatus(row.image_status),
        base=row.base,
        info=row.info,
        image_logs=logs,
        documentation=documentation,
    )


def _one(scope: Scope, lambda_id: UUID) -> tuple[ColumnElement[bool], ...]:
    return (lambdas.c.lambda_id == lambda_id, *inside(lambdas.c.account_id, scope))


def _conditions(scope: Scope, where: LambdaFilter) -> list[ColumnElement[bool]]:
    chosen = inside(lambdas.c.account_id, scope)
    if where.lambda_type is not None:
        chosen.append(lambdas.c.lambda_type == where.lambda_type.value)
    return [*chosen, *between(lambdas.c.create_time, where.create_time_gte, where.create_time_lt)]
