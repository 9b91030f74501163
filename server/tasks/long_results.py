"""Results as JSON: {"result": ..., "errors": [...]}."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterable, Sequence
from datetime import UTC
from pathlib import Path

import orjson

from server.domain.tasks import JSON_RESULT, TaskFailure, TaskResult


def json_result(result: object, errors: Sequence[TaskFailure]) -> TaskResult:
    """A result of things that JSON has; UUIDs are written as texts."""
    return TaskResult(orjson.dumps({"result": result, "errors": _failures(errors)}), JSON_RESULT)


async def json_file(pieces: AsyncIterable[bytes], errors: Sequence[TaskFailure]) -> TaskResult:
    """A result that is a list, written to a file piece by piece: each is some of its items, in order, with commas.

    Empty pieces are left out. Whoever takes the result deletes the file.
    """
    handle, name = await asyncio.to_thread(tempfile.mkstemp, prefix="luna-task-")
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            before = b'{"result":['
            async for piece in pieces:
                if piece:
                    await asyncio.to_thread(file.write, before + piece)
                    before = b","
            end = b'],"errors":' + orjson.dumps(_failures(errors)) + b"}"
            await asyncio.to_thread(file.write, (before if before != b"," else b"") + end)
    except BaseException:
        await asyncio.to_thread(path.unlink)
        raise
    return TaskResult(b"", JSON_RESULT, file=path)


def items(values: Sequence[object]) -> bytes:
    """Items of a list as a piece for `json_file`."""
    return orjson.dumps(values)[1:-1]


def _failures(errors: Sequence[TaskFailure]) -> list[dict[str, object]]:
    """Errors as `GET /6/tasks/errors` shows them."""
    return [
        {
            "error_id": one.error_id,
            "task_id": one.task_id,
            "error_code": one.code,
            "error_time": one.time.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z",
            "description": one.description,
            "detail": one.detail,
            "status_code": one.status_code,
            "task_type": one.task_type.value,
            "additional_info": one.info,
        }
        for one in errors
    ]
