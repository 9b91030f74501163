"""Lambdas: what is kept comes back, names and numbers of an account, archives, tokens, states, what a runner sees."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from server.domain.access import Scope
from server.domain.accounts import Account, AccountType
from server.domain.audit import AuditEntry, Change, announced
from server.domain.faces import Page
from server.domain.lambdas import (
    Deployment,
    ImageStatus,
    Lambda,
    LambdaChange,
    LambdaFilter,
    LambdaState,
    LambdaStatus,
    LambdaType,
)
from server.domain.permissions import EmitEvents, Permissions
from server.domain.tokens import SigningKey, Token, TokenRegistry, VisibilityArea
from server.errors import Conflict, LambdaArchiveGone, LambdaNameTaken, TooManyLambdas
from storage.accounts import PostgresAccountStore
from storage.audit import PostgresAuditTrail
from storage.blobs import BlobStore
from storage.database import Database
from storage.lambdas import PostgresLambdaStore, archive_key
from storage.sweeper import FOLDERS, Sweeper
from storage.tokens import PostgresTokenStore
from storage.wanted_lambdas import PostgresWantedLambdas
from tests.integration.storage.made import EVERYONE, NOW, OURS, THEIRS, number

OUR_SCOPE, THEIR_SCOPE = Scope(OURS), Scope(THEIRS)
ARCHIVE, NEWER = b"PK archive", b"PK newer archive"
ALL = Page(1, 100)
MOST = 50
WIDE = Permissions(frozenset({("face", "view"), ("list", "view")}), frozenset({"sdk"}), EmitEvents(allowed=True))


def a_lambda(value: int, account: UUID = OURS, **fields: object) -> Lambda:
    made = {
        "lambda_id": number(value),
        "account_id": account,
        "name": f"lambda-{value}",
        "description": "",
        "lambda_type": LambdaType.STANDALONE,
        "commands": (),
        "pods": 1,
        "archive_id": number(value + 1000),
        "token_id": number(value + 2000),
        "create_time": NOW,
        "last_update_time": NOW,
    }
    return Lambda(**{**made, **fields})


def token_of(one: Lambda, permissions: Permissions = WIDE) -> Token:
    return Token(
        one.token_id, one.account_id, "", None, permissions, VisibilityArea.ACCOUNT, number(900), number(901), NOW, NOW
    )


def a_state(version: int = 1, **fields: object) -> LambdaState:
    return LambdaState(
        **{"version": version, "status": LambdaStatus.WAITING, "image_status": ImageStatus.IN_PROGRESS, **fields}
    )


class Lambdas(PostgresLambdaStore):
    """The store, with shorter ways to put something into it."""

    async def add(self, one: Lambda, archive: bytes = ARCHIVE, most: int = MOST) -> Lambda:
        await self.create(one, token_of(one), archive, most)
        return one

    async def names(self, scope: Scope, **where: object) -> list[str]:
        return [one.name for one in await self.find(scope, LambdaFilter(**where), ALL)]


@pytest.fixture
async def tokens(database: Database, accounts: PostgresAccountStore) -> PostgresTokenStore:
    """A store with two accounts and a key."""
    for account_id in (OURS, THEIRS):
        await accounts.add(Account(account_id, f"{account_id}@b.cd", "$argon2id$x", AccountType.USER, "", NOW, NOW))
    store = PostgresTokenStore(database)
    await store.add_key(SigningKey(number(900), bytes(32), NOW))
    return store


@pytest.fixture
def lambdas(database: Database, blobs: BlobStore, tokens: PostgresTokenStore) -> Lambdas:
    return Lambdas(database, blobs)


@pytest.fixture
async def wanted(
    database: Database, blobs: BlobStore, accounts: PostgresAccountStore, tokens: PostgresTokenStore
) -> AsyncIterator[PostgresWantedLambdas]:
    wanted = PostgresWantedLambdas(database, blobs, TokenRegistry(tokens, accounts).jwt_of)
    yield wanted
    await wanted.close()


def archives(folder: Path) -> set[str]:
    return {path.name for path in (folder / "blobs/lambdas").rglob("*") if path.is_file()}


async def test_a_lambda_comes_back_as_it_was(lambdas: Lambdas, tokens: PostgresTokenStore, blobs: BlobStore) -> None:
    full = a_lambda(
        1,
        name="имя \U0001f6aa",
        description="d",
        lambda_type=LambdaType.HANDLERS,
        commands=("RUN x", ""),
        pods=3,
        last_update_time=NOW + timedelta(microseconds=1),
    )
    await lambdas.add(full)
    assert await lambdas.get(OUR_SCOPE, full.lambda_id) == full
    assert await lambdas.has_archive(full)
    assert await blobs.get(archive_key(full.archive_id)) == ARCHIVE
    assert await tokens.get(OUR_SCOPE, full.token_id) == token_of(full)


async def test_nothing_of_another_account_is_seen_or_changed(lambdas: Lambdas, tokens: PostgresTokenStore) -> None:
    theirs = await lambdas.add(a_lambda(1, THEIRS))
    assert await lambdas.get(OUR_SCOPE, theirs.lambda_id) is None
    assert await lambdas.find(OUR_SCOPE, LambdaFilter(), ALL) == []
    assert await lambdas.replace(OUR_SCOPE, a_lambda(1, archive_id=number(5)), NEWER, Permissions()) is None
    assert await lambdas.rebuild(OUR_SCOPE, theirs.lambda_id) is None
    assert not await lambdas.patch(OUR_SCOPE, theirs.lambda_id, LambdaChange(name="x"))
    assert await lambdas.remove(OUR_SCOPE, theirs.lambda_id) is None
    assert await lambdas.get(EVERYONE, theirs.lambda_id) == theirs
    assert await tokens.get(EVERYONE, theirs.token_id) == token_of(theirs)
    assert await lambdas.has_archive(theirs)


async def test_a_page_is_newest_first_and_ties_go_by_id(lambdas: Lambdas) -> None:
    for value, seconds in ((1, 0), (3, 5), (2, 5), (4, 9)):
        kind = LambdaType.HANDLERS if value == 3 else LambdaType.STANDALONE
        await lambdas.add(a_lambda(value, create_time=NOW + timedelta(seconds=seconds), lambda_type=kind))
    await lambdas.add(a_lambda(5, THEIRS))
    assert await lambdas.names(OUR_SCOPE) == ["lambda-4", "lambda-2", "lambda-3", "lambda-1"]
    assert [one.name for one in await lambdas.find(OUR_SCOPE, LambdaFilter(), Page(2, 3))] == ["lambda-1"]
    assert await lambdas.names(OUR_SCOPE, lambda_type=LambdaType.HANDLERS) == ["lambda-3"]
    five = NOW + timedelta(seconds=5)
    assert await lambdas.names(OUR_SCOPE, create_time_gte=five) == ["lambda-4", "lambda-2", "lambda-3"]
    assert await lambdas.names(OUR_SCOPE, create_time_lt=five) == ["lambda-1"]
    assert await lambdas.names(EVERYONE, create_time_lt=five) == ["lambda-1", "lambda-5"]


async def test_a_name_is_taken_within_its_account_alone(lambdas: Lambdas, tmp_path: Path) -> None:
    await lambdas.add(a_lambda(1))
    await lambdas.add(a_lambda(2))
    await lambdas.add(a_lambda(3, THEIRS, name="lambda-1"))
    kept = archives(tmp_path)
    with pytest.raises(LambdaNameTaken, match="lambda-1"):
        await lambdas.add(a_lambda(4, name="lambda-1"))
    with pytest.raises(LambdaNameTaken):
        await lambdas.replace(OUR_SCOPE, a_lambda(2, name="lambda-1", archive_id=number(7)), NEWER)
    with pytest.raises(LambdaNameTaken):
        await lambdas.patch(OUR_SCOPE, number(2), LambdaChange(name="lambda-1"))
    assert await lambdas.get(OUR_SCOPE, number(2)) == a_lambda(2)
    assert archives(tmp_path) == kept


async def test_a_lambda_that_is_refused_leaves_no_token_and_no_archive(
    lambdas: Lambdas, tokens: PostgresTokenStore, tmp_path: Path
) -> None:
    await lambdas.add(a_lambda(1))
    with pytest.raises(LambdaNameTaken):
        await lambdas.add(a_lambda(2, name="lambda-1"))
    with pytest.raises(TooManyLambdas):
        await lambdas.add(a_lambda(3), most=1)
    with pytest.raises(Conflict):
        await lambdas.add(a_lambda(4, number(77)))  # an account that is not there
    assert [one.token_id for one in await tokens.find(EVERYONE, None, None, ALL)] == [number(2001)]
    assert archives(tmp_path) == {str(number(1001))}


async def test_lambdas_that_are_made_at_once_are_no_more_than_an_account_may_have(lambdas: Lambdas) -> None:
    made = await asyncio.gather(
        *(lambdas.add(a_lambda(value), most=3) for value in range(1, 9)),
        lambdas.add(a_lambda(100, THEIRS), most=3),
        return_exceptions=True,
    )
    refused = [one for one in made if isinstance(one, BaseException)]
    assert len(refused) == 5
    assert all(isinstance(one, TooManyLambdas) for one in refused)
    assert len(await lambdas.find(OUR_SCOPE, LambdaFilter(), ALL)) == 3
    assert len(await lambdas.find(THEIR_SCOPE, LambdaFilter(), ALL)) == 1


async def test_a_replaced_lambda_keeps_id_account_token_and_time_of_creation(lambdas: Lambdas, tmp_path: Path) -> None:
    before = await lambdas.add(a_lambda(1))
    later = NOW + timedelta(days=1)
    other = a_lambda(
        1,
        name="other",
        description="new",
        lambda_type=LambdaType.HANDLERS,
        commands=("RUN y",),
        pods=2,
        archive_id=number(6),
        token_id=number(66),
        create_time=later,
        last_update_time=later,
        version=70,
    )
    assert await lambdas.replace(OUR_SCOPE, other, NEWER) == 2
    expected = replace(other, token_id=before.token_id, create_time=NOW, version=2)
    assert await lambdas.get(OUR_SCOPE, number(1)) == expected
    assert archives(tmp_path) == {str(number(6))}


async def test_versions_grow_by_one_with_each_change_that_needs_a_build(lambdas: Lambdas) -> None:
    await lambdas.add(a_lambda(1))
    assert await lambdas.rebuild(OUR_SCOPE, number(1)) == 2
    assert await lambdas.patch(OUR_SCOPE, number(1), LambdaChange(description="told"))
    assert await lambdas.replace(OUR_SCOPE, a_lambda(1, archive_id=number(6)), NEWER) == 3
    found = await asyncio.gather(*(lambdas.rebuild(OUR_SCOPE, number(1)) for _ in range(5)))
    assert sorted(found) == [4, 5, 6, 7, 8]


async def test_a_text_that_is_not_named_stays(lambdas: Lambdas) -> None:
    await lambdas.add(a_lambda(1, description="one"))
    assert await lambdas.patch(OUR_SCOPE, number(1), LambdaChange(name="two"))
    assert await lambdas.patch(OUR_SCOPE, number(1), LambdaChange(description=""))
    found = await lambdas.get(OUR_SCOPE, number(1))
    assert found is not None
    assert (found.name, found.description, found.version) == ("two", "", 1)
    assert found.last_update_time > NOW


async def test_new_code_may_do_no_more_than_who_brought_it(lambdas: Lambdas, tokens: PostgresTokenStore) -> None:
    one = await lambdas.add(a_lambda(1))
    handler = number(8)
    narrow = Permissions(
        frozenset({("face", "view"), ("face", "deletion")}), frozenset(), EmitEvents(True, frozenset({handler}))
    )
    await lambdas.replace(OUR_SCOPE, a_lambda(1, archive_id=number(6)), NEWER)
    assert await tokens.get(OUR_SCOPE, one.token_id) == token_of(one)
    await lambdas.replace(OUR_SCOPE, a_lambda(1, archive_id=number(7)), NEWER, narrow)
    left = Permissions(frozenset({("face", "view")}), frozenset(), EmitEvents(True, frozenset({handler})))
    kept = await tokens.get(OUR_SCOPE, one.token_id)
    assert kept is not None
    assert (kept.permissions, kept.revision) == (left, number(901))


async def test_a_deleted_lambda_takes_state_token_and_archive_with_it(
    lambdas: Lambdas, tokens: PostgresTokenStore, wanted: PostgresWantedLambdas, tmp_path: Path
) -> None:
    one = await lambdas.add(a_lambda(1))
    other = await lambdas.add(a_lambda(2))
    await wanted.report(one.lambda_id, a_state())
    assert await lambdas.remove(OUR_SCOPE, one.lambda_id) == one
    assert await lambdas.remove(OUR_SCOPE, one.lambda_id) is None
    assert await lambdas.state(one.lambda_id) is None
    assert [one.token_id for one in await tokens.find(EVERYONE, None, None, ALL)] == [other.token_id]
    assert archives(tmp_path) == {str(other.archive_id)}
    assert not await lambdas.has_archive(one)


async def test_an_archive_is_there_before_the_row_and_goes_after_it(
    lambdas: Lambdas, blobs: BlobStore, database: Database
) -> None:
    """The table is locked, so that each operation stands still between its two halves."""
    one = a_lambda(1)
    key = archive_key(one.archive_id)
    async with database.transaction() as connection:
        await connection.execute(text("LOCK TABLE lambdas IN EXCLUSIVE MODE"))
        adding = asyncio.create_task(lambdas.add(one))
        for _ in range(250):
            await asyncio.sleep(0.02)
            if await blobs.get(key):
                break
        assert await blobs.get(key) == ARCHIVE
        assert not adding.done()
        assert await lambdas.get(OUR_SCOPE, one.lambda_id) is None
    await adding
    async with database.transaction() as connection:
        await connection.execute(text("LOCK TABLE lambdas IN EXCLUSIVE MODE"))
        removing = asyncio.create_task(lambdas.remove(OUR_SCOPE, one.lambda_id))
        await asyncio.sleep(0.2)
        assert await lambdas.has_archive(one)
    assert await removing
    assert not await lambdas.has_archive(one)


async def test_archives_without_a_lambda_are_swept(
    lambdas: Lambdas, blobs: BlobStore, database: Database, tmp_path: Path
) -> None:
    one = await lambdas.add(a_lambda(1))
    await blobs.put(archive_key(number(99)), ARCHIVE)
    for path in (tmp_path / "blobs").rglob("*"):
        os.utime(path, (0, 0))
    await blobs.put(archive_key(number(98)), ARCHIVE)
    assert await Sweeper(database, blobs).sweep_blobs(folders=len(FOLDERS)) == 1
    assert archives(tmp_path) == {str(one.archive_id), str(number(98))}


async def test_changes_of_lambdas_leave_their_trace_and_states_leave_none(
    lambdas: Lambdas, wanted: PostgresWantedLambdas, database: Database
) -> None:
    one = a_lambda(1)
    entry = AuditEntry(NOW, OURS, None, "luna.v6.Tests.Change", (), "192.0.2.7", "1,request")
    with announced(Change(entry)):
        await lambdas.add(one)
    with announced(Change(entry)):
        await wanted.report(one.lambda_id, a_state())
        await lambdas.state(one.lambda_id)
    with announced(Change(replace(entry, objects=(one.lambda_id,)))):
        await lambdas.rebuild(OUR_SCOPE, one.lambda_id)
    with announced(Change(replace(entry, objects=(number(404),)))):
        await lambdas.rebuild(OUR_SCOPE, number(404))
    left = await PostgresAuditTrail(database).newest(OURS, 10)
    assert [found.objects for found in left] == [(one.lambda_id,), (one.lambda_id, one.token_id)]


async def test_a_state_comes_back_as_it_was_reported_and_short_where_many_are_asked(
    lambdas: Lambdas, wanted: PostgresWantedLambdas
) -> None:
    one, other = await lambdas.add(a_lambda(1)), await lambdas.add(a_lambda(2))
    full = LambdaState(
        3, LambdaStatus.RUNNING, ImageStatus.COMPLETED, "1.0", {"python": "3.12"}, ("a", "", "b"), "openapi: 3.1.0\n"
    )
    await wanted.report(one.lambda_id, full)
    assert await lambdas.state(one.lambda_id) == full
    assert await lambdas.state(other.lambda_id) is None
    short = replace(full, image_logs=(), documentation="")
    assert await lambdas.states((one.lambda_id, other.lambda_id, number(9))) == {one.lambda_id: short}
    assert await lambdas.states(()) == {}


async def test_a_report_of_an_older_version_or_of_no_lambda_is_left_out(
    lambdas: Lambdas, wanted: PostgresWantedLambdas
) -> None:
    one = await lambdas.add(a_lambda(1))
    for state in (a_state(2), a_state(1, base="old"), a_state(2, base="same"), a_state(1)):
        await wanted.report(one.lambda_id, state)
    await wanted.report(number(404), a_state())
    assert await lambdas.state(one.lambda_id) == a_state(2, base="same")
    assert await lambdas.state(number(404)) is None


async def test_whatever_a_program_writes_can_be_kept(lambdas: Lambdas, wanted: PostgresWantedLambdas) -> None:
    one = await lambdas.add(a_lambda(1))
    odd = "a\0b\ud800c"
    await wanted.report(one.lambda_id, a_state(base=odd, info={odd: odd}, image_logs=(odd,), documentation=odd))
    kept = "a\N{REPLACEMENT CHARACTER}b?c"
    assert await lambdas.state(one.lambda_id) == a_state(
        base=kept, info={kept: kept}, image_logs=(kept,), documentation=kept
    )


async def test_a_runner_gets_every_lambda_with_its_archive_and_a_token_that_the_service_knows(
    lambdas: Lambdas, wanted: PostgresWantedLambdas, tokens: PostgresTokenStore, accounts: PostgresAccountStore
) -> None:
    one = await lambdas.add(a_lambda(1, pods=4, lambda_type=LambdaType.HANDLERS))
    other = await lambdas.add(a_lambda(2, THEIRS))
    await lambdas.rebuild(THEIR_SCOPE, other.lambda_id)
    assert await wanted.versions() == {one.lambda_id: 1, other.lambda_id: 2}
    found = await wanted.deployment(one.lambda_id)
    assert found is not None
    assert found == Deployment(one.lambda_id, OURS, 1, LambdaType.HANDLERS, ARCHIVE, found.token, 4)
    caller = await TokenRegistry(tokens, accounts).principal(found.token)
    assert (caller.account_id, caller.reads_every_account) == (OURS, False)
    assert caller.token is not None
    assert (caller.token.token_id, caller.token.permissions) == (one.token_id, WIDE)
    assert found.token not in repr(found)
    assert await wanted.deployment(number(404)) is None


async def test_a_lambda_whose_token_was_deleted_has_none(
    lambdas: Lambdas, wanted: PostgresWantedLambdas, tokens: PostgresTokenStore
) -> None:
    one = await lambdas.add(a_lambda(1))
    await tokens.remove(OUR_SCOPE, one.token_id)
    found = await wanted.deployment(one.lambda_id)
    assert found is not None
    assert found.token == ""
    assert await lambdas.remove(OUR_SCOPE, one.lambda_id) == one


async def test_an_archive_that_is_gone_is_told(
    lambdas: Lambdas, wanted: PostgresWantedLambdas, blobs: BlobStore
) -> None:
    one = await lambdas.add(a_lambda(1))
    await blobs.delete(archive_key(one.archive_id))
    with pytest.raises(LambdaArchiveGone):
        await wanted.deployment(one.lambda_id)


async def test_a_lambda_that_is_replaced_while_it_is_read_is_found(
    lambdas: Lambdas, wanted: PostgresWantedLambdas
) -> None:
    one = await lambdas.add(a_lambda(1))

    async def replacing() -> None:
        for value in range(3000, 3040):
            await lambdas.replace(OUR_SCOPE, replace(one, archive_id=number(value)), NEWER)

    task = asyncio.create_task(replacing())
    while not task.done():
        found = await wanted.deployment(one.lambda_id)
        assert found is not None
        assert found.archive in (ARCHIVE, NEWER)
    await task


@pytest.mark.parametrize("change", ["create", "replace", "rebuild", "remove"])
async def test_a_runner_is_woken_by_every_change(lambdas: Lambdas, wanted: PostgresWantedLambdas, change: str) -> None:
    one = await lambdas.add(a_lambda(1))
    await wanted.changed(5)  # the new connection
    waiting = asyncio.create_task(wanted.changed(30))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    changes = {
        "create": lambda: lambdas.add(a_lambda(2)),
        "replace": lambda: lambdas.replace(OUR_SCOPE, a_lambda(1, archive_id=number(6)), NEWER),
        "rebuild": lambda: lambdas.rebuild(OUR_SCOPE, one.lambda_id),
        "remove": lambda: lambdas.remove(OUR_SCOPE, one.lambda_id),
    }
    await changes[change]()
    async with asyncio.timeout(5):
        await waiting


async def test_a_runner_that_is_told_nothing_looks_after_a_while(wanted: PostgresWantedLambdas) -> None:
    await wanted.changed(5)
    async with asyncio.timeout(5):
        await wanted.changed(0.1)
