"""Tasks, their parts and errors as messages, and filters of them as values."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp
from luna.v6 import tasks_pb2 as pb

from server.domain.task_contents import ContentForm
from server.domain.tasks import FailureFilter, Subtask, Task, TaskFailure, TaskFilter, TaskStatus, TaskType
from server.services.messages import moment, timestamp
from server.services.rest_numbers import number_of, value_of
from server.services.stored_events import struct

_TYPES = pb.TaskType.DESCRIPTOR
_STATUSES = pb.TaskStatus.DESCRIPTOR
FailureRequest: TypeAlias = pb.ListErrorsOfTaskRequest | pb.ListTaskErrorsRequest | pb.CountTaskErrorsRequest


def task_message(value: Task, form: ContentForm) -> pb.Task:
    """A task; passwords and keys in its content are hidden."""
    message = pb.Task(
        task_id=value.task_id,
        account_id=str(value.account_id),
        create_time=timestamp(value.create_time),
        last_update_time=timestamp(value.last_update_time),
        task_type=_type(value.task_type),
        task_status=_status(value.status),
        result_id="" if value.result_id is None else str(value.result_id),
        count_task_parts_done=value.parts_done,
        count_task_parts_all=value.parts_all,
        content=struct(form.shown(value.task_type, value.content)),
        description=value.description,
    )
    if value.end_time is not None:
        message.end_time.CopyFrom(timestamp(value.end_time))
    if value.schedule_id is not None:
        message.schedule_id = value.schedule_id
    return message


def subtask_message(value: Subtask) -> pb.Subtask:
    """A part of a task."""
    return pb.Subtask(
        subtask_id=value.subtask_id,
        task_id=value.task_id,
        subtask_status=_status(value.status),
        create_time=timestamp(value.create_time),
        last_update_time=timestamp(value.last_update_time),
        end_time=None if value.end_time is None else timestamp(value.end_time),
        result_id="" if value.result_id is None else str(value.result_id),
        content=struct(value.content),
    )


def failure_message(value: TaskFailure) -> pb.TaskError:
    """An error."""
    return pb.TaskError(
        error_id=value.error_id,
        task_id=value.task_id,
        error_code=value.code,
        error_time=timestamp(value.time),
        description=value.description,
        detail=value.detail,
        status_code=value.status_code,
        task_type=_type(value.task_type),
        additional_info=value.info or "",
    )


def task_filter(request: pb.ListTasksRequest | pb.CountTasksRequest) -> TaskFilter:
    """Which tasks; the kind 0 is one that no task has."""
    task_ids = tuple(request.task_ids) or None
    return TaskFilter(
        task_ids=() if request.task_type == pb.TASK_TYPE_UNKNOWN else task_ids,
        task_type=_known_type(request.task_type),
        status=TaskStatus(number_of(_STATUSES, request.task_status)) if request.task_status else None,
        schedule_id=request.schedule_id if request.HasField("schedule_id") else None,
        create_time_gte=_bound(request.create_time_gte, given=request.HasField("create_time_gte")),
        create_time_lt=_bound(request.create_time_lt, given=request.HasField("create_time_lt")),
        end_time_gte=_bound(request.end_time_gte, given=request.HasField("end_time_gte")),
        end_time_lt=_bound(request.end_time_lt, given=request.HasField("end_time_lt")),
    )


def failure_filter(request: FailureRequest) -> FailureFilter:
    """Which errors."""
    if isinstance(request, pb.ListErrorsOfTaskRequest):
        return FailureFilter(task_ids=(request.task_id,))
    known = FailureFilter(
        task_ids=() if request.task_type == pb.TASK_TYPE_UNKNOWN else None,
        task_type=_known_type(request.task_type),
        status_code=request.status_code if request.HasField("status_code") else None,
        time_gte=_bound(request.error_time_gte, given=request.HasField("error_time_gte")),
        time_lt=_bound(request.error_time_lt, given=request.HasField("error_time_lt")),
    )
    if isinstance(request, pb.CountTaskErrorsRequest):
        return known
    return replace(
        known,
        error_ids=tuple(request.error_ids) or None,
        task_ids=known.task_ids if known.task_ids is not None else tuple(request.task_ids) or None,
        code=request.error_code if request.HasField("error_code") else None,
    )


def one_failure(error_id: int) -> FailureFilter:
    """The error with an id."""
    return FailureFilter(error_ids=(error_id,))


def _known_type(value: pb.TaskType.ValueType) -> TaskType | None:
    return TaskType(number_of(_TYPES, value)) if value and value != pb.TASK_TYPE_UNKNOWN else None


def _type(value: TaskType) -> pb.TaskType.ValueType:
    return pb.TaskType.ValueType(value_of(_TYPES, value.value))


def _status(value: TaskStatus) -> pb.TaskStatus.ValueType:
    return pb.TaskStatus.ValueType(value_of(_STATUSES, value.value))


def _bound(message: Timestamp, *, given: bool) -> datetime | None:
    return moment(message) if given else None
