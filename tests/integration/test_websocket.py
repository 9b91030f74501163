"""/6/ws through a real Envoy: the handshake, the messages, and how a WebSocket ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect

from storage.database import Database
from tests.edge import AUTHORIZATION, Edge, envoy
from tests.following import Follower, a_record, commit, follower
from tests.servers import database, database_url, postgres, redis_client, redis_url

__all__ = ["database", "database_url", "postgres", "redis_client", "redis_url"]


@pytest.fixture
async def pair(database: Database, redis_client: Redis) -> AsyncIterator[tuple[Follower, Follower]]:
    """Two processes."""
    async with follower(database, redis_client) as one, follower(database, redis_client) as other:
        yield one, other


@pytest.fixture
async def edge(pair: tuple[Follower, Follower]) -> AsyncIterator[Edge]:
    """An Envoy before both."""
    async with envoy([one.port for one in pair], sockets=[one.socket for one in pair]) as running:
        yield running


def dial(edge: Edge, query: str = "", headers: dict[str, str] | None = AUTHORIZATION, **options: Any) -> connect:
    """A WebSocket through Envoy."""
    return connect(f"ws://127.0.0.1:{edge.port}/6/ws{query}", additional_headers=headers, proxy=None, **options)


async def heard(socket: ClientConnection) -> dict[str, Any]:
    """The next message."""
    async with asyncio.timeout(10):
        text = await socket.recv()
    assert isinstance(text, str)
    value: dict[str, Any] = json.loads(text)
    return value


async def test_a_message_has_exactly_the_keys_of_luna(edge: Edge, pair: tuple[Follower, Follower]) -> None:
    async with dial(edge) as socket:
        record = a_record()
        await commit(pair[0].database, [record])
        message = await heard(socket)
    assert set(message) == {"event", "handler_id", "event-create-time", "event-end-time", "Luna-Request-id"}
    assert message["event"]["event_id"] == str(record.event_id)
    assert message["handler_id"] == str(record.handler_id)
    assert message["Luna-Request-id"] == "id"
    assert message["event-create-time"].endswith("Z")
