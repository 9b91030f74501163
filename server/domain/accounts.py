"""Accounts: who owns data, and the port to where they are kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol
from uuid import UUID


class AccountType(Enum):
    """What an account may see. The value is LUNA's word."""

    USER = "user"
    ADVANCED_USER = "advanced_user"
    ADMIN = "admin"

    @property
    def reads_every_account(self) -> bool:
        """True where the type reads the data of all accounts."""
        return self is not AccountType.USER


@dataclass(frozen=True, slots=True)
class Account:
    """An account. `password_hash` is an argon2 string. Times are aware, in UTC."""

    account_id: UUID
    login: str
    password_hash: str
    account_type: AccountType
    description: str
    create_time: datetime
    last_update_time: datetime


@dataclass(frozen=True, slots=True)
class AccountChanges:
    """What to change of an account; None leaves a field as it is."""

    login: str | None = None
    password_hash: str | None = None
    account_type: AccountType | None = None
    description: str | None = None


class AccountStore(Protocol):
    """Where accounts are kept."""

    async def add(self, account: Account) -> None:
        """Keep a new account.

        Raises:
            LoginTaken, AccountIdTaken: another account has the login or the id.
        """
        ...

    async def by_id(self, account_id: UUID) -> Account | None:
        """The account with an id."""
        ...

    async def by_login(self, login: str) -> Account | None:
        """The account with a login."""
        ...

    async def change(self, account_id: UUID, changes: AccountChanges, now: datetime) -> None:
        """Change an account.

        Raises:
            AccountNotFound: no such account.
            LoginTaken: another account has the login.
        """
        ...

    async def any_admin(self) -> bool:
        """True where an administrator exists."""
        ...
