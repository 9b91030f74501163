"""Accounts: logins and ids are unique, changes change what is named."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from server.domain.accounts import Account, AccountChanges, AccountType
from server.errors import AccountIdTaken, AccountNotFound, LoginTaken
from storage.accounts import PostgresAccountStore
from tests.integration.storage.made import NOW, number


def account(value: int, **fields: object) -> Account:
    made = {"account_id": number(value), "login": f"user{value}@example.com", "password_hash": "$argon2id$x"}
    rest = {"account_type": AccountType.USER, "description": "", "create_time": NOW, "last_update_time": NOW}
    return Account(**{**made, **rest, **fields})


async def test_an_account_comes_back_by_id_and_by_login(accounts: PostgresAccountStore) -> None:
    kept = account(1, account_type=AccountType.ADVANCED_USER, description="Ω")
    await accounts.add(kept)
    assert await accounts.by_id(number(1)) == kept
    assert await accounts.by_login("user1@example.com") == kept
    assert await accounts.by_login("User1@example.com") is None
    assert await accounts.by_id(number(2)) is None


async def test_a_login_and_an_id_belong_to_one_account(accounts: PostgresAccountStore) -> None:
    await accounts.add(account(1))
    with pytest.raises(LoginTaken, match="user1@example"):
        await accounts.add(account(2, login="user1@example.com"))
    with pytest.raises(AccountIdTaken, match=str(number(1))):
        await accounts.add(account(1, login="other@example.com"))
    await accounts.add(account(2))
    with pytest.raises(LoginTaken, match="user1@example"):
        await accounts.change(number(2), AccountChanges(login="user1@example.com"), NOW)
    assert await accounts.by_id(number(2)) == account(2)


async def test_a_change_changes_what_is_named(accounts: PostgresAccountStore) -> None:
    await accounts.add(account(1))
    later = NOW + timedelta(seconds=1)
    await accounts.change(number(1), AccountChanges(), later)
    assert await accounts.by_id(number(1)) == account(1, last_update_time=later)
    changes = AccountChanges("new@example.com", "$argon2id$y", AccountType.ADMIN, "text")
    await accounts.change(number(1), changes, later)
    assert await accounts.by_id(number(1)) == replace(
        account(1, last_update_time=later),
        login="new@example.com",
        password_hash="$argon2id$y",
        account_type=AccountType.ADMIN,
        description="text",
    )
    with pytest.raises(AccountNotFound, match=str(number(2))):
        await accounts.change(number(2), changes, later)


async def test_whether_there_is_an_administrator(accounts: PostgresAccountStore) -> None:
    await accounts.add(account(1, account_type=AccountType.ADVANCED_USER))
    assert not await accounts.any_admin()
    await accounts.add(account(2, account_type=AccountType.ADMIN))
    assert await accounts.any_admin()
