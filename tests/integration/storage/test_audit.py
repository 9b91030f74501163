"""The audit trail: entries come back as they were, in the order in which they were made, and outlive accounts."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from server.domain.accounts import Account, AccountType
from server.domain.audit import AuditEntry, Change
from storage.accounts import PostgresAccountStore
from storage.audit import PostgresAuditTrail
from storage.database import Database
from tests.integration.storage.made import NOW, OURS, THEIRS, number


def an_entry(value: int, account: UUID | None = OURS, **fields: object) -> AuditEntry:
    made = {"time": NOW, "account_id": account, "token_id": None, "method": "luna.v6.Faces.CreateFace"}
    rest = {"objects": (number(value),), "address": "192.0.2.7", "request_id": f"1536751345,{number(value)}"}
    return AuditEntry(**{**made, **rest, **fields})


@pytest.fixture
def trail(database: Database) -> PostgresAuditTrail:
    return PostgresAuditTrail(database)


@pytest.mark.parametrize(
    "entry",
    [
        an_entry(1),
        an_entry(2, token_id=number(70), address="2001:db8::1"),
        an_entry(3, account=None, objects=()),
        an_entry(4, objects=tuple(number(value) for value in range(1000, 0, -1))),
        an_entry(5, address="", request_id="~ \u00e9"),
    ],
    ids=["plain", "token", "nobody", "many objects in their order", "odd texts"],
)
async def test_an_entry_comes_back_as_it_was(trail: PostgresAuditTrail, entry: AuditEntry) -> None:
    await trail.complete(Change(entry))
    assert await trail.newest(None, 10) == [entry]


async def test_the_newest_come_first_whatever_a_clock_says(trail: PostgresAuditTrail) -> None:
    made = [an_entry(value, time=NOW - timedelta(hours=value)) for value in range(1, 6)]
    for entry in made:
        await trail.complete(Change(entry))
    assert await trail.newest(None, 10) == made[::-1]
    assert await trail.newest(None, 2) == [made[4], made[3]]
    assert await trail.newest(None, 0) == []


async def test_the_newest_of_one_account_are_its_own_alone(trail: PostgresAuditTrail) -> None:
    ours, theirs, nobodys = an_entry(1), an_entry(2, THEIRS), an_entry(3, None)
    for entry in (ours, theirs, nobodys, ours):
        await trail.complete(Change(entry))
    assert await trail.newest(OURS, 10) == [ours, ours]
    assert await trail.newest(OURS, 1) == [ours]
    assert await trail.newest(THEIRS, 10) == [theirs]
    assert await trail.newest(number(99), 10) == []


async def test_entries_that_are_made_at_once_are_all_kept(trail: PostgresAuditTrail) -> None:
    made = [an_entry(value) for value in range(1, 61)]
    await asyncio.gather(*(trail.complete(Change(entry)) for entry in made))
    kept = await trail.newest(None, 100)
    assert len(kept) == len(made)
    assert {entry.objects for entry in kept} == {entry.objects for entry in made}


async def test_entries_outlive_the_account_that_they_tell_of(
    trail: PostgresAuditTrail, accounts: PostgresAccountStore, database: Database
) -> None:
    await accounts.add(Account(OURS, "a@b.cd", "$argon2id$x", AccountType.USER, "", NOW, NOW))
    await trail.complete(Change(an_entry(1)))
    async with database.transaction() as connection:
        await connection.execute(text("DELETE FROM accounts"))
    assert await trail.newest(OURS, 10) == [an_entry(1)]


async def test_the_index_serves_the_newest_of_an_account(trail: PostgresAuditTrail, database: Database) -> None:
    """One account among many: its page must not cost a walk through the entries of all."""
    fill = text("""
        INSERT INTO audit (time, account_id, method, objects, address, request_id)
        SELECT now(),
            CAST(lpad(to_hex(n % 200), 32, '0') AS uuid), 'm', '{}', 'a', 'r'
        FROM generate_series(1, 100000) n
    """)
    async with database.transaction() as connection:
        await connection.execute(fill)
        await connection.execute(text("ANALYZE audit"))
    plan = await database.fetch(
        text("EXPLAIN SELECT * FROM audit WHERE account_id = :id ORDER BY entry_id DESC LIMIT 50"), {"id": number(7)}
    )
    lines = "\n".join(row[0] for row in plan)
    assert "audit_account_idx" in lines
    assert "Sort" not in lines
