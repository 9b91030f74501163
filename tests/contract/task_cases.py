"""The recipes of tasks and schedules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from google.protobuf.message import Message
from luna.v6 import tasks_pb2 as tasks

from tests.contract.recipes import FRESH, Made, Recipe, body_of, query_of
from tests.contract.rest import Answer, Call
from tests.contract.spoken import into
from tests.contract.world import World, settled

NEW = FRESH | {"task_id", "schedule_id"}
PROGRESS = ("task_id", "task_status", "end_time", "result_id", "count_task_parts_done", "count_task_parts_all")
"""Members of tasks that depend on when one looks."""
IDS = ("schedule_id", "task_ids")


def clustering(world: World) -> Mapping[str, Any]:
    filters = {"face_ids": [world.face_id, world.lonely_id], "create_time__lt": "2100-01-01T00:00:00Z"}
    return {
        "objects_type": "faces",
        "filters": filters,
        "threshold": 0.5,
        "descriptor_type": "face",
    }


def reporter(world: World) -> Mapping[str, Any]:
    return {
        "task_id": int(world.clustering_id),
        "columns": ["user_data", "lists"],
        "save_images": 1,
        "csv_delimiter": ";",
    }


def exporter(world: World) -> Mapping[str, Any]:
    return {
        "objects_type": "faces",
        "filters": {"face_ids": [world.face_id]},
        "columns": ["external_id", "user_data"],
        "save_images": 0,
        "csv_delimiter": ",",
    }


def linker(world: World) -> Mapping[str, Any]:
    return {
        "objects_type": "faces",
        "create_list": 1,
        "list_id": world.linked_id,
        "user_data": "linked",
        "filters": {"face_ids": [world.lonely_id], "create_time__lt": "2100-01-01T00:00:00Z"},
    }


def gc(world: World) -> Mapping[str, Any]:
    filters = {"event_ids": [world.unknown_id], "create_time__lt": "now-30d"}
    return {"target": "events", "filters": filters, "remove_samples": 1, "remove_image_origins": 0}


def cross_match(world: World) -> Mapping[str, Any]:
    return {
        "reference_filters": {"origin": "faces", "face_ids": [world.face_id]},
        "candidate_filters": {"origin": "faces", "create_time__gte": "2020-01-01T00:00:00Z"},
        "threshold": 0.5,
        "limit": 3,
        "descriptor_type": "face",
    }


def roc(world: World) -> Mapping[str, Any]:
    marks = [{"face_id": world.face_id, "label": 1}, {"face_id": world.known_id, "label": 1}]
    return {
        "markup": marks,
        "limit": 5,
        "threshold_hit_top": 0.5,
        "key_FPRs": [0.1, 1],
        "filters": {"account_id": world.owner.account_id},
    }


def estimator(world: World) -> Mapping[str, Any]:
    source = {"source_type": "zip", "reference": f"/6/objects/{world.object_id}", "authorization": {"password": "x"}}
    return {
        "source": {**source, "prefix": "a", "postfix": ".jpg"},
        "handler": {"handler_id": world.handler_id},
        "image_type": 0,
        "use_exif_info": 1,
    }


def _creation(content: Callable[[World], Mapping[str, Any]], rpc: str, request: Callable[[], Message]) -> Recipe:
    return Recipe(
        lambda world: Call(body={"description": "mine", "content": content(world)}, account=world.owner),
        f"Tasks/{rpc}",
        lambda call: into(request(), body_of(call)),
        fresh=NEW,
        effect=_task_made,
    )


def _task_made(world: World, _: Call, made: Made) -> Sequence[Answer]:
    return [settled(world.get(f"/6/tasks/{made['task_id']}"), *PROGRESS)]


def _task(world: World, call: Call, _: Made) -> Sequence[Answer]:
    return [settled(world.get(f"/6/tasks/{call.path['task_id']}"), "task_id")]


def _schedule_made(world: World, _: Call, made: Made) -> Sequence[Answer]:
    return [settled(world.get(f"/6/tasks/schedules/{made['schedule_id']}"), *IDS)]


def _schedule(world: World, call: Call, _: Made) -> Sequence[Answer]:
    return [settled(world.get(f"/6/tasks/schedules/{call.path['schedule_id']}"), *IDS)]


def _of_task(world: World) -> Call:
    return Call({"task_id": world.task_id}, account=world.owner)


def _numbers(call: Call) -> dict[str, int]:
    return {name: int(value) for name, value in call.path.items()}


def schedule_body(world: World) -> Mapping[str, Any]:
    return {
        "task": {"task_type": 4, "content": gc(world), "description": "by night"},
        "trigger": {"cron": "5 4 * * *", "cron_timezone": "utc"},
        "behaviour": {"start_immediately": False, "create_stopped": False},
    }


TASKS: Mapping[str, Recipe] = {
    "create_clustering_task": _creation(clustering, "CreateClusteringTask", tasks.CreateClusteringTaskRequest),
    "create_reporter_task": _creation(reporter, "CreateReporterTask", tasks.CreateReporterTaskRequest),
    "create_exporter_task": _creation(exporter, "CreateExporterTask", tasks.CreateExporterTaskRequest),
    "create_linker_task": _creation(linker, "CreateLinkerTask", tasks.CreateLinkerTaskRequest),
    "create_gc_task": replace(
        _creation(gc, "CreateGcTask", tasks.CreateGcTaskRequest),
        # without its filters it deletes all events of an account
        call=lambda world: Call(body={"description": "mine", "content": gc(world)}, account=world.other),
    ),
    "create_cross_match_task": _creation(cross_match, "CreateCrossMatchTask", tasks.CreateCrossMatchTaskRequest),
    "create_roc_task": _creation(roc, "CreateRocTask", tasks.CreateRocTaskRequest),
    "create_estimator_task": _creation(estimator, "CreateEstimatorTask", tasks.CreateEstimatorTaskRequest),
    "get_tasks": Recipe(
        lambda world: Call(query=(("task_ids", world.task_id),), account=world.owner),
        "Tasks/ListTasks",
        lambda call: tasks.ListTasksRequest(task_ids=[int(query_of(call, "task_ids"))]),
    ),
    "get_tasks_count": Recipe(
        lambda world: Call(query=(("task_ids", world.task_id),), account=world.owner),
        "Tasks/CountTasks",
        lambda call: tasks.CountTasksRequest(task_ids=[int(query_of(call, "task_ids"))]),
    ),
    "get_task": Recipe(_of_task, "Tasks/GetTask", lambda call: tasks.GetTaskRequest(**_numbers(call))),
    "cancel_task": Recipe(
        lambda world: Call({"task_id": world.new_task(going=True)}, account=world.owner),
        "Tasks/CancelTask",
        lambda call: tasks.CancelTaskRequest(**_numbers(call)),
        effect=_task,
    ),
    "delete_task": Recipe(
        lambda world: Call({"task_id": world.new_task()}, account=world.owner),
        "Tasks/DeleteTask",
        lambda call: tasks.DeleteTaskRequest(**_numbers(call)),
        effect=_task,
    ),
    "get_task_result": Recipe(
        _of_task, "Tasks/GetTaskResult", lambda call: tasks.GetTaskResultRequest(**_numbers(call))
    ),
    "get_subtasks": Recipe(_of_task, "Tasks/ListSubtasks", lambda call: tasks.ListSubtasksRequest(**_numbers(call))),
    "get_task_errors": Recipe(
        lambda world: Call({"task_id": world.failed_id}, account=world.owner),
        "Tasks/ListErrorsOfTask",
        lambda call: tasks.ListErrorsOfTaskRequest(**_numbers(call)),
    ),
    "get_errors": Recipe(
        lambda world: Call(query=(("task_ids", world.failed_id),), account=world.owner),
        "Tasks/ListTaskErrors",
        lambda call: tasks.ListTaskErrorsRequest(task_ids=[int(query_of(call, "task_ids"))]),
    ),
    "get_errors_count": Recipe(
        lambda world: Call(query=(("status_code", "404"),), account=world.owner),
        "Tasks/CountTaskErrors",
        lambda call: tasks.CountTaskErrorsRequest(status_code=int(query_of(call, "status_code"))),
    ),
    "get_error": Recipe(
        lambda world: Call({"error_id": world.error_id}, account=world.owner),
        "Tasks/GetTaskError",
        lambda call: tasks.GetTaskErrorRequest(**_numbers(call)),
    ),
    "create_schedule": Recipe(
        lambda world: Call(body=schedule_body(world), account=world.owner),
        "Schedules/CreateSchedule",
        lambda call: into(tasks.CreateScheduleRequest(), body_of(call)),
        fresh=NEW,
        effect=_schedule_made,
    ),
    "get_schedules": Recipe(
        lambda world: Call(query=(("task_type", "4"), ("page_size", "1")), account=world.owner),
        "Schedules/ListSchedules",
        lambda call: tasks.ListSchedulesRequest(task_type=tasks.TASK_TYPE_GC, page_size=1),
        part="schedules",
    ),
    "get_schedule": Recipe(
        lambda world: Call({"schedule_id": world.schedule_id}, account=world.owner),
        "Schedules/GetSchedule",
        lambda call: tasks.GetScheduleRequest(**_numbers(call)),
    ),
    "replace_schedule": Recipe(
        lambda world: Call({"schedule_id": world.new_schedule()}, body=schedule_body(world), account=world.owner),
        "Schedules/ReplaceSchedule",
        lambda call: into(tasks.ReplaceScheduleRequest(**_numbers(call)), body_of(call)),
        fresh=NEW,
        effect=_schedule,
    ),
    "patch_schedule": Recipe(
        lambda world: Call({"schedule_id": world.new_schedule()}, (("action", "pause"),), account=world.owner),
        "Schedules/PatchSchedule",
        lambda call: tasks.PatchScheduleRequest(**_numbers(call), action=tasks.SCHEDULE_ACTION_PAUSE),
        effect=_schedule,
    ),
    "delete_schedule": Recipe(
        lambda world: Call({"schedule_id": world.new_schedule()}, account=world.owner),
        "Schedules/DeleteSchedule",
        lambda call: tasks.DeleteScheduleRequest(**_numbers(call)),
        effect=_schedule,
    ),
}


def _extraction(_: World) -> Mapping[str, Any]:
    return {"objects_type": "events", "filters": {"create_time__lt": "2000-01-01T00:00:00Z"}}


BEYOND: Mapping[str, tuple[str, Recipe]] = {
    "Tasks/CreateAdditionalExtractTask": (
        "create_clustering_task",
        _creation(_extraction, "CreateAdditionalExtractTask", tasks.CreateAdditionalExtractTaskRequest),
    )
}
"""Methods that the contract does not have: an operation of it that is like each, and a recipe."""
