"""The time by which the call in progress has to be answered, for whatever works on it to plan by."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

_ends: ContextVar[float | None] = ContextVar("luna_deadline", default=None)
"""In the time of the loop."""


@asynccontextmanager
async def within(seconds: float | None) -> AsyncIterator[None]:
    """End what is done inside after so many seconds; None adds no limit. The tighter of nested limits counts.

    Raises:
        TimeoutError: it took longer.
    """
    ends = _ends.get()
    if seconds is not None:
        own = asyncio.get_running_loop().time() + seconds
        ends = own if ends is None else min(ends, own)
    token = _ends.set(ends)
    try:
        async with asyncio.timeout(seconds):
            yield
    finally:
        _ends.reset(token)


def remaining() -> float | None:
    """Seconds that the call in progress has left, 0 or more; None where it has no deadline."""
    ends = _ends.get()
    return None if ends is None else max(0.0, ends - asyncio.get_running_loop().time())
