"""The trace of changes: what a transaction changes is committed with its entry in the audit trail, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from server.domain.access import Scope
from server.domain.accounts import Account, AccountChanges, AccountType
from server.domain.attributes import TemporaryAttribute
from server.domain.audit import AuditEntry, Change, announced
from server.domain.faces import FaceChanges, NewFace
from server.domain.media import Media, MediaKind
from server.domain.permissions import Permissions
from server.domain.samples import Sample, SampleType
from server.domain.tokens import SigningKey, Token, VisibilityArea
from server.errors import AccountNotFound, AttributeNotFound, FacesNotFound, ListNotFound, LoginTaken, LunaError
from storage.accounts import PostgresAccountStore
from storage.attributes import RedisAttributeStore
from storage.audit import AuditedAttributes, PostgresAuditTrail
from storage.blobs import BlobStore
from storage.database import Database
from storage.faces import PostgresFaceStore
from storage.lists import PostgresListStore
from storage.media import PostgresMediaStore
from storage.samples import PostgresSampleStore
from storage.tokens import PostgresTokenStore
from tests.integration.storage.made import NOW, OURS, a_face, a_list, an_attribute, number, vector

REQUEST = number(500)
"""The id that the request named."""
MISSING = number(404)
OWN = Scope(OURS)


def a_change(*objects: UUID) -> Change:
    return Change(AuditEntry(NOW, OURS, None, "luna.v6.Tests.Change", objects, "192.0.2.7", "1,request"))


@pytest.fixture
def trail(database: Database) -> PostgresAuditTrail:
    return PostgresAuditTrail(database)


@pytest.fixture
def media(database: Database, blobs: BlobStore) -> PostgresMediaStore:
    return PostgresMediaStore(database, blobs)


@pytest.fixture
def tokens(database: Database) -> PostgresTokenStore:
    return PostgresTokenStore(database)


@pytest.fixture
def attributes(redis_client: Redis, trail: PostgresAuditTrail) -> AuditedAttributes:
    return AuditedAttributes(RedisAttributeStore(redis_client), trail)


def an_account(value: int, login: str = "a@b.cd") -> Account:
    return Account(number(value), login, "$argon2id$x", AccountType.USER, "", NOW, NOW)


def a_sample(value: int) -> Sample:
    return Sample(number(value), OURS, SampleType.FACES, 1, b"", NOW)


def a_token(value: int, key: SigningKey) -> Token:
    made = (number(value), OURS, "", None, Permissions(), VisibilityArea.ACCOUNT)
    return Token(*made, key.key_id, number(1), NOW, NOW)


def a_temporary(value: int) -> TemporaryAttribute:
    return TemporaryAttribute(number(value), OURS, NOW, an_attribute(vector(1)).content)


class Stores:
    """Every store that changes something."""

    def __init__(
        self,
        accounts: PostgresAccountStore,
        faces: PostgresFaceStore,
        lists: PostgresListStore,
        samples: PostgresSampleStore,
        media: PostgresMediaStore,
        tokens: PostgresTokenStore,
        attributes: AuditedAttributes,
    ) -> None:
        self.accounts, self.faces, self.lists = accounts, faces, lists
        self.samples, self.media, self.tokens, self.attributes = samples, media, tokens, attributes

    async def prepare(self) -> None:
        """What there is to be changed: an account, a key, and one of each kind."""
        self.key = SigningKey(number(70), b"x" * 32, NOW)
        await self.accounts.add(an_account(OURS.int))
        await self.tokens.add_key(self.key)
        await self.tokens.add(a_token(71, self.key))
        await self.lists.create(a_list(20))
        await self.faces.create(NewFace(a_face(10), an_attribute(vector(1)), (number(20),)))
        await self.samples.add(a_sample(30), b"x")
        await self.media.add(Media(number(40), OURS, MediaKind.IMAGES, "image/jpeg", 1, b"", NOW), b"x")
        await self.attributes.add(a_temporary(60), 60)


@pytest.fixture
async def stores(
    accounts: PostgresAccountStore,
    faces: PostgresFaceStore,
    lists: PostgresListStore,
    samples: PostgresSampleStore,
    media: PostgresMediaStore,
    tokens: PostgresTokenStore,
    attributes: AuditedAttributes,
) -> Stores:
    made = Stores(accounts, faces, lists, samples, media, tokens, attributes)
    await made.prepare()
    return made


Step = Callable[[Stores], Awaitable[Any]]
MAKES: Mapping[str, Step] = {
    "account": lambda s: s.accounts.add(an_account(99, "c@d.ef")),
    "face": lambda s: s.faces.create(NewFace(a_face(99), None, ())),
    "list": lambda s: s.lists.create(a_list(99)),
    "sample": lambda s: s.samples.add(a_sample(99), b"x"),
    "image": lambda s: s.media.add(Media(number(99), OURS, MediaKind.IMAGES, "image/jpeg", 1, b"", NOW), b"x"),
    "token": lambda s: s.tokens.add(a_token(99, s.key)),
    "attribute": lambda s: s.attributes.add(a_temporary(99), 60),
}
CHANGES: Mapping[str, Step] = {
    "account": lambda s: s.accounts.change(OURS, AccountChanges(description="x"), NOW),
    "face": lambda s: s.faces.change(OWN, number(10), FaceChanges(user_data="x")),
    "faces removed": lambda s: s.faces.remove(OWN, [number(10)], ignore_missing=False),
    "attribute of a face": lambda s: s.faces.set_attribute(OWN, number(10), an_attribute(vector(2))),
    "attribute of a face removed": lambda s: s.faces.clear_attribute(OWN, number(10)),
    "list": lambda s: s.lists.change(OWN, number(20), "x", NOW),
    "list without news": lambda s: s.lists.change(OWN, number(20), None, NOW),
    "list removed": lambda s: s.lists.remove(OWN, [number(20)], with_faces=False),
    "list removed with faces": lambda s: s.lists.remove(OWN, [number(20)], with_faces=True),
    "attached": lambda s: s.lists.attach(OWN, number(20), [number(10)], NOW),
    "detached": lambda s: s.lists.detach(OWN, number(20), [number(10)], NOW),
    "sample removed": lambda s: s.samples.remove(OWN, SampleType.FACES, number(30)),
    "image removed": lambda s: s.media.remove(OWN, MediaKind.IMAGES, number(40)),
    "token": lambda s: s.tokens.replace(OWN, a_token(71, s.key)),
    "token removed": lambda s: s.tokens.remove(OWN, number(71)),
    "attribute removed": lambda s: s.attributes.remove(OWN, number(60)),
}
FINDS_NOTHING: Mapping[str, Step] = {
    "account": lambda s: s.accounts.change(MISSING, AccountChanges(description="x"), NOW),
    "login taken": lambda s: s.accounts.add(an_account(99)),
    "face": lambda s: s.faces.change(OWN, MISSING, FaceChanges(user_data="x")),
    "faces removed": lambda s: s.faces.remove(OWN, [number(10), MISSING], ignore_missing=False),
    "face in a list that is not there": lambda s: s.faces.create(NewFace(a_face(99), None, (MISSING,))),
    "attribute of a face": lambda s: s.faces.set_attribute(OWN, MISSING, an_attribute(vector(2))),
    "attribute of a face removed": lambda s: s.faces.clear_attribute(OWN, MISSING),
    "list": lambda s: s.lists.change(OWN, MISSING, "x", NOW),
    "list removed": lambda s: s.lists.remove(OWN, [number(20), MISSING], with_faces=True),
    "attached": lambda s: s.lists.attach(OWN, number(20), [MISSING], NOW),
    "sample removed": lambda s: s.samples.remove(OWN, SampleType.FACES, MISSING),
    "image removed": lambda s: s.media.remove(OWN, MediaKind.IMAGES, MISSING),
    "token": lambda s: s.tokens.replace(OWN, a_token(404, s.key)),
    "token removed": lambda s: s.tokens.remove(OWN, MISSING),
    "attribute removed": lambda s: s.attributes.remove(OWN, MISSING),
    "a key of the service": lambda s: s.tokens.add_key(SigningKey(number(99), b"x" * 32, NOW)),
}


@pytest.mark.parametrize("name", MAKES)
async def test_what_is_made_is_named_by_the_entry_that_is_committed_with_it(
    stores: Stores, trail: PostgresAuditTrail, name: str
) -> None:
    change = a_change(REQUEST)
    with announced(change):
        await MAKES[name](stores)
    (entry,) = await trail.newest(None, 10)
    assert entry.objects == (REQUEST, number(99))
    assert entry.done == (name != "attribute")
    assert change.safe
    assert change.missing([REQUEST, number(99)]) == (), "nothing is left to be completed"


@pytest.mark.parametrize("name", CHANGES)
async def test_what_is_changed_is_committed_with_one_entry(
    stores: Stores, trail: PostgresAuditTrail, name: str
) -> None:
    with announced(a_change(number(60))):
        await CHANGES[name](stores)
    (entry,) = await trail.newest(None, 10)
    assert (entry.objects, entry.done) == ((number(60),), name != "attribute removed")


@pytest.mark.parametrize("name", FINDS_NOTHING)
async def test_what_changes_nothing_leaves_no_entry(stores: Stores, trail: PostgresAuditTrail, name: str) -> None:
    change = a_change(REQUEST)
    with announced(change), suppress(LunaError):
        assert not await FINDS_NOTHING[name](stores)
    assert await trail.newest(None, 10) == []
    assert not change.safe


@pytest.mark.parametrize("name", [*MAKES])
async def test_what_no_call_announced_leaves_no_entry(stores: Stores, trail: PostgresAuditTrail, name: str) -> None:
    """The worker, and the first administrator."""
    await MAKES[name](stores)
    assert await trail.newest(None, 10) == []


async def test_without_the_trail_nothing_is_changed(stores: Stores, database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(text("ALTER TABLE audit RENAME TO hidden"))
    for name, step in (MAKES | CHANGES).items():
        with announced(a_change()), pytest.raises(Exception, match="audit"):
            await step(stores)
        assert name
    for table, rows in (("faces", 1), ("lists", 1), ("samples", 1), ("media", 1), ("tokens", 1), ("accounts", 1)):
        ((count,),) = await database.fetch(text(f"SELECT count(*) FROM {table}"))
        assert count == rows, table
    assert [one.attribute_id for one in await stores.attributes.get(OWN, [number(60), number(99)])] == [number(60)]


async def test_steps_that_are_made_side_by_side_share_one_entry(stores: Stores, trail: PostgresAuditTrail) -> None:
    change = a_change(REQUEST)
    made = [number(value) for value in range(600, 640)]
    with announced(change):
        await asyncio.gather(*(stores.samples.add(a_sample(one.int), b"x") for one in made))
    (entry,) = await trail.newest(None, 10)
    assert entry.objects[0] == REQUEST
    assert sorted(entry.objects[1:]) == made
    assert change.missing(made) == ()


async def test_an_entry_holds_its_most_and_changes_go_on(stores: Stores, trail: PostgresAuditTrail) -> None:
    with announced(a_change(*(number(value) for value in range(1000, 1998)))):
        for value in range(600, 604):
            await stores.samples.add(a_sample(value), b"x")
    (entry,) = await trail.newest(None, 10)
    assert len(entry.objects) == 1000
    assert entry.objects[-2:] == (number(600), number(601))


async def test_a_step_that_fails_leaves_the_entry_to_the_next_one(stores: Stores, trail: PostgresAuditTrail) -> None:
    with announced(a_change()):
        with pytest.raises(FacesNotFound):
            await stores.lists.attach(OWN, number(20), [MISSING], NOW)
        await stores.lists.create(a_list(99))
        with pytest.raises(ListNotFound):
            await stores.lists.attach(OWN, MISSING, [number(10)], NOW)
        await stores.lists.create(a_list(98))
    (entry,) = await trail.newest(None, 10)
    assert entry.objects == (number(99), number(98))


async def test_an_entry_that_was_rolled_back_at_the_very_end_is_written_anew(
    database: Database, trail: PostgresAuditTrail, stores: Stores
) -> None:
    """A constraint that is checked at the commit fails when the entry has been written already."""
    async with database.transaction() as connection:
        await connection.execute(
            text("ALTER TABLE lists ADD CONSTRAINT once UNIQUE (user_data) DEFERRABLE INITIALLY DEFERRED")
        )
    change = a_change()
    with announced(change):
        with pytest.raises(LunaError):
            await stores.lists.create(a_list(99))
        assert not change.safe
        assert await trail.newest(None, 10) == []
        await stores.lists.create(a_list(98, user_data="other"))
    (entry,) = await trail.newest(None, 10)
    assert entry.objects == (number(98),)


class Counting(PostgresAuditTrail):
    """Counts its transactions."""

    count = 0

    async def _write(self, change: Change, objects: Sequence[UUID], *, done: bool) -> None:
        self.count += 1
        await super()._write(change, objects, done=done)


async def test_attributes_that_are_kept_at_once_are_announced_in_two_transactions(
    database: Database, redis_client: Redis
) -> None:
    """The first one goes ahead, and all that came meanwhile go together."""
    trail = Counting(database)
    attributes = AuditedAttributes(RedisAttributeStore(redis_client), trail)
    made = [number(value) for value in range(600, 660)]
    change = a_change()
    with announced(change):
        await asyncio.gather(*(attributes.add(a_temporary(one.int), 60) for one in made))
    (entry,) = await trail.newest(None, 10)
    assert (sorted(entry.objects), entry.done) == (made, False)
    assert trail.count == 2
    await trail.complete(change)
    (entry,) = await trail.newest(None, 10)
    assert (sorted(entry.objects), entry.done) == (made, True)


async def test_an_attribute_is_not_kept_before_its_entry_is_safe(
    database: Database, trail: PostgresAuditTrail, redis_client: Redis
) -> None:
    class Looking(RedisAttributeStore):
        """Looks whether the trail knows already."""

        async def add(self, attribute: TemporaryAttribute, ttl_seconds: int) -> None:
            (entry,) = await trail.newest(None, 10)
            assert attribute.attribute_id in entry.objects
            assert not entry.done
            raise AttributeNotFound(attribute_id=attribute.attribute_id)

    with announced(a_change()), pytest.raises(AttributeNotFound):
        await AuditedAttributes(Looking(redis_client), trail).add(a_temporary(99), 60)
    (entry,) = await trail.newest(None, 10)
    assert not entry.done


async def test_errors_of_a_change_are_those_that_it_has_without_a_trail(stores: Stores) -> None:
    with announced(a_change()):
        with pytest.raises(LoginTaken):
            await stores.accounts.add(an_account(99))
        with pytest.raises(AccountNotFound):
            await stores.accounts.change(MISSING, AccountChanges(description="x"), NOW + timedelta(1))
