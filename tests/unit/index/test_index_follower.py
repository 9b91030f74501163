"""The following index: what was committed before a search began is in it, through slowness, trouble and resets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import numpy as np
import pytest
from index_feed import TROUBLE, MemoryFeed
from index_model import START, Model, agree, halves, indexed, query

from engines.index.follower import FollowingIndex, Pace
from engines.index.shelves import Shelves
from server.domain.access import Scope
from server.domain.search import IndexedObject, Span, Where
from server.errors import Busy, InvalidInput, Unavailable

QUIET = Pace(attention=60, rest=60)
RNG = np.random.default_rng(11)
ANY = halves(np.ones(128))


def someone(n: int) -> IndexedObject:
    return indexed(UUID(int=n), halves(RNG.standard_normal(128)))


@asynccontextmanager
async def following(feed: MemoryFeed, *, threads: int = 1, pace: Pace = QUIET) -> AsyncIterator[FollowingIndex[str]]:
    index = FollowingIndex(feed, threads=threads, pace=pace)
    try:
        await index.start()
        yield index
    finally:
        await index.close()


async def ids(index: FollowingIndex[str], where: Where | None = None, filters: str | None = None) -> set[int]:
    (hits,) = await index.search([query(ANY, where, limit=10_000, filters=filters)])
    return {hit.object_id.int for hit in hits}


async def holds(index: FollowingIndex[str], faces: int) -> bool:
    """Whether the index comes to hold so many faces within five seconds, without being asked for any."""
    for _ in range(500):
        if index._shelves.count(1001) == faces:
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

    async def searcher(index: FollowingIndex[str]) -> int:
        seen = 0
        for _ in range(40):
            await asyncio.sleep(dice.random() / 300)
            before, log = set(feed.objects), len(feed._log)
            found = {UUID(int=n) for n in await ids(index)}
            touched = set(feed._log[log:])
            assert found - touched == before - touched
            seen += 1
        return seen

    async with following(feed, threads=2, pace=Pace(attention=0.01, rest=0.001)) as index:
        ends = await asyncio.gather(*(writer() for _ in range(4)), *(searcher(index) for _ in range(8)))
        assert ends[4:] == [40] * 8
        model = Model(dict(feed.objects))
        one = query(ANY, limit=50)
        agree((await index.search([one]))[0], model.search(one), 50)


async def test_a_change_waits_for_the_scan_that_runs_and_never_tears_it(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = MemoryFeed()
    feed.commit(*(someone(n) for n in range(1, 301)))
    scanning = changing = 0
    search, apply = Shelves.search, Shelves.apply

    def watched_search(self: Shelves, *given: object) -> object:
        nonlocal scanning
        scanning += 1
        assert not changing
        try:
            return search(self, *given)  # type: ignore[arg-type]
        finally:
            assert not changing
            scanning -= 1

    def watched_apply(self: Shelves, *given: object) -> None:
        nonlocal changing
        changing += 1
        assert not scanning
        try:
            apply(self, *given)  # type: ignore[arg-type]
        finally:
            assert not scanning
            changing -= 1

    monkeypatch.setattr(Shelves, "search", watched_search)
    monkeypatch.setattr(Shelves, "apply", watched_apply)
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
    feed.commit(*(someone(n) for n in range(1, 501)), text="blue coat")
    async with following(feed) as index:
        feed.delay = 0.1
        selecting = asyncio.create_task(ids(index, filters="blue"))
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
            patch.setattr(Shelves, "apply", lambda *given: 1 / 0)
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


async def test_what_the_index_does_not_know_is_asked_of_the_database() -> None:
    feed = MemoryFeed()
    feed.commit(someone(1), someone(2), text="blue coat")
    feed.commit(someone(3), text="red coat")
    async with following(feed) as index:
        assert await ids(index, filters="coat") == {1, 2, 3}
        assert await ids(index, filters="blue") == {1, 2}
        assert await ids(index, Where(ids=frozenset({UUID(int=2), UUID(int=3)})), "blue") == {2}
        assert await ids(index, filters="green") == set()
        feed.broken = TROUBLE
        with pytest.raises(Unavailable):
            await ids(index, filters="blue")


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


async def test_filters_that_several_queries_share_are_asked_for_once() -> None:
    feed = MemoryFeed()
    feed.commit(someone(1), text="blue coat")
    async with following(feed) as index:
        asked = [query(ANY, filters=one) for one in ("blue", "coat", "blue", "blue", "red")]
        answers = await index.search(asked)
        assert [len(hits) for hits in answers] == [1, 1, 1, 1, 0]
        assert sorted(feed.selected) == ["blue", "coat", "red"]


async def test_a_filter_that_the_database_refuses_is_the_callers_fault() -> None:
    class Refusing(MemoryFeed):
        async def select(self, scope: Scope, filters: str) -> bytes:
            raise InvalidInput(message="a text has a character that cannot be stored")

    async with following(Refusing()) as index:
        with pytest.raises(InvalidInput):
            await ids(index, filters="\0")


async def test_what_was_dropped_without_being_named_is_not_found_and_what_came_after_is() -> None:
    feed = MemoryFeed()
    feed.commit(*(replace(someone(n), create_time=START + timedelta(hours=n)) for n in range(1, 101)))
    async with following(feed) as index:
        assert await ids(index) == set(range(1, 101))
        feed.drop(Span(START + timedelta(hours=10), START + timedelta(hours=90)))
        feed.commit(replace(someone(200), create_time=START + timedelta(hours=50)))
        assert await ids(index) == {*range(1, 10), *range(90, 101), 200}
        assert feed.snapshots == 1
