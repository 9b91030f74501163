"""Who is told what networks do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Observer(Protocol):
    """Is told of every run of a network, from the thread that ran it: it has to be quick and safe."""

    def ran(self, network: str, rows: int, queued: Sequence[float], seconds: float) -> None:
        """A network has run, or failed.

        Args:
            network: its name, `pack/file`.
            rows: of the batch.
            queued: seconds for which each of its callers waited, from its arrival to the run.
            seconds: of the run itself.
        """
        ...
