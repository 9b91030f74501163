"""The feed: nothing is missed whatever the order of commits, nothing is read for ever, and crashes are noticed."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from server import settings
from server.domain.access import Scope
from server.domain.descriptors import Descriptor
from server.domain.faces import FaceChanges, FaceFilter, NewFace
from server.domain.search import FeedUpdate, IndexedObject
from storage.blobs import BlobStore
from storage.database import Database
from storage.face_feed import PostgresFaceFeed
from storage.faces import PostgresFaceStore
from storage.lists import PostgresListStore
from storage.sweeper import Sweeper
from tests.integration.storage.made import EVERYONE, NOW, OURS, THEIRS, a_face, a_list, an_attribute, number, vector
from tests.servers import PostgresServer

OUR_SCOPE = Scope(OURS)


class Follower:
    """What an index does with a feed."""

    def __init__(self, feed: PostgresFaceFeed) -> None:
        self.feed = feed
        self.faces: dict[UUID, IndexedObject] = {}
        self.resets = 0

    async def follow(self) -> FeedUpdate:
        update = await self.feed.catch_up()
        if update.reset:
            self.resets += 1
            self.faces = {face.object_id: face async for batch in self.feed.snapshot() for face in batch}
            return await self.follow()
        for face in update.changed:
            self.faces[face.object_id] = face
        for face_id in update.gone:
            self.faces.pop(face_id, None)
        return update

    def bytes_of(self, value: int) -> int | None:
        """The byte that the vector of a face is made of."""
        face = self.faces.get(number(value))
        return None if face is None else face.descriptors[0].data[0]


@pytest.fixture
async def follower(database: Database) -> AsyncIterator[Follower]:
    feed = PostgresFaceFeed(database)
    yield Follower(feed)
    await feed.close()


async def state(database: Database) -> dict[UUID, IndexedObject]:
    """What the tables say, by a path of its own: plain rows, put together here."""
    vectors: dict[UUID, list[Descriptor]] = {}
    for row in await database.fetch(text("SELECT * FROM face_descriptors ORDER BY version")):
        vectors.setdefault(row.face_id, []).append(Descriptor(row.version, row.data))
    lists: dict[UUID, list[UUID]] = {}
    for row in await database.fetch(text("SELECT * FROM list_faces ORDER BY list_id")):
        lists.setdefault(row.face_id, []).append(row.list_id)
    rows = await database.fetch(text("SELECT * FROM faces"))
    return {
        row.face_id: IndexedObject(
            row.face_id,
            row.account_id,
            row.create_time,
            row.external_id,
            tuple(vectors[row.face_id]),
            tuple(lists.get(row.face_id, ())),
            row.event_id,
        )
        for row in rows
        if row.face_id in vectors
    }


async def test_a_feed_without_a_position_asks_for_a_snapshot(follower: Follower) -> None:
    assert await follower.feed.catch_up() == FeedUpdate(reset=True)
    await follower.follow()
    assert await follower.feed.catch_up() == FeedUpdate()


async def test_a_snapshot_has_every_face_with_a_descriptor(
    faces: PostgresFaceStore, lists: PostgresListStore, follower: Follower, database: Database
) -> None:
    await lists.create(a_list(7))
    await lists.create(a_list(8))
    full = a_face(1, external_id="x", event_id=number(50), user_data="u")
    await faces.create(NewFace(full, an_attribute(vector(1, 1001), vector(2, 1002)), (number(8), number(7))))
    await faces.create(NewFace(a_face(2, THEIRS), an_attribute(vector(3))))
    await faces.create(NewFace(a_face(3), an_attribute()))
    await faces.create(NewFace(a_face(4)))
    await follower.follow()
    assert follower.faces == {
        number(1): IndexedObject(
            number(1), OURS, NOW, "x", (vector(1, 1001), vector(2, 1002)), (number(7), number(8)), number(50)
        ),
        number(2): IndexedObject(number(2), THEIRS, NOW, "", (vector(3),)),
    }
    assert follower.faces == await state(database)


async def test_every_change_that_an_index_sees_is_delivered_once(
    faces: PostgresFaceStore, lists: PostgresListStore, follower: Follower, database: Database
) -> None:
    await follower.follow()
    await lists.create(a_list(7))
    one = number(1)
    steps = (
        faces.create(NewFace(a_face(1), an_attribute(vector(1)))),
        faces.set_attribute(OUR_SCOPE, one, an_attribute(vector(2, 1002))),
        faces.change(OUR_SCOPE, one, FaceChanges(external_id="x")),
        faces.change(OUR_SCOPE, one, FaceChanges(event_id=number(5))),
        lists.attach(OUR_SCOPE, number(7), [one], NOW),
        lists.detach(OUR_SCOPE, number(7), [one], NOW),
        lists.attach(OUR_SCOPE, number(7), [one], NOW),
        lists.remove(OUR_SCOPE, [number(7)], with_faces=False),
        faces.clear_attribute(OUR_SCOPE, one),
        faces.set_attribute(OUR_SCOPE, one, an_attribute(vector(3))),
        faces.remove(OUR_SCOPE, [one], ignore_missing=False),
    )
    for step in steps:
        await step
        update = await follower.follow()
        assert {face.object_id for face in update.changed} | set(update.gone) == {one}
        assert follower.faces == await state(database)
        assert await follower.feed.catch_up() == FeedUpdate()
    assert follower.resets == 1


async def test_changes_that_an_index_does_not_see_are_not_noted(
    faces: PostgresFaceStore, lists: PostgresListStore, follower: Follower, database: Database
) -> None:
    await lists.create(a_list(7))
    await faces.create(NewFace(a_face(1), an_attribute(vector(1)), (number(7),)))
    await follower.follow()
    await faces.change(OUR_SCOPE, number(1), FaceChanges(user_data="u", avatar="a", external_id=""))
    await lists.change(OUR_SCOPE, number(7), "u", NOW)
    await lists.attach(OUR_SCOPE, number(7), [number(1)], NOW)
    assert await follower.feed.catch_up() == FeedUpdate()


async def test_faces_go_with_the_list_that_they_are_removed_with(
    faces: PostgresFaceStore, lists: PostgresListStore, follower: Follower
) -> None:
    await lists.create(a_list(7))
    for value in range(5):
        await faces.create(NewFace(a_face(value), an_attribute(vector(value)), (number(7),)))
    await follower.follow()
    await lists.remove(OUR_SCOPE, [number(7)], with_faces=True)
    assert set((await follower.follow()).gone) == {number(value) for value in range(5)}
    assert follower.faces == {}


async def test_a_slow_transaction_that_began_earlier_and_commits_later_is_not_missed(
    faces: PostgresFaceStore, follower: Follower, database: Database
) -> None:
    for value in range(3):
        await faces.create(NewFace(a_face(value), an_attribute(vector(1))))
    await follower.follow()
    change = text("UPDATE face_descriptors SET data = CAST(:data AS bytea) WHERE face_id = :face_id")
    async with database.transaction() as slow:
        await slow.execute(change, {"data": vector(9).data, "face_id": number(0)})
        async with database.transaction() as quick:
            await quick.execute(change, {"data": vector(8).data, "face_id": number(1)})
        update = await follower.follow()
        assert [face.object_id for face in update.changed] == [number(1)]
        assert await follower.feed.catch_up() == FeedUpdate(), "what is read is not read again while one runs"
        await faces.set_attribute(OUR_SCOPE, number(2), an_attribute(vector(7)))
        assert [face.object_id for face in (await follower.follow()).changed] == [number(2)]
    assert [face.object_id for face in (await follower.follow()).changed] == [number(0)]
    assert [follower.bytes_of(value) for value in range(3)] == [9, 8, 7]
    assert await follower.feed.catch_up() == FeedUpdate()


async def test_a_transaction_that_runs_during_the_snapshot_is_not_missed(
    faces: PostgresFaceStore, follower: Follower, database: Database
) -> None:
    await faces.create(NewFace(a_face(0), an_attribute(vector(1))))
    async with database.transaction() as slow:
        await slow.execute(text("UPDATE face_descriptors SET data = CAST(:data AS bytea)"), {"data": vector(9).data})
        await follower.follow()
        assert follower.bytes_of(0) == 1
        await faces.create(NewFace(a_face(1), an_attribute(vector(2))))
    await follower.follow()
    assert [follower.bytes_of(value) for value in (0, 1)] == [9, 2]


async def test_changes_that_are_rolled_back_are_never_seen(follower: Follower, database: Database) -> None:
    await follower.follow()
    with pytest.raises(ZeroDivisionError):
        async with database.transaction() as connection:
            values = {"face": number(1), "account": OURS, "now": NOW, "data": vector(1).data}
            await connection.execute(
                text("INSERT INTO faces (face_id, account_id, create_time) VALUES (:face, :account, :now)"), values
            )
            await connection.execute(text("INSERT INTO face_descriptors VALUES (:face, 1001, :data)"), values)
            await follower.follow()
            raise ZeroDivisionError
    await follower.follow()
    assert follower.faces == {}


async def test_a_savepoint_that_is_kept_counts_with_its_transaction(
    faces: PostgresFaceStore, follower: Follower, database: Database
) -> None:
    await faces.create(NewFace(a_face(0), an_attribute(vector(1))))
    await follower.follow()
    async with database.transaction() as slow:
        async with slow.begin_nested():
            await slow.execute(text("DELETE FROM face_descriptors"))
        await follower.follow()
        await faces.create(NewFace(a_face(1), an_attribute(vector(2))))
        await follower.follow()
    await follower.follow()
    assert set(follower.faces) == {number(1)}


async def test_random_writers_are_followed_and_each_reads_its_own_writes(
    faces: PostgresFaceStore, lists: PostgresListStore, database: Database
) -> None:
    """Eight writers with slow and quick transactions, three followers, one of them started half way."""
    seconds, list_ids = 5.0, [number(1000 + value) for value in range(4)]
    for list_id in list_ids:
        await lists.create(a_list(list_id.int))
    feeds = [PostgresFaceFeed(database) for _ in range(3)]
    followers = [Follower(feed) for feed in feeds]
    stop = time.monotonic() + seconds
    committed = 0

    async def read_own_write(value: int, byte: int | None) -> None:
        feed = followers[0]
        async with reading:
            await feed.follow()
            assert feed.bytes_of(value) == byte

    reading = asyncio.Lock()  # an index catches up once for all searches that wait

    async def writer(which: int) -> None:
        nonlocal committed
        chance = random.Random(which)
        mine: set[int] = set()
        while time.monotonic() < stop:
            value = which * 100 + chance.randrange(40)
            byte = chance.randrange(100)
            if value not in mine:
                members = tuple(chance.sample(list_ids, chance.randrange(3)))
                await faces.create(NewFace(a_face(value), an_attribute(vector(byte)), members))
                mine.add(value)
            elif chance.random() < 0.3:
                await faces.remove(OUR_SCOPE, [number(value)], ignore_missing=False)
                mine.discard(value)
                byte = None
            elif chance.random() < 0.4:
                async with database.transaction() as connection:
                    await connection.execute(
                        text("UPDATE face_descriptors SET data = CAST(:data AS bytea) WHERE face_id = :face_id"),
                        {"data": vector(byte).data, "face_id": number(value)},
                    )
                    await asyncio.sleep(chance.random() * 0.2)
            else:
                await faces.set_attribute(OUR_SCOPE, number(value), an_attribute(vector(byte)))
                list_id = chance.choice(list_ids)
                attach_or_detach = chance.choice((lists.attach, lists.detach))
                await attach_or_detach(OUR_SCOPE, list_id, [number(value)], NOW)
            committed += 1
            await read_own_write(value, byte)

    async def lazy(follower: Follower, delay: float) -> None:
        await asyncio.sleep(delay)
        while time.monotonic() < stop:
            await follower.follow()
            await follower.feed.wait(0.2)

    try:
        await asyncio.gather(*map(writer, range(8)), lazy(followers[1], 0), lazy(followers[2], seconds / 2))
        expected = await state(database)
        assert committed > 20, "of some hundreds on an idle machine"
        assert len(expected) > 20
        for follower in followers:
            await follower.follow()
            assert follower.faces == expected
            assert follower.resets == 1
    finally:
        for feed in feeds:
            await feed.close()


async def test_waiting_ends_with_a_change_or_with_the_time(faces: PostgresFaceStore, follower: Follower) -> None:
    await follower.feed.wait(5)  # the first connection counts as news
    started = time.monotonic()
    await follower.feed.wait(0.2)
    assert 0.15 < time.monotonic() - started < 2
    started = time.monotonic()
    waiting = asyncio.create_task(follower.feed.wait(10))
    await asyncio.sleep(0.05)
    await faces.create(NewFace(a_face(1), an_attribute(vector(1))))
    await waiting
    assert time.monotonic() - started < 5


async def test_a_change_between_two_waits_wakes_the_second(faces: PostgresFaceStore, follower: Follower) -> None:
    await follower.feed.wait(5)
    await faces.create(NewFace(a_face(1), an_attribute(vector(1))))
    await asyncio.sleep(0.1)
    started = time.monotonic()
    await follower.feed.wait(10)
    assert time.monotonic() - started < 5


async def test_pruned_changes_reset_only_who_has_not_read_them(
    faces: PostgresFaceStore, database: Database, blobs: BlobStore
) -> None:
    sweeper = Sweeper(database, blobs, age=timedelta(0))
    late, punctual = Follower(PostgresFaceFeed(database)), Follower(PostgresFaceFeed(database))
    await late.follow()
    await punctual.follow()
    for value in range(3):
        await faces.create(NewFace(a_face(value), an_attribute(vector(value))))
    assert await sweeper.prune_changes() == 0, "the first call notes the mark, the second deletes below it"
    await punctual.follow()
    assert await sweeper.prune_changes() == 3
    assert (await database.fetch(text("SELECT count(*) FROM index_changes")))[0][0] == 0
    await punctual.follow()
    await late.follow()
    assert (punctual.resets, late.resets) == (1, 2)
    assert punctual.faces == late.faces == await state(database)


async def test_young_changes_are_not_pruned(
    faces: PostgresFaceStore, database: Database, blobs: BlobStore, follower: Follower
) -> None:
    await follower.follow()
    await faces.create(NewFace(a_face(1), an_attribute(vector(1))))
    sweeper = Sweeper(database, blobs)
    for _ in range(3):
        assert await sweeper.prune_changes() == 0
    assert [face.object_id for face in (await follower.follow()).changed] == [number(1)]


async def test_a_transaction_in_flight_is_never_below_the_floor(
    faces: PostgresFaceStore, database: Database, blobs: BlobStore, follower: Follower
) -> None:
    await faces.create(NewFace(a_face(0), an_attribute(vector(1))))
    await follower.follow()
    sweeper = Sweeper(database, blobs, age=timedelta(0))
    async with database.transaction() as slow:
        await slow.execute(text("UPDATE face_descriptors SET data = CAST(:data AS bytea)"), {"data": vector(9).data})
        await follower.follow()
        for _ in range(3):
            await sweeper.prune_changes()
    await follower.follow()
    assert follower.bytes_of(0) == 9
    assert follower.resets == 1


async def test_a_crash_of_postgresql_resets_the_follower_and_a_restart_does_not(
    faces: PostgresFaceStore, database: Database, postgres: PostgresServer, follower: Follower
) -> None:
    await faces.create(NewFace(a_face(0), an_attribute(vector(1))))
    await follower.follow()
    await postgres.restart("fast")
    await faces.create(NewFace(a_face(1), an_attribute(vector(2))))
    await follower.follow()
    assert follower.resets == 1
    await postgres.restart("immediate")
    await faces.create(NewFace(a_face(2), an_attribute(vector(3))))
    await follower.follow()
    assert follower.resets == 2
    assert follower.faces == await state(database)
    assert await follower.feed.catch_up() == FeedUpdate()


async def test_truncating_a_table_resets_the_follower(
    faces: PostgresFaceStore, database: Database, follower: Follower
) -> None:
    await faces.create(NewFace(a_face(0), an_attribute(vector(1))))
    await follower.follow()
    async with database.transaction() as connection:
        await connection.execute(text("TRUNCATE faces CASCADE"))
    await follower.follow()
    assert (follower.faces, follower.resets) == ({}, 2)


async def test_a_copy_of_a_database_begins_a_history_of_its_own(
    faces: PostgresFaceStore, database: Database, database_url: SecretStr, postgres: PostgresServer, follower: Follower
) -> None:
    await faces.create(NewFace(a_face(0), an_attribute(vector(1))))
    await follower.follow()
    before = (await database.fetch(text("SELECT epoch FROM index_floor")))[0][0]
    await database.close()
    name = database_url.get_secret_value().split("?")[0].rsplit("/", 1)[1]
    url = await postgres.create(name)
    copy = Database(url, settings.Database())
    other = Follower(PostgresFaceFeed(copy))
    try:
        other.feed._position = follower.feed._position
        await other.follow()
        assert other.resets == 1
        assert other.faces == follower.faces
        assert (await copy.fetch(text("SELECT epoch FROM index_floor")))[0][0] != before
        assert (await copy.fetch(text("SELECT count(*) FROM index_changes")))[0][0] == 0
    finally:
        await copy.close()
        await postgres.drop(url)


async def test_a_snapshot_that_is_given_up_leaves_the_position(faces: PostgresFaceStore, database: Database) -> None:
    await faces.create(NewFace(a_face(0), an_attribute(vector(1))))
    feed = PostgresFaceFeed(database)
    batches = feed.snapshot()
    await anext(batches)
    await batches.aclose()
    assert (await feed.catch_up()).reset


async def test_faces_are_selected_by_what_only_the_database_knows(faces: PostgresFaceStore, follower: Follower) -> None:
    await faces.create(NewFace(a_face(1, user_data="50% off")))
    await faces.create(NewFace(a_face(2, user_data="500")))
    await faces.create(NewFace(a_face(3, THEIRS, user_data="50%")))
    assert await follower.feed.select(OUR_SCOPE, FaceFilter(user_data="50%")) == number(1).bytes
    assert await follower.feed.select(OUR_SCOPE, FaceFilter(user_data="nobody")) == b""
    both = await follower.feed.select(EVERYONE, FaceFilter(user_data="50%"))
    assert sorted((both[:16], both[16:])) == [number(1).bytes, number(3).bytes]
