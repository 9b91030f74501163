"""The audit trail where calls are cut off: whatever was changed is in it, and what was not changed is not."""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import cast
from uuid import UUID, uuid4

import pytest
from google.protobuf.message import Message
from luna.v6 import attributes_pb2, lists_pb2
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import select, text

from server import settings
from server.application import SERVICES
from server.domain.access import Principal
from server.domain.accounts import AccountType
from server.domain.extraction import Extraction
from server.errors import LunaError
from server.rpc.authorization import Authorizer
from server.rpc.calls import Context
from server.rpc.dispatcher import Dispatcher
from server.rpc.methods import collect
from server.services.attributes import AttributesService
from server.services.lists import ListsService
from storage.attributes import PREFIX, RedisAttributeStore
from storage.audit import AuditedAttributes, PostgresAuditTrail
from storage.database import Database
from storage.lists import PostgresListStore
from storage.schema import audit, lists

SEED = 20240607
TRIES = 600
"""Where the entry was a transaction of its own, more than one in fifty of these lost it."""
ACCOUNT = Principal(UUID(int=1), AccountType.USER)


class AlwaysAccount:
    """Whoever calls is the account."""

    async def caller(self, headers: object, access: object, address: str) -> Principal:
        return ACCOUNT


class Remaining:
    """What the dispatcher asks of a call's context."""

    def peer(self) -> str:
        return "ipv4:192.0.2.7:1"

    def time_remaining(self) -> float | None:
        return None


@dataclass(frozen=True)
class Server:
    """Lists and attributes over real stores, without a network before them."""

    dispatcher: Dispatcher
    database: Database

    async def connected(self) -> None:
        """Have a connection ready: a call that was cut off takes its own with it."""
        await self.database.fetch(select(1))

    async def call(self, name: str, request: Message) -> Message:
        method = self.dispatcher.methods[f"luna.v6.{name}"]
        context = cast("Context", Remaining())
        return await self.dispatcher.call(method, request, context, headers={}, request_id=f"1,{uuid4()}")


@pytest.fixture
async def server(database_url: SecretStr, redis_client: Redis) -> AsyncIterator[Server]:
    database = Database(database_url, settings.Database(pool_size=1))
    trail = PostgresAuditTrail(database)
    attributes = AuditedAttributes(RedisAttributeStore(redis_client), trail)
    servicers = {
        SERVICES["Lists"]: ListsService(PostgresListStore(database)),
        SERVICES["Attributes"]: AttributesService(cast("Extraction", None), attributes, descriptor_version=1001),
    }
    yield Server(Dispatcher(collect(servicers), cast("Authorizer", AlwaysAccount()), trail), database)
    await database.close()


async def cut_off(call: Awaitable[Message], seconds: float) -> bool:
    """Cancel a call after a time, to within some microseconds. True where it was still going on."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(call)
    end = loop.time() + seconds
    while loop.time() < end:  # noqa: ASYNC110 - a moment is waited for, more exactly than a timer could
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return task.cancelled()


async def usual_seconds(server: Server, call: Callable[[], Awaitable[Message]]) -> float:
    """How long a call takes that nobody cuts off, on a connection as new as after one that was."""
    loop, took = asyncio.get_running_loop(), []
    for _ in range(40):
        await server.database.close()
        await server.connected()
        began = loop.time()
        await call()
        took.append(loop.time() - began)
    return statistics.median(took)


async def cut_off_anywhere(server: Server, call: Callable[[], Awaitable[Message]], tries: int = TRIES) -> None:
    """Cancel calls at every moment of their life: about half of them, however fast the machine is just now."""
    chance = random.Random(SEED)
    usual = await usual_seconds(server, call)
    for _ in range(tries):
        await server.connected()
        usual *= 1.01 if await cut_off(call(), chance.uniform(0, 2 * usual)) else 0.99
    await asyncio.sleep(0.2)


async def named(database: Database) -> list[UUID]:
    """The objects of all entries, each as often as it is named."""
    return [one for row in await database.fetch(select(audit.c.objects)) for one in row.objects]


async def test_no_list_is_made_unseen_however_its_call_is_cut_off(server: Server, database: Database) -> None:
    await cut_off_anywhere(server, lambda: server.call("Lists.CreateList", lists_pb2.CreateListRequest()))
    there = [row.list_id for row in await database.fetch(select(lists.c.list_id))]
    assert TRIES / 20 < len(there) < TRIES, "some calls got through, and some did not"
    assert sorted(await named(database)) == sorted(there)


async def test_no_list_is_deleted_unseen_however_its_call_is_cut_off(server: Server, database: Database) -> None:
    made = iter(
        [
            (await server.call("Lists.CreateList", lists_pb2.CreateListRequest())).list_id  # type: ignore[attr-defined]
            for _ in range(40 + TRIES // 2)
        ]
    )
    await cut_off_anywhere(
        server,
        lambda: server.call("Lists.DeleteList", lists_pb2.DeleteListRequest(list_id=next(made))),
        TRIES // 2,
    )
    there = {row.list_id for row in await database.fetch(select(lists.c.list_id))}
    once = "SELECT objects[1] AS id FROM audit GROUP BY objects[1] HAVING count(*) = 1"
    assert {row.id for row in await database.fetch(text(once))} == there
    assert there


async def test_no_attribute_is_made_unseen_however_its_call_is_cut_off(
    server: Server, database: Database, redis_client: Redis
) -> None:
    request = attributes_pb2.CreateAttributeRequest(ttl=600)
    request.basic_attributes.age = 30

    await cut_off_anywhere(server, lambda: server.call("Attributes.CreateAttribute", request))
    there = {UUID(key.decode().removeprefix(PREFIX)) async for key in redis_client.scan_iter(f"{PREFIX}*")}
    assert there <= set(await named(database))
    done = {one for row in await database.fetch(select(audit.c.objects).where(audit.c.done)) for one in row.objects}
    assert there
    assert done <= there


@pytest.mark.parametrize("moment", ["before", "during"])
async def test_no_list_is_made_unseen_where_postgresql_drops_its_connections(
    server: Server, database: Database, moment: str
) -> None:
    """As kill -9 of a server does it: PostgreSQL ends the transaction that it finds, or has just committed it."""
    chance = random.Random(SEED)
    kill = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    async def one() -> None:
        with suppress(LunaError):
            await server.call("Lists.CreateList", lists_pb2.CreateListRequest())

    for _ in range(60):
        calls = [asyncio.create_task(one()) for _ in range(4)]
        await asyncio.sleep(0 if moment == "before" else chance.uniform(0, 0.01))
        with suppress(LunaError):
            await database.fetch(kill)
        await asyncio.gather(*calls)
    there = [row.list_id for row in await database.fetch(select(lists.c.list_id))]
    assert there
    assert sorted(await named(database)) == sorted(there)
