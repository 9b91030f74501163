"""Lives of workers over the same population and tasks each time: one is killed at a moment, and another one goes on."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from threading import Thread
from typing import ClassVar, Final

import asyncpg
from pydantic import SecretStr

from server.domain.tasks import TaskStatus
from storage.task_queue import PART
from tests.engines import LUNA, SECRET, EngineProcess
from tests.packs import models_folder
from tests.robustness import crash_world
from tests.robustness.crash_effects import Remains, remains
from tests.robustness.crash_world import Case
from tests.robustness.forked_workers import Forking, alive, kill
from tests.servers import TEMPLATE, PostgresServer

AT_ONCE: Final = 12
"""Steps that a worker does at once: one of each task."""
LIFE_SECONDS: Final = 120
"""How long a life may take: some seconds on a machine that has nothing else to do."""

_TAKEN_OVER: Final = re.compile(r"task_id=(\d+)\S* .*of a lost worker is taken over")
STATE: Final = """
    SELECT task.task_id, task.status, max(job.task_name) AS step, count(job.id) AS steps
    FROM tasks AS task LEFT JOIN procrastinate_jobs AS job
        ON job.status = 'doing' AND (job.args ->> 'task_id')::bigint = task.task_id
    GROUP BY task.task_id
"""


@dataclass(frozen=True, slots=True)
class Moment:
    """When a worker is killed: a share of the time that a step of a task takes, after it was begun.

    `step` is the name of the step's job, and `share` is in [0, 1).
    """

    case: str
    step: str
    share: float


@dataclass(frozen=True, slots=True)
class State:
    """Where a task is: `step` is the name of the jobs that are being done, `steps` of them; None between two steps."""

    status: TaskStatus
    step: str | None
    steps: int


@dataclass(frozen=True, slots=True)
class Life:
    """What came of a life.

    Attributes:
        remains: what is there behind it.
        seconds: how long it took from the first worker's start to the end of the last task.
        hit: where the tasks were, by the name of their case, that had not ended when the first worker was killed.
        taken_over: steps of each task that were taken over from a worker that was lost, or too busy to say it lives.
        took: seconds that a step took, by case and step; of parts the mean.
    """

    remains: Remains
    seconds: float
    hit: Mapping[str, State] = field(default_factory=dict)
    taken_over: Mapping[str, int] = field(default_factory=dict)
    took: Mapping[tuple[str, str], float] = field(default_factory=dict)


@dataclass
class Stage:
    """Where one life takes place."""

    connection: asyncpg.Connection[asyncpg.Record]
    cases: list[Case]
    environment: Mapping[str, str]
    folder: Path
    worker: int = 0

    @property
    def log(self) -> Path:
        """Where workers write."""
        return self.folder / "workers.log"

    async def state(self) -> dict[str, State]:
        """Where the tasks are, by the name of their case."""
        rows = {row["task_id"]: row for row in await self.connection.fetch(STATE)}
        found = {case.name: rows[case.task_id] for case in self.cases}
        return {name: State(TaskStatus(row["status"]), row["step"], row["steps"]) for name, row in found.items()}

    def taken_over(self) -> Counter[str]:
        """How many steps of each task were taken over."""
        names = {case.task_id: case.name for case in self.cases}
        taken_over = map(int, _TAKEN_OVER.findall(self.log.read_text()))
        return Counter(names[one] for one in taken_over if one in names)

    def check(self, end: float) -> None:
        """See to it that the worker lives, and has time until `end`."""
        assert alive(self.worker), f"the worker has died: {self.log.read_text()}"
        assert time.monotonic() < end, f"it takes too long: {self.log.read_text()}"

    async def until(self, moment: Moment, seconds: float) -> None:
        """Wait for a moment in a step that takes so long, or for the end of its task."""
        end = time.monotonic() + LIFE_SECONDS
        while True:
            now = (await self.state())[moment.case]
            if now.step == moment.step or now.status.ended:
                break
            self.check(end)
            await asyncio.sleep(0.001)
        await asyncio.sleep(moment.share * seconds)

    async def finish(self) -> dict[tuple[str, str], float]:
        """Wait until all tasks have ended and are tidied up behind. How long their steps took: see `Life.took`."""
        end = time.monotonic() + LIFE_SECONDS
        seen: dict[tuple[str, str], float] = defaultdict(float)
        before = time.monotonic()
        while True:
            state, now = await self.state(), time.monotonic()
            for name, one in state.items():
                if one.step is not None:
                    seen[name, one.step] += now - before
            before = now
            if all(one.status.ended for one in state.values()):
                break
            self.check(end)
            await asyncio.sleep(0.002)
        parts = dict(await self.connection.fetch("SELECT task_id, greatest(parts_all, 1) FROM tasks"))
        of_case = {case.name: parts[case.task_id] for case in self.cases}
        took = {(name, step): all_ / (of_case[name] if step == PART else 1) for (name, step), all_ in seen.items()}
        await self.connection.execute("UPDATE procrastinate_jobs SET scheduled_at = now()")
        while await self.connection.fetchval("SELECT count(*) FROM procrastinate_jobs"):
            self.check(end)
            await asyncio.sleep(0.02)
        return took


@dataclass
class Lives:
    """Begins lives.

    Args:
        postgres: has the template.
        forking: starts workers.
        environment: of every worker.
        folder: where their files are.
        template: a database with the population and the tasks.
        cases: those tasks.
    """

    postgres: PostgresServer
    forking: Forking
    environment: Mapping[str, str]
    folder: Path
    template: str
    cases: list[Case]
    numbers: Iterator[int] = field(default_factory=count)

    async def undisturbed(self) -> Life:
        """A life whose worker is not killed: `luna worker`, as the supervisor starts it."""
        async with self._stage() as stage:
            began = time.monotonic()
            with stage.log.open("wb") as log:
                process = await asyncio.to_thread(
                    subprocess.Popen, [LUNA, "worker"], env=dict(stage.environment), stdout=log, stderr=log
                )
            stage.worker = process.pid
            try:
                took = await stage.finish()
                seconds = time.monotonic() - began
                process.terminate()
                assert await asyncio.to_thread(process.wait, 20) == 0, stage.log.read_text()
            finally:
                process.kill()
            return Life(await self._remains(stage), seconds, took=took)

    async def disturbed(self, moment: Moment, seconds: float) -> Life:
        """A life whose worker is killed at a moment in a step that takes so long."""
        async with self._stage() as stage:
            began = time.monotonic()
            stage.worker = self.forking.start(stage.environment, stage.log)
            try:
                await stage.until(moment, seconds)
                await asyncio.to_thread(kill, stage.worker)
                hit = {name: one for name, one in (await stage.state()).items() if not one.status.ended}
                stage.worker = self.forking.start(stage.environment, stage.log)
                took = await stage.finish()
                seconds = time.monotonic() - began
            finally:
                await asyncio.to_thread(kill, stage.worker)
            return Life(await self._remains(stage), seconds, hit, stage.taken_over(), took)

    async def _remains(self, stage: Stage) -> Remains:
        url = SecretStr(stage.environment["LUNA_DATABASE__URL"])
        found = await remains(url, stage.folder / "data", stage.folder / "temporary", self.cases)
        return replace(found, elsewhere=frozenset(Elsewhere.gone))

    @asynccontextmanager
    async def _stage(self) -> AsyncIterator[Stage]:
        """A copy of everything."""
        folder = self.folder / f"life-{next(self.numbers)}"
        data, temporary = folder / "data", folder / "temporary"
        await asyncio.to_thread(shutil.copytree, self.folder / "template", data, copy_function=os.link)
        await asyncio.to_thread(temporary.mkdir)
        url = await self.postgres.create(self.template)
        environment = {
            **self.environment,
            "LUNA_DATA": str(data),
            "LUNA_DATABASE__URL": url.get_secret_value(),
            "TMPDIR": str(temporary),
        }
        Elsewhere.gone.clear()
        connection = await asyncpg.connect(url.get_secret_value())
        try:
            yield Stage(connection, self.cases, environment, folder)
        finally:
            await connection.close()
            await self.postgres.drop(url)
        await asyncio.to_thread(shutil.rmtree, folder)


class Elsewhere(BaseHTTPRequestHandler):
    """Has images that events came from, each until it is asked to delete it."""

    gone: ClassVar[set[str]] = set()

    def do_DELETE(self) -> None:
        self.send_response(404 if self.path in self.gone else 204)
        self.gone.add(self.path)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


@asynccontextmanager
async def lives_of(postgres: PostgresServer, redis_url: SecretStr, folder: Path) -> AsyncIterator[Lives]:
    """Lives in a folder, with an engine that all of their workers share."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as elsewhere:
        Thread(target=elsewhere.serve_forever, daemon=True).start()
        engine, forking, images = EngineProcess(), Forking(), folder / "images"
        engine.start()
        try:
            await asyncio.to_thread(images.mkdir)
            template = await postgres.create(TEMPLATE)
            at = f"http://127.0.0.1:{elsewhere.server_port}"
            cases = await crash_world.make(template, folder / "template", images, at)
            environment = {name: value for name, value in os.environ.items() if not name.startswith("LUNA_")} | {
                "LUNA_MODELS": str(models_folder()),
                "LUNA_REDIS__URL": redis_url.get_secret_value(),
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
            await asyncio.to_thread(forking.close)
            await asyncio.to_thread(engine.end)
            elsewhere.shutdown()
