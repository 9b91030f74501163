"""The work of an engine, done in processes of its own: one for each thread that asks for it.

Threads of one interpreter wait for each other, so a CPU's cores are used by processes. What crashes the decoder of an
image format then ends one of them, and not the server.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Concatenate, Final

from engines.crew.crew import P, Served, T, Work
from engines.crew.line import packed
from engines.crew.worker import Answer, Beginning, Lost, NotHeard, Worker
from engines.packs.pack import Pack
from engines.runtime.observer import Observer
from engines.runtime.spending import spend
from server.errors import EngineFailure, Unavailable
from server.settings import Engine

log = logging.getLogger(__name__)

PATIENCE: Final = 300.0
"""Seconds after which a process that has not answered hangs. The longest piece of work takes a few."""


@dataclass(frozen=True, slots=True)
class Manners:
    """How processes behave towards those of others, and towards their memory.

    Attributes:
        nice: how much nicer they are than those of other engines.
        idle_seconds: one that has had nothing to do for so long ends; None lets them stay.
    """

    nice: int = 0
    idle_seconds: float | None = None


OF_SERVERS: Final = Manners()
"""They are always there, and as nice as each other."""

_LOOKS = 4
"""Looks for idle processes within the time after which one is."""


@dataclass(slots=True, eq=False)
class _Place:
    """A place for one process.

    Attributes:
        worker: None where it could not be started, or has ended for want of work.
        ready: whether it has loaded its networks.
        used: when it last had something to do, in monotonic seconds.
    """

    worker: Worker | None = None
    ready: bool = False
    used: float = 0.0


class ProcessCrew:
    """Has the models in processes (protocol: `engines.crew.crew.Crew`). This one never loads a network.

    A process that ends fails the piece of work that it had, which is not tried again, and the next one begins at once.

    Args:
        installed: prepared packs; where several serve a task, the first does.
        settings: limits and switches.
        observer: is told of every run of a network.
        patience: seconds that one piece of work, or the start, may take.
        manners: of the processes.
    """

    def __init__(
        self,
        installed: Sequence[Pack],
        settings: Engine,
        observer: Observer | None = None,
        *,
        patience: float = PATIENCE,
        manners: Manners = OF_SERVERS,
    ) -> None:
        known = settings.model_copy(update={"secret": None})
        self._beginning = Beginning(installed, known, observed=observer is not None, nice=manners.nice)
        self._idle_seconds = manners.idle_seconds
        self._observer = observer
        self._patience = patience
        self._free: deque[_Place] = deque()
        self._order = threading.Lock()
        self._lock = threading.Lock()
        self._workers: set[Worker] = set()
        self._closed = False
        self._resting: threading.Thread | None = None
        self._closing = threading.Event()

    @property
    def pids(self) -> set[int]:
        """Numbers of the processes."""
        with self._lock:
            return {worker.pid for worker in self._workers}

    def start(self, workers: int) -> Served:
        """See `Crew.start`. The processes load their networks side by side."""
        try:
            begun = [self._begin() for _ in range(workers)]
            served = [self._told(worker.begun()) for worker in begun]
        except Lost as lost:
            self.close()
            raise EngineFailure(message=f"a process of the engine {lost} while it started") from None
        except BaseException:
            self.close()
            raise
        now = time.monotonic()
        self._free.extend(_Place(worker, ready=True, used=now) for worker in begun)
        if self._idle_seconds is not None:
            self._resting = threading.Thread(target=self._rest, args=(self._idle_seconds,), name="idle", daemon=True)
            self._resting.start()
        return served[0]  # type: ignore[return-value]

    def work(self, method: Callable[Concatenate[Work, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Crew.work`."""
        piece = packed((method.__name__, args, kwargs))
        # the one that was busy last has most in the caches; as many places as threads, so there is always one
        with self._order:
            place = self._free.pop()
        try:
            answer = self._asked(place, piece)
        except BaseException:
            # behind those that are ready
            self._give_back(place, self._free.appendleft)
            raise
        self._give_back(place, self._free.append)
        return self._told(answer)  # type: ignore[return-value]

    def close(self) -> None:
        """See `Crew.close`. Processes that still work are ended."""
        self._closing.set()
        if self._resting is not None:
            self._resting.join()
        with self._lock:
            self._closed = True
            workers, self._workers = self._workers, set()
        for worker in workers:
            worker.hang_up()
        for worker in workers:
            worker.end()

    def _give_back(self, place: _Place, add: Callable[[_Place], None]) -> None:
        place.used = time.monotonic()
        with self._order:
            add(place)

    def _rest(self, idle_seconds: float) -> None:
        """End processes that have had nothing to do for so long, until the crew is closed."""
        while not self._closing.wait(idle_seconds / _LOOKS):
            before = time.monotonic() - idle_seconds
            ended: list[Worker] = []
            with self._order:
                for place in self._free:
                    if place.worker is not None and place.used <= before:
                        ended.append(place.worker)
                        place.worker, place.ready = None, False
            for worker in ended:
                worker.end()
                with self._lock:
                    self._workers.discard(worker)

    def _asked(self, place: _Place, piece: bytes) -> Answer:
        worker = self._manned(place)
        try:
            try:
                return worker.ask(piece)
            except NotHeard as lost:
                # the piece has not been tried yet
                log.warning("a process of the engine %s while it had nothing to do; another one begins", lost)
                self._let_go(place)
                return self._manned(place).ask(piece)
        except Lost as lost:
            log.warning("a process of the engine %s while it worked on an image; another one begins", lost)
            self._let_go(place)
            # what asks next at this place waits for the rest of the start
            self._try_to_begin(place)
            raise EngineFailure(message=f"the process that worked on the image {lost}") from None
        except BaseException:
            # nobody knows what it would say next
            self._let_go(place)
            raise

    def _manned(self, place: _Place) -> Worker:
        """The process of a place, ready.

        Raises:
            EngineFailure: it cannot be started.
        """
        if place.worker is not None and place.ready:
            return place.worker
        try:
            if place.worker is None:
                place.worker = self._begin()
            self._told(place.worker.begun())
        except Unavailable:
            raise
        except Exception as failure:
            self._let_go(place)
            log.warning("a process of the engine cannot be started again: %s", failure)
            # without paths, which the failure may have: this goes to a client
            message = "a process of the engine has ended and cannot be started again"
            raise EngineFailure(message=message) from failure
        place.ready = True
        return place.worker

    def _begin(self) -> Worker:
        """Start a process, and do not wait for it.

        Raises:
            EngineFailure: none can be started.
            Unavailable: the crew is closed.
        """
        with self._lock:
            if self._closed:
                raise Unavailable(component="The inference engine")
            try:
                worker = Worker(self._beginning, self._patience)
            except OSError as error:
                message = f"a process of the engine cannot be started: {error.strerror}"
                raise EngineFailure(message=message) from error
            self._workers.add(worker)
            return worker

    def _try_to_begin(self, place: _Place) -> None:
        try:
            place.worker = self._begin()
        except (EngineFailure, Unavailable) as failure:
            log.warning("%s; the next call tries again", failure)

    def _let_go(self, place: _Place) -> None:
        worker, place.worker, place.ready = place.worker, None, False
        if worker is not None:
            worker.kill()
            with self._lock:
                self._workers.discard(worker)

    def _told(self, answer: Answer) -> object:
        """What an answer gives or raises; the observer is told of what was measured."""
        value, failure, seconds, runs = answer
        spend(seconds)
        if self._observer is not None:
            for run in runs:
                self._observer.ran(*run)
        if failure is not None:
            raise failure
        return value
