"""Workers that are killed in the middle of tasks of every kind: each task ends as if none had died.

A life is a copy of one database with a task of every kind in it. A worker works on all of them side by side, is killed
at a moment that is drawn, and another one goes on. What is there at the end is what a worker leaves that nobody kills.

CI kills a few; LUNA_TEST_CRASHES=20 as many as that.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import asyncpg
import pytest
from pydantic import SecretStr

from server.domain.tasks import TaskType
from tests.engines import SECRET, EngineProcess
from tests.packs import models_folder
from tests.robustness import crash_world, forked_workers
from tests.robustness.crash_effects import Remains, differences, remains
from tests.robustness.crash_world import Case
from tests.servers import TEMPLATE, PostgresServer, postgres, redis_url

__all__ = ["postgres", "redis_url"]

MOMENTS = int(os.environ.get("LUNA_TEST_CRASHES", "3"))
SEED = 20260301
AT_ONCE = 12
LIFE_SECONDS = 60
STEPS = ("luna.plan", "luna.part", "luna.part", "luna.collect")

STATE = """
    SELECT task.task_id, task.status, task.parts_done, (
        SELECT max(job.task_name) FROM procrastinate_jobs AS job
        WHERE job.status = 'doing' AND (job.args ->> 'task_id')::bigint = task.task_id
    ) AS step FROM tasks AS task
"""


class Elsewhere(BaseHTTPRequestHandler):
    """Has images, each until it is asked to delete it."""

    gone: set[str] = set()

    def do_DELETE(self) -> None:  # noqa: N802 - the name is the library's
        self.send_response(404 if self.path in self.gone else 204)
        self.gone.add(self.path)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Moment:
    """When a worker is killed: `after` of the seconds that it takes without a kill, once a step of a task is begun."""

    number: int
    case: str
    step: str
    after: float


@dataclass
class Life:
    """What came of one life: which tasks were under way when its worker was killed, and in which step."""

    moment: Moment | None
    running: dict[str, str | None] = field(default_factory=dict)
    remains: Remains | None = None
    seconds: float = 0
    seen: dict[tuple[str, str], list[float]] = field(default_factory=dict)


@dataclass
class Lives:
    """Begins lives with the same population and the same tasks."""

    postgres: PostgresServer
    forking: forked_workers.Forking
    environment: dict[str, str]
    folder: Path
    template: str
    cases: list[Case]

    async def live(self, moment: Moment | None) -> Life:
        """A life, whose worker is killed at a moment."""
        life, name = Life(moment), "undisturbed" if moment is None else str(moment.number)
        url = await self.postgres.create(self.template)
        folder = self.folder / name
        data, temporary = folder / "data", folder / "temporary"
        temporary.mkdir(parents=True)
        await asyncio.to_thread(shutil.copytree, self.folder / "template", data, copy_function=os.link)
        environment = self.environment | {
            "LUNA_DATA": str(data),
            "LUNA_DATABASE__URL": url.get_secret_value(),
            "TMPDIR": str(temporary),
        }
        connection = await asyncpg.connect(url.get_secret_value())
        began = time.monotonic()
        worker = self.forking.start(environment, folder / "worker-1.log")
        try:
            if moment is not None:
                await self._until(connection, life, moment)
                await asyncio.to_thread(forked_workers.kill, worker)
                life.running = {
                    name: step for name, (status, step) in (await self._state(connection)).items() if status in (0, 1, 4)
                }
                worker = self.forking.start(environment, folder / "worker-2.log")
            await self._end(connection, life, began)
        finally:
            await asyncio.to_thread(forked_workers.kill, worker)
            await connection.close()
        life.seconds = time.monotonic() - began
        life.remains = await remains(url, data, temporary, self.cases)
        await self.postgres.drop(url)
        return life

    async def _until(self, connection: asyncpg.Connection, life: Life, moment: Moment) -> None:
        end = time.monotonic() + LIFE_SECONDS
        while True:
            status, step = (await self._state(connection))[moment.case]
            if step == moment.step or status in (2, 3, 5):
                break
            assert time.monotonic() < end
            await asyncio.sleep(0.002)
        await asyncio.sleep(moment.after)

    async def _state(self, connection: asyncpg.Connection) -> dict[str, tuple[int, str | None]]:
        rows = {row["task_id"]: row for row in await connection.fetch(STATE)}
        return {case.name: (rows[case.task_id]["status"], rows[case.task_id]["step"]) for case in self.cases}

    async def _end(self, connection: asyncpg.Connection, life: Life, began: float) -> None:
        end = time.monotonic() + LIFE_SECONDS
        while True:
            state = await self._state(connection)
            for name, (_, step) in state.items():
                if step is not None:
                    life.seen.setdefault((name, step), []).append(time.monotonic() - began)
            if all(status in (2, 3, 5) for status, _ in state.values()):
                break
            assert time.monotonic() < end, state
            await asyncio.sleep(0.005)
        await connection.execute("UPDATE procrastinate_jobs SET scheduled_at = now()")
        while await connection.fetchval("SELECT count(*) FROM procrastinate_jobs"):
            assert time.monotonic() < end
            await asyncio.sleep(0.02)


@asynccontextmanager
async def _lives(postgres: PostgresServer, redis_url: SecretStr, folder: Path) -> AsyncIterator[Lives]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LUNA_")}
    engine = EngineProcess()
    engine.start()
    forking = forked_workers.Forking()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    Thread(target=server.serve_forever, daemon=True).start()
    images = folder / "images"
    images.mkdir()
    try:
        template = await postgres.create(TEMPLATE)
        cases = await crash_world.make(template, folder / "template", images, f"http://127.0.0.1:{server.server_port}")
        environment |= {
            "LUNA_REDIS__URL": redis_url.get_secret_value(),
            "LUNA_MODELS": str(models_folder()),
            "LUNA_ENGINE__ADDRESS": engine.address,
            "LUNA_ENGINE__SECRET": SECRET,
            "LUNA_FETCH__ALLOW_PRIVATE": "true",
            "LUNA_TASKS__FOLDERS": str(images),
            "LUNA_TASKS__WORKERS": str(AT_ONCE),
            "LUNA_TASKS__PART_SIZE": str(crash_world.PART_SIZE),
            "LUNA_TASKS__IMAGES_PER_PART": str(crash_world.IMAGES_PER_PART),
            "LUNA_TASKS__HEARTBEAT_SECONDS": "0.2",
            "LUNA_TASKS__STALLED_SECONDS": "1",
        }
        name = template.get_secret_value().split("?")[0].rsplit("/", 1)[1]
        yield Lives(postgres, forking, environment, folder, name, cases)
    finally:
        forking.close()
        server.shutdown()
        server.server_close()
        engine.end()
