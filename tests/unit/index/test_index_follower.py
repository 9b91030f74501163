"""The following index: what was committed before a search began is in it, through slowness, trouble and resets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import numpy as np
import pytest
from index_feed import TROUBLE, MemoryFeed
from index_model import Model, agree, face, halves, query

from engines.index.faces import IndexedFaces
from engines.index.follower import FollowingIndex, Pace
from server.domain.faces import FaceFilter
from server.domain.search import IndexedFace
from server.errors import Busy, Unavailable

QUIET = Pace(attention=60, rest=60)
RNG = np.random.default_rng(11)
ANY = halves(np.ones(128))


def someone(n: int) -> IndexedFace:
    return face(UUID(int=n), halves(RNG.standard_normal(128)))


@asynccontextmanager
async def following(feed: MemoryFeed, *, threads: int = 1, pace: Pace = QUIET) -> AsyncIterator[FollowingIndex]:
    index = FollowingIndex(feed, threads=threads, pace=pace)
    try:
        await index.start()
        yield index
    finally:
        await index.close()


async def ids(index: FollowingIndex, where: FaceFilter | None = None) -> set[int]:
    (hits,) = await index.search([query(ANY, where, limit=10_000)])
    return {hit.face_id.int for hit in hits}


async def holds(index: FollowingIndex, faces: int) -> bool:
    """Whether the index comes to hold so many faces within five seconds, without being asked for any."""
    for _ in range(500):
        if index._faces.count(1001) == faces:
            return True
        await asyncio.sleep(0.01)
    return False


async def test_the_snapshot_and_each_later_commit_are_found() -> None:
    feed = MemoryFeed()
    feed.commit(*(someone(n) for n in range(1, 251)))
    async with following(feed) as index:
        assert await ids(index) == set(range(1, 251))
        feed.commit(someone(300))
        feed.delete(UUID(int=7))
        assert await ids(index) == {*range(1, 251), 300} - {7}
        assert feed.snapshots == 1


async def test_a_deleted_face_is_never_found_again() -> None:
    feed = MemoryFeed()
    feed.commit(*(someone(n) for n in range(1, 30)))
    async with following(feed) as index:
        for n in range(1, 30):
            feed.delete(UUID(int=n))
            assert n not in await ids(index)


async def test_a_search_shares_only_a_catching_up_that_started_after_it_began() -> None:
    feed = MemoryFeed()
    feed.commit(someone(1))
    async with following(feed) as index:
        feed.delay = 0.05
        calls = feed.calls
        first = asyncio.create_task(ids(index))
        await asyncio.sleep(0.02)
        feed.commit(someone(2))  # the first catching up has read already, and will not bring this one
        later = [asyncio.create_task(ids(index)) for _ in range(20)]
        assert 1 in await first
        assert await asyncio.gather(*later) == [{1, 2}] * 20
        assert feed.calls == calls + 2


async def test_everything_committed_before_a_search_is_in_it_while_many_search_and_write() -> None:
    feed = MemoryFeed()
    feed.commit(*(someone(n) for n in range(1, 101)))
    feed.delay = 0.002
    dice = random.Random(12)
    number = iter(range(1000, 100_000))

    async def writer() -> None:
        mine = []
        for _ in range(60):
            await asyncio.sleep(dice.random() / 300)
            n = next(number)
            feed.commit(someone(n))
            mine.append(n)
            if dice.random() < 0.4:
                feed.delete(UUID(int=mine.pop(dice.randrange(len(mine)))))

    async def searcher(index: FollowingIndex) -> int:
        seen = 0
        for _ in range(40):
            await asyncio.sleep(dice.random() / 300)
            before, log = set(feed.faces), len(feed._log)
            found = {UUID(int=n) for n in await ids(index)}
            touched = set(feed._log[log:])
            assert found - touched == before - touched
            seen += 1
        return seen

    async with following(feed, threads=2, pace=Pace(attention=0.01, rest=0.001)) as index:
        ends = await asyncio.gather(*(writer() for _ in range(4)), *(searcher(index) for _ in range(8)))
        assert ends[4:] == [40] * 8
        model = Model(dict(feed.faces))
        one = query(ANY, limit=50)
        agree((await index.search([one]))[0], model.search(one), 50)


async def test_a_change_waits_for_the_scan_that_runs_and_never_tears_it(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = MemoryFeed()
    feed.commit(*(someone(n) for n in range(1, 301)))
    scanning = changing = 0
    search, apply = IndexedFaces.search, IndexedFaces.apply

    def watched_search(self: IndexedFaces, *given: object) -> object:
        nonlocal scanning
        scanning += 1
        assert not changing
        try:
            return search(self, *given)  # type: ignore[arg-type]
        finally:
            assert not changing
            scanning -= 1

    def watched_apply(self: IndexedFaces, *given: object) -> None:
        nonlocal changing
        changing += 1
        assert not scanning
        try:
            apply(self, *given)  # type: ignore[arg-type]
        finally:
            assert not scanning
            changing -= 1

    monkeypatch.setattr(IndexedFaces, "search", watched_search)
    monkeypatch.setattr(IndexedFaces, "apply", watched_apply)
    async with following(feed, threads=3, pace=Pace(attention=0.01, rest=0)) as index:

        async def search_often() -> None:
            for _ in range(30):
                await index.search([query(ANY), query(ANY, limit=200)])

        async def write_often() -> None:
            for n in range(100):
                feed.commit(someone(1000 + n))
                await asyncio.sleep(0.001)

        await asyncio.gather(write_often(), *(search_often() for _ in range(6)))


async def test_the_background_keeps_up_without_any_search() -> None:
    feed = MemoryFeed()
    async with following(feed, pace=Pace(attention=5, rest=0)) as index:
        feed.commit(*(someone(n) for n in range(1, 11)))
        assert await holds(index, 10)


async def test_a_reset_loads_everything_anew_while_searches_wait() -> None:
    feed = MemoryFeed()
    feed.commit(*(someone(n) for n in range(1, 301)))
    async with following(feed) as index:
        assert len(await ids(index)) == 300
        feed.delete(UUID(int=1))
        feed.commit(someone(1000))
        feed.cut()
        feed.delay = 0.01
        answers = await asyncio.gather(*(ids(index) for _ in range(5)))
        assert answers == [{*range(2, 301), 1000}] * 5
        assert feed.snapshots == 2


async def test_trouble_with_the_feed_makes_searches_unavailable_and_passes() -> None:
    feed = MemoryFeed()
    feed.commit(someone(1))
    async with following(feed) as index:
        for trouble in (TROUBLE, ConnectionResetError(), RuntimeError("not foreseen")):
            feed.broken = trouble
            with pytest.raises(Unavailable):
                await ids(index)
            feed.broken = None
            assert await ids(index) == {1}
        assert feed.snapshots == 1


async def test_the_background_recovers_by_itself() -> None:
    feed = MemoryFeed()
    async with following(feed, pace=Pace(attention=0.01, rest=0)) as index:
        feed.broken = TROUBLE
        await asyncio.sleep(0.05)
        feed.commit(someone(1))
        feed.broken = None
        assert await holds(index, 1)


async def test_trouble_in_the_midst_of_a_reload_never_shows_half_an_index() -> None:
    feed = MemoryFeed()
    feed.commit(*(someone(n) for n in range(1, 501)))
    async with following(feed) as index:
        feed.cut()
        feed.delay = 0.02
        waiting = asyncio.create_task(ids(index))
        await asyncio.sleep(0.07)
        feed.broken = TROUBLE
        with pytest.raises(Unavailable):
            await waiting
        feed.broken = None
        assert await ids(index) == set(range(1, 501))


async def test_a_search_that_has_caught_up_is_refused_once_the_index_is_gone() -> None:
    feed = MemoryFeed()
    feed.commit(*(someone(n) for n in range(1, 501)), user_data="blue coat")
    async with following(feed) as index:
        feed.delay = 0.1
        selecting = asyncio.create_task(ids(index, FaceFilter(user_data="blue")))
        await asyncio.sleep(0.15)  # caught up; the database is still selecting
        feed.cut()
        feed.delay = 0
        broken = asyncio.create_task(ids(index))
        await asyncio.sleep(0.001)
        feed.broken = TROUBLE
        ends = await asyncio.gather(selecting, broken, return_exceptions=True)
        assert [type(end) for end in ends] == [Unavailable, Unavailable]
        assert feed.snapshots == 2


async def test_a_change_that_cannot_be_applied_is_mended_by_loading_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = MemoryFeed()
    feed.commit(someone(1))
    async with following(feed) as index:
        feed.commit(someone(2))
        with monkeypatch.context() as patch:
            patch.setattr(IndexedFaces, "apply", lambda *given: 1 / 0)
            with pytest.raises(Unavailable):
                await ids(index)
        assert await ids(index) == {1, 2}


async def test_a_feed_that_hangs_is_given_up_after_the_patience() -> None:
    feed = MemoryFeed()
    feed.commit(someone(1))
    async with following(feed, pace=Pace(patience=0.05, attention=60, rest=60)) as index:
        feed.delay = 30
        with pytest.raises(Unavailable):
            await ids(index)
        feed.delay = 0
        assert await ids(index) == {1}


async def test_a_search_that_is_cancelled_takes_nobody_along() -> None:
    feed = MemoryFeed()
    feed.commit(someone(1))
    async with following(feed) as index:
        feed.delay = 0.03
        searches = [asyncio.create_task(ids(index)) for _ in range(10)]
        await asyncio.sleep(0.01)
        for search in searches[::2]:
            search.cancel()
        ends = await asyncio.gather(*searches, return_exceptions=True)
        assert [type(end) for end in ends[::2]] == [asyncio.CancelledError] * 5
        assert ends[1::2] == [{1}] * 5


async def test_user_data_is_asked_of_the_database() -> None:
    feed = MemoryFeed()
    feed.commit(someone(1), someone(2), user_data="blue coat")
    feed.commit(someone(3), user_data="red coat")
    async with following(feed) as index:
        assert await ids(index, FaceFilter(user_data="coat")) == {1, 2, 3}
        assert await ids(index, FaceFilter(user_data="blue")) == {1, 2}
        assert await ids(index, FaceFilter(user_data="blue", face_ids=(UUID(int=2), UUID(int=3)))) == {2}
        assert await ids(index, FaceFilter(user_data="green")) == set()
        feed.broken = TROUBLE
        with pytest.raises(Unavailable):
            await ids(index, FaceFilter(user_data="blue"))


async def test_too_many_searches_are_refused() -> None:
    feed = MemoryFeed()
    index = FollowingIndex(feed, queue=2, pace=QUIET)
    await index.start()
    feed.delay = 0.03
    searches = [asyncio.create_task(ids(index)) for _ in range(3)]
    ends = await asyncio.gather(*searches, return_exceptions=True)
    assert [type(end) for end in ends] == [set, set, Busy]
    await index.close()


async def test_an_index_that_is_closed_refuses_and_holds_nothing() -> None:
    feed = MemoryFeed()
    feed.commit(someone(1))
    async with following(feed) as index:
        feed.delay = 0.05
        waiting = asyncio.create_task(ids(index))
        await asyncio.sleep(0.01)
        await index.close()
        with pytest.raises(Unavailable):
            await waiting
        with pytest.raises(Unavailable):
            await ids(index)
        assert index.byte_size == 0


async def test_nothing_asked_is_nothing_answered() -> None:
    async with following(MemoryFeed()) as index:
        assert await index.search([]) == []
        assert await ids(index) == set()
