"""The deadline of the call in progress."""

from __future__ import annotations

import asyncio

import pytest

from server.domain.deadline import remaining, within


async def test_without_a_deadline_there_is_no_end() -> None:
    assert remaining() is None
    async with within(None):
        assert remaining() is None


async def test_what_is_left_shrinks_and_ends_at_nothing() -> None:
    async with within(5):
        assert remaining() == pytest.approx(5, abs=0.5)
    with pytest.raises(TimeoutError):
        async with within(0.01):
            try:
                await asyncio.sleep(5)
            finally:
                assert remaining() == 0
    assert remaining() is None


async def test_the_tighter_of_two_deadlines_counts() -> None:
    for outer, inner in ((5, 50), (50, 5), (5, None)):
        async with within(outer), within(inner):
            assert remaining() == pytest.approx(5, abs=0.5)


async def test_tasks_of_a_call_have_its_deadline_and_other_calls_have_not() -> None:
    async def ask() -> float | None:
        await asyncio.sleep(0)
        return remaining()

    other = asyncio.create_task(ask())
    async with within(5):
        own = asyncio.create_task(ask())
    assert await own == pytest.approx(5, abs=0.5)
    assert await other is None
