"""Redis: one client, what may go wrong with it, and whether it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pydantic import SecretStr
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from server import settings
from server.errors import LunaError, Unavailable

COMPONENT: Final = "Redis"
CONNECTIONS: Final = 32
"""Most connections of a process; further commands wait for one."""
RETRIES: Final = 3
READY_SECONDS: Final = 2.0
IDLE_SECONDS: Final = 30
"""A connection that rested longer is tried before it is used."""


def connect(url: SecretStr, options: settings.Redis) -> Redis:
    """A client; it connects when it is first used. `url` is redis://, rediss:// or unix:///path?db=number.

    Every command that Luna sends may be sent twice without harm, so a command whose connection breaks is sent again.
    """
    pool = BlockingConnectionPool.from_url(
        url.get_secret_value(),
        max_connections=CONNECTIONS,
        timeout=options.timeout_seconds,
        socket_timeout=options.timeout_seconds,
        socket_connect_timeout=options.timeout_seconds,
        health_check_interval=IDLE_SECONDS,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), RETRIES),
        retry_on_error=[RedisConnectionError, RedisTimeoutError, BusyLoadingError],
        client_name="luna",
    )
    return Redis.from_pool(pool)


@contextmanager
def neutral_errors() -> Iterator[None]:
    """Turn the client's errors into those of Luna.

    Raises:
        Unavailable: Redis cannot be reached, is too slow or refuses.
    """
    try:
        yield
    except (RedisError, OSError) as error:
        raise Unavailable(component=COMPONENT) from error


async def ready(client: Redis) -> bool:
    """True where Redis answers within a second or two."""
    try:
        async with asyncio.timeout(READY_SECONDS):
            with neutral_errors():
                return bool(await client.ping())
    except (LunaError, OSError):
        return False
