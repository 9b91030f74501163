"""Ending tasks for certain: in Python 3.11 `asyncio.wait_for` may lose a cancellation, and libraries build on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

AGAIN_SECONDS = 0.1

T = TypeVar("T")


async def ended(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks until each of them has ended, however it ends."""
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_SECONDS)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # asyncio would tell of one that nobody looks at


async def apart(work: Awaitable[T]) -> T:
    """Do short work in a task of its own, which goes on to its end where the caller is cancelled."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return await asyncio.shield(task)
