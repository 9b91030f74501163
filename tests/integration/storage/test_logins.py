"""Failed logins in Redis: two limits, windows that end, and nobody locked out by a Redis that is away."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from server import settings
from server.errors import Busy
from storage.logins import ADDRESS_FACTOR, PREFIX, RedisFailedLogins
from storage.redis import connect

LOGIN, ADDRESS = "jane.doe@example.com", "192.0.2.7"
MOST = 3


@pytest.fixture
def logins(redis_client: Redis) -> RedisFailedLogins:
    return RedisFailedLogins(redis_client, most=MOST, window_seconds=60)


async def fail(logins: RedisFailedLogins, times: int, login: str = LOGIN, address: str = ADDRESS) -> None:
    for _ in range(times):
        await logins.begin(login, address)


async def waits(logins: RedisFailedLogins, login: str = LOGIN, address: str = ADDRESS) -> int:
    """Seconds to wait; the check must refuse."""
    with pytest.raises(Busy) as caught:
        await logins.begin(login, address)
    return int(caught.value.values["retry_after"])


async def test_a_login_may_fail_so_often_and_no_more(logins: RedisFailedLogins) -> None:
    await fail(logins, MOST)
    assert 1 <= await waits(logins) <= 60
    assert 1 <= await waits(logins, address="203.0.113.9") <= 60, "from other addresses too"
    await logins.begin("john@example.com", ADDRESS)


async def test_an_address_may_fail_ten_times_as_often_over_all_logins(logins: RedisFailedLogins) -> None:
    for number in range(MOST * ADDRESS_FACTOR):
        await fail(logins, 1, login=f"user-{number}")
    assert 1 <= await waits(logins, login="somebody else") <= 60
    await logins.begin("somebody else", "203.0.113.9")


async def test_the_window_begins_with_the_first_failure_and_ends(redis_client: Redis) -> None:
    logins = RedisFailedLogins(redis_client, most=2, window_seconds=2)
    await fail(logins, 1)
    await asyncio.sleep(1.1)
    await fail(logins, 1)
    assert await waits(logins) == 1, "a later failure does not make it longer"
    await asyncio.sleep(1.2)
    await fail(logins, 1)
    await logins.begin(LOGIN, ADDRESS)


async def test_the_wait_is_that_of_what_is_exhausted(redis_client: Redis) -> None:
    short = RedisFailedLogins(redis_client, most=MOST, window_seconds=5)
    long = RedisFailedLogins(redis_client, most=MOST, window_seconds=500)
    await fail(long, 1, login="somebody else")
    await fail(short, MOST)
    assert await waits(short) <= 5, "the address may fail for longer, and is not exhausted"


async def test_only_hashes_are_kept_and_each_ends_by_itself(logins: RedisFailedLogins, redis_client: Redis) -> None:
    await fail(logins, 2)
    keys = {key.decode(): int(await redis_client.get(key)) for key in await redis_client.keys()}
    expected = {
        PREFIX + kind + hashlib.sha256(value.encode()).hexdigest(): 2
        for kind, value in (("login:", LOGIN), ("address:", ADDRESS))
    }
    assert keys == expected
    assert not any(part in "".join(keys) for part in ("jane", "example", "192.0"))
    assert all([0 < await redis_client.ttl(key) <= 60 for key in keys])


async def test_all_addresses_of_one_network_of_ipv6_are_one(logins: RedisFailedLogins) -> None:
    for number in range(MOST * ADDRESS_FACTOR):
        await logins.begin(f"login {number}", f"2001:db8:1:2::{number:x}")
    assert 1 <= await waits(logins, login="another", address="2001:0db8:1:2:ffff::1") <= 60
    await logins.begin("another", "2001:db8:1:3::1")
    for number in range(MOST * ADDRESS_FACTOR):
        await logins.begin(f"login {number} of 4", "::ffff:203.0.113.8" if number % 2 else "203.0.113.8")
    assert 1 <= await waits(logins, login="another", address="203.0.113.8") <= 60
    await logins.begin("another", "::ffff:203.0.113.9")


async def test_a_login_is_not_taken_for_an_address_of_the_same_text(logins: RedisFailedLogins) -> None:
    await fail(logins, MOST, login=ADDRESS, address=LOGIN)
    await logins.begin(LOGIN, ADDRESS)


@pytest.mark.parametrize("login", ["", "\0\n *", "\ud800", "ж" * 10_000])
async def test_odd_logins_are_counted_like_others(logins: RedisFailedLogins, login: str) -> None:
    await fail(logins, MOST, login=login)
    await waits(logins, login=login)


async def test_many_tries_at_the_same_moment_gain_nothing(logins: RedisFailedLogins, redis_client: Redis) -> None:
    results = await asyncio.gather(*(logins.begin(LOGIN, ADDRESS) for _ in range(40)), return_exceptions=True)
    assert sum(result is None for result in results) <= MOST
    assert all(result is None or isinstance(result, Busy) for result in results)
    counts = {int(await redis_client.get(key)) for key in await redis_client.keys()}
    assert counts == {sum(result is None for result in results)}, "what was refused is not counted"


async def test_a_try_that_succeeded_is_not_counted(logins: RedisFailedLogins, redis_client: Redis) -> None:
    for _ in range(3 * MOST):
        await logins.begin(LOGIN, ADDRESS)
        await logins.succeeded(LOGIN, ADDRESS)
    await redis_client.flushdb()
    await logins.succeeded(LOGIN, ADDRESS)
    assert [await redis_client.ttl(key) > 0 for key in await redis_client.keys()] == [True, True]


async def test_without_redis_nobody_is_held_up_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = connect(SecretStr(f"unix://{tmp_path}/nobody.sock?db=0"), settings.Redis(timeout_seconds=0.2))
    logins = RedisFailedLogins(client, most=1, window_seconds=60)
    try:
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                await fail(logins, 1)
    finally:
        await client.aclose()
    assert caplog.text.count("failed logins are not counted") == 3
    assert LOGIN not in caplog.text
    assert ADDRESS not in caplog.text
