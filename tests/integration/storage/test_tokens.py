"""Tokens and their keys: accounts that are walls, pages in order, keys that live as long as they are needed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from server.domain.access import Scope
from server.domain.accounts import Account, AccountType
from server.domain.faces import Page
from server.domain.permissions import EmitEvents, Permissions
from server.domain.tokens import SigningKey, Token, VisibilityArea
from storage.accounts import PostgresAccountStore
from storage.database import ConstraintViolated, Database
from storage.tokens import FRESH, PostgresTokenStore
from tests.integration.storage.made import EVERYONE, NOW, OURS, THEIRS, number

OUR_SCOPE = Scope(OURS)
FIRST_KEY = number(900)
ALL = Page(1, 100)
SECOND = timedelta(seconds=1)


def a_key(value: int, create_time: datetime = NOW) -> SigningKey:
    return SigningKey(number(value), bytes([value % 256]) * 32, create_time)


def a_token(value: int, account: UUID = OURS, **fields: object) -> Token:
    made = {"token_id": number(value), "account_id": account, "description": "", "expiration_time": None}
    rest = {"permissions": Permissions(), "visibility_area": VisibilityArea.ACCOUNT, "key_id": FIRST_KEY}
    times = {"revision": number(value + 500), "create_time": NOW, "last_update_time": NOW}
    return Token(**{**made, **rest, **times, **fields})


def ids(found: list[Token]) -> list[int]:
    return [one.token_id.int for one in found]


@pytest.fixture
async def tokens(database: Database, accounts: PostgresAccountStore) -> PostgresTokenStore:
    """A store with two accounts and one old key."""
    for account_id in (OURS, THEIRS):
        await accounts.add(Account(account_id, f"{account_id}@b.cd", "$argon2id$x", AccountType.USER, "", NOW, NOW))
    store = PostgresTokenStore(database)
    await store.add_key(a_key(900))
    return store


async def test_a_token_comes_back_as_it_was(tokens: PostgresTokenStore) -> None:
    full = a_token(
        1,
        description="дверь \U0001f6aa",
        expiration_time=NOW + timedelta(days=400, microseconds=1),
        permissions=Permissions(
            frozenset({("face", "view"), ("face_sample", "creation")}),
            frozenset({"iso", "sdk"}),
            EmitEvents(allowed=True, white_list=frozenset({number(7), number(8)})),
        ),
        visibility_area=VisibilityArea.ALL,
        last_update_time=NOW + SECOND,
    )
    black = a_token(2, permissions=Permissions(emit_events=EmitEvents(black_list=frozenset({number(9)}))))
    for kept in (full, black, a_token(3)):
        await tokens.add(kept)
        assert await tokens.get(OUR_SCOPE, kept.token_id) == kept
    assert await tokens.get(OUR_SCOPE, number(4)) is None


async def test_nothing_of_another_account_is_seen_or_changed(tokens: PostgresTokenStore) -> None:
    kept = a_token(1, THEIRS)
    await tokens.add(kept)
    assert await tokens.get(OUR_SCOPE, number(1)) is None
    assert await tokens.find(OUR_SCOPE, None, None, ALL) == []
    assert not await tokens.replace(OUR_SCOPE, replace(kept, description="ours"))
    assert not await tokens.remove(OUR_SCOPE, number(1))
    assert await tokens.get(EVERYONE, number(1)) == await tokens.get(Scope(THEIRS), number(1)) == kept


async def test_pages_come_newest_first_and_ties_go_by_id(tokens: PostgresTokenStore) -> None:
    for value, seconds in ((5, 0), (3, 0), (4, 0), (1, 2), (2, -2)):
        await tokens.add(a_token(value, create_time=NOW + seconds * SECOND))
    await tokens.add(a_token(6, THEIRS, create_time=NOW + 3 * SECOND))
    order = [1, 3, 4, 5, 2]
    assert ids(await tokens.find(OUR_SCOPE, None, None, ALL)) == order
    assert ids(await tokens.find(EVERYONE, None, None, ALL)) == [6, *order]
    pages = [ids(await tokens.find(OUR_SCOPE, None, None, Page(page, 2))) for page in (1, 2, 3, 4)]
    assert pages == [order[:2], order[2:4], order[4:], []]


async def test_bounds_of_the_time_include_the_lower_and_exclude_the_upper(tokens: PostgresTokenStore) -> None:
    for value in (1, 2, 3):
        await tokens.add(a_token(value, create_time=NOW + value * SECOND))
    one, three = NOW + SECOND, NOW + 3 * SECOND
    assert ids(await tokens.find(OUR_SCOPE, one, three, ALL)) == [2, 1]
    assert ids(await tokens.find(OUR_SCOPE, one + timedelta(microseconds=1), None, ALL)) == [3, 2]
    assert ids(await tokens.find(OUR_SCOPE, None, one, ALL)) == []
    assert ids(await tokens.find(OUR_SCOPE, three, one, ALL)) == []


async def test_replacing_keeps_account_and_create_time(tokens: PostgresTokenStore) -> None:
    await tokens.add_key(a_key(901))
    for value in (1, 2):
        await tokens.add(a_token(value))
    wanted = a_token(
        1,
        THEIRS,
        description="new",
        expiration_time=NOW + SECOND,
        permissions=Permissions(frozenset({("list", "view")})),
        visibility_area=VisibilityArea.ALL,
        key_id=number(901),
        revision=number(777),
        create_time=NOW + 9 * SECOND,
        last_update_time=NOW + 8 * SECOND,
    )
    assert await tokens.replace(OUR_SCOPE, wanted)
    assert await tokens.get(OUR_SCOPE, number(1)) == replace(wanted, account_id=OURS, create_time=NOW)
    assert await tokens.get(OUR_SCOPE, number(2)) == a_token(2), "the token beside it is as it was"
    assert not await tokens.replace(OUR_SCOPE, replace(wanted, token_id=number(3)))


async def test_a_removed_token_is_gone_and_is_removed_once(tokens: PostgresTokenStore) -> None:
    for value in (1, 2):
        await tokens.add(a_token(value))
    assert await tokens.remove(OUR_SCOPE, number(1))
    assert not await tokens.remove(OUR_SCOPE, number(1))
    assert ids(await tokens.find(EVERYONE, None, None, ALL)) == [2]


async def test_tokens_go_with_their_account_and_cannot_be_without_one(
    tokens: PostgresTokenStore, database: Database
) -> None:
    await tokens.add(a_token(1))
    await tokens.add(a_token(2, THEIRS))
    async with database.transaction() as connection:
        await connection.execute(text("DELETE FROM accounts WHERE account_id = :id"), {"id": OURS})
    assert ids(await tokens.find(EVERYONE, None, None, ALL)) == [2]
    with pytest.raises(ConstraintViolated):
        await tokens.add(a_token(3))


async def test_a_key_comes_back_and_the_newest_is_told(database: Database) -> None:
    tokens = PostgresTokenStore(database)
    assert await tokens.newest_key() is None
    assert await tokens.remove_unused_keys() == 0
    keys = [a_key(1, NOW), a_key(2, NOW + SECOND), a_key(3, NOW - SECOND)]
    for key in keys:
        await tokens.add_key(key)
    assert [await tokens.key(key.key_id) for key in keys] == keys
    assert await tokens.key(number(4)) is None
    assert await tokens.newest_key() == keys[1]


async def test_of_keys_of_the_same_moment_every_process_takes_the_same(database: Database) -> None:
    """Two servers that start at once each make a key."""
    tokens = PostgresTokenStore(database)
    for value in (3, 1, 2):
        await tokens.add_key(a_key(value))
    assert await tokens.newest_key() == a_key(1)


async def test_keys_are_removed_that_no_token_needs(tokens: PostgresTokenStore) -> None:
    """Key 900 signed a token, 901 did not, 902 is the newest."""
    for value in (901, 902):
        await tokens.add_key(a_key(value, NOW + (value - 900) * SECOND))
    await tokens.add(a_token(1))
    assert await tokens.remove_unused_keys() == 1
    assert [await tokens.key(number(value)) is not None for value in (900, 901, 902)] == [True, False, True]
    assert await tokens.remove(OUR_SCOPE, number(1))
    assert await tokens.remove_unused_keys() == 1
    assert [await tokens.key(number(value)) is not None for value in (900, 902)] == [False, True]
    assert await tokens.remove_unused_keys() == 0, "the newest stays though nothing was signed with it"


async def test_while_the_newest_key_is_fresh_no_key_is_removed(tokens: PostgresTokenStore) -> None:
    """A server may have read the key before as the newest one, and be about to add a token that it signed with it."""
    fresh = a_key(901, datetime.now(UTC) - FRESH + timedelta(minutes=1))
    await tokens.add_key(fresh)
    assert await tokens.remove_unused_keys() == 0
    await tokens.add(a_token(1))
    assert await tokens.get(OUR_SCOPE, number(1)) == a_token(1)


async def test_a_key_that_signed_a_token_cannot_be_removed_by_anyone(
    tokens: PostgresTokenStore, database: Database
) -> None:
    await tokens.add(a_token(1))
    with pytest.raises(ConstraintViolated):
        async with database.transaction() as connection:
            await connection.execute(text("DELETE FROM token_keys"))
    with pytest.raises(ConstraintViolated):
        await tokens.add(a_token(2, key_id=number(999)))
