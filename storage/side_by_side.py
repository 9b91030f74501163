"""Steps that do not wait for each other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable


async def side_by_side(steps: Iterable[Awaitable[None]]) -> None:
    """Make steps side by side, and wait for all of them even where one fails: the first failure is raised."""
    for outcome in await asyncio.gather(*steps, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
