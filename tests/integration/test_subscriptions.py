"""Following events by gRPC: two processes over one PostgreSQL and one Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import uuid4

import grpc
import pytest
from luna.v6 import event_filters_pb2, events_pb2, events_pb2_grpc, images_pb2
from luna.v6.events_pb2 import SubscribeRequest
from redis.asyncio import Redis
from sqlalchemy import text

from server.domain.accounts import Account
from server.domain.events import Candidate, EventMatch, Facts, MatchedAttribute
from server.domain.vision import Emotion
from server.errors import CredentialsWrong, Unavailable
from storage.database import Database
from storage.notices import KEY
from tests.edge import OneAccount
from tests.following import METADATA, Follower, Subscriber, a_record, commit, follower, ids, take

NOW = SubscribeRequest()


@pytest.fixture
async def pair(database: Database, redis_client: Redis) -> AsyncIterator[tuple[Follower, Follower]]:
    """Two processes."""
    async with follower(database, redis_client) as one, follower(database, redis_client) as other:
        yield one, other


async def code_of(subscriber: Subscriber) -> grpc.StatusCode:
    """What a subscription that ends by itself ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with asyncio.timeout(10):
            while True:
                await take(subscriber, 1)
    return caught.value.code()


async def refused(one: Follower, request: SubscribeRequest, metadata: tuple[tuple[str, str], ...]) -> grpc.RpcError:
    """What a subscription that does not begin is refused with."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{one.port}") as channel:
        call = events_pb2_grpc.SubscriptionsStub(channel).Subscribe(request, metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    return caught.value


async def left(one: Follower) -> None:
    """Wait until nobody is subscribed."""
    async with asyncio.timeout(5):
        while one.streams.count:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.02)


async def drained(one: Follower) -> None:
    """Wait until the outbox is empty."""
    async with asyncio.timeout(20):
        while (await one.database.fetch(text("SELECT count(*) FROM event_outbox")))[0][0]:
            one.relay.wake()
            await asyncio.sleep(0.02)


async def test_subscribers_of_either_process_are_told_what_was_made_on_the_other(
    pair: tuple[Follower, Follower],
) -> None:
    one, other = pair
    async with one.subscribed(NOW) as first, other.subscribed(NOW) as second:
        made = [*await one.tell(3), *await other.tell(2)]
        assert ids(await take(first, 5)) == ids(await take(second, 5))
        made += await other.tell(2, wake=False)
        async with one.subscribed(SubscribeRequest(cursor="0")) as late:
            assert sorted(ids(await take(late, 7))) == sorted(made)


async def test_what_was_made_before_a_subscription_is_told_by_a_cursor_alone(pair: tuple[Follower, Follower]) -> None:
    one, other = pair
    async with one.subscribed(NOW) as first:
        made = await one.tell(5)
        told = await take(first, 5)
    more = await one.tell(3)
    await drained(one)
    async with other.subscribed(SubscribeRequest(cursor=told[1].cursor)) as again, other.subscribed(NOW) as fresh:
        assert ids(await take(again, 6)) == [*made[2:], *more]
        newest = await other.tell(1)
        assert ids(await take(fresh, 1)) == newest


async def test_events_of_another_account_are_told_to_nobody_else(pair: tuple[Follower, Follower]) -> None:
    one, _ = pair
    stranger = uuid4()
    asked = SubscribeRequest(filters=event_filters_pb2.EventFilters(account_id=str(stranger)))
    async with one.subscribed(NOW) as plain, one.subscribed(asked) as curious:
        await one.tell(3, account=stranger)
        made = await one.tell(1)
        assert ids(await take(plain, 1)) == made
        # an account that sees only itself and names another one stays with its own
        assert ids(await take(curious, 1)) == made


async def test_only_events_that_pass_the_filters_are_told(pair: tuple[Follower, Follower]) -> None:
    one, other = pair
    best = (Candidate(0.9, attribute=MatchedAttribute(uuid4())),)
    somebody = (Candidate(0.8, attribute=MatchedAttribute(uuid4())),)
    hit = a_record(
        source="door",
        tags=("a", "b"),
        facts=Facts(age=30, emotion=Emotion.FEAR),
        matches=(EventMatch("staff", best), EventMatch("wanted", somebody)),
        meta={"gate": {"number": 7}},
    )
    miss = a_record(source="window", matches=(EventMatch("wanted"),))
    filters = event_filters_pb2.EventFilters
    requests = (
        SubscribeRequest(filters=filters(sources=["door", "roof"])),
        SubscribeRequest(filters=filters(tags=["b"])),
        SubscribeRequest(filters=filters(age_gte=30, age_lt=31)),
        SubscribeRequest(filters=filters(meta={"gate.number__gt:integer": "6"})),
        SubscribeRequest(filters=filters(emotions=[images_pb2.EMOTION_FEAR])),
        SubscribeRequest(matching_candidates_labels=["wanted"]),
        SubscribeRequest(object_similarity_gte=0.85, object_similarity_lt=0.95),
    )
    async with AsyncExitStack() as stack:
        subscribers = [await stack.enter_async_context(other.subscribed(request)) for request in requests]
        await commit(one.database, [miss, hit])
        for request, subscriber in zip(requests, subscribers, strict=True):
            assert ids(await take(subscriber, 1)) == [str(hit.event_id)], request


async def test_a_slow_subscriber_gets_everything_later_and_holds_nobody_up(pair: tuple[Follower, Follower]) -> None:
    one, _ = pair
    async with one.subscribed(NOW) as slow, one.subscribed(NOW) as quick:
        made: list[str] = []
        for _ in range(30):
            made += await one.tell(100)
            if len(made) % 1000 == 0:
                await drained(one)
        assert ids(await take(quick, 3000)) == made  # more than the ring holds
        assert ids(await take(slow, 3000)) == made


async def test_what_the_retention_has_trimmed_is_told_as_a_gap(database: Database, redis_client: Redis) -> None:
    async with follower(database, redis_client, length=1000) as one:
        async with one.subscribed(NOW) as subscriber:
            await one.tell(1)
            (first,) = await take(subscriber, 1)
        made = []
        for _ in range(16):
            made += await one.tell(100)
        await drained(one)
        kept = await redis_client.xlen(KEY)
        assert 1000 <= kept < 1500
        # the first process still remembers what a new one does not know
        async with one.subscribed(SubscribeRequest(cursor=first.cursor)) as late:
            assert ids(await take(late, len(made))) == made
        async with (
            follower(database, redis_client, length=1000) as other,
            other.subscribed(SubscribeRequest(cursor=first.cursor)) as late,
        ):
            gap, *rest = await take(late, kept + 1)
        assert gap.WhichOneof("told") == "gap"
        assert gap.gap.after == first.cursor
        assert gap.cursor == gap.gap.until
        epoch, number = gap.gap.until.split("-")
        assert rest[0].cursor == f"{epoch}-{int(number) + 1}"
        assert ids(rest) == made[-kept:]


async def test_a_stream_that_redis_has_lost_is_told_as_a_gap_and_goes_on(
    pair: tuple[Follower, Follower], redis_client: Redis
) -> None:
    one, other = pair
    async with one.subscribed(NOW) as live:
        await one.tell(3)
        told = await take(live, 3)
        await redis_client.flushdb()
        made = await one.tell(2)
        gap, *rest = await take(live, 3)
        assert gap.gap.after == told[-1].cursor
        assert ids(rest) == made
        async with other.subscribed(SubscribeRequest(cursor=told[0].cursor)) as late:
            found = await take(late, 1)
            while not found[-1].HasField("gap"):
                found += await take(late, 1)
            found += await take(late, 2)
        assert ids(found)[-2:] == made


async def test_a_lost_stream_is_told_although_nothing_new_is_made(
    pair: tuple[Follower, Follower], redis_client: Redis
) -> None:
    one, _ = pair
    async with one.subscribed(NOW) as live:
        await one.tell(1)
        (told,) = await take(live, 1)
        await redis_client.flushdb()
        async with asyncio.timeout(15):
            (gap,) = await take(live, 1)
        assert gap.gap.after == told.cursor


async def test_a_cursor_that_is_ahead_of_the_stream_is_told_a_gap(pair: tuple[Follower, Follower]) -> None:
    one, _ = pair
    await one.tell(1)
    await drained(one)
    async with one.subscribed(SubscribeRequest(cursor="900000000000000-5")) as subscriber:
        (gap,) = await take(subscriber, 1)
        assert gap.gap.after == "900000000000000-5"
        assert ids(await _told(one, subscriber)) != [""]


async def _told(one: Follower, subscriber: Subscriber) -> list[events_pb2.SubscribeResponse]:
    await one.tell(1)
    return await take(subscriber, 1)


@pytest.mark.parametrize("cursor", ["x", "1-", "-1", "1-2-3", "0-0 ", "١-١", "1" * 40])
async def test_a_text_that_is_no_cursor_is_refused(pair: tuple[Follower, Follower], cursor: str) -> None:
    error = await refused(pair[0], SubscribeRequest(cursor=cursor), METADATA)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "cursor" in (error.details() or "")


async def test_a_subscription_needs_credentials_and_its_end_has_the_id_of_the_request(
    pair: tuple[Follower, Follower],
) -> None:
    error = await refused(pair[0], NOW, (("luna-request-id", "mine"),))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert dict(error.trailing_metadata())["luna-request-id"] == "mine"


async def test_a_limit_of_a_field_holds_for_a_subscription_too(pair: tuple[Follower, Follower]) -> None:
    request = SubscribeRequest(filters=event_filters_pb2.EventFilters(handler_ids=["no uuid"]))
    error = await refused(pair[0], request, METADATA)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "handler_ids" in (error.details() or "")


async def test_only_so_many_subscribers_are_taken_and_one_that_leaves_makes_room(
    database: Database, redis_client: Redis
) -> None:
    async with follower(database, redis_client, most=2) as one:
        async with one.subscribed(NOW), one.subscribed(NOW):
            error = await refused(one, NOW, METADATA)
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await left(one)
        async with one.subscribed(NOW) as again:
            assert ids(await _told(one, again))


async def test_a_process_that_stops_ends_its_subscriptions_and_another_goes_on_from_the_cursor(
    pair: tuple[Follower, Follower],
) -> None:
    one, other = pair
    async with one.subscribed(NOW) as subscriber:
        await one.tell(1)
        (told,) = await take(subscriber, 1)
        one.streams.stop()
        assert await code_of(subscriber) is grpc.StatusCode.UNAVAILABLE
    assert (await refused(one, NOW, METADATA)).code() is grpc.StatusCode.UNAVAILABLE
    made = await other.tell(2)
    async with other.subscribed(SubscribeRequest(cursor=told.cursor)) as again:
        assert ids(await take(again, 2)) == made


async def test_a_deadline_is_kept_and_none_is_needed(pair: tuple[Follower, Follower]) -> None:
    one, _ = pair
    async with grpc.aio.insecure_channel(f"127.0.0.1:{one.port}") as channel:
        stub = events_pb2_grpc.SubscriptionsStub(channel)
        call = stub.Subscribe(NOW, metadata=METADATA, timeout=0.5)
        assert await code_of(call) is grpc.StatusCode.DEADLINE_EXCEEDED
    await left(one)


class Fickle(OneAccount):
    """A registry whose account may lose its password, or whose database may be away."""

    trouble: Exception | None = None

    async def by_password(self, login: str, password: str, address: str) -> Account:
        if self.trouble is not None:
            raise self.trouble
        return await super().by_password(login, password, address)


async def test_a_subscriber_whose_account_is_gone_is_told_nothing_more(database: Database, redis_client: Redis) -> None:
    registry = Fickle()
    async with (
        follower(database, redis_client, recheck_seconds=0.2, registry=registry) as one,
        one.subscribed(NOW) as subscriber,
    ):
        registry.trouble = Unavailable(component="PostgreSQL")
        await asyncio.sleep(0.7)
        assert ids(await _told(one, subscriber))
        registry.trouble = CredentialsWrong()
        assert await code_of(subscriber) is grpc.StatusCode.UNAUTHENTICATED
