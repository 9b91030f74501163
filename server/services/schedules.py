"""luna.v6.Schedules."""

from __future__ import annotations

from luna.v6 import tasks_pb2 as pb
from luna.v6 import tasks_pb2_grpc

from server.domain.access import Principal
from server.domain.cron import Trigger
from server.domain.faces import Page
from server.domain.schedules import Schedule, ScheduleFilter, ScheduleRegistry, ScheduleStore, ScheduleWish
from server.domain.task_contents import ContentForm
from server.domain.tasks import TaskType
from server.errors import BadBody, BadQuery, ScheduleNotFound
from server.rpc.calls import current
from server.services.event_sources import members_from
from server.services.messages import moment, optional_uuid, timestamp
from server.services.rest_numbers import number_of, value_of
from server.services.stored_events import struct
from server.services.task_creation import TaskPreparation

CONTENT = "task.content"
"""Where the content of the task stands in a request."""
_TYPES = pb.TaskType.DESCRIPTOR


class SchedulesService(tasks_pb2_grpc.SchedulesServicer):
    """Tasks that are made by the clock.

    Args:
        registry: the rules of schedules.
        schedules: where they are kept.
        preparation: what happens to the contents of their tasks before that.
        form: the form that contents are kept in.
    """

    def __init__(
        self, registry: ScheduleRegistry, schedules: ScheduleStore, preparation: TaskPreparation, form: ContentForm
    ) -> None:
        self._registry = registry
        self._schedules = schedules
        self._preparation = preparation
        self._form = form

    async def CreateSchedule(self, request: pb.CreateScheduleRequest, context: object) -> pb.CreateScheduleResponse:
        """Create a schedule."""
        principal = current().principal
        schedule_id = await self._registry.create(principal, await self._wish(principal, request))
        return pb.CreateScheduleResponse(schedule_id=schedule_id, url=f"/6/tasks/schedules/{schedule_id}")

    async def ListSchedules(self, request: pb.ListSchedulesRequest, context: object) -> pb.ListSchedulesResponse:
        """A page of schedules."""
        scope = current().principal.reads(optional_uuid(request.account_id))
        found = await self._schedules.find(scope, _where(request), Page(request.page, request.page_size))
        return pb.ListSchedulesResponse(schedules=[schedule_message(one, self._form) for one in found])

    async def GetSchedule(self, request: pb.GetScheduleRequest, context: object) -> pb.Schedule:
        """One schedule."""
        scope = current().principal.reads(optional_uuid(request.account_id))
        found = await self._schedules.get(scope, request.schedule_id)
        if found is None:
            raise ScheduleNotFound(schedule_id=request.schedule_id)
        return schedule_message(found, self._form)

    async def ReplaceSchedule(self, request: pb.ReplaceScheduleRequest, context: object) -> pb.ReplaceScheduleResponse:
        """Replace a schedule."""
        principal = current().principal
        await self._registry.replace(principal, request.schedule_id, await self._wish(principal, request))
        return pb.ReplaceScheduleResponse(schedule_id=request.schedule_id)

    async def PatchSchedule(self, request: pb.PatchScheduleRequest, context: object) -> pb.PatchScheduleResponse:
        """Pause or start a schedule."""
        running = request.action == pb.SCHEDULE_ACTION_START
        await self._registry.switch(current().principal, request.schedule_id, running=running)
        return pb.PatchScheduleResponse()

    async def DeleteSchedule(self, request: pb.DeleteScheduleRequest, context: object) -> pb.DeleteScheduleResponse:
        """Delete a schedule."""
        scope = current().principal.writes
        named = optional_uuid(request.account_id)
        if not (named is None or scope.includes(named)) or not await self._schedules.remove(scope, request.schedule_id):
            raise ScheduleNotFound(schedule_id=request.schedule_id)
        return pb.DeleteScheduleResponse()

    async def _wish(
        self, principal: Principal, request: pb.CreateScheduleRequest | pb.ReplaceScheduleRequest
    ) -> ScheduleWish:
        if request.task.task_type == pb.TASK_TYPE_UNKNOWN:
            raise BadBody(field="task.task_type", message="a kind that tasks have is needed, 1 to 9")
        task_type = TaskType(number_of(_TYPES, request.task.task_type))
        given = members_from(request.task.content, CONTENT)
        return ScheduleWish(
            task_type=task_type,
            content=await self._preparation.prepare_form(principal, task_type, given, CONTENT),
            trigger=Trigger(request.trigger.cron, request.trigger.cron_timezone),
            description=request.task.description,
            at_once=request.behaviour.start_immediately,
            stopped=request.behaviour.create_stopped,
        )


def schedule_message(value: Schedule, form: ContentForm) -> pb.Schedule:
    """A schedule; passwords and keys in the content of its task are hidden."""
    task = pb.ScheduledTask(
        task_type=pb.TaskType.ValueType(value_of(_TYPES, value.task_type.value)),
        content=struct(form.shown(value.task_type, value.content)),
        description=value.description,
    )
    return pb.Schedule(
        schedule_id=value.schedule_id,
        task_ids=value.task_ids,
        account_id=str(value.account_id),
        task=task,
        trigger=pb.Trigger(cron=value.trigger.cron, cron_timezone=value.trigger.timezone),
        status=pb.SCHEDULE_STATUS_RUNNING if value.running else pb.SCHEDULE_STATUS_PAUSED,
        next_run_time=None if value.next_run_time is None else timestamp(value.next_run_time),
        create_time=timestamp(value.create_time),
        last_update_time=timestamp(value.last_update_time),
    )


def _where(request: pb.ListSchedulesRequest) -> ScheduleFilter:
    if request.task_type == pb.TASK_TYPE_UNKNOWN:
        raise BadQuery(field="task_type", message="a kind that tasks have is needed, 1 to 9")
    return ScheduleFilter(
        task_type=TaskType(number_of(_TYPES, request.task_type)) if request.task_type else None,
        create_time_gte=moment(request.create_time_gte) if request.HasField("create_time_gte") else None,
        create_time_lt=moment(request.create_time_lt) if request.HasField("create_time_lt") else None,
    )
