"""Failed logins in Redis: counters that end by themselves."""

from __future__ import annotations

import hashlib
import logging
from typing import Final

from redis.asyncio import Redis

from server.errors import Busy, Unavailable
from storage.redis import neutral_errors

log = logging.getLogger(__name__)

PREFIX: Final = "luna:logins:"
ADDRESS_FACTOR: Final = 10
"""An address may fail as many times more often than a login: many people sit behind one."""


class RedisFailedLogins:
    """Implements `server.domain.logins.FailedLogins`. Without Redis nobody is held up: it says so in the log.

    Logins and addresses are kept as hashes: a login may be a person's address.
    """

    def __init__(self, client: Redis, *, most: int, window_seconds: int) -> None:
        self._client = client
        self._most = most
        self._window = window_seconds

    async def check(self, login: str, address: str) -> None:
        """Return where a further try is fine.

        Raises:
            Busy: there were too many for the login or from the address.
        """
        keys = _keys(login, address)
        try:
            with neutral_errors():
                counts = await self._client.mget(keys)
                found = zip(keys, counts, self._limits(), strict=True)
                spent = [key for key, count, most in found if count is not None and int(count) >= most]
                if spent:
                    seconds = max([1, *[await self._client.ttl(key) for key in spent]])
                    raise Busy(message="too many failed logins", retry_after=seconds)
        except Unavailable:
            log.warning("failed logins are not counted: Redis cannot be reached")

    async def add(self, login: str, address: str) -> None:
        """Count a wrong password."""
        try:
            with neutral_errors():
                async with self._client.pipeline(transaction=True) as pipeline:
                    for key in _keys(login, address):
                        pipeline.set(key, 0, ex=self._window, nx=True)
                        pipeline.incr(key)
                    await pipeline.execute()
        except Unavailable:
            log.warning("a failed login was not counted: Redis cannot be reached")

    def _limits(self) -> tuple[int, int]:
        return self._most, self._most * ADDRESS_FACTOR


def _keys(login: str, address: str) -> list[str]:
    return [
        PREFIX + kind + hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()
        for kind, value in (("login:", login), ("address:", address))
    ]
