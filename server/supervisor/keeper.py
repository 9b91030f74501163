"""Keeps one program running."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from signal import Signals
from typing import NoReturn

from server.supervisor.child import Child
from server.supervisor.log import Log
from server.supervisor.program import Event, Happening, Program, StartFailed

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
"""Seconds before a restart; each one in a row doubles it."""

HEALTHY_SECONDS = 10.0
"""A program that was ready for so long begins with the first pause again."""

SETTLED_SECONDS = 1.0
"""A program that never was ready for so long has not come up yet. Its probe may be answered by somebody else, who has
the port that it wants."""

ATTEMPTS = 5
"""A program that has not come up is started so often, within its `start_seconds`."""

PROBE_SECONDS = 10.0
FIRST_PROBE_PAUSE = 0.01
LONGEST_PROBE_PAUSE = 0.25

LIFE_SIGN_SECONDS = 0.5
"""When a program without a probe counts as ready."""


@dataclass(frozen=True, slots=True)
class _Life:
    """From a start to an end: how many seconds the program was ready, and how it ended."""

    ready_seconds: float
    reason: str


class Keeper:
    """One program and its present process.

    Attributes:
        up: Set when the program was ready for the first time.
    """

    def __init__(self, program: Program, log: Log, tell: Callable[[Event], None]) -> None:
        self.program = program
        self.up = asyncio.Event()
        self._log = log
        self._tell = tell
        self._child: Child | None = None

    async def keep(self) -> NoReturn:
        """Start the program, and start it again whenever it ends, until cancelled.

        Raises:
            StartFailed: it did not come up at first. Once it has, it is restarted for ever.
        """
        name = self.program.name
        clock = asyncio.get_running_loop().time
        deadline = clock() + self.program.start_seconds
        settled, attempts, pause = False, 0, FIRST_PAUSE
        while True:
            life = await self._live(None if settled else deadline)
            self._tell(Event(Happening.ENDED, name, detail=life.reason))
            attempts += 1
            settled = settled or life.ready_seconds >= SETTLED_SECONDS
            if not settled and (attempts == ATTEMPTS or clock() >= deadline):
                failure = StartFailed(name, life.reason, self._log.path, self._log.tail())
                self._tell(Event(Happening.FAILED, name, detail=str(failure)))
                raise failure
            if life.ready_seconds >= HEALTHY_SECONDS:
                pause = FIRST_PAUSE
            self._tell(Event(Happening.RESTARTING, name, seconds=pause))
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def stop(self, hurry: asyncio.Event) -> None:
        """End the process; `keep` has been cancelled."""
        child = self._child
        if child is None or child.code is not None:
            return
        self._tell(Event(Happening.STOPPING, self.program.name, pid=child.pid))
        what = Happening.STOPPED if await child.end(hurry) else Happening.FAILED
        self._tell(Event(what, self.program.name, pid=child.pid, detail=_ending(child.code)))

    async def _live(self, deadline: float | None) -> _Life:
        """Start the program once, and return when it has ended.

        Args:
            deadline: When it has to be ready, in the loop's time; None gives it `start_seconds` from now.
        """
        clock = asyncio.get_running_loop().time
        begun = clock()
        try:
            if self.program.before is not None:
                await self.program.before()
            output = self._log.open()
            try:
                child = Child(self.program, output)
            finally:
                os.close(output)
        except OSError as error:
            return _Life(0, str(error))
        self._child = child
        self._tell(Event(Happening.STARTED, self.program.name, pid=child.pid))
        try:
            async with asyncio.timeout_at(begun + self.program.start_seconds if deadline is None else deadline):
                ready = await self._becomes_ready(child)
        except TimeoutError:
            await child.end(asyncio.Event())
            return _Life(0, f"was not ready after {self.program.start_seconds:g} s")
        since = clock()
        if ready:
            self._tell(Event(Happening.READY, self.program.name, pid=child.pid, seconds=since - begun))
            self.up.set()
        await child.wait()
        return _Life(clock() - since if ready else 0, _ending(child.code))

    async def _becomes_ready(self, child: Child) -> bool:
        """Wait until the program is ready, which is True, or has ended."""
        if self.program.ready is None:
            return not await child.wait(LIFE_SIGN_SECONDS)
        pause = FIRST_PROBE_PAUSE
        while child.code is None:
            try:
                async with asyncio.timeout(PROBE_SECONDS):
                    ready = await self.program.ready()
            except OSError:  # TimeoutError is one
                ready = False
            if ready:
                return child.code is None
            await child.wait(pause)
            pause = min(1.5 * pause, LONGEST_PROBE_PAUSE)
        return False


def _ending(code: int | None) -> str:
    if code is None:
        return "does not end, not even when killed"
    if code < 0:
        return f"ended by {Signals(-code).name}"
    return f"ended with status {code}"
