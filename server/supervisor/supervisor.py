"""Runs programs together: in order up, in reverse order down, and all the time in between."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from server.supervisor.keeper import Keeper
from server.supervisor.lock import FolderLock
from server.supervisor.log import Log
from server.supervisor.program import Event, Program

_log = logging.getLogger(__name__)

TRIM_SECONDS = 15.0
"""How often logs that have become too large are looked for."""

STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _ignore(_: Event) -> None:
    """Tell nobody."""


class Supervisor:
    """Keeps `programs` running until it is told to stop.

    Their output goes to `logs/<name>.log` in `folder`; a lock in `folder` keeps a second supervisor out.

    Attributes:
        up: Set when every program was ready.
    """

    def __init__(
        self, folder: Path, programs: Sequence[Program], *, listener: Callable[[Event], None] = _ignore
    ) -> None:
        """Take what is to be run; nothing is started yet.

        Args:
            folder: The data folder; made if need be.
            programs: Their order means nothing, their `depends_on` does.
            listener: Called in the loop's thread with each event; must not block or raise.

        Raises:
            ValueError: two programs have one name, or a dependency is unknown or circular.
        """
        self.up = asyncio.Event()
        self._folder = folder.expanduser().resolve()
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._logs = {one.name: Log(self._folder / "logs", one.name) for one in programs}
        self._keepers = {one.name: Keeper(one, self._logs[one.name], listener) for one in programs}
        self._dependants = _dependants(programs)

    def stop(self) -> None:
        """Ask for an orderly stop; asked again, kill everything. Returns at once; `run` returns when it is done."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def run(self, *, signals: bool = True) -> None:
        """Start all programs, keep them running, and stop them all before returning, whatever happens.

        Args:
            signals: Take SIGINT, SIGTERM and SIGHUP as calls of `stop`; only possible in the main thread.

        Raises:
            AlreadyRunning: another supervisor is at work in the folder.
            StartFailed: a program could not be brought up.
            Exception: what a `before` or a probe raised.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FolderLock(self._folder), self._signals(signals):
            tasks = {name: asyncio.create_task(self._keep(keeper)) for name, keeper in self._keepers.items()}
            stopping = asyncio.create_task(self._stop.wait())
            others = [asyncio.create_task(self._announce()), asyncio.create_task(self._trim_logs())]
            try:
                await asyncio.wait((*tasks.values(), stopping), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for other in (stopping, *others):
                    other.cancel()
                failures = await self._shut_down(tasks)
            if failures:
                raise failures[0]

    async def _keep(self, keeper: Keeper) -> None:
        for name in keeper.program.depends_on:
            await self._keepers[name].up.wait()
        await keeper.keep()

    async def _announce(self) -> None:
        for keeper in self._keepers.values():
            await keeper.up.wait()
        self.up.set()

    async def _trim_logs(self) -> None:
        while True:
            await asyncio.sleep(TRIM_SECONDS)
            for log in self._logs.values():
                try:
                    await asyncio.to_thread(log.trim)
                except OSError as error:
                    _log.warning("%s cannot be put aside: %s", log.path, error)

    async def _shut_down(self, tasks: dict[str, asyncio.Task[None]]) -> list[BaseException]:
        """End every program after those that depend on it; what had failed before is returned."""
        for task in tasks.values():
            task.cancel()
        results = await asyncio.gather(*tasks.values(), return_exceptions=True)
        stopped = {name: asyncio.Event() for name in self._keepers}

        async def end(name: str) -> None:
            try:
                for dependant in self._dependants[name]:
                    await stopped[dependant].wait()
                await self._keepers[name].stop(self._hurry)
            finally:
                stopped[name].set()

        await asyncio.gather(*(end(name) for name in self._keepers))
        return [one for one in results if isinstance(one, Exception)]

    @contextmanager
    def _signals(self, wanted: bool) -> Iterator[None]:
        # nohup ignores SIGHUP on purpose.
        taken = [one for one in STOPPING_SIGNALS if one != signal.SIGHUP or signal.getsignal(one) != signal.SIG_IGN]
        loop = asyncio.get_running_loop()
        for number in taken if wanted else ():
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in taken if wanted else ():
                loop.remove_signal_handler(number)


def _dependants(programs: Sequence[Program]) -> dict[str, tuple[str, ...]]:
    """Who has to be stopped before a program."""
    names = [program.name for program in programs]
    if len(set(names)) < len(names):
        message = f"Two programs have one name: {', '.join(names)}"
        raise ValueError(message)
    for program in programs:
        for name in program.depends_on:
            if name not in names:
                message = f"{program.name} depends on {name}, which is not there"
                raise ValueError(message)
    try:
        TopologicalSorter({program.name: program.depends_on for program in programs}).prepare()
    except CycleError as error:
        message = f"Programs depend on each other: {' -> '.join(error.args[1])}"
        raise ValueError(message) from error
    return {name: tuple(one.name for one in programs if name in one.depends_on) for name in names}
