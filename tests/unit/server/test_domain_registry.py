"""The registry of accounts: who may create whom, and what may be changed."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from domain_stores import MemoryAccounts, MemoryFailures

from server.domain.access import Principal, Scope
from server.domain.accounts import AccountType
from server.domain.passwords import Passwords
from server.domain.registry import AccountRegistry
from server.errors import (
    AccountIdTaken,
    AccountNotFound,
    BadBody,
    LoginTaken,
    RegistrationClosed,
    Unauthenticated,
)

ADMIN = Principal(UUID(int=1), AccountType.ADMIN)
USER = Principal(UUID(int=2), AccountType.USER)
ADVANCED = Principal(UUID(int=3), AccountType.ADVANCED_USER)


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    one = Passwords(60)
    yield one
    one.close()


@pytest.fixture
def registry(passwords: Passwords) -> AccountRegistry:
    return AccountRegistry(MemoryAccounts(), passwords, MemoryFailures(), open_registration=True)


async def made(registry: AccountRegistry, login: str = "a@b.cd", by: Principal | None = None) -> UUID:
    account = await registry.create(login=login, password="pass", account_type=AccountType.USER, by=by)
    return account.account_id


@pytest.mark.parametrize("by", [None, USER, ADVANCED])
async def test_where_registration_is_closed_only_an_administrator_creates(
    passwords: Passwords, by: Principal | None
) -> None:
    closed = AccountRegistry(MemoryAccounts(), passwords, MemoryFailures(), open_registration=False)
    with pytest.raises(RegistrationClosed):
        await made(closed, by=by)
    assert (await made(closed, by=ADMIN)).version == 7


async def test_an_administrator_is_never_created_nor_made_of_another(registry: AccountRegistry) -> None:
    with pytest.raises(BadBody):
        await registry.create(login="a@b.cd", password="pass", account_type=AccountType.ADMIN, by=ADMIN)
    account_id = await made(registry)
    with pytest.raises(BadBody):
        await registry.change(account_id, account_type=AccountType.ADMIN)


async def test_the_first_administrator_is_made_once(registry: AccountRegistry) -> None:
    assert await registry.ensure_admin("root@b.cd", "pass")
    assert not await registry.ensure_admin("other@b.cd", "pass")
    assert (await registry.by_password("root@b.cd", "pass", "")).account_type is AccountType.ADMIN


async def test_a_second_server_of_the_same_start_loses_the_race_quietly(passwords: Passwords) -> None:
    class Late(MemoryAccounts):
        async def any_admin(self) -> bool:
            return False

    registry = AccountRegistry(Late(), passwords, MemoryFailures(), open_registration=True)
    assert await registry.ensure_admin("root@b.cd", "pass")
    assert not await registry.ensure_admin("root@b.cd", "pass")


async def test_login_and_id_are_unique(registry: AccountRegistry) -> None:
    account_id = await made(registry)
    with pytest.raises(LoginTaken):
        await made(registry)
    with pytest.raises(AccountIdTaken):
        await registry.create(login="c@b.cd", password="pass", account_type=AccountType.USER, account_id=account_id)


async def test_a_password_is_kept_as_a_hash_and_a_changed_one_counts_at_once(registry: AccountRegistry) -> None:
    account_id = await made(registry)
    assert "pass" not in (await registry.get(account_id)).password_hash
    assert (await registry.by_password("a@b.cd", "pass", "")).account_id == account_id
    await registry.change(account_id, password="other")
    with pytest.raises(Unauthenticated):
        await registry.by_password("a@b.cd", "pass", "")
    assert (await registry.by_password("a@b.cd", "other", "")).account_id == account_id


async def test_a_change_leaves_the_other_fields_as_they_are(registry: AccountRegistry) -> None:
    account_id = await made(registry)
    before = await registry.get(account_id)
    await registry.change(account_id, description="")
    await registry.change(account_id, account_type=AccountType.ADVANCED_USER)
    after = await registry.get(account_id)
    assert (after.login, after.password_hash, after.create_time) == (
        before.login,
        before.password_hash,
        before.create_time,
    )
    assert after.account_type is AccountType.ADVANCED_USER
    assert after.last_update_time > before.last_update_time
    with pytest.raises(BadBody):
        await registry.change(account_id)


async def test_nobody_is_found_under_an_unknown_id(registry: AccountRegistry) -> None:
    with pytest.raises(AccountNotFound):
        await registry.get(uuid4())
    with pytest.raises(AccountNotFound):
        await registry.get(uuid4())


def test_a_user_reads_only_their_own_whatever_account_they_name() -> None:
    other = uuid4()
    assert USER.reads() == USER.reads(other) == USER.writes == Scope(USER.account_id)
    for one in (ADMIN, ADVANCED):
        assert one.reads() == Scope(None)
        assert one.reads(other) == Scope(other)
        assert one.writes == Scope(one.account_id)
