"""Results of tasks that are JSON: {"result": ..., "errors": [...]}."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from server.domain.tasks import JSON_RESULT, TaskFailure, TaskResult


def json_result(result: object, errors: Sequence[TaskFailure]) -> TaskResult:
    """What a task has come to, with the errors that it went on after."""
    whole = {"result": result, "errors": [failure_form(one) for one in errors]}
    return TaskResult(json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode(), JSON_RESULT)


def failure_form(failure: TaskFailure) -> dict[str, object]:
    """An error by the names of the API."""
    return {
        "error_id": failure.error_id,
        "task_id": failure.task_id,
        "task_type": failure.task_type.value,
        "error_code": failure.code,
        "error_time": rfc3339(failure.time),
        "description": failure.description,
        "detail": failure.detail,
        "status_code": failure.status_code,
        "additional_info": failure.info,
    }


def rfc3339(moment: datetime) -> str:
    """A time as the API writes it, in UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
