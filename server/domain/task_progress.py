"""How far tasks are: what workers read and write while they work on them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from server.domain.tasks import Collected, Subtask, Task, TaskFailure
from server.errors import LunaError

UNEXPECTED = "The task met an error that it was not prepared for; the log of the worker has it"


@dataclass(frozen=True, slots=True)
class NewFailure:
    """An error to keep."""

    code: int
    status_code: int
    description: str
    detail: str
    time: datetime
    info: str | None = None


def failure_of(error: Exception, info: str | None = None) -> NewFailure:
    """What is told of an error. Of one that nobody foresaw only that there was one: its text may hold anything."""
    now = datetime.now(UTC)
    if isinstance(error, LunaError):
        return NewFailure(error.code, error.status, error.desc, error.detail, now, info)
    return NewFailure(LunaError.code, LunaError.status, LunaError.desc, UNEXPECTED, now, info)


def task_object(task_id: int) -> UUID:
    """A task in the audit trail, whose objects are UUIDs: one that reads as the number of the task."""
    return UUID(f"{task_id:032d}")


class TaskProgress(Protocol):
    """What workers note of their progress. Each step is one transaction, with the jobs that follow from it.

    A task that has ended meanwhile (it was cancelled, another part failed) is not changed any more.
    """

    async def task(self, task_id: int) -> Task | None:
        """A task of any account; None where it was deleted."""
        ...

    async def part(self, task_id: int, number: int) -> Subtask | None:
        """A part of a task."""
        ...

    async def parts(self, task_id: int) -> list[Subtask]:
        """All parts of a task, by their number."""
        ...

    async def errors(self, task_id: int) -> list[TaskFailure]:
        """All errors of a task, oldest first."""
        ...

    async def begin(self, task_id: int) -> None:
        """A task is in progress."""
        ...

    async def begin_part(self, task_id: int, number: int) -> None:
        """A part is in progress."""
        ...

    async def planned(
        self, task_id: int, parts: Sequence[Mapping[str, object]], reported: Sequence[NewFailure]
    ) -> None:
        """A task has these parts, which are handed to workers; without any its result is to be collected."""
        ...

    async def finish_part(self, task_id: int, number: int, reported: Sequence[NewFailure]) -> None:
        """A part is done. The last one hands the result to be collected."""
        ...

    async def finish(self, task_id: int, collected: Collected, reported: Sequence[NewFailure]) -> None:
        """A task is done and this is its result."""
        ...

    async def fail(self, task_id: int, number: int | None, failures: Sequence[NewFailure]) -> None:
        """A task has failed, in one of its parts where a number is given."""
        ...

    async def stumble(self, task_id: int, number: int | None) -> int:
        """A step failed in a way that may pass. How often that has happened by now."""
        ...

    async def ended(self, task_ids: Collection[int]) -> set[int]:
        """Those of the tasks that have ended or were deleted."""
        ...

    async def recover(self) -> int:
        """Hand out again what no job is there for. How many tasks it was."""
        ...

    async def tidy(self, task_id: int) -> None:
        """Remove the files of a task, unless it still is worked on."""
        ...
