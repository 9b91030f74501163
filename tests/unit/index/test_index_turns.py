"""The lock between scans and changes."""

from __future__ import annotations

import asyncio
import random

import pytest

from engines.index.turns import Turns


async def test_readers_run_together_and_a_writer_alone_while_tasks_are_cancelled_at_random() -> None:
    turns, dice = Turns(), random.Random(3)
    reading = writing = most = 0

    async def read() -> None:
        nonlocal reading, most
        async with turns.read():
            reading += 1
            most = max(most, reading)
            try:
                assert not writing
                await asyncio.sleep(dice.random() / 1000)
            finally:
                reading -= 1

    async def write() -> None:
        nonlocal writing
        async with turns.write():
            writing += 1
            try:
                assert writing == 1
                assert not reading
                await asyncio.sleep(dice.random() / 1000)
                assert not reading
            finally:
                writing -= 1

    tasks = []
    for n in range(600):
        tasks.append(asyncio.create_task(read() if dice.random() < 0.8 else write()))
        if n % 3 == 0:
            dice.choice(tasks).cancel()
        if n % 5 == 0:
            await asyncio.sleep(0)
    ends = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)
    assert {type(end) for end in ends} == {type(None), asyncio.CancelledError}
    assert most > 1
    await asyncio.wait_for(write(), 5)
    await asyncio.wait_for(read(), 5)


async def test_a_waiting_writer_goes_before_readers_that_come_later() -> None:
    turns, order = Turns(), []
    release = asyncio.Event()

    async def hold() -> None:
        async with turns.read():
            await release.wait()

    async def note(name: str, *, writes: bool) -> None:
        async with turns.write() if writes else turns.read():
            order.append(name)

    tasks = [asyncio.create_task(hold())]
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(note("writer", writes=True)))
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(note("reader", writes=False)))
    await asyncio.sleep(0.01)
    assert order == []
    release.set()
    await asyncio.gather(*tasks)
    assert order == ["writer", "reader"]


@pytest.mark.parametrize("writes", [True, False])
async def test_a_turn_that_is_given_to_someone_just_cancelled_goes_on_to_the_next(writes: bool) -> None:
    turns = Turns()

    async def take(*, writes: bool) -> None:
        async with turns.write() if writes else turns.read():
            await asyncio.sleep(0)

    async with turns.write():
        unlucky = asyncio.create_task(take(writes=writes))
        await asyncio.sleep(0)
    unlucky.cancel()  # its turn has come, and it does not know yet
    with pytest.raises(asyncio.CancelledError):
        await unlucky
    await asyncio.wait_for(take(writes=True), 5)
