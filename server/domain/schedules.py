"""Schedules: tasks that are made by the clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from server.domain.access import Scope
from server.domain.faces import Page
from server.domain.tasks import TaskType


@dataclass(frozen=True, slots=True)
class Trigger:
    """When tasks are made: five fields of cron, in a time zone (utc, local, or a name of the IANA database)."""

    cron: str
    timezone: str = "utc"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule. `next_run_time` is None while it is paused; `task_ids` are those it has made, oldest first."""

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
    """A schedule to create, or to put in the place of another one."""

    account_id: UUID
    task_type: TaskType
    content: Mapping[str, object]
    description: str
    trigger: Trigger
    running: bool
    next_run_time: datetime | None


class ScheduleStore(Protocol):
    """Where schedules are kept. Nothing outside the given scope is seen or changed."""

    async def create(self, new: NewSchedule) -> int:
        """Keep a new schedule. Its id."""
        ...

    async def get(self, scope: Scope, schedule_id: int) -> Schedule | None:
        """One schedule."""
        ...

    async def find(
        self,
        scope: Scope,
        page: Page,
        *,
        task_type: TaskType | None = None,
        create_time_gte: datetime | None = None,
        create_time_lt: datetime | None = None,
    ) -> list[Schedule]:
        """A page of schedules, newest first."""
        ...

    async def replace(self, scope: Scope, schedule_id: int, new: NewSchedule) -> bool:
        """Replace a schedule; what it has made stays its own. False where there is none."""
        ...

    async def switch(self, scope: Scope, schedule_id: int, *, running: bool, next_run_time: datetime | None) -> bool:
        """Pause or start a schedule. False where there is none."""
        ...

    async def remove(self, scope: Scope, schedule_id: int) -> bool:
        """Delete a schedule. False where there is none."""
        ...

    async def run_due(self, now: datetime) -> int:
        """Make the tasks of all schedules that are due, each once however many processes ask, and move their next time.

        No task is made while the one before it has not ended. Returns how many were made.
        """
        ...
