"""Working on tasks: the three steps of each, with retries, errors, cancelling and giving back."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from server.domain.access import Scope
from server.domain.audit import AuditEntry, AuditTrail, Change, announced
from server.domain.task_progress import NewFailure, TaskProgress, failure_of, task_object
from server.domain.tasks import Kind, Kinds, Task, TaskFiles, TaskStatus, TaskStopped
from server.errors import Busy, DeadlineExceeded, LunaError, TaskBegunTooOften, TaskKindUnknown, Unavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

PASSING: Final = (Busy, DeadlineExceeded, Unavailable)
"""Errors of Luna that pass by themselves."""
WATCH_SECONDS: Final = 0.5
GRACE_SECONDS: Final = 0.75
"""How long a step that is to stop may go on until its next `check`, before it is cancelled where it waits."""
MOST_REPORTED: Final = 10_000
"""Errors that one step may report; what goes beyond them is only counted, in the log."""
BEGUN_TOO_OFTEN: Final = 20
"""A step that was begun this often and never ended takes its workers with it: its task fails."""
UNKNOWN_SECONDS: Final = 5.0


class TryAgain(Exception):
    """The job is to be tried again after a time, in seconds; 0 is at once."""

    def __init__(self, seconds: float = 0) -> None:
        super().__init__(f"again in {seconds} s")
        self.seconds = seconds


@dataclass(eq=False)
class Step:
    """One step in progress. Implements `server.domain.tasks.TaskContext`."""

    task: Task
    files: TaskFiles
    reported: list[NewFailure] = field(default_factory=list)
    dropped: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _work: asyncio.Task[Any] | None = None

    @property
    def scope(self) -> Scope:
        """The task's own account."""
        return Scope(self.task.account_id)

    @property
    def stopped(self) -> bool:
        """True once it is to stop."""
        return self._stop.is_set()

    async def report(self, error: Exception, info: str | None = None) -> None:
        """Remember an error; it is kept together with the end of the step, and so once. See `TaskContext.report`."""
        if not isinstance(error, LunaError):
            log.error("task %s met an error", self.task.task_id, exc_info=error)
        if len(self.reported) < MOST_REPORTED:
            self.reported.append(failure_of(error, info))
        else:
            self.dropped += 1

    def check(self) -> None:
        """Stop here where the step is to stop."""
        if self._stop.is_set():
            raise TaskStopped

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work.

        Raises:
            TaskStopped: it was stopped.
        """
        task: asyncio.Task[T] = asyncio.create_task(work)
        self._work = task
        try:
            return await task
        except asyncio.CancelledError:
            self._stop.set()
            raise TaskStopped from None
        finally:
            if self.dropped:
                log.warning("task %s: %s errors more were not kept", self.task.task_id, self.dropped)

    async def stop(self) -> None:
        """Let the step stop: at its next check, or after a moment where it waits."""
        self._stop.set()
        if self._work is not None:
            await asyncio.wait([self._work], timeout=GRACE_SECONDS)
            self._work.cancel()


class TaskWork:
    """Does the steps of tasks, several at once.

    Args:
        kinds: what is to be done in the steps.
        progress: where it is noted how far tasks are.
        trail: the audit trail: what a step changes is in it, under the task.
        files: the files of a task.
        tries: how often a step is tried that fails with an error which may pass.
        retry_seconds: the wait before the second try; it doubles with each further one.
    """

    def __init__(
        self,
        kinds: Kinds,
        progress: TaskProgress,
        trail: AuditTrail,
        files: Callable[[int], TaskFiles],
        *,
        tries: int = 3,
        retry_seconds: float = 1.0,
    ) -> None:
        self._kinds = kinds
        self._progress = progress
        self._trail = trail
        self._files = files
        self._tries = tries
        self._retry_seconds = retry_seconds
        self._running: set[Step] = set()
        self._stopping = False

    async def plan(self, task_id: int, begun: int = 0) -> None:
        """Split a task. `begun` is how often this was begun before."""
        task = await self._progress.task(task_id)
        if task is None or task.parts_all or task.status not in {TaskStatus.WAITING, TaskStatus.IN_PROGRESS}:
            return

        async def split(kind: Kind, step: Step) -> None:
            await self._progress.begin(task_id)
            parts = await kind.split(step)
            step.check()
            await self._progress.planned(task_id, parts, step.reported)

        await self._do(task, None, begun, split)

    async def part(self, task_id: int, number: int, begun: int = 0) -> None:
        """Do a part of a task."""
        task, part = await self._progress.task(task_id), await self._progress.part(task_id, number)
        if task is None or part is None or task.status is not TaskStatus.IN_PROGRESS or part.status.ended:
            return

        async def work(kind: Kind, step: Step) -> None:
            await self._progress.begin_part(task_id, number)
            await kind.work(step, part)
            step.check()
            await self._progress.finish_part(task_id, number, step.reported)

        await self._do(task, number, begun, work)

    async def collect(self, task_id: int, begun: int = 0) -> None:
        """Make the result of a task."""
        task = await self._progress.task(task_id)
        if task is None or task.status is not TaskStatus.COLLECTING:
            return

        async def collect(kind: Kind, step: Step) -> None:
            parts, errors = await self._progress.parts(task_id), await self._progress.errors(task_id)
            collected = await kind.collect(step, parts, errors)
            try:
                step.check()
                await self._progress.finish(task_id, collected, step.reported)
            finally:
                for made in (collected.result, collected.page):
                    if made is not None and made.file is not None:
                        await asyncio.to_thread(made.file.unlink, missing_ok=True)

        await self._do(task, None, begun, collect)

    async def tidy(self, task_id: int) -> None:
        """Remove the files of a task that has ended."""
        await self._progress.tidy(task_id)

    async def watch(self) -> None:
        """Stop steps whose task has been cancelled, has failed or was deleted, until cancelled itself."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            running = {step.task.task_id for step in self._running if not step.stopped}
            if not running:
                continue
            try:
                ended = await self._progress.ended(running)
            except LunaError as error:
                log.warning("cannot see whether tasks were cancelled: %s", error)
                continue
            await self._stop({step for step in self._running if step.task.task_id in ended})

    async def give_back(self) -> None:
        """Stop every step, so that other workers do them."""
        self._stopping = True
        await self._stop(set(self._running))

    async def _stop(self, steps: set[Step]) -> None:
        await asyncio.gather(*(step.stop() for step in steps))

    async def _do(
        self, task: Task, number: int | None, begun: int, work: Callable[[Kind, Step], Coroutine[Any, Any, None]]
    ) -> None:
        if self._stopping:
            raise TryAgain
        kind = self._kinds.of(task.task_type)
        step = Step(task, self._files(task.task_id))
        self._running.add(step)
        try:
            if begun >= BEGUN_TOO_OFTEN:
                raise TaskBegunTooOften(count=begun) if kind else TaskKindUnknown(task_type=task.task_type.name)
            if kind is None:
                raise TryAgain(UNKNOWN_SECONDS)
            await self._audited(task, lambda: step.run(work(kind, step)))
        except TaskStopped:
            if self._stopping:
                raise TryAgain from None
        except TryAgain:
            raise
        except Exception as error:  # noqa: BLE001 - a kind may raise anything, and the task has to end by it
            await self._failed(step, number, error)
        finally:
            self._running.discard(step)

    async def _audited(self, task: Task, work: Callable[[], Awaitable[None]]) -> None:
        change = Change(
            AuditEntry(
                time=datetime.now(UTC),
                account_id=task.account_id,
                token_id=None,
                method=f"task/{task.task_type.name.lower()}",
                objects=(task_object(task.task_id),),
                address="",
                request_id="",
            )
        )
        with announced(change):
            await work()
        if change.ahead:
            await self._trail.complete(change)

    async def _failed(self, step: Step, number: int | None, error: Exception) -> None:
        task_id = step.task.task_id
        expected = isinstance(error, LunaError)
        if not expected:
            log.error("task %s failed in %s", task_id, "a part" if number is not None else "itself", exc_info=error)
        if not expected or isinstance(error, PASSING):
            stumbled = await self._progress.stumble(task_id, number)
            if stumbled < self._tries:
                raise TryAgain(self._retry_seconds * 2 ** (stumbled - 1)) from error
        await self._progress.fail(task_id, number, [*step.reported, failure_of(error)])
