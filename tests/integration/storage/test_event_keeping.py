"""Keeping events: all of a batch or nothing, whatever fails; and what is kept comes back as it was."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from server.domain.access import Scope
from server.domain.attributes import TemporaryAttribute
from server.domain.audit import announced
from server.domain.events import Batch, Candidate, EventMatch
from server.domain.faces import NewFace
from server.domain.media import MediaKind
from server.errors import Conflict, EventIdTaken, InvalidInput, ListsNotFound, Unavailable
from storage.attributes import RedisAttributeStore
from storage.audit import AuditedAttributes, PostgresAuditTrail
from storage.blobs import BlobStore
from storage.database import Database
from storage.events import PostgresEventStore
from storage.faces import PostgresFaceStore
from storage.lists import PostgresListStore
from storage.media import PostgresMediaStore
from storage.samples import PostgresSampleStore
from storage.schema import NOTICES
from tests.integration.storage.made import EVERYONE, NOW, OURS, THEIRS, a_face, a_list, an_attribute, number, vector
from tests.integration.storage.made_events import (
    a_full_event,
    a_new_event,
    a_sample,
    a_temporary,
    an_event,
    an_image,
)
from tests.integration.storage.test_trace import a_change

OWN = Scope(OURS)
OTHER = Scope(THEIRS)
TABLES = ("events", "event_descriptors", "event_outbox", "samples", "media", "faces", "face_attributes", "list_faces")


@pytest.fixture
def trail(database: Database) -> PostgresAuditTrail:
    return PostgresAuditTrail(database)


@pytest.fixture
def attributes(redis_client: Redis, trail: PostgresAuditTrail) -> AuditedAttributes:
    return AuditedAttributes(RedisAttributeStore(redis_client), trail)


@pytest.fixture
def events(database: Database, blobs: BlobStore, attributes: AuditedAttributes) -> PostgresEventStore:
    return PostgresEventStore(database, blobs, attributes)


def a_batch() -> Batch:
    """Two events with everything that a request may want to be kept. Its lists are 20 and 21."""
    return Batch(
        events=(a_new_event(a_full_event(1)), a_new_event(an_event(2), notice=b"second")),
        samples=((a_sample(8001), b"warp"), (a_sample(8002), b"warp")),
        images=((an_image(8003), b"image"),),
        faces=(
            NewFace(a_face(3000, event_id=number(1)), an_attribute(vector(1), attribute_id=number(60)), (number(21),)),
            NewFace(a_face(3001, event_id=number(2)), an_attribute(vector(2)), (number(21), number(20))),
        ),
        attributes=((a_temporary(60), 60), (a_temporary(61), 60)),
    )


async def rows(database: Database, tables: Sequence[str] = TABLES) -> dict[str, int]:
    counts = {name: await database.fetch(text(f"SELECT count(*) FROM {name}")) for name in tables}
    return {name: count[0][0] for name, count in counts.items()}


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


async def test_an_event_comes_back_as_it_was(events: PostgresEventStore) -> None:
    full, little = a_full_event(1), an_event(2)
    await events.keep(Batch((a_new_event(full), a_new_event(little))))
    found = await events.get(OWN, number(1))
    assert found == full
    assert await events.get(EVERYONE, number(2)) == little
    assert await events.get(OTHER, number(1)) is None
    assert await events.get(OWN, number(3)) is None


async def test_a_found_event_is_kept_without_what_it_found_itself(events: PostgresEventStore) -> None:
    inner = a_full_event(4)
    await events.keep(Batch((a_new_event(an_event(1, matches=(EventMatch("m", (Candidate(0.5, event=inner),)),))),)))
    found = await events.get(OWN, number(1))
    assert found is not None
    assert found.matches[0].candidates[0].event == replace(inner, matches=(), face_detections=(), body_detections=())


async def test_everything_of_a_batch_is_kept(
    events: PostgresEventStore,
    lists: PostgresListStore,
    faces: PostgresFaceStore,
    samples: PostgresSampleStore,
    attributes: AuditedAttributes,
    database: Database,
    blobs: BlobStore,
    trail: PostgresAuditTrail,
) -> None:
    for value in (20, 21):
        await lists.create(a_list(value))
    change = a_change(number(500))
    with announced(change):
        await events.keep(a_batch())
        await trail.complete(change)
    assert await rows(database) == {
        "events": 2,
        "event_descriptors": 4,
        "event_outbox": 2,
        "samples": 2,
        "media": 1,
        "faces": 2,
        "face_attributes": 2,
        "list_faces": 3,
    }
    face = await faces.get(OWN, number(3001))
    assert face is not None
    assert face.lists == (number(20), number(21))
    kept = await faces.attribute(OWN, number(3000))
    assert kept == an_attribute(vector(1), attribute_id=number(60))
    assert await samples.read(OWN, a_sample(8001).sample_type, number(8001)) == b"warp"
    media = PostgresMediaStore(database, blobs)
    image = await media.get(OWN, MediaKind.IMAGES, number(8003))
    assert image is not None
    assert await media.read(image) == b"image"
    assert len(await attributes.get(OWN, [number(60), number(61)])) == 2
    told = await database.fetch(text("SELECT account_id, notice FROM event_outbox ORDER BY position"))
    assert [tuple(row) for row in told] == [(OURS, b"told"), (OURS, b"second")]
    (entry,) = await trail.newest(None, 10)
    assert entry.done
    made = {500, 1, 2, 3000, 3001, 20, 21, 8001, 8002, 8003, 60, 61}
    assert set(entry.objects) == {number(value) for value in made}
    assert await events.descriptor_versions(OWN, number(1)) == (1001, 1002)
    assert await events.descriptor(OWN, number(1), 1001) == vector(1)
    assert await events.descriptor(OTHER, number(1), 1001) is None
    assert await events.descriptor(OWN, number(1), 1003) is None
    assert await events.descriptor_versions(OTHER, number(1)) == ()


async def test_an_event_that_is_only_told_is_not_stored(events: PostgresEventStore, database: Database) -> None:
    await events.keep(Batch((a_new_event(an_event(1), stored=False), a_new_event(an_event(2), notice=None))))
    counts = await rows(database, ("events", "event_descriptors", "event_outbox"))
    assert counts == {"events": 1, "event_descriptors": 2, "event_outbox": 1}
    assert await events.get(OWN, number(1)) is None


async def test_a_commit_with_notices_is_notified_once(
    events: PostgresEventStore, database: Database, lists: PostgresListStore
) -> None:
    woken: list[str] = []
    listener = await database.open()
    await listener.add_listener(NOTICES, lambda _, __, channel, payload: woken.append(f"{channel}{payload}"))
    try:
        for value in (20, 21):
            await lists.create(a_list(value))
        await events.keep(a_batch())
        await events.keep(Batch((a_new_event(an_event(5), notice=None),)))
        with pytest.raises(Conflict):
            await events.keep(a_batch())
        await listener.execute("SELECT 1")
        await asyncio.sleep(0.05)
    finally:
        await listener.close()
    assert woken == [NOTICES]


class Failing(RedisAttributeStore):
    """Redis that goes away at the second attribute."""

    async def add(self, attribute: TemporaryAttribute, ttl_seconds: int) -> None:
        if attribute.attribute_id == number(61):
            raise Unavailable(component="Redis")
        await super().add(attribute, ttl_seconds)


#: Statements that make one step of a batch fail, and the errors that come of it.
OBSTACLES = {
    "samples": ("INSERT INTO samples VALUES (%s, %s, 'faces', 1, '', now())", 8001, Conflict),
    "images": ("INSERT INTO media VALUES (%s, %s, 'images', 'image/jpeg', 1, '', '{}', now())", 8003, Conflict),
    "faces": ("INSERT INTO faces VALUES (%s, %s, NULL, '', '', '', now())", 3001, Conflict),
    "events": (
        "INSERT INTO events (event_id, account_id, handler_id, create_time, end_time) "
        f"VALUES (%s, %s, gen_random_uuid(), '{NOW.isoformat()}', now())",
        2,
        EventIdTaken,
    ),
    "event_descriptors": ("ALTER TABLE event_descriptors ADD CHECK (event_id <> %s OR %s IS NULL)", 2, EventIdTaken),
    "face_attributes": ("ALTER TABLE face_attributes ADD CHECK (face_id <> %s OR %s IS NULL)", 3001, Conflict),
    "list_faces": ("ALTER TABLE list_faces ADD CHECK (face_id <> %s OR %s IS NULL)", 3001, Exception),
    "event_outbox": (
        "ALTER TABLE event_outbox ADD CHECK (notice <> 'second' OR %s IS NULL OR %s IS NULL)",
        1,
        Exception,
    ),
}


async def until(database: Database, count: str) -> None:
    """Return once a statement counts something."""
    async with asyncio.timeout(10):
        while True:
            if (await database.fetch(text(count)))[0][0]:
                return
            await asyncio.sleep(0.01)


async def nothing_of(
    database: Database, before: dict[str, int], folder: Path, redis_client: Redis, trail: PostgresAuditTrail
) -> None:
    assert await rows(database) == before
    assert files(folder) == set()
    assert await redis_client.keys("*") == []
    assert all(not entry.done for entry in await trail.newest(None, 10)), "only what was said before is in the trail"


@pytest.mark.parametrize("step", OBSTACLES)
async def test_nothing_is_kept_where_a_step_in_the_database_fails(
    step: str,
    events: PostgresEventStore,
    lists: PostgresListStore,
    database: Database,
    redis_client: Redis,
    trail: PostgresAuditTrail,
    tmp_path: Path,
) -> None:
    for value in (20, 21):
        await lists.create(a_list(value))
    statement, value, error = OBSTACLES[step]
    async with database.transaction() as connection:
        await connection.execute(text(statement.replace("%s", f"'{number(value)}'", 1).replace("%s", f"'{OURS}'")))
    before = await rows(database)
    with announced(a_change()), pytest.raises(error):
        await events.keep(a_batch())
    await nothing_of(database, before, tmp_path, redis_client, trail)


async def test_nothing_is_kept_where_a_list_is_missing_or_belongs_to_others(
    events: PostgresEventStore,
    lists: PostgresListStore,
    database: Database,
    redis_client: Redis,
    trail: PostgresAuditTrail,
    tmp_path: Path,
) -> None:
    await lists.create(a_list(21))
    before = await rows(database)
    for _ in range(2):
        with announced(a_change()), pytest.raises(ListsNotFound, match=str(number(20))):
            await events.keep(a_batch())
        await nothing_of(database, before, tmp_path, redis_client, trail)
        with suppress(Conflict):
            await lists.create(a_list(20, THEIRS))


async def test_nothing_is_kept_where_the_trail_cannot_be_written(
    events: PostgresEventStore, database: Database, tmp_path: Path
) -> None:
    async with database.transaction() as connection:
        await connection.execute(text("ALTER TABLE audit RENAME TO hidden"))
    with announced(a_change()), pytest.raises(Exception, match="audit"):
        await events.keep(replace(a_batch(), faces=(), attributes=()))
    assert set((await rows(database)).values()) == {0}


async def test_nothing_is_kept_where_a_blob_cannot_be_written(
    events: PostgresEventStore,
    samples: PostgresSampleStore,
    database: Database,
    redis_client: Redis,
    trail: PostgresAuditTrail,
    tmp_path: Path,
) -> None:
    await samples.add(a_sample(8002), b"before")
    before = await rows(database)
    with pytest.raises(Conflict):
        await events.keep(a_batch())
    assert files(tmp_path) == {f"{number(8002)}.jpg"}
    assert await samples.read(OWN, a_sample(8002).sample_type, number(8002)) == b"before"
    await samples.remove(OWN, a_sample(8002).sample_type, number(8002))
    await nothing_of(database, before | {"samples": 0}, tmp_path, redis_client, trail)


async def test_nothing_is_kept_where_an_attribute_cannot_be_kept(
    database: Database, blobs: BlobStore, redis_client: Redis, trail: PostgresAuditTrail, tmp_path: Path
) -> None:
    store = PostgresEventStore(database, blobs, AuditedAttributes(Failing(redis_client), trail))
    before = await rows(database)
    with announced(a_change()), pytest.raises(Unavailable):
        await store.keep(a_batch())
    await nothing_of(database, before, tmp_path, redis_client, trail)


async def test_nothing_is_kept_where_the_call_is_cancelled_before_the_commit(
    events: PostgresEventStore,
    lists: PostgresListStore,
    database: Database,
    redis_client: Redis,
    trail: PostgresAuditTrail,
    tmp_path: Path,
) -> None:
    for value in (20, 21):
        await lists.create(a_list(value))
    before = await rows(database)
    async with database.transaction() as other:
        await other.execute(text("LOCK TABLE faces"))
        keeping = asyncio.create_task(events.keep(a_batch()))
        await until(database, "SELECT count(*) FROM pg_locks WHERE NOT granted")
        keeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await keeping
    await nothing_of(database, before, tmp_path, redis_client, trail)


async def test_bytes_stay_where_nobody_knows_whether_the_commit_was_made(
    events: PostgresEventStore, database: Database, tmp_path: Path
) -> None:
    """A row never lacks its bytes: the sweeper finds out whether there is one."""
    function = (
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN NULL; END'"
    )
    trigger = (
        "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON event_outbox DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION slow()"
    )
    async with database.transaction() as connection:
        await connection.execute(text(function))
        await connection.execute(text(trigger))
    keeping = asyncio.create_task(events.keep(replace(a_batch(), faces=(), attributes=())))
    await until(database, "SELECT count(*) FROM pg_stat_activity WHERE query ~* '^commit' AND state = 'active'")
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping
    assert files(tmp_path) == {f"{number(8001)}.jpg", f"{number(8002)}.jpg", str(number(8003))}


async def test_texts_that_cannot_be_stored_are_bad_input(events: PostgresEventStore, database: Database) -> None:
    for record in (an_event(1, user_data="a\0b"), an_event(1, meta={"a": "b\0c"}), an_event(1, tags=("\0",))):
        with pytest.raises(InvalidInput, match="cannot be stored"):
            await events.keep(Batch((a_new_event(record),)))
    assert (await rows(database))["events"] == 0


async def test_a_removed_event_takes_its_descriptors_along(events: PostgresEventStore, database: Database) -> None:
    await events.keep(Batch(tuple(a_new_event(an_event(value)) for value in range(1, 5))))
    await events.keep(Batch((a_new_event(an_event(9, THEIRS)),)))
    assert await events.remove(OWN, [number(1), number(2), number(9), number(99)]) == 2
    assert await events.remove(OWN, []) == 0
    left = await database.fetch(text("SELECT DISTINCT event_id FROM event_descriptors ORDER BY 1"))
    assert [row.event_id for row in left] == [number(3), number(4), number(9)]
    assert await events.get(OWN, number(1)) is None
    assert await events.get(OWN, number(3)) is not None
    assert await events.remove(EVERYONE, [number(9)]) == 1


async def test_the_newest_event_of_an_external_id_and_of_a_track_is_found(events: PostgresEventStore) -> None:
    made = [
        an_event(1, external_id="a", track_id="t", create_time=NOW),
        an_event(2, external_id="a", track_id="t", create_time=NOW - timedelta(days=40)),
        an_event(3, external_id="a", track_id="u", create_time=NOW + timedelta(days=40), account=THEIRS),
        an_event(4),
    ]
    await events.keep(Batch(tuple(a_new_event(one) for one in made)))
    assert await events.newest_by_external_id(OWN, "a") == number(1)
    assert await events.newest_by_external_id(EVERYONE, "a") == number(3)
    assert await events.newest_by_external_id(OWN, "") is None
    assert await events.newest_by_track_id(OWN, "t") == number(1)
    assert await events.newest_by_track_id(OWN, "u") is None


async def test_batches_that_name_the_same_lists_do_not_wait_for_each_other_in_a_circle(
    events: PostgresEventStore, lists: PostgresListStore
) -> None:
    for value in (20, 21):
        await lists.create(a_list(value))

    def batch(position: int) -> Batch:
        there = (number(20), number(21))
        ids = there if position % 2 else there[::-1]
        new = tuple(NewFace(a_face(10_000 + position * 10 + one), None, ids) for one in range(3))
        return Batch((a_new_event(an_event(100 + position)),), faces=new[:: 1 if position % 3 else -1])

    async with asyncio.timeout(20):
        await asyncio.gather(*(events.keep(batch(position)) for position in range(15)))
