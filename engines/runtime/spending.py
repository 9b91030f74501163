"""How long the thread that asks is in networks, for whoever wants to tell that from the rest of its work."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class Spent:
    """Seconds that a thread has spent in networks: in `Session.run`, the wait for a batch included."""

    seconds: float = 0.0


class _Thread(threading.local):
    spent: Spent | None = None


_thread = _Thread()


@contextmanager
def spending() -> Iterator[Spent]:
    """Count what this thread spends in networks from here on."""
    outer, spent = _thread.spent, Spent()
    _thread.spent = spent
    try:
        yield spent
    finally:
        _thread.spent = outer
        if outer is not None:
            outer.seconds += spent.seconds


def spend(seconds: float) -> None:
    """Add to what this thread has spent, where somebody counts it."""
    if _thread.spent is not None:
        _thread.spent.seconds += seconds
