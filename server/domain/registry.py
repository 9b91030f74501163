"""Who there is: accounts are created, changed and recognised by their password."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from server.domain.access import Principal
from server.domain.accounts import Account, AccountChanges, AccountStore, AccountType
from server.domain.ids import uuid7
from server.domain.logins import FailedLogins
from server.domain.passwords import Passwords
from server.errors import (
    AccountNotFound,
    BadBody,
    CredentialsWrong,
    LoginTaken,
    RegistrationClosed,
)


class AccountRegistry:
    """The rules of accounts over the place where they are kept."""

    def __init__(
        self, store: AccountStore, passwords: Passwords, failures: FailedLogins, *, open_registration: bool
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._failures = failures
        self._open = open_registration

    @property
    def open_registration(self) -> bool:
        """True where anyone may create an account."""
        return self._open

    async def create(
        self,
        *,
        login: str,
        password: str,
        account_type: AccountType,
        description: str = "",
        account_id: UUID | None = None,
        by: Principal | None = None,
    ) -> Account:
        """Create an account.

        Raises:
            RegistrationClosed: only an administrator may, and the caller is none.
            BadBody: an administrator cannot be created.
            LoginTaken, AccountIdTaken: another account has the login or the id.
        """
        if not self._open and (by is None or by.account_type is not AccountType.ADMIN):
            raise RegistrationClosed
        _refuse_admin(account_type)
        return await self._add(login, password, account_type, description, account_id or uuid7())

    async def ensure_admin(self, login: str, password: str) -> bool:
        """Create the first administrator where there is none. True where it was created."""
        if await self._store.any_admin():
            return False
        try:
            await self._add(login, password, AccountType.ADMIN, "administrator", uuid7())
        except LoginTaken:
            # another server of the same start was faster
            return False
        return True

    async def get(self, account_id: UUID) -> Account:
        """One account.

        Raises:
            AccountNotFound: no such account.
        """
        account = await self._store.by_id(account_id)
        if account is None:
            raise AccountNotFound(account_id=account_id)
        return account

    async def change(
        self,
        account_id: UUID,
        *,
        login: str | None = None,
        password: str | None = None,
        account_type: AccountType | None = None,
        description: str | None = None,
    ) -> None:
        """Change an account; None leaves a field as it is.

        Raises:
            BadBody: nothing is to be changed, or the account would become an administrator.
            LoginTaken: another account has the login.
        """
        if all(field is None for field in (login, password, account_type, description)):
            raise BadBody(field="", message="at least one field is needed")
        if account_type is not None:
            _refuse_admin(account_type)
        password_hash = None if password is None else await self._passwords.hash(password)
        changes = AccountChanges(login, password_hash, account_type, description)
        await self._store.change(account_id, changes, datetime.now(UTC))

    async def by_password(self, login: str, password: str, address: str) -> Account:
        """The account of a login and its password, sent from an address.

        A password that was verified a while ago is not counted and not held up by failures of others.

        Raises:
            CredentialsWrong: there is none; it does not tell whether login or password is wrong.
            Busy: there were too many wrong passwords for the login, or from the address.
        """
        account = await self._store.by_login(login)
        if account is not None and self._passwords.remembers(account.password_hash, password):
            return account
        await self._failures.begin(login, address)
        if not await self._passwords.verify(account.password_hash if account else None, password) or account is None:
            raise CredentialsWrong
        await self._failures.succeeded(login, address)
        return account

    async def _add(
        self, login: str, password: str, account_type: AccountType, description: str, account_id: UUID
    ) -> Account:
        now = datetime.now(UTC)
        password_hash = await self._passwords.hash(password)
        account = Account(account_id, login, password_hash, account_type, description, now, now)
        await self._store.add(account)
        return account


def _refuse_admin(account_type: AccountType) -> None:
    if account_type is AccountType.ADMIN:
        raise BadBody(field="account_type", message="'admin' is not allowed, allowed are: user, advanced_user")
