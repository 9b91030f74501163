"""Followers of a whole service: no committed notice is lost, whichever server is killed meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import suppress
from uuid import UUID

import grpc
import pytest
from luna.v6 import events_pb2_grpc
from luna.v6.events_pb2 import SubscribeRequest
from pydantic import SecretStr
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from server import settings
from server.errors import Unavailable
from storage.database import Database
from storage.embedded.postgres import EmbeddedPostgres
from tests.following import a_record, commit
from tests.service import Account, Service, running

EVENTS = 300
KILLS = (60, 140, 220)


async def follow(service: Service, account: Account, server: int, seen: dict[str, int], began: asyncio.Event) -> None:
    """Note the events that come, and go on from the last cursor whenever the subscription breaks."""
    cursor = ""
    while True:
        with suppress(grpc.aio.AioRpcError):
            async with grpc.aio.insecure_channel(service.behind(server)) as channel:
                stub = events_pb2_grpc.SubscriptionsStub(channel)
                call = stub.Subscribe(SubscribeRequest(cursor=cursor), metadata=account.metadata, wait_for_ready=True)
                await call.initial_metadata()
                began.set()
                async for message in call:
                    assert message.HasField("event"), message
                    cursor = message.cursor
                    seen[message.event.event.event_id] = seen.get(message.event.event.event_id, 0) + 1
        if not cursor:
            cursor = "0"
        await asyncio.sleep(0.1)


async def watch(service: Service, account: Account, seen: set[str], began: asyncio.Event) -> None:
    """The same by WebSocket, which has no cursor."""
    headers = {"Authorization": account.metadata[0][1]}
    while True:
        with suppress(ConnectionClosed, InvalidHandshake, OSError):
            address = f"ws://127.0.0.1:{service.rest_port}/6/ws"
            async with connect(address, additional_headers=headers, proxy=None) as socket:
                began.set()
                async for text in socket:
                    seen.add(json.loads(text)["event"]["event_id"])
        await asyncio.sleep(0.1)


async def scenario(service: Service, account: Account) -> None:
    database = Database(SecretStr(EmbeddedPostgres(service.data).url), settings.Database(pool_size=2))
    seen: tuple[dict[str, int], ...] = ({}, {})
    heard: set[str] = set()
    began = [asyncio.Event() for _ in range(3)]
    tasks = [asyncio.create_task(follow(service, account, n, seen[n], began[n])) for n in range(2)]
    tasks.append(asyncio.create_task(watch(service, account, heard, began[2])))
    async with asyncio.timeout(60):
        for one in began:
            await one.wait()
    committed: list[str] = []
    for number in range(EVENTS):
        if number in KILLS:
            pids = service.pids("server")
            os.kill(pids[number % len(pids)], signal.SIGKILL)
        record = a_record(UUID(account.account_id))
        with suppress(Unavailable):
            await commit(database, [record])
            committed.append(str(record.event_id))
        await asyncio.sleep(0.02)
    try:
        async with asyncio.timeout(60):
            while any(set(committed) - set(one) for one in seen):  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.1)
    finally:
        lost = [len(set(committed) - set(one)) for one in seen]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await database.close()
    assert lost == [0, 0]
    assert len(committed) == EVENTS
    assert len(heard & set(committed)) > EVENTS / 4


@pytest.mark.timeout(300)
def test_every_committed_notice_arrives_although_servers_are_killed() -> None:
    with running(servers=2) as service:
        asyncio.run(scenario(service, service.account()))
