"""A kind of tasks for tests of the queue, and a worker that does it.

Its content says what happens: `parts` parts of `seconds` each, which write into the file `journal` when they begin and
end; `trouble` are lists of what goes wrong in a part, by its number and one for each time that it is begun; what goes
wrong one after another is joined by +.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from server.commands import worker
from server.domain.tasks import (
    HTML_RESULT,
    JSON_RESULT,
    Collected,
    Kind,
    Subtask,
    TaskContext,
    TaskFailure,
    TaskResult,
    TaskType,
)
from server.errors import BadBody, ClusteringSelectionEmpty
from server.settings import load
from server.task_application import Parts


class Journaling:
    """The kind."""

    task_type = TaskType.LINKER

    async def split(self, context: TaskContext) -> Sequence[Mapping[str, object]]:
        content = context.task.content
        self._note(content, "split")
        if content.get("empty"):
            raise ClusteringSelectionEmpty
        return [{"number": number} for number in range(int(str(content["parts"])))]

    async def work(self, context: TaskContext, part: Subtask) -> None:
        content = context.task.content
        self._note(content, f"process {os.getpid()} has {part.number}")
        self._note(content, f"begin {part.number}")
        times = sum(line == f"begin {part.number}" for line in lines(Path(str(content["journal"]))))
        troubles = content.get("trouble", {})
        assert isinstance(troubles, dict)
        trouble = troubles.get(str(part.number), [])
        if times <= len(trouble):
            for one in trouble[times - 1].split("+"):
                await self._trouble(context, one)
        await asyncio.to_thread(self._compute, context, float(str(content.get("seconds", 0))))
        await context.files.write(f"found-{part.number}.json", json.dumps(part.number).encode())
        self._note(content, f"end {part.number}")

    async def collect(self, context: TaskContext, parts: Sequence[Subtask], errors: Sequence[TaskFailure]) -> Collected:
        found = [json.loads(await context.files.read(f"found-{part.number}.json")) for part in parts]
        self._note(context.task.content, "collect")
        data = json.dumps({"result": found, "errors": [error.detail for error in errors]}).encode()
        return Collected(TaskResult(data, JSON_RESULT), TaskResult(b"<html>", HTML_RESULT))

    def _compute(self, context: TaskContext, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            context.check()
            time.sleep(0.02)

    async def _trouble(self, context: TaskContext, trouble: str) -> None:
        match trouble:
            case "report":
                await context.report(BadBody(field="one", message="is bad"), info="a file")
            case "luna":
                raise ClusteringSelectionEmpty
            case "unforeseen":
                raise ZeroDivisionError("secret")
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "wait":
                await asyncio.sleep(600)

    def _note(self, content: Mapping[str, object], line: str) -> None:
        with Path(str(content["journal"])).open("a") as journal:
            journal.write(line + "\n")


def lines(journal: Path) -> list[str]:
    """What is in a journal."""
    return journal.read_text().splitlines() if journal.exists() else []


def kinds(parts: Parts) -> Sequence[Kind]:
    return [Journaling()]


if __name__ == "__main__":
    worker.run(load(), kinds)
