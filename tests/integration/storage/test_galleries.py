"""Galleries: the descriptors of selections, of one snapshot, whatever happens meanwhile."""

from __future__ import annotations

from contextlib import aclosing
from datetime import timedelta
from uuid import UUID

import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from server.domain.access import Scope
from server.domain.attributes import AttributeContent, TemporaryAttribute
from server.domain.descriptors import Descriptor
from server.domain.event_conditions import Column, Condition, Operator
from server.domain.events import Batch, EventDescriptor, NewEvent
from server.domain.faces import NewFace
from server.domain.galleries import Gallery, Member
from server.domain.policies import DescriptorKind, EventCandidates, TimeBound
from server.domain.task_contents import AttributeSelection, EventSelection, FaceSelection
from storage.attributes import RedisAttributeStore
from storage.blobs import BlobStore
from storage.database import Database
from storage.event_months import EventMonths
from storage.events import PostgresEventStore
from storage.faces import PostgresFaceStore
from storage.galleries import BATCH, StoredGalleries
from storage.lists import PostgresListStore
from tests.integration.storage.made import NOW, OURS, THEIRS, a_face, a_list, an_attribute, number, vector
from tests.integration.storage.made_events import an_event

BODY, OTHER_BODY = Descriptor(1911, bytes(1024)), Descriptor(1912, bytes(1536))
OUR_SCOPE = Scope(OURS)


@pytest.fixture
def galleries(database: Database, redis_client: Redis) -> StoredGalleries:
    return StoredGalleries(database, RedisAttributeStore(redis_client))


async def read(galleries: StoredGalleries, gallery: Gallery, version: int = 1001) -> dict[UUID, Member]:
    async with aclosing(galleries.members(OUR_SCOPE, gallery, version, NOW)) as batches:
        members = [one async for batch in batches for one in batch]
    found = {one.object_id: one for one in members}
    assert len(found) == len(members)
    return found


async def test_faces_come_with_the_descriptor_of_the_version_and_without_one(
    galleries: StoredGalleries, faces: PostgresFaceStore, lists: PostgresListStore
) -> None:
    await lists.create(a_list(20))
    await faces.create(NewFace(a_face(1), an_attribute(vector(1), vector(2, 1002)), (number(20),)))
    await faces.create(NewFace(a_face(2, create_time=NOW - timedelta(days=3)), an_attribute(vector(3, 1002))))
    await faces.create(NewFace(a_face(3)))
    await faces.create(NewFace(a_face(4, THEIRS), an_attribute(vector(4))))
    assert await read(galleries, FaceSelection()) == {
        number(1): Member(number(1), bytes([1]) * 256),
        number(2): Member(number(2), None),
        number(3): Member(number(3), None),
    }
    assert (await read(galleries, FaceSelection(), 1002))[number(2)].descriptor == bytes([3]) * 256
    assert set(await read(galleries, FaceSelection(list_id=number(20)))) == {number(1)}
    assert set(await read(galleries, FaceSelection(no_list=True))) == {number(2), number(3)}
    assert set(await read(galleries, FaceSelection(create_time_lt=TimeBound("now-1d")))) == {number(2)}
    assert set(await read(galleries, FaceSelection(face_ids=(number(3), number(4), number(9))))) == {number(3)}


async def test_events_come_with_their_tracks_and_with_the_commonest_version_of_bodies(
    galleries: StoredGalleries, database: Database, blobs: BlobStore, redis_client: Redis
) -> None:
    await EventMonths(database).make(NOW.date())
    store = PostgresEventStore(database, blobs, RedisAttributeStore(redis_client))

    def kept(value: int, *descriptors: EventDescriptor, account: UUID = OURS, **fields: object) -> NewEvent:
        return NewEvent(an_event(value, account, **fields), descriptors)

    face, body = EventDescriptor(DescriptorKind.FACE, vector(7)), EventDescriptor(DescriptorKind.BODY, BODY)
    other = EventDescriptor(DescriptorKind.BODY, OTHER_BODY)
    await store.keep(
        Batch(
            (
                kept(1, face, body, track_id="t", source="a"),
                kept(2, face, body, source="a"),
                kept(3, other, source="b"),
                kept(4, face, other, account=THEIRS),
                kept(5, face, other, account=THEIRS),
            )
        )
    )
    every = EventSelection()
    assert await read(galleries, every) == {
        number(1): Member(number(1), vector(7).data, "t"),
        number(2): Member(number(2), vector(7).data),
        number(3): Member(number(3), None),
    }
    assert (await read(galleries, every, 1911))[number(1)].descriptor == BODY.data
    assert await galleries.body_version(OUR_SCOPE, every, NOW) == 1911
    of_b = EventSelection(EventCandidates((Condition(Column.SOURCE, Operator.EQ, "b"),)))
    assert set(await read(galleries, of_b)) == {number(3)}
    assert await galleries.body_version(OUR_SCOPE, of_b, NOW) == 1912
    none = EventSelection(EventCandidates((Condition(Column.SOURCE, Operator.EQ, "c"),)))
    assert await galleries.body_version(OUR_SCOPE, none, NOW) is None


async def test_attributes_that_are_there_come_once(galleries: StoredGalleries, redis_client: Redis) -> None:
    store = RedisAttributeStore(redis_client)
    for value, account in ((1, OURS), (2, THEIRS)):
        content = AttributeContent(descriptors=(vector(value),))
        await store.add(TemporaryAttribute(number(value), account, NOW, content), 60)
    found = await read(galleries, AttributeSelection((number(1), number(2), number(3), number(1))))
    assert found == {number(1): Member(number(1), vector(1).data)}


async def test_what_changes_while_a_gallery_is_read_is_not_seen(galleries: StoredGalleries, database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(
            text(
                "INSERT INTO faces (face_id, account_id, create_time) SELECT "
                "CAST(lpad(to_hex(n), 32, '0') AS uuid), :account, now() FROM generate_series(1, :count) AS n"
            ),
            {"account": OURS, "count": 3 * BATCH},
        )
    sizes = []
    async with aclosing(galleries.members(OUR_SCOPE, FaceSelection(), 1001, NOW)) as batches:
        async for batch in batches:
            sizes.append(len(batch))
            async with database.transaction() as connection:
                await connection.execute(text("DELETE FROM faces"))
    assert sizes == [BATCH] * 3
    assert await read(galleries, FaceSelection()) == {}
