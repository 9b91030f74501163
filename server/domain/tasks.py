"""Tasks: long jobs that are split into parts, worked on by any number of workers, and collected into a result."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Protocol
from uuid import UUID

from server.domain.access import Scope
from server.domain.faces import Page


class TaskType(Enum):
    """Kinds of tasks, as LUNA numbers them."""

    LINKER = 1
    CLUSTERING = 2
    REPORTER = 3
    GC = 4
    ADDITIONAL_EXTRACT = 5
    CROSS_MATCH = 6
    ROC = 7
    EXPORTER = 8
    ESTIMATOR = 9


class TaskStatus(Enum):
    """States of tasks and subtasks, as LUNA numbers them.

    WAITING -> IN_PROGRESS -> COLLECTING -> DONE; any of the first three may become CANCELLED or FAILED.
    """

    WAITING = 0
    IN_PROGRESS = 1
    CANCELLED = 2
    FAILED = 3
    COLLECTING = 4
    DONE = 5

    @property
    def ended(self) -> bool:
        """True where nothing will change any more."""
        return self in {TaskStatus.CANCELLED, TaskStatus.FAILED, TaskStatus.DONE}


@dataclass(frozen=True, slots=True)
class Task:
    """A task. `content` is in the form of `ContentForm`, with secrets: it is shown without them.

    `result_id` names the result, and is None until there is one. `parts_all` is 0 until the task has been split.
    """

    task_id: int
    account_id: UUID
    task_type: TaskType
    status: TaskStatus
    description: str
    content: Mapping[str, object]
    create_time: datetime
    last_update_time: datetime
    end_time: datetime | None = None
    result_id: UUID | None = None
    parts_done: int = 0
    parts_all: int = 0
    schedule_id: int | None = None


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to create."""

    account_id: UUID
    task_type: TaskType
    content: Mapping[str, object]
    description: str = ""
    schedule_id: int | None = None


@dataclass(frozen=True, slots=True)
class Subtask:
    """A part of a task. `content` is what the kind of the task wrote when it split the task: small, of JSON."""

    subtask_id: int
    task_id: int
    number: int
    status: TaskStatus
    content: Mapping[str, object]
    create_time: datetime
    last_update_time: datetime
    end_time: datetime | None = None
    result_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class TaskFailure:
    """Something that went wrong in a task. `info` is what else is known, for example the name of a file."""

    error_id: int
    task_id: int
    task_type: TaskType
    code: int
    time: datetime
    description: str
    detail: str
    status_code: int
    info: str | None = None


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks; None is no condition. Lower bounds are inclusive, upper ones exclusive."""

    task_ids: tuple[int, ...] | None = None
    task_type: TaskType | None = None
    status: TaskStatus | None = None
    schedule_id: int | None = None
    create_time_gte: datetime | None = None
    create_time_lt: datetime | None = None
    end_time_gte: datetime | None = None
    end_time_lt: datetime | None = None


@dataclass(frozen=True, slots=True)
class FailureFilter:
    """Which errors; None is no condition."""

    error_ids: tuple[int, ...] | None = None
    task_ids: tuple[int, ...] | None = None
    task_type: TaskType | None = None
    code: int | None = None
    status_code: int | None = None
    time_gte: datetime | None = None
    time_lt: datetime | None = None


class ResultForm(Enum):
    """Forms of a result."""

    DATA = "data"
    HTML = "html"


@dataclass(frozen=True, slots=True)
class TaskResult:
    """A result: its bytes, their type, and a name for a file; empty where it is to be shown.

    What a kind has too much of for the memory it leaves in a local `file` instead of in `data`. The file is read and
    then deleted.
    """

    data: bytes
    content_type: str
    filename: str = ""
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class ResultRange:
    """A range of a result's bytes, from `start` on, and how many bytes the result has altogether."""

    data: bytes
    start: int
    size: int
    content_type: str
    filename: str = ""


JSON_RESULT, ZIP_RESULT, HTML_RESULT = "application/json", "application/zip", "text/html; charset=utf-8"


