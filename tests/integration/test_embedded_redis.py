"""The embedded Redis under the supervisor: real server, real client, real kills."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from server.settings import Settings
from server.supervisor import Event, Happening, Supervisor, backing
from tests.folders import server_folder


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with server_folder() as folder:
        yield folder


class Events(list[Event]):
    """What has happened to the server."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.append(event)
        self.changed.set()

    @property
    def pid(self) -> int:
        return next(event.pid for event in reversed(self) if event.what is Happening.STARTED and event.pid)

    async def ready(self, times: int = 1) -> None:
        async with asyncio.timeout(20):
            while sum(event.what is Happening.READY for event in self) < times:
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def running(data: Path, events: Events) -> AsyncIterator[Redis]:
    back = backing(Settings(data=data))
    supervisor = Supervisor(data, back.programs[1:], listener=events)
    task = asyncio.create_task(supervisor.run(signals=False))
    client = Redis.from_url(back.redis_url, socket_timeout=5)
    try:
        await events.ready()
        yield client
    finally:
        await client.aclose()
        supervisor.stop()
        await task


async def test_data_is_there_after_a_stop_and_a_second_start(tmp_path):
    events = Events()
    async with running(tmp_path, events) as client:
        await client.set("key", b"\0value")
    assert events[-1].detail == "ended with status 0"
    async with running(tmp_path, Events()) as client:
        assert await client.get("key") == b"\0value"


async def test_nothing_is_evicted_slept_on_or_open_to_the_network(tmp_path):
    async with running(tmp_path, Events()) as client:
        wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "port": "0"}
        for name, value in wanted.items():
            assert await client.config_get(name) == {name: value}
    assert (tmp_path / "redis").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700


async def write_until_killed(client: Redis, numbers: Iterator[int], listed: set[int], streamed: set[int]) -> None:
    """Append numbers to a list and a stream, and note each write that the server has acknowledged."""
    try:
        for number in numbers:
            await client.rpush("list", number)
            listed.add(number)
            await client.xadd("stream", {"number": number})
            streamed.add(number)
    except (RedisError, OSError):
        return


async def test_every_acknowledged_write_survives_kills_of_the_server(tmp_path):
    events = Events()
    async with running(tmp_path, events) as client:
        numbers = itertools.count(1)
        listed: set[int] = set()
        streamed: set[int] = set()
        for times in (1, 2, 3):
            before = len(streamed)
            writer = asyncio.create_task(write_until_killed(client, numbers, listed, streamed))
            # More than a second, so that the program has settled and is restarted for ever.
            await asyncio.sleep(1.1)
            os.kill(events.pid, signal.SIGKILL)
            await writer
            assert len(streamed) > before
            await events.ready(times + 1)
            assert listed <= {int(number) for number in await client.lrange("list", 0, -1)}
            assert streamed <= {int(fields[b"number"]) for _, fields in await client.xrange("stream")}
    assert [event.detail for event in events if event.what is Happening.ENDED] == ["ended by SIGKILL"] * 3
