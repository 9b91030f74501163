"""Results of tasks that are long lists: {"result": [...], "errors": [...]}, written to a file piece by piece."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterable, Sequence
from pathlib import Path

import orjson

from server.domain.tasks import JSON_RESULT, TaskFailure, TaskResult
from server.tasks.results import failure_form


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
            end = b'],"errors":' + orjson.dumps([failure_form(one) for one in errors]) + b"}"
            await asyncio.to_thread(file.write, (before if before != b"," else b"") + end)
    except BaseException:
        await asyncio.to_thread(path.unlink)
        raise
    return TaskResult(b"", JSON_RESULT, file=path)


def items(values: Sequence[object]) -> bytes:
    """Items of a list as a piece for `json_file`."""
    return orjson.dumps(values)[1:-1]
