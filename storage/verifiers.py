"""Verifiers in PostgreSQL. Their policies are one column of JSON, in a form that this package does not look into."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, delete, func, insert, select, update

from server.domain.access import Scope
from server.domain.faces import Page
from server.domain.verifiers import Verifier, VerifierPolicies, VerifierPolicyForm
from server.errors import Conflict
from storage.database import ConstraintViolated, Database
from storage.filters import inside, offset
from storage.schema import verifiers


class PostgresVerifierStore:
    """Implements `server.domain.verifiers.VerifierStore`. `form` is what policies are kept in."""

    def __init__(self, database: Database, form: VerifierPolicyForm) -> None:
        self._database = database
        self._form = form

    async def create(self, new: Verifier) -> None:
        """Keep a new verifier.

        Raises:
            Conflict: a verifier with this id exists already.
        """
        values = {
            "verifier_id": new.verifier_id,
            "account_id": new.account_id,
            "description": new.description,
            "policies": self._form.write(new.policies),
            "create_time": new.create_time,
            "last_update_time": new.last_update_time,
            "version": new.version,
        }
        try:
            async with self._database.transaction(made=(new.verifier_id,)) as connection:
                await connection.execute(insert(verifiers).values(values))
        except ConstraintViolated as violated:
            raise Conflict(message=f"Verifier with id '{new.verifier_id}' exists already") from violated

    async def get(self, scope: Scope, verifier_id: UUID) -> Verifier | None:
        """One verifier."""
        rows = await self._database.fetch(select(verifiers).where(*_one(scope, verifier_id)))
        return self._verifier(rows[0]) if rows else None

    async def find(self, scope: Scope, description: str | None, page: Page) -> list[Verifier]:
        """A page of verifiers, newest first; ties go by id."""
        chosen = select(verifiers).where(*_conditions(scope, description))
        newest = chosen.order_by(verifiers.c.create_time.desc(), verifiers.c.verifier_id)
        rows = await self._database.fetch(newest.limit(page.size).offset(offset(page)))
        return [self._verifier(row) for row in rows]

    async def count(self, scope: Scope, description: str | None) -> int:
        """How many verifiers."""
        counted = select(func.count()).select_from(verifiers).where(*_conditions(scope, description))
        (row,) = await self._database.fetch(counted)
        return int(row[0])

    async def replace(
        self, scope: Scope, verifier_id: UUID, description: str, policies: VerifierPolicies, now: datetime
    ) -> int | None:
        """Replace what a verifier says. Its new version; None where there is none. Time does not run backwards."""
        changed = (
            update(verifiers)
            .where(*_one(scope, verifier_id))
            .values(
                description=description,
                policies=self._form.write(policies),
                last_update_time=func.greatest(verifiers.c.last_update_time, now),
                version=verifiers.c.version + 1,
            )
        )
        async with self._database.transaction() as connection:
            version: int | None = await connection.scalar(changed.returning(verifiers.c.version))
        return version

    async def remove(self, scope: Scope, verifier_id: UUID) -> bool:
        """Delete a verifier. False where there is none."""
        async with self._database.transaction() as connection:
            return bool((await connection.execute(delete(verifiers).where(*_one(scope, verifier_id)))).rowcount)

    def _verifier(self, row: Row[*tuple[Any, ...]]) -> Verifier:
        return Verifier(**{**row._mapping, "policies": self._form.read(row.policies)})


def _one(scope: Scope, verifier_id: UUID) -> list[ColumnElement[bool]]:
    return [verifiers.c.verifier_id == verifier_id, *inside(verifiers.c.account_id, scope)]


def _conditions(scope: Scope, description: str | None) -> list[ColumnElement[bool]]:
    conditions = inside(verifiers.c.account_id, scope)
    if description is not None:
        conditions.append(verifiers.c.description.contains(description, autoescape=True))
    return conditions
