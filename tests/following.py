"""One process of subscriptions for tests, over a real PostgreSQL and Redis: relay, reader, gRPC and WebSockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast
from uuid import UUID, uuid4

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from luna.v6 import events_pb2, events_pb2_grpc
from redis.asyncio import Redis
from sqlalchemy import insert

from gateway.handlers import rest_handlers
from gateway.websocket import WebSockets
from server import settings
from server.domain.events import EventRecord
from server.domain.ids import uuid7
from server.domain.registry import AccountRegistry
from server.domain.subscriptions import Subscriptions
from server.domain.tokens import TokenRegistry
from server.rpc.authorization import Authorizer
from server.rpc.dispatcher import Dispatcher
from server.rpc.methods import collect_streams
from server.rpc.native import handlers
from server.rpc.streams import Streams
from server.services.notices import notice
from server.services.subscriptions import SubscriptionsService, read_notice
from storage.database import Database
from storage.notices import RedisNotices
from storage.outbox import OutboxRelay
from storage.schema import event_outbox
from tests.edge import ACCOUNT, AUTHORIZATION, KEY, NoTokens, NoTrail, OneAccount

METADATA = tuple(AUTHORIZATION.items())
SERVICE = events_pb2.DESCRIPTOR.services_by_name["Subscriptions"]


@dataclass
class Follower:
    """One process."""

    database: Database
    stream: RedisNotices
    subscriptions: Subscriptions[Message]
    relay: OutboxRelay
    streams: Streams
    port: int
    socket: int

    @asynccontextmanager
    async def subscribed(self, request: events_pb2.SubscribeRequest) -> AsyncIterator[Subscriber]:
        """A subscription that has begun."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            call = events_pb2_grpc.SubscriptionsStub(channel).Subscribe(request, metadata=METADATA)
            await call.initial_metadata()
            yield cast("Subscriber", call)

    async def tell(self, count: int = 1, *, account: UUID = ACCOUNT, wake: bool = True) -> list[str]:
        """Commit notices of new events, and let the relay know. Returns the ids of the events."""
        records = [a_record(account) for _ in range(count)]
        await commit(self.database, records)
        if wake:
            self.relay.wake()
        return [str(record.event_id) for record in records]


Subscriber = grpc.aio.UnaryStreamCall[events_pb2.SubscribeRequest, events_pb2.SubscribeResponse]


def a_record(account: UUID = ACCOUNT, **fields: object) -> EventRecord:
    """A new event."""
    now = datetime.now(UTC)
    made = {"event_id": uuid7(), "account_id": account, "handler_id": uuid4(), "create_time": now, "end_time": now}
    return EventRecord(**{**made, **fields})


async def commit(database: Database, records: Sequence[EventRecord]) -> None:
    """Write notices as the store of events does."""
    rows = [
        {
            "account_id": record.account_id,
            "notice": notice(record, events_pb2.GeneratedEvent(event_id=str(record.event_id)), "id"),
        }
        for record in records
    ]
    async with database.transaction(traced=False) as connection:
        await connection.execute(insert(event_outbox), rows)


@asynccontextmanager
async def follower(
    database: Database,
    client: Redis,
    *,
    length: int = 100_000,
    most: int = 1000,
    recheck_seconds: float = 30,
    ping_seconds: float = 20,
    registry: object = None,
) -> AsyncIterator[Follower]:
    """A running process."""
    async with AsyncExitStack() as stack:
        stream = RedisNotices(client, length, 1 << 30, settings.Redis().timeout_seconds)
        stack.push_async_callback(stream.close)
        subscriptions = Subscriptions(stream, read_notice)
        await subscriptions.start()
        stack.push_async_callback(subscriptions.close)
        relay = OutboxRelay(database, stream, lambda: subscriptions.last)
        await relay.start()
        stack.push_async_callback(relay.close)
        authorizer = Authorizer(
            cast("AccountRegistry", registry or OneAccount()), cast("TokenRegistry", NoTokens()), account_header=False
        )
        methods = collect_streams({SERVICE: SubscriptionsService(subscriptions)})
        streams = Streams(methods, authorizer, most=most, recheck_seconds=recheck_seconds)
        server = grpc.aio.server()
        dispatcher = Dispatcher({}, authorizer, NoTrail())
        facade = rest_handlers(dispatcher, 0, KEY, ["/6/ws"])
        health = HealthServicer()
        await health.set("", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(health, server)
        server.add_generic_rpc_handlers((*handlers(dispatcher, streams), *facade))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        stack.push_async_callback(server.stop, 0)
        socket = await stack.enter_async_context(WebSockets(streams, KEY, ping_seconds).served("127.0.0.1", 0))
        yield Follower(database, stream, subscriptions, relay, streams, port, socket)


async def take(subscriber: Subscriber, count: int) -> list[events_pb2.SubscribeResponse]:
    """The next messages."""
    return [cast("events_pb2.SubscribeResponse", await subscriber.read()) for _ in range(count)]


def ids(messages: Sequence[events_pb2.SubscribeResponse]) -> list[str]:
    """The events of messages."""
    return [message.event.event.event_id for message in messages]
