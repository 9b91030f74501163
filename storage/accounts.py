"""Accounts in PostgreSQL."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Executable, Row, bindparam, func, insert, literal, select, update

from server.domain.accounts import Account, AccountChanges, AccountType
from server.errors import AccountIdTaken, AccountNotFound, LoginTaken
from storage.database import ConstraintViolated, Database
from storage.rows import columns_of
from storage.schema import accounts

# made once: whoever calls is looked up in each call
_BY_ID: Final = select(accounts).where(accounts.c.account_id == bindparam("key"))
_BY_LOGIN: Final = select(accounts).where(accounts.c.login == bindparam("key"))


class PostgresAccountStore:
    """Implements `server.domain.accounts.AccountStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, account: Account) -> None:
        """Keep a new account. See `AccountStore.add`."""
        values = columns_of(account) | {"account_type": account.account_type.value}
        try:
            async with self._database.transaction(made=(account.account_id,)) as connection:
                await connection.execute(insert(accounts).values(values))
        except ConstraintViolated as violated:
            if violated.constraint == "accounts_login_key":
                raise LoginTaken(login=account.login) from violated
            raise AccountIdTaken(account_id=account.account_id) from violated

    async def by_id(self, account_id: UUID) -> Account | None:
        """The account with an id."""
        return await self._one(_BY_ID, account_id)

    async def by_login(self, login: str) -> Account | None:
        """The account with a login; letters' case counts."""
        return await self._one(_BY_LOGIN, login)

    async def change(self, account_id: UUID, changes: AccountChanges, now: datetime) -> None:
        """Change an account. See `AccountStore.change`."""
        values: dict[str, object] = {name: value for name, value in asdict(changes).items() if value is not None}
        if changes.account_type is not None:
            values["account_type"] = changes.account_type.value
        values["last_update_time"] = func.greatest(accounts.c.last_update_time, now)
        statement = update(accounts).where(accounts.c.account_id == account_id).values(values)
        try:
            async with self._database.transaction() as connection:
                found = (await connection.execute(statement)).rowcount
        except ConstraintViolated as violated:
            raise LoginTaken(login=changes.login) from violated
        if not found:
            raise AccountNotFound(account_id=account_id)

    async def any_admin(self) -> bool:
        """True where an administrator exists."""
        admins = select(literal(1)).where(accounts.c.account_type == AccountType.ADMIN.value).limit(1)
        return bool(await self._database.fetch(admins))

    async def _one(self, statement: Executable, key: object) -> Account | None:
        rows = await self._database.fetch(statement, {"key": key})
        return _account(rows[0]) if rows else None


def _account(row: Row[*tuple[Any, ...]]) -> Account:
    return Account(**{**row._mapping, "account_type": AccountType(row.account_type)})
