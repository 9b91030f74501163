"""An index of a process: follows the feed of committed changes, and answers searches that see all of them."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, TypeVar

from engines.index.shelves import Shelves
from engines.index.turns import Turns
from server.domain.access import Scope
from server.domain.search import Feed, FeedUpdate, Hit, Query
from server.errors import Busy, InvalidInput, LunaError, Unavailable

_log = logging.getLogger(__name__)
_Filter = TypeVar("_Filter")

_BATCH = 32
"""Queries after which a scan takes no further search: they share its passes, and the first waits for the last."""

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How a follower behaves in time.

    Attributes:
        patience: seconds that one answer of the feed may take.
        attention: seconds after which the background looks for changes by itself.
        rest: seconds between two steps of the background, so that many small changes come as one.
    """

    patience: float = 30.0
    attention: float = 1.0
    rest: float = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class _Job(Generic[_Filter]):
    """Queries that wait for a scan, and where their answers go."""

    queries: Sequence[Query[_Filter]]
    answers: asyncio.Future[list[list[Hit]]]


class FollowingIndex(Generic[_Filter]):
    """The port `Index` over a `Feed`, in memory.

    A search first catches up with the feed. Searches share one catching up, but only one that started after each of
    them began: so what was committed before a search is in it.

    The objects are read and changed on threads. Scans run side by side; a change waits for those that run, and then is
    alone (`Turns`). Searches that come while every thread is busy are scanned together.

    Trouble with the feed makes searches `Unavailable`, and lasts as long as itself: the next search or the background
    tries again. If the feed's position may have moved without its changes having been applied, or is too old,
    everything is loaded anew while searches wait.

    Args:
        feed: the committed changes. `catch_up` and `snapshot` are called one at a time; `wait` and `select` also
            while other calls run. A call that raises or is cancelled must leave the position where it was.
        name: what it is, in errors and in the log.
        threads: scans that may run at once.
        queue: searches that may be under way at once.
        pace: how the follower behaves in time.
    """

    def __init__(
        self,
        feed: Feed[_Filter],
        name: str = "face index",
        *,
        threads: int = 1,
        queue: int = 1024,
        pace: Pace | None = None,
    ) -> None:
        self._feed = feed
        self._name = name
        self._component = f"The {name}"
        self._threads = threads
        self._queue = queue
        self._pace = pace or Pace()
        self._shelves = Shelves()
        self._turns = Turns()
        self._loaded = False
        self._closed = False
        self._under_way = 0
        self._jobs: deque[_Job[_Filter]] = deque()
        self._scans: set[asyncio.Task[None]] = set()
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None
        self._background: asyncio.Task[None] | None = None
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name.replace(" ", "-"))

    @property
    def byte_size(self) -> int:
        """Bytes of memory held by blocks and by the arrays beside them."""
        return self._shelves.byte_size

    async def start(self) -> None:
        """Load all objects, and begin to follow.

        Raises:
            Unavailable: the feed cannot be read. It may be tried again.
        """
        await self._catch_up()
        if self._background is None:
            self._background = asyncio.create_task(self._follow(), name=f"{self._name}: follow")

    async def close(self) -> None:
        """Stop: scans that run are finished, searches that wait are refused, the memory is overwritten."""
        if self._closed:
            return
        self._closed = True
        tasks = [task for task in (self._background, self._running, self._next) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *self._scans, return_exceptions=True)
        self._refuse(list(self._jobs))
        self._jobs.clear()
        await asyncio.to_thread(self._executor.shutdown)
        self._loaded = False
        self._shelves.clear()

    async def search(self, queries: Sequence[Query[_Filter]]) -> list[list[Hit]]:
        """Exact answers, one for each query: best first, equal cosines by ascending id.

        Raises:
            Unavailable: the index cannot be brought up to date.
            Busy: too many searches are under way.
        """
        if not queries:
            return []
        if self._under_way >= self._queue:
            raise Busy(message="too many searches are under way", retry_after=1)
        self._under_way += 1
        try:
            await self._catch_up()
            known = await self._known(queries)
            self._refuse_when_closed()
            job = _Job(known, asyncio.get_running_loop().create_future())
            self._jobs.append(job)
            self._begin_scan()
            return await job.answers
        finally:
            self._under_way -= 1

    async def _known(self, queries: Sequence[Query[_Filter]]) -> list[Query[_Filter]]:
        """The queries in terms that the index knows: the database selects the ids that their filters allow."""
        asked = dict.fromkeys((query.scope, query.filters) for query in queries if query.filters is not None)
        answers = await asyncio.gather(*(self._select(*one) for one in asked), return_exceptions=True)
        selected: dict[tuple[Scope, _Filter], bytes] = {}
        for one, answer in zip(asked, answers, strict=True):
            if isinstance(answer, InvalidInput):
                raise answer
            if isinstance(answer, BaseException):
                raise Unavailable(component=self._component) from answer
            selected[one] = answer
        return [
            query
            if query.filters is None
            else replace(query, where=replace(query.where, selected=selected[query.scope, query.filters]), filters=None)
            for query in queries
        ]

    async def _select(self, scope: Scope, filters: _Filter) -> bytes:
        async with asyncio.timeout(self._pace.patience):
            return await self._feed.select(scope, filters)

    # -------------------------------------------------------------------------------------------- catching up

    async def _catch_up(self) -> None:
        """Wait for a catching up that starts after this call.

        Raises:
            Unavailable: it has failed.
        """
        self._refuse_when_closed()
        if self._next is None:
            self._next = asyncio.create_task(self._catch_up_after(self._running), name=f"{self._name}: catch up")
            self._next.add_done_callback(self._tell)
        shared = self._next
        # Waited for, not awaited: a search that is cancelled must not cancel what it shares with others.
        await asyncio.wait({shared})
        if shared.cancelled():
            raise Unavailable(component=self._component)
        if (trouble := shared.exception()) is not None:
            raise Unavailable(component=self._component) from trouble

    async def _catch_up_after(self, before: asyncio.Task[None] | None) -> None:
        """Wait until the catching up before this one is over, close this one to newcomers, and do it."""
        if before is not None:
            await asyncio.wait({before})
        self._running, self._next = self._next, None
        if self._loaded:
            async with asyncio.timeout(self._pace.patience):
                update = await self._feed.catch_up()
            if not update.reset:
                await self._apply(update)
                return
        await self._load()

    async def _apply(self, update: FeedUpdate) -> None:
        if not (update.changed or update.gone or update.dropped):
            return
        async with self._turns.write():
            # Should this fail half-way, the feed's position is ahead of the index.
            self._loaded = False
            await self._on_thread(partial(self._shelves.apply, update.changed, update.gone, update.dropped))
            self._loaded = True

    async def _load(self) -> None:
        """Throw everything away and read all objects."""
        async with self._turns.write():
            self._loaded = False
            await self._on_thread(self._shelves.clear)
            batches = self._feed.snapshot()
            try:
                while True:
                    async with asyncio.timeout(self._pace.patience):
                        batch = await anext(batches, None)
                    if batch is None:
                        break
                    await self._on_thread(partial(self._shelves.apply, batch))
            finally:
                if isinstance(batches, AsyncGenerator):
                    await batches.aclose()
            self._loaded = True

    async def _on_thread(self, change: Callable[[], None]) -> None:
        """Change the index on a thread. Nobody gets their turn before the thread is done, not even after a cancel."""
        changing = asyncio.get_running_loop().run_in_executor(self._executor, change)
        try:
            await asyncio.shield(changing)
        except asyncio.CancelledError:
            await asyncio.wait({changing})
            raise

    async def _follow(self) -> None:
        """Keep what a search has to catch up with small."""
        pause = _FIRST_PAUSE
        while True:
            (trouble,) = await asyncio.gather(self._feed.wait(self._pace.attention), return_exceptions=True)
            if trouble is None:
                try:
                    await self._catch_up()
                except Unavailable as error:
                    trouble = error
            if trouble is None:
                pause = _FIRST_PAUSE
                await asyncio.sleep(self._pace.rest)
            else:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    # ---------------------------------------------------------------------------------------------- scanning

    def _begin_scan(self) -> None:
        if self._jobs and len(self._scans) < self._threads and not self._closed:
            scan = asyncio.create_task(self._scan(), name=f"{self._name}: scan")
            self._scans.add(scan)
            scan.add_done_callback(self._end_scan)

    def _end_scan(self, scan: asyncio.Task[None]) -> None:
        self._scans.discard(scan)
        self._begin_scan()

    async def _scan(self) -> None:
        """Answer a share of the searches that wait by the time it is this scan's turn."""
        async with self._turns.read():
            jobs = self._take()
            if not self._loaded:
                self._refuse(jobs)
                return
            queries = [query for job in jobs for query in job.queries]
            scanning = asyncio.get_running_loop().run_in_executor(self._executor, self._shelves.search, queries)
            await asyncio.wait({scanning})
        if (trouble := scanning.exception()) is not None:
            for job in jobs:
                if not job.answers.done():
                    job.answers.set_exception(trouble)
            return
        answers = iter(scanning.result())
        for job in jobs:
            own = [next(answers) for _ in job.queries]
            if not job.answers.done():
                job.answers.set_result(own)

    def _take(self) -> list[_Job[_Filter]]:
        """The share of one thread in the searches that wait; those that were cancelled are dropped."""
        share = math.ceil(len(self._jobs) / self._threads)
        taken: list[_Job[_Filter]] = []
        queries = 0
        while self._jobs and len(taken) < share and queries < _BATCH:
            job = self._jobs.popleft()
            if not job.answers.done():
                taken.append(job)
                queries += len(job.queries)
        return taken

    def _refuse(self, jobs: Sequence[_Job[_Filter]]) -> None:
        for job in jobs:
            if not job.answers.done():
                job.answers.set_exception(Unavailable(component=self._component))

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise Unavailable(component=self._component)

    def _tell(self, catching_up: asyncio.Task[None]) -> None:
        """Log a failure: at length if it is not the feed's own."""
        if catching_up.cancelled() or (trouble := catching_up.exception()) is None:
            return
        if isinstance(trouble, (LunaError, OSError)):
            _log.warning("The %s cannot catch up: %s", self._name, trouble)
        else:
            _log.error("The %s cannot catch up", self._name, exc_info=trouble)
