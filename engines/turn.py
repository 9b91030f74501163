"""One turn of the engine: a piece of work that waits for a thread, is run there, and is timed part by part."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from engines.runtime.observer import Observer
from engines.runtime.spending import spending
from server.errors import LunaError

T = TypeVar("T")


class EngineObserver(Observer, Protocol):
    """Is told what an engine does: of networks, and of turns."""

    def worked(self, kind: str, queued: float, host: float, compute: float) -> None:
        """A turn has been run, whatever came of it. Called from the thread that ran it.

        Args:
            kind: the method of the engine that it was for.
            queued: seconds from the call until a thread began.
            host: seconds in the thread outside of networks: decoding, cropping, encoding.
            compute: seconds in the thread inside networks.
        """
        ...

    def ended(self, kind: str, result: str) -> None:
        """A turn has ended for who asked: `ok`, `cancelled`, or the reason of an error in lower case."""
        ...


class Turn(Generic[T]):
    """Work for the limiter, timed from its construction on."""

    def __init__(self, kind: str, work: Callable[[], T], observer: EngineObserver | None) -> None:
        self._kind = kind
        self._work = work
        self._observer = observer
        self._asked = time.perf_counter()

    def __call__(self) -> T:
        """Run it, in a thread of the limiter."""
        if self._observer is None:
            return self._work()
        began = time.perf_counter()
        with spending() as spent:
            try:
                return self._work()
            finally:
                seconds = time.perf_counter() - began
                host = max(0.0, seconds - spent.seconds)
                self._observer.worked(self._kind, began - self._asked, host, spent.seconds)


@contextmanager
def reporting(kind: str, observer: EngineObserver | None) -> Iterator[None]:
    """Tell an observer how a turn has ended for who asked."""
    result = "ok"
    try:
        yield
    except BaseException as error:
        result = _result(error)
        raise
    finally:
        if observer is not None:
            observer.ended(kind, result)


def _result(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return error.reason.lower() if isinstance(error, LunaError) else "failed"
