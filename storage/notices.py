"""The stream of notices in Redis.

An entry's id is its position: the epoch, which is the time in milliseconds at which it began, and a number that rises
by one. A script appends, so that no two entries get the same number, and so that what Redis has lost is noticed before
anything is written behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, cast
from uuid import UUID

from redis.asyncio import Redis

from server.domain.cancellation import apart
from server.domain.subscriptions import BEGINNING, Position, StreamEntry
from storage.redis import neutral_errors

KEY: Final = "luna:notices"
NOBODY: Final = UUID(int=0)

#: KEYS: the stream. ARGV: most entries, most bytes of notices, epoch and number of the position that is known, then
#: account, notice, ... The newest entry stays, whatever its size.
#: Numbers below 2**53 are exact in Lua.
APPEND: Final = """
    local function value(entry, name)
        for place = 1, #entry[2], 2 do
            if entry[2][place] == name then return entry[2][place + 1] end
        end
        return nil
    end
    local bytes, most = 0, tonumber(ARGV[2])
    local function add(epoch, number, account, notice)
        local id = string.format('%.0f-%.0f', epoch, number)
        bytes = bytes + #notice
        local sum = string.format('%.0f', bytes)
        redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], id, 'a', account, 'n', notice, 'b', sum)
        while true do
            local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
            local before = tonumber(value(oldest, 'b') or 0) - #value(oldest, 'n')
            if bytes - before <= most or oldest[1] == id then break end
            redis.call('XDEL', KEYS[1], oldest[1])
        end
        return id
    end
    local known_epoch, known_number = tonumber(ARGV[3]), tonumber(ARGV[4])
    local epoch, number, id = 0, 0, '0-0'
    local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
    if newest then
        id = newest[1]
        local first, second = string.match(id, '(%d+)-(%d+)')
        epoch, number = tonumber(first), tonumber(second)
        bytes = tonumber(value(newest, 'b') or 0)
    end
    local lost = epoch < known_epoch or (epoch == known_epoch and number < known_number)
    if lost or not newest then
        local time = redis.call('TIME')
        local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
        epoch, number = math.max(now, epoch + 1, known_epoch + 1), 0
        if lost then
            number = 1
            id = add(epoch, number, '', '')
        end
    end
    for place = 5, #ARGV, 2 do
        number = number + 1
        id = add(epoch, number, ARGV[place], ARGV[place + 1])
    end
    return id
"""


class RedisNotices:
    """Implements `server.domain.subscriptions.NoticeStream`.

    Args:
        client: Redis.
        length: entries that are kept; Redis may keep some more.
        most_bytes: of the notices that are kept.
        timeout_seconds: how long the client waits for an answer.
    """

    def __init__(self, client: Redis, length: int, most_bytes: int, timeout_seconds: float) -> None:
        self._client = client
        self._length = length
        self._most_bytes = most_bytes
        self._longest = timeout_seconds / 2
        self._append = client.register_script(APPEND)
        self._waiting: asyncio.Future[Redis] | None = None
        """A connection of its own, made beforehand: a wait may be cancelled, making a connection may not."""

    async def close(self) -> None:
        """Give back the connection that waits."""
        if self._waiting is not None:
            await asyncio.wait((self._waiting,))
            if self._waiting.exception() is None:
                await self._waiting.result().aclose()
            self._waiting = None

    async def last(self) -> Position:
        """The position of the newest entry. See `NoticeStream.last`."""
        found = await self.newest(1)
        return found[0].position if found else BEGINNING

    async def newest(self, count: int) -> list[StreamEntry]:
        """The newest entries, oldest first. See `NoticeStream.newest`."""
        with neutral_errors():
            rows = await apart(self._client.xrevrange(KEY, count=count))
        return _entries(rows)[::-1]

    async def after(self, position: Position, count: int) -> list[StreamEntry]:
        """The first entries behind a position. See `NoticeStream.after`."""
        with neutral_errors():
            rows = await apart(self._client.xrange(KEY, min=f"({position}", count=count))
        return _entries(rows)

    async def wait(self, position: Position, count: int, seconds: float) -> list[StreamEntry]:
        """The same, waited for. See `NoticeStream.wait`."""
        milliseconds = max(1, int(min(seconds, self._longest) * 1000))
        with neutral_errors():
            waiting = await self._connected()
            streams = await waiting.xread({KEY: str(position)}, count=count, block=milliseconds)
        return [one for _, rows in cast("Sequence[tuple[bytes, object]]", streams) for one in _entries(rows)]

    async def _connected(self) -> Redis:
        if self._waiting is None or (self._waiting.done() and self._waiting.exception() is not None):
            self._waiting = asyncio.ensure_future(self._connect())
        return await asyncio.shield(self._waiting)

    async def _connect(self) -> Redis:
        made = self._client.client()
        try:
            return await made.initialize()
        except BaseException:
            await made.aclose()
            raise

    async def append(self, notices: Sequence[tuple[UUID, bytes]], known: Position) -> Position:
        """Add notices. See `NoticeStream.append`."""
        limits = self._length, self._most_bytes
        flat = [part for account_id, notice in notices for part in (account_id.bytes, notice)]
        with neutral_errors():
            made = await apart(self._append(keys=[KEY], args=[*limits, known.epoch, known.number, *flat]))
        return _position(made)


def _entries(rows: object) -> list[StreamEntry]:
    """The entries of an answer: [(id, {field: value}), ...]."""
    return [
        StreamEntry(_position(made), UUID(bytes=fields[b"a"]) if fields[b"a"] else NOBODY, fields[b"n"])
        for made, fields in cast("Sequence[tuple[bytes, Mapping[bytes, bytes]]]", rows)
    ]


def _position(made: bytes) -> Position:
    epoch, _, number = made.partition(b"-")
    return Position(int(epoch), int(number))
