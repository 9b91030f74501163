"""Schedules: tasks that are made by the clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from server.domain.access import Principal, Scope
from server.domain.cron import Trigger, next_run
from server.domain.faces import Page
from server.domain.tasks import TaskType
from server.errors import ScheduleNotFound


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule. `next_run_time` is None while it is paused.

    `task_ids` are those of its tasks that are there, oldest first: the last ones where it has made very many.
    """

    schedule_id: int
    account_id: UUID
    task_type: TaskType
    content: Mapping[str, object]
    description: str
    trigger: Trigger
    running: bool
    next_run_time: datetime | None
    create_time: datetime
    last_update_time: datetime
    task_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class NewSchedule:
    """A schedule to create, or to put in the place of another one; `at_once` makes its first task with it."""

    account_id: UUID
    task_type: TaskType
    content: Mapping[str, object]
    description: str
    trigger: Trigger
    running: bool
    next_run_time: datetime | None
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class ScheduleFilter:
    """Which schedules; None is no condition. The lower bound is inclusive, the upper one exclusive."""

    task_type: TaskType | None = None
    create_time_gte: datetime | None = None
    create_time_lt: datetime | None = None


class ScheduleStore(Protocol):
    """Where schedules are kept. Nothing outside the given scope is seen or changed.

    A task is committed together with its job and with what it changes of its schedule.
    """

    async def create(self, new: NewSchedule) -> int:
        """Keep a new schedule. Its id."""
        ...

    async def get(self, scope: Scope, schedule_id: int) -> Schedule | None:
        """One schedule."""
        ...

    async def find(self, scope: Scope, where: ScheduleFilter, page: Page) -> list[Schedule]:
        """A page of schedules, newest first."""
        ...

    async def replace(self, scope: Scope, schedule_id: int, new: NewSchedule) -> bool:
        """Replace a schedule, and cancel what it has made that has not ended. False where there is none."""
        ...

    async def switch(self, scope: Scope, schedule_id: int, *, running: bool, now: datetime) -> bool:
        """Pause a schedule, or start it from a moment on. One that is as it should be stays as it is.

        Returns:
            False where there is none.
        """
        ...

    async def remove(self, scope: Scope, schedule_id: int) -> bool:
        """Delete a schedule; its tasks stay. False where there is none."""
        ...

    async def run_due(self, now: datetime) -> int:
        """Make the tasks of all schedules that are due, each once however many processes ask, and move their next time.

        What was missed is made up for once. No task is made while the one before it has not ended: the schedule waits
        for its next time. Returns how many were made.
        """
        ...

    async def next_due(self) -> datetime | None:
        """When the next schedule is due; None where none is running."""
        ...


@dataclass(frozen=True, slots=True)
class ScheduleWish:
    """What a caller wants a schedule to be. `content` is in the form of `ContentForm`, and valid.

    Attributes:
        at_once: make a task now, whatever the trigger says.
        stopped: make no other one until the schedule is started.
    """

    task_type: TaskType
    content: Mapping[str, object]
    trigger: Trigger
    description: str = ""
    at_once: bool = False
    stopped: bool = False


class ScheduleRegistry:
    """Creates, replaces, pauses and starts schedules."""

    def __init__(self, schedules: ScheduleStore) -> None:
        self._schedules = schedules

    async def create(self, principal: Principal, wish: ScheduleWish) -> int:
        """Keep a new schedule of the caller's account. Its id.

        Raises:
            BadBody: the trigger cannot be read, or makes nothing.
        """
        return await self._schedules.create(_new(principal, wish))

    async def replace(self, principal: Principal, schedule_id: int, wish: ScheduleWish) -> None:
        """Replace a schedule of the caller's account, and cancel what it has made that has not ended.

        Raises:
            ScheduleNotFound: there is none.
            BadBody: as for `create`.
        """
        if not await self._schedules.replace(principal.writes, schedule_id, _new(principal, wish)):
            raise ScheduleNotFound(schedule_id=schedule_id)

    async def switch(self, principal: Principal, schedule_id: int, *, running: bool) -> None:
        """Pause or start a schedule of the caller's account. What was due while it was paused is not made up for.

        Raises:
            ScheduleNotFound: there is none.
        """
        if not await self._schedules.switch(principal.writes, schedule_id, running=running, now=datetime.now(UTC)):
            raise ScheduleNotFound(schedule_id=schedule_id)


def schedule_object(schedule_id: int) -> UUID:
    """A schedule in the audit trail, whose objects are UUIDs: one that reads as the number of the schedule."""
    return UUID(f"{schedule_id:032d}")


def _new(principal: Principal, wish: ScheduleWish) -> NewSchedule:
    following = next_run(wish.trigger, datetime.now(UTC))
    return NewSchedule(
        account_id=principal.account_id,
        task_type=wish.task_type,
        content=wish.content,
        description=wish.description,
        trigger=wish.trigger,
        running=not wish.stopped,
        next_run_time=None if wish.stopped else following,
        at_once=wish.at_once,
    )
