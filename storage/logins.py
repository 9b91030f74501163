"""Failed logins in Redis: counters that end by themselves."""

from __future__ import annotations

import hashlib
import ipaddress
import logging
from typing import Final

from redis.asyncio import Redis

from server.errors import Busy, Unavailable
from storage.redis import neutral_errors

log = logging.getLogger(__name__)

PREFIX: Final = "luna:logins:"
ADDRESS_FACTOR: Final = 10
"""An address may fail as many times more often than a login: many people sit behind one."""

SITE_BITS: Final = 64
"""What is the same in all addresses of IPv6 that one customer has, and may change as often as it likes (RFC 6177)."""


class RedisFailedLogins:
    """Implements `server.domain.logins.FailedLogins`. Without Redis nobody is held up: it says so in the log.

    Logins and addresses are kept as hashes: a login may be a person's address.
    """

    def __init__(self, client: Redis, *, most: int, window_seconds: int) -> None:
        self._client = client
        self._most = most
        self._window = window_seconds

    async def begin(self, login: str, address: str) -> None:
        """Count a try as failed, before the password is looked at. A try that is refused is not counted.

        Raises:
            Busy: there were too many for the login or from the address.
        """
        keys = _keys(login, address)
        try:
            with neutral_errors():
                counts = await self._count(keys)
                spent = [key for key, count, most in zip(keys, counts, self._limits(), strict=True) if count > most]
                if not spent:
                    return
                await self._uncount(keys)
                seconds = max([1, *[await self._client.ttl(key) for key in spent]])
        except Unavailable:
            log.warning("failed logins are not counted: Redis cannot be reached")
            return
        raise Busy(message="too many failed logins", retry_after=seconds)

    async def succeeded(self, login: str, address: str) -> None:
        """Take back the count of a try whose password was right."""
        try:
            with neutral_errors():
                await self._uncount(_keys(login, address))
        except Unavailable:
            log.warning("a login stays counted as failed: Redis cannot be reached")

    async def _count(self, keys: list[str]) -> list[int]:
        async with self._client.pipeline(transaction=True) as pipeline:
            for key in keys:
                pipeline.set(key, 0, ex=self._window, nx=True)
                pipeline.incr(key)
            return [int(count) for count in (await pipeline.execute())[1::2]]

    async def _uncount(self, keys: list[str]) -> None:
        # a counter that has ended meanwhile must not come back without an end
        async with self._client.pipeline(transaction=True) as pipeline:
            for key in keys:
                pipeline.set(key, 1, ex=self._window, nx=True)
                pipeline.decr(key)
            await pipeline.execute()

    def _limits(self) -> tuple[int, int]:
        return self._most, self._most * ADDRESS_FACTOR


def _keys(login: str, address: str) -> list[str]:
    return [
        PREFIX + kind + hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()
        for kind, value in (("login:", login), ("address:", _site(address)))
    ]


def _site(address: str) -> str:
    """What stands for everybody who may have an address; a text that is none stands for itself."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    if known.ipv4_mapped is not None:
        return str(known.ipv4_mapped)
    return str(ipaddress.ip_network((known, SITE_BITS), strict=False))
