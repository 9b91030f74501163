"""The work of an engine, done in processes of its own: one for each thread that asks for it.

Threads of one interpreter wait for each other, so a CPU's cores are used by processes. What crashes the decoder of an
image format then ends one of them, and not the server.
"""

from __future__ import annotations

import logging
import threading
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


@dataclass(slots=True, eq=False)
class _Place:
    """A place for one process: `worker` is None where it could not be started, and not `ready` while it loads."""

    worker: Worker | None = None
    ready: bool = False


class ProcessCrew:
    """Has the models in processes (protocol: `engines.crew.crew.Crew`). This one never loads a network.

    A process that ends fails the piece of work that it had, which is not tried again, and the next one begins at once.

    Args:
        installed: prepared packs; where several serve a task, the first does.
        settings: limits and switches.
        observer: is told of every run of a network.
        patience: seconds that one piece of work, or the start, may take.
    """

    def __init__(
        self,
        installed: Sequence[Pack],
        settings: Engine,
        observer: Observer | None = None,
        *,
        patience: float = PATIENCE,
    ) -> None:
        known = settings.model_copy(update={"secret": None})
        self._beginning = Beginning(installed, known, observed=observer is not None)
        self._observer = observer
        self._patience = patience
        self._free: deque[_Place] = deque()
        self._lock = threading.Lock()
        self._workers: set[Worker] = set()
        self._closed = False

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
        self._free.extend(_Place(worker, ready=True) for worker in begun)
        return served[0]  # type: ignore[return-value]

    def work(self, method: Callable[Concatenate[Work, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Crew.work`."""
        piece = packed((method.__name__, args, kwargs))
        # the one that was busy last has most in the caches; as many places as threads, so there is always one
        place = self._free.pop()
        try:
            answer = self._asked(place, piece)
        except BaseException:
            # behind those that are ready
            self._free.appendleft(place)
            raise
        self._free.append(place)
        return self._told(answer)  # type: ignore[return-value]

    def close(self) -> None:
        """See `Crew.close`. Processes that still work are ended."""
        with self._lock:
            self._closed = True
            workers, self._workers = self._workers, set()
        for worker in workers:
            worker.hang_up()
        for worker in workers:
            worker.end()

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
