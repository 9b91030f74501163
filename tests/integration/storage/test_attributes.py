"""Temporary attributes in a real Redis: they come back whole, end by themselves, and stay in their account."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from server import settings
from server.domain.access import Scope
from server.domain.attributes import AttributeContent, BasicAttributes, Ethnicity, Gender, TemporaryAttribute
from server.errors import Unavailable
from storage.attributes import LAYOUT, PREFIX, RedisAttributeStore
from storage.redis import connect, ready
from tests.integration.storage.made import EVERYONE, NOW, OURS, THEIRS, number, vector

OUR_SCOPE = Scope(OURS)


WHOLE = AttributeContent(
    descriptors=(vector(1, 1001), vector(2, 1002)),
    descriptor_samples=(uuid4(), uuid4()),
    basic_attributes=BasicAttributes(0, Gender.FEMALE, Ethnicity.CAUCASIAN),
    basic_attributes_samples=(uuid4(),),
)
EMPTY = AttributeContent()


def temporary(value: int, content: AttributeContent = EMPTY, account_id: UUID = OURS) -> TemporaryAttribute:
    return TemporaryAttribute(number(value), account_id, NOW, content)


@pytest.fixture
def attributes(redis_client: Redis) -> RedisAttributeStore:
    return RedisAttributeStore(redis_client)


async def test_an_attribute_comes_back_as_it_was(attributes: RedisAttributeStore) -> None:
    contents = (WHOLE, AttributeContent(), AttributeContent(basic_attributes=BasicAttributes()))
    kept = [temporary(value, content) for value, content in enumerate(contents)]
    for attribute in kept:
        await attributes.add(attribute, 60)
    assert await attributes.get(OUR_SCOPE, [number(2), number(9), number(0), number(1)]) == [kept[2], kept[0], kept[1]]
    assert await attributes.get(OUR_SCOPE, []) == []


async def test_many_attributes_come_back_in_order(attributes: RedisAttributeStore) -> None:
    kept = [temporary(value) for value in range(1200)]
    await asyncio.gather(*(attributes.add(attribute, 60) for attribute in kept))
    assert await attributes.get(EVERYONE, [attribute.attribute_id for attribute in kept]) == kept


async def test_an_attribute_ends_by_itself(attributes: RedisAttributeStore, redis_client: Redis) -> None:
    await attributes.add(temporary(1), 1)
    await attributes.add(temporary(2), 60)
    assert 0 < await redis_client.pttl(f"{PREFIX}{number(1)}") <= 1000
    await asyncio.sleep(1.1)
    assert await attributes.get(OUR_SCOPE, [number(1), number(2)]) == [temporary(2)]
    assert not await attributes.remove(OUR_SCOPE, number(1))


async def test_an_attribute_is_removed_once(attributes: RedisAttributeStore) -> None:
    await attributes.add(temporary(1), 60)
    assert await attributes.remove(OUR_SCOPE, number(1))
    assert not await attributes.remove(OUR_SCOPE, number(1))
    assert await attributes.get(OUR_SCOPE, [number(1)]) == []


async def test_nothing_of_another_account_is_seen_or_removed(attributes: RedisAttributeStore) -> None:
    kept = temporary(1, WHOLE, THEIRS)
    await attributes.add(kept, 60)
    assert await attributes.get(OUR_SCOPE, [number(1)]) == []
    assert not await attributes.remove(OUR_SCOPE, number(1))
    assert await attributes.get(EVERYONE, [number(1)]) == [kept]


async def test_a_layout_of_another_release_is_passed_over(attributes: RedisAttributeStore, redis_client: Redis) -> None:
    await redis_client.set(f"{PREFIX}{number(1)}", bytes([LAYOUT[0] + 1]) + b"whatever")
    assert await attributes.get(EVERYONE, [number(1)]) == []


async def test_a_connection_that_broke_is_made_anew(attributes: RedisAttributeStore, redis_client: Redis) -> None:
    await attributes.add(temporary(1), 60)
    await redis_client.client_kill_filter(_type="normal", skipme=False)
    assert await attributes.get(OUR_SCOPE, [number(1)]) == [temporary(1)]


async def test_a_redis_that_is_not_there_is_unavailable() -> None:
    client = connect(SecretStr("redis://127.0.0.1:1/0"), settings.Redis(timeout_seconds=0.2))
    try:
        with pytest.raises(Unavailable, match="Redis"):
            await RedisAttributeStore(client).add(temporary(1), 60)
        assert not await ready(client)
    finally:
        await client.aclose()


async def test_a_redis_that_is_there_is_ready(redis_client: Redis) -> None:
    assert await ready(redis_client)
