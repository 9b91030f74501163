"""Real workers for tests of tasks, in processes of their own, with the kind of `tests.task_kinds`."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydantic import SecretStr

from server import settings
from server.domain.access import Scope
from server.domain.tasks import NewTask, Task, TaskStatus, TaskType
from storage.blobs import BlobStore
from storage.database import Database
from storage.task_files import BlobTaskFiles
from storage.tasks import PostgresTaskStore

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Workers:
    """Worker processes of one test."""

    environment: dict[str, str]
    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, **options: str) -> subprocess.Popen[bytes]:
        environment = self.environment | {f"LUNA_TASKS__{name}": value for name, value in options.items()}
        with (self.folder / f"worker-{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.task_kinds"], env=environment, cwd=ROOT, stdout=log, stderr=log
            )
        self.processes.append(process)
        return process

    async def up(self, count: int = 1, **options: str) -> list[subprocess.Popen[bytes]]:
        """Workers that are ready for tasks."""
        started = [self.start(**options) for _ in range(count)]
        end = time.monotonic() + 60
        while self.logs().count("INFO server.commands.worker: working") < len(self.processes):
            assert time.monotonic() < end, self.logs()
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)  # until it listens
        return started

    def logs(self) -> str:
        return "\n".join(one.read_text() for one in sorted(self.folder.glob("worker-*.log")))

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def workers(database_url: SecretStr, tmp_path: Path) -> Iterator[Workers]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LUNA_")}
    environment |= {
        "LUNA_DATA": str(tmp_path / "data"),
        "LUNA_DATABASE__URL": database_url.get_secret_value(),
        "LUNA_TASKS__HEARTBEAT_SECONDS": "0.5",
        "LUNA_TASKS__STALLED_SECONDS": "3",
        "LUNA_TASKS__RETRY_SECONDS": "0.1",
        "LUNA_TASKS__DRAIN_SECONDS": "0.5",
    }
    started = Workers(environment, tmp_path)
    yield started
    started.stop()


@dataclass
class Tasks:
    """Tasks of one account, and what is in their journals."""

    store: PostgresTaskStore
    blobs: BlobStore
    folder: Path
    account_id: uuid.UUID = field(default_factory=uuid.uuid4)

    @property
    def scope(self) -> Scope:
        return Scope(self.account_id)

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    async def create(self, parts: int, **content: object) -> int:
        new = NewTask(self.account_id, TaskType.LINKER, {"parts": parts, "journal": str(self.journal), **content})
        return await self.store.create(new)

    async def files(self, task_id: int) -> None:
        """What the parts of a task of two would have left."""
        for number in range(2):
            await BlobTaskFiles(self.blobs, task_id).write(f"found-{number}.json", str(number).encode())

    async def get(self, task_id: int) -> Task:
        task = await self.store.get(self.scope, task_id)
        assert task is not None
        return task

    async def until(self, task_id: int, *wanted: TaskStatus, seconds: float = 30) -> Task:
        end = time.monotonic() + seconds
        while (task := await self.get(task_id)).status not in wanted:
            assert time.monotonic() < end, f"still {task}"
            await asyncio.sleep(0.05)
        return task


@pytest.fixture
def tasks(database: Database, tmp_path: Path) -> Tasks:
    blobs = BlobStore(settings.Blobs(), tmp_path / "data")
    return Tasks(PostgresTaskStore(database, blobs), blobs, tmp_path)
