"""Notes of tasks: what came of an item, written together with what was done for it, so that it is done once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from server.domain.access import Scope


@dataclass(frozen=True, slots=True)
class TaskNote:
    """What came of an item of a task. `number` tells the items of a task apart."""

    task_id: int
    number: int
    answer: bytes


class AlreadyNoted(Exception):
    """There is a note of the item: everything was done for it before, and nothing was done now."""


class TaskNotes(Protocol):
    """Where notes are kept. They are written by `EventStore.keep`, and go with their task."""

    async def answers(self, scope: Scope, task_id: int, numbers: Collection[int]) -> Mapping[int, bytes | None]:
        """What came of those of the items that have notes; None where that was forgotten."""
        ...

    async def forget(self, scope: Scope, task_id: int) -> None:
        """Forget what came of the items of a task, and not that they were done."""
        ...
