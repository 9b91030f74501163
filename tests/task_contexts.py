"""What kinds of tasks work with, in memory, and a loop that runs them as a worker does: steps may be done again."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from server.domain.access import Scope
from server.domain.task_contents import Content
from server.domain.task_progress import failure_of
from server.domain.tasks import (
    Collected,
    Kind,
    Subtask,
    Task,
    TaskFailure,
    TaskFiles,
    TaskStatus,
    TaskStopped,
    TaskType,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
OURS = UUID(int=1)


@dataclass
class MemoryFiles:
    """Files of a task; `reads` are the names that were read, in their order."""

    kept: dict[str, bytes] = field(default_factory=dict)
    reads: list[str] = field(default_factory=list)

    async def write(self, name: str, data: bytes) -> None:
        self.kept[name] = data

    async def read(self, name: str) -> bytes:
        self.reads.append(name)
        try:
            return self.kept[name]
        except KeyError:
            raise FileNotFoundError(name) from None


@dataclass
class MemoryContext:
    """One step of a task. `files` are `MemoryFiles`, or what stands around them."""

    task: Task
    files: Any = field(default_factory=MemoryFiles)
    reported: list[TaskFailure] = field(default_factory=list)
    cancelled: bool = False

    @property
    def scope(self) -> Scope:
        return Scope(self.task.account_id)

    async def report(self, error: Exception, info: str | None = None) -> None:
        new = failure_of(error, info)
        self.reported.append(
            TaskFailure(
                error_id=len(self.reported) + 1,
                task_id=self.task.task_id,
                task_type=self.task.task_type,
                code=new.code,
                time=NOW,
                description=new.description,
                detail=new.detail,
                status_code=new.status_code,
                info=new.info,
            )
        )

    def check(self) -> None:
        if self.cancelled:
            raise TaskStopped


class FixedForm:
    """A form that knows the contents by the kind of their tasks."""

    def __init__(self, *contents: tuple[TaskType, Content]) -> None:
        self._contents = dict(contents)

    def read(self, task_type: TaskType, form: Mapping[str, object]) -> Content:
        return self._contents[task_type]

    def shown(self, task_type: TaskType, form: Mapping[str, object]) -> dict[str, object]:
        return dict(form)


def a_task(task_type: TaskType, task_id: int = 7, account_id: UUID = OURS, **fields: Any) -> Task:
    """A task in progress, made at `NOW`."""
    values = {"status": TaskStatus.IN_PROGRESS, "description": "", "content": {}, "create_time": NOW}
    return Task(task_id, account_id, task_type, **(values | {"last_update_time": NOW} | fields))


@dataclass
class Run:
    """A task that is run. What a step reports is kept with its end, as a worker does."""

    kind: Kind
    task: Task
    files: TaskFiles = field(default_factory=MemoryFiles)
    errors: list[TaskFailure] = field(default_factory=list)
    parts: list[Subtask] = field(default_factory=list)

    async def whole(self, times: int = 1) -> Collected:
        """Do each step so many times, as if its end had been lost, and again after each failure that is injected."""
        for _ in range(times):
            await self.split()
        for part in self.parts:
            for _ in range(times):
                await self._step(lambda context, part=part: self.kind.work(context, part))
        for _ in range(times - 1):
            unlink(await self.collect())
        return await self.collect()

    async def split(self) -> None:
        """The first step alone."""
        self.parts = await self._step(self._split)

    async def work(self) -> None:
        """The second step alone."""
        for part in self.parts:
            await self._step(lambda context, part=part: self.kind.work(context, part))

    async def collect(self) -> Collected:
        """The last step alone."""
        collected: Collected = await self._step(lambda context: self.kind.collect(context, self.parts, self.errors))
        return collected

    async def _split(self, context: MemoryContext) -> list[Subtask]:
        made = await self.kind.split(context)
        contents = json.loads(json.dumps([dict(one) for one in made]))  # parts go through the database
        return [
            Subtask(number + 1, self.task.task_id, number, TaskStatus.WAITING, content, NOW, NOW)
            for number, content in enumerate(contents)
        ]

    async def _step(self, step: Callable[[MemoryContext], Awaitable[Any]]) -> Any:
        while True:
            context = MemoryContext(self.task, self.files)
            try:
                done = await step(context)
            except Interrupted:
                continue
            new = [
                one for one in context.reported if (one.code, one.info) not in {(e.code, e.info) for e in self.errors}
            ]
            self.errors += new
            return done


def unlink(collected: Collected) -> None:
    """Delete the file of a result, as a worker does."""
    if collected.result.file is not None:
        collected.result.file.unlink()


class Interrupted(BaseException):
    """The worker died here."""


class Interruptions:
    """Lets a worker die once after each call of a store that it has not died after yet."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._calls = 0
        self.deaths = 0

    def around(self, store: Any) -> Any:
        """The store, whose coroutines end in a death the first time that they are called so."""
        return _Deadly(store, self)

    def after(self, call: str) -> None:
        """Die, unless this was died of already."""
        if call not in self._seen:
            self._seen.add(call)
            self.deaths += 1
            raise Interrupted


class _Deadly:
    def __init__(self, store: Any, interruptions: Interruptions) -> None:
        self._store = store
        self._interruptions = interruptions

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            result = await found(*args, **kwargs)
            self._interruptions.after(f"{type(self._store).__name__}.{name}{args!r}{kwargs!r}")
            return result

        return call