class TaskStore(Protocol):
    """Where tasks, their parts and their errors are kept. Nothing outside the given scope is seen or changed.

    A task and the job that works on it are committed together, so that no task is without its job.
    """

    async def create(self, new: NewTask) -> int:
        """Keep a new task, and hand it to the workers. Its id."""
        ...

    async def get(self, scope: Scope, task_id: int) -> Task | None:
        """One task."""
        ...

    async def find(self, scope: Scope, where: TaskFilter, page: Page) -> list[Task]:
        """A page of tasks, newest first."""
        ...

    async def count(self, scope: Scope, where: TaskFilter) -> int:
        """How many tasks."""
        ...

    async def subtasks(self, scope: Scope, task_id: int) -> list[Subtask]:
        """All parts of a task, by their number."""
        ...

    async def cancel(self, scope: Scope, task_id: int) -> TaskStatus | None:
        """Cancel a task that has not ended, and stop what works on it. The status it had; None where there is none."""
        ...

    async def remove(self, scope: Scope, task_id: int) -> TaskStatus | None:
        """Delete a task that has ended, and what belongs to it. The status that it had; None where there is none."""
        ...

    async def failures(self, scope: Scope, where: FailureFilter, page: Page) -> list[TaskFailure]:
        """A page of errors, newest first."""
        ...

    async def count_failures(self, scope: Scope, where: FailureFilter) -> int:
        """How many errors."""
        ...

    async def result(self, task: Task, form: ResultForm) -> TaskResult | None:
        """The result of a task in a form, as a whole; None where there is none in it."""
        ...

    async def result_range(self, task: Task, form: ResultForm, start: int, length: int) -> ResultRange | None:
        """A range of the result of a task in a form, cut where the result ends; None where there is none in it."""
        ...


class TaskFiles(Protocol):
    """Files of one task: what its parts hand to each other. They go when the task has ended, the result excepted."""

    async def write(self, name: str, data: bytes) -> None:
        """Keep a file; one with this name is replaced, at once."""
        ...

    async def read(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
            FileNotFoundError: there is none.
        """
        ...


class TaskContext(Protocol):
    """What a kind of tasks has to work with."""

    @property
    def task(self) -> Task:
        """The task, as it was when this step began."""
        ...

    @property
    def files(self) -> TaskFiles:
        """Files of the task."""
        ...

    @property
    def scope(self) -> Scope:
        """What the task may read and change: its own account's data."""
        ...

    async def report(self, error: Exception, info: str | None = None) -> None:
        """Remember that something went wrong that does not end the task. A `LunaError` keeps its code and words."""
        ...

    def check(self) -> None:
        """Stop here where the task was cancelled. Cheap: call it in every loop, also from threads.

        Raises:
            TaskStopped: it was.
        """
        ...


class TaskStopped(BaseException):
    """The task that is worked on was cancelled, or the worker is to stop."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What a task has come to: the result, and a page of it to look at where the kind makes one."""

    result: TaskResult
    page: TaskResult | None = None


class Kind(Protocol):
    """One kind of tasks.

    Each step may run more than once, on any machine: a worker may die at any moment, also between its last effect and
    the note that it is done. So steps must have their effects once however often they run. A `LunaError` ends the task
    as failed, with that error. Those that pass by themselves (`Unavailable`, `Busy`, `DeadlineExceeded`) and whatever
    else is raised are tried again a few times, and then end it likewise.
    """

    @property
    def task_type(self) -> TaskType:
        """Its number."""
        ...

    async def split(self, context: TaskContext) -> Sequence[Mapping[str, object]]:
        """The parts of a task: one object of JSON for each. None at all leads straight to `collect`."""
        ...

    async def work(self, context: TaskContext, part: Subtask) -> None:
        """Do one part; what it finds goes to `context.files`."""
        ...

    async def collect(self, context: TaskContext, parts: Sequence[Subtask], errors: Sequence[TaskFailure]) -> Collected:
        """Make the result of what the parts have left. `errors` are those that were reported."""
        ...


class Kinds:
    """The kinds that a worker knows."""

    def __init__(self, kinds: Collection[Kind]) -> None:
        self._by_type = {kind.task_type: kind for kind in kinds}

    def of(self, task_type: TaskType) -> Kind | None:
        """The kind with a number; None where this worker does not know it."""
        return self._by_type.get(task_type)


@dataclass(frozen=True, slots=True)
class TaskSettings:
    """Defaults of tasks: similarities in [0, 1], `cross_match_limit` candidates of a reference."""

    clustering_threshold: float = 0.9
    cross_match_threshold: float = 0.9
    cross_match_limit: int = 10
    part_size: int = field(default=1000)
