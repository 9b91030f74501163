"""Following events by gRPC: two processes over one PostgreSQL and one Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from luna.v6 import events_pb2 as pb
from redis.asyncio import Redis

from storage.database import Database
from tests.following import Follower, follower, ids, take
from tests.servers import database, database_url, postgres, redis_client, redis_url

__all__ = ["database", "database_url", "postgres", "redis_client", "redis_url"]

NOW = pb.SubscribeRequest()


@pytest.fixture
async def pair(database: Database, redis_client: Redis) -> AsyncIterator[tuple[Follower, Follower]]:
    """Two processes."""
    async with follower(database, redis_client) as one, follower(database, redis_client) as other:
        yield one, other


async def test_subscribers_of_either_process_are_told_what_was_made_on_the_other(
    pair: tuple[Follower, Follower],
) -> None:
    one, other = pair
    async with one.subscribed(NOW) as first, other.subscribed(NOW) as second:
        made = [*await one.tell(3), *await other.tell(2)]
        assert ids(await take(first, 5)) == ids(await take(second, 5))
        made += await other.tell(2, wake=False)
        async with one.subscribed(pb.SubscribeRequest(cursor="0")) as late:
            assert sorted(ids(await take(late, 7))) == sorted(made)
