"""Who is told what networks do."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Is told of every run of a network, from the thread that ran it: it has to be quick and safe for threads."""

    def ran(self, network: str, rows: int, queued: float, seconds: float) -> None:
        """A network has run.

        Args:
            network: its name, `pack/file`.
            rows: of the batch.
            queued: seconds for which the oldest row waited to be put into a batch; 0 where nothing gathers batches.
            seconds: of the run itself.
        """
        ...
