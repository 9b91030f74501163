"""What the supervisor's tests share: a listener that remembers, and a supervisor that a test can end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from server.supervisor import Event, Happening, Program, Supervisor


class Recorder(list[Event]):
    """All events in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.append(event)
        self.changed.set()

    def of(self, what: Happening) -> list[str]:
        return [event.program for event in self if event.what is what]

    async def until(self, what: Happening, program: str, times: int = 1, seconds: float = 20) -> Event:
        async with asyncio.timeout(seconds):
            while True:
                found = [event for event in self if event.what is what and event.program == program]
                if len(found) >= times:
                    return found[times - 1]
                self.changed.clear()
                await self.changed.wait()


Running = Callable[[Sequence[Program]], AbstractAsyncContextManager[Supervisor]]


@pytest.fixture
def events() -> Recorder:
    return Recorder()


@pytest.fixture
def running(tmp_path: Path, events: Recorder) -> Running:
    """Runs programs for the length of a `with`, and raises what the supervisor raised."""

    @asynccontextmanager
    async def run(programs: Sequence[Program]) -> AsyncIterator[Supervisor]:
        supervisor = Supervisor(tmp_path, programs, listener=events)
        task = asyncio.create_task(supervisor.run(signals=False))
        try:
            yield supervisor
        finally:
            supervisor.stop()
            await task

    return run
