"""Images and objects: kinds that never mix, texts of any language, bytes before rows and rows before bytes."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from server.domain.access import Scope
from server.domain.media import Media, MediaKind
from server.domain.samples import SampleType
from server.errors import Conflict
from storage.blobs import BlobStore
from storage.database import Database
from storage.media import PostgresMediaStore, media_key
from storage.samples import sample_key
from storage.sweeper import FOLDERS, Sweeper
from tests.integration.storage.made import EVERYONE, NOW, OURS, THEIRS, number

OUR_SCOPE = Scope(OURS)
DATA = b"\x00any bytes\xff"
IMAGES, OBJECTS = MediaKind.IMAGES, MediaKind.OBJECTS


def a_media(media_id: UUID, kind: MediaKind = IMAGES, account: UUID = OURS, **fields: object) -> Media:
    made = {"media_id": media_id, "account_id": account, "kind": kind, "content_type": "image/jpeg"}
    rest = {"size": len(DATA), "sha256": hashlib.sha256(DATA).digest(), "create_time": NOW}
    return Media(**{**made, **rest, **fields})


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def media(database: Database, blobs: BlobStore) -> PostgresMediaStore:
    return PostgresMediaStore(database, blobs)


@pytest.mark.parametrize("kind", MediaKind)
async def test_what_is_kept_comes_back_as_it_was(media: PostgresMediaStore, tmp_path: Path, kind: MediaKind) -> None:
    meta = {"camera": "Кузнецкий мост \U0001f687", "quote": "\"'\\{}%$", "long": "é" * 1024, "": ""}
    kept = a_media(number(1), kind, content_type="application/x; charset=Ω", meta=meta)
    await media.add(kept, DATA)
    assert await media.get(OUR_SCOPE, kind, number(1)) == kept
    assert await media.read(kept) == DATA
    assert await media.remove(OUR_SCOPE, kind, number(1))
    assert not await media.remove(OUR_SCOPE, kind, number(1))
    assert await media.get(OUR_SCOPE, kind, number(1)) is None
    assert await media.read(kept) is None
    assert files(tmp_path) == []


async def test_no_bytes_at_all_are_kept_too(media: PostgresMediaStore) -> None:
    kept = a_media(number(1), OBJECTS, size=0, sha256=hashlib.sha256().digest())
    await media.add(kept, b"")
    assert await media.read(kept) == b""
    assert (await media.get(OUR_SCOPE, OBJECTS, number(1)) or kept).meta == {}


@pytest.mark.parametrize(("kind", "other"), [(IMAGES, OBJECTS), (OBJECTS, IMAGES)])
async def test_an_image_is_no_object_and_an_object_no_image(
    media: PostgresMediaStore, kind: MediaKind, other: MediaKind
) -> None:
    kept = a_media(number(1), kind)
    await media.add(kept, DATA)
    assert await media.get(EVERYONE, other, number(1)) is None
    assert await media.read(a_media(number(1), other)) is None
    assert not await media.remove(OUR_SCOPE, other, number(1))
    assert await media.read(kept) == DATA


async def test_nothing_of_another_account_is_seen_or_changed(media: PostgresMediaStore) -> None:
    kept = a_media(number(1), account=THEIRS)
    await media.add(kept, DATA)
    assert await media.get(OUR_SCOPE, IMAGES, number(1)) is None
    assert not await media.remove(OUR_SCOPE, IMAGES, number(1))
    assert await media.get(EVERYONE, IMAGES, number(1)) == await media.get(Scope(THEIRS), IMAGES, number(1)) == kept


async def test_an_id_that_exists_is_refused_and_what_is_there_stays(media: PostgresMediaStore) -> None:
    kept = a_media(number(1), account=THEIRS)
    await media.add(kept, DATA)
    for kind in MediaKind:
        with pytest.raises(Conflict):
            await media.add(a_media(number(1), kind), b"ours")
    assert await media.get(EVERYONE, IMAGES, number(1)) == kept
    assert await media.read(kept) == DATA


async def test_bytes_are_there_before_the_row_and_go_after_it(
    media: PostgresMediaStore, blobs: BlobStore, database: Database
) -> None:
    """The table is locked, so that each operation stands still between its two halves."""
    key = media_key(OBJECTS, number(1))
    kept = a_media(number(1), OBJECTS)
    async with database.transaction() as connection:
        await connection.execute(text("LOCK TABLE media IN EXCLUSIVE MODE"))
        adding = asyncio.create_task(media.add(kept, DATA))
        for _ in range(250):
            await asyncio.sleep(0.02)
            if await blobs.get(key):
                break
        assert await blobs.get(key) == DATA
        assert not adding.done()
        assert await media.get(OUR_SCOPE, OBJECTS, number(1)) is None
    await adding
    async with database.transaction() as connection:
        await connection.execute(text("LOCK TABLE media IN EXCLUSIVE MODE"))
        removing = asyncio.create_task(media.remove(OUR_SCOPE, OBJECTS, number(1)))
        await asyncio.sleep(0.2)
        assert await media.read(kept) == DATA
    assert await removing
    assert await blobs.get(key) is None


async def test_strays_are_swept_and_what_has_a_row_is_not(
    media: PostgresMediaStore, blobs: BlobStore, database: Database, tmp_path: Path
) -> None:
    image, thing, stray, young = uuid4(), uuid4(), uuid4(), uuid4()
    await media.add(a_media(image), DATA)
    await media.add(a_media(thing, OBJECTS), DATA)
    strays = [
        media_key(IMAGES, stray),
        media_key(OBJECTS, stray),
        media_key(OBJECTS, image),  # the bytes of an object under the id of an image
        sample_key(SampleType.FACES, image),
    ]
    for key in strays:
        await blobs.put(key, DATA)
    foreign = tmp_path / "blobs/objects/00/README.txt"
    foreign.parent.mkdir(parents=True, exist_ok=True)
    foreign.write_bytes(b"not ours")
    for path in files(tmp_path):
        os.utime(path, (0, 0))
    await blobs.put(media_key(OBJECTS, young), DATA)
    sweeper = Sweeper(database, blobs)
    removed = [await sweeper.sweep_blobs(folders=100) for _ in range(len(FOLDERS) // 100 + 1)]
    assert sum(removed) == len(strays)
    assert [await blobs.get(key) for key in strays] == [None] * len(strays)
    assert await media.read(a_media(image)) == await media.read(a_media(thing, OBJECTS)) == DATA
    assert await blobs.get(media_key(OBJECTS, young)) == DATA
    assert foreign.exists()
