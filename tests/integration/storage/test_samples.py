"""Samples and blobs: bytes before rows, rows before bytes, strays swept, accounts that are walls."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from server import settings
from server.domain.access import Scope
from server.domain.samples import Sample, SampleType
from server.errors import Conflict, Unavailable
from storage.blobs import BlobStore
from storage.database import Database
from storage.samples import PostgresSampleStore, sample_key
from storage.sweeper import FOLDERS, Sweeper
from tests.integration.storage.made import EVERYONE, NOW, OURS, THEIRS, number

OUR_SCOPE = Scope(OURS)
JPEG = b"\xff\xd8 not really \xff\xd9"


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def a_sample(sample_id: UUID, account: UUID = OURS, kind: SampleType = SampleType.FACES) -> Sample:
    return Sample(sample_id, account, kind, len(JPEG), hashlib.sha256(JPEG).digest(), NOW)


async def test_a_sample_comes_back_as_it_was(samples: PostgresSampleStore) -> None:
    kept = a_sample(number(1))
    await samples.add(kept, JPEG)
    assert await samples.get(OUR_SCOPE, SampleType.FACES, number(1)) == kept
    assert await samples.read(OUR_SCOPE, SampleType.FACES, number(1)) == JPEG
    assert await samples.get(OUR_SCOPE, SampleType.BODIES, number(1)) is None
    assert await samples.read(OUR_SCOPE, SampleType.BODIES, number(1)) is None
    assert await samples.missing(OUR_SCOPE, SampleType.FACES, [number(1), number(2)]) == {number(2)}
    assert await samples.missing(OUR_SCOPE, SampleType.FACES, []) == set()
    assert not await samples.remove(OUR_SCOPE, SampleType.BODIES, number(1))
    assert await samples.remove(OUR_SCOPE, SampleType.FACES, number(1))
    assert not await samples.remove(OUR_SCOPE, SampleType.FACES, number(1))
    assert await samples.read(OUR_SCOPE, SampleType.FACES, number(1)) is None


async def test_several_samples_are_kept_together(samples: PostgresSampleStore) -> None:
    kept = [(a_sample(number(one)), b"%d" % one) for one in range(1, 30)]
    await samples.add_all(kept)
    await samples.add_all([])
    for one, data in kept:
        assert await samples.get(OUR_SCOPE, SampleType.FACES, one.sample_id) == one
        assert await samples.read(OUR_SCOPE, SampleType.FACES, one.sample_id) == data


async def test_none_of_several_samples_is_kept_where_one_cannot_be(samples: PostgresSampleStore) -> None:
    await samples.add(a_sample(number(2)), JPEG)
    with pytest.raises(Conflict):
        await samples.add_all([(a_sample(number(one)), b"new") for one in (1, 2, 3)])
    assert await samples.missing(OUR_SCOPE, SampleType.FACES, [number(1), number(3)]) == {number(1), number(3)}
    assert await samples.read(OUR_SCOPE, SampleType.FACES, number(2)) == JPEG


async def test_removal_takes_the_bytes_too(samples: PostgresSampleStore, tmp_path: Path) -> None:
    await samples.add(a_sample(number(1)), JPEG)
    assert len(files(tmp_path)) == 1
    await samples.remove(OUR_SCOPE, SampleType.FACES, number(1))
    assert files(tmp_path) == []


async def test_nothing_of_another_account_is_seen_or_changed(samples: PostgresSampleStore) -> None:
    kept = a_sample(number(1), THEIRS)
    await samples.add(kept, JPEG)
    assert await samples.get(OUR_SCOPE, SampleType.FACES, number(1)) is None
    assert await samples.read(OUR_SCOPE, SampleType.FACES, number(1)) is None
    assert await samples.missing(OUR_SCOPE, SampleType.FACES, [number(1)]) == {number(1)}
    assert not await samples.remove(OUR_SCOPE, SampleType.FACES, number(1))
    with pytest.raises(Conflict):
        await samples.add(a_sample(number(1)), b"ours")
    assert await samples.get(EVERYONE, SampleType.FACES, number(1)) == kept
    assert await samples.read(Scope(THEIRS), SampleType.FACES, number(1)) == JPEG


async def test_bytes_are_there_before_the_row_and_go_after_it(
    samples: PostgresSampleStore, blobs: BlobStore, database: Database
) -> None:
    """The table is locked, so that each operation stands still between its two halves."""
    key = sample_key(SampleType.FACES, number(1))
    async with database.transaction() as connection:
        await connection.execute(text("LOCK TABLE samples IN EXCLUSIVE MODE"))
        adding = asyncio.create_task(samples.add(a_sample(number(1)), JPEG))
        for _ in range(100):
            await asyncio.sleep(0.02)
            if await blobs.get(key):
                break
        assert not adding.done()
        assert await samples.get(OUR_SCOPE, SampleType.FACES, number(1)) is None
    await adding
    async with database.transaction() as connection:
        await connection.execute(text("LOCK TABLE samples IN EXCLUSIVE MODE"))
        removing = asyncio.create_task(samples.remove(OUR_SCOPE, SampleType.FACES, number(1)))
        await asyncio.sleep(0.2)
        assert await samples.read(OUR_SCOPE, SampleType.FACES, number(1)) == JPEG
    assert await removing
    assert await blobs.get(key) is None


async def test_samples_made_at_the_same_time_are_spread_over_folders() -> None:
    now = int(time.time() * 1000) << 80
    keys = {sample_key(SampleType.FACES, UUID(int=now | (uuid4().int & ((1 << 62) - 1)))) for _ in range(500)}
    assert len({key.split("/")[2] for key in keys}) > 150


async def test_strays_are_swept_and_samples_are_not(
    samples: PostgresSampleStore, blobs: BlobStore, database: Database, tmp_path: Path
) -> None:
    kept, stray, young, foreign = uuid4(), uuid4(), uuid4(), tmp_path / "blobs/samples/faces/00/README.jpg"
    await samples.add(a_sample(kept, kind=SampleType.BODIES), JPEG)
    keys = [sample_key(SampleType.FACES, stray), sample_key(SampleType.FACES, kept)]
    for key in keys:
        await blobs.put(key, JPEG)
    foreign.parent.mkdir(parents=True, exist_ok=True)
    foreign.write_bytes(b"not ours")
    for path in files(tmp_path):
        os.utime(path, (0, 0))
    await blobs.put(sample_key(SampleType.FACES, young), JPEG)
    sweeper = Sweeper(database, blobs)
    removed = [await sweeper.sweep_blobs(folders=100) for _ in range(len(FOLDERS) // 100 + 1)]
    assert sum(removed) == 2, "the stray, and the bytes of a face under the id of a body"
    assert [await blobs.get(key) for key in keys] == [None, None]
    assert await samples.read(OUR_SCOPE, SampleType.BODIES, kept) == JPEG
    assert await blobs.get(sample_key(SampleType.FACES, young)) == JPEG
    assert foreign.exists()


async def test_what_a_killed_process_has_half_written_is_swept_once_it_is_old(
    samples: PostgresSampleStore, blobs: BlobStore, database: Database, tmp_path: Path
) -> None:
    await samples.add(a_sample(number(1)), JPEG)
    (kept,) = files(tmp_path)
    old = [kept.with_name(f"{kept.name}#1"), kept.with_name(f"{kept.name}#12"), tmp_path / "blobs/tasks/7/found/0#1"]
    young = kept.with_name(f"{kept.name}#2")
    old[-1].parent.mkdir(parents=True)
    for path in (*old, young):
        path.write_bytes(JPEG[:3])
    for path in (kept, *old):
        os.utime(path, (0, 0))
    sweeper = Sweeper(database, blobs)
    assert await sweeper.sweep_blobs(len(FOLDERS)) == 2
    assert await sweeper.sweep_task_files() == 1
    assert sorted(files(tmp_path)) == [kept, young]


async def test_blobs_are_kept_read_and_deleted(blobs: BlobStore) -> None:
    assert await blobs.get("a/b.bin") is None
    await blobs.delete("a/b.bin")
    await blobs.put("a/b.bin", b"one")
    await blobs.put("a/b.bin", b"two")
    with pytest.raises(Conflict):
        await blobs.create("a/b.bin", b"three")
    assert await blobs.get("a/b.bin") == b"two"
    await blobs.create("a/empty", b"")
    assert await blobs.get("a/empty") == b""
    listed = [entry async for batch in blobs.entries("a") for entry in batch]
    assert {(entry.key, entry.size) for entry in listed} == {("a/b.bin", 3), ("a/empty", 0)}
    assert [batch async for batch in blobs.entries("nowhere")] == []
    await blobs.delete("a/b.bin")
    assert await blobs.get("a/b.bin") is None


async def test_a_folder_with_strange_letters_is_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a b%20ü"
    store = BlobStore(settings.Blobs(url=folder.as_uri()), tmp_path)
    await store.put("x/y", b"z")
    assert (folder / "x/y").read_bytes() == b"z"


async def test_a_store_that_cannot_be_reached_is_unavailable(tmp_path: Path) -> None:
    options = {"endpoint": "http://127.0.0.1:1", "region": "r", "access_key_id": "a", "secret_access_key": "s"}
    store = BlobStore(settings.Blobs(url="s3://bucket/prefix", options=options), tmp_path)
    with pytest.raises(Unavailable, match="blob store"):
        await store.get("x")


@pytest.fixture
def traced() -> Iterator[None]:
    try:
        subprocess.run(["strace", "-V"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("strace is not installed")
    yield


def test_a_blob_and_its_folders_reach_the_disk(traced: None, tmp_path: Path) -> None:
    """Seen by the system calls: the file is synced after it has its name, then each new folder entry."""
    program = (
        "import asyncio, sys, pathlib; from server import settings; from storage.blobs import BlobStore\n"
        "store = BlobStore(settings.Blobs(), pathlib.Path(sys.argv[1]))\n"
        "asyncio.run(store.create('a/b/c', b'data'))\n"
    )
    log = tmp_path / "trace"
    calls = "trace=fsync,linkat,link,rename,renameat2"
    command = ["strace", "-f", "-y", "-e", calls, "-o", log, sys.executable, "-c", program, tmp_path / "data"]
    subprocess.run(command, check=True, timeout=60)
    lines = [line for line in log.read_text().splitlines() if str(tmp_path) in line]
    root = tmp_path / "data" / "blobs"
    named = next(index for index, line in enumerate(lines) if "fsync" not in line)
    synced = [line.split("<", 1)[1].split(">")[0] for line in lines[named + 1 :] if "fsync(" in line]
    assert synced[0] == str(root / "a/b/c")
    assert set(synced[1:]) >= {str(root / "a/b"), str(root / "a"), str(root), str(root.parent)}
