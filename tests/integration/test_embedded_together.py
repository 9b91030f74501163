"""Both embedded servers under one supervisor in a process of its own, which is killed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from server.settings import Settings
from server.supervisor import backing
from tests.folders import server_folder

SCRIPT = """
import asyncio, sys
from pathlib import Path
from server.settings import Settings
from server.supervisor import Supervisor, backing

async def main():
    settings = Settings(data=Path(sys.argv[1]))
    supervisor = Supervisor(settings.data, backing(settings).programs)
    running = asyncio.create_task(supervisor.run())
    await asyncio.wait((running, asyncio.create_task(supervisor.up.wait())), return_when=asyncio.FIRST_COMPLETED)
    print("up", flush=True)
    await running

asyncio.run(main())
"""


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with server_folder() as folder:
        yield folder


class Process:
    """A supervisor that has brought both servers up."""

    def __init__(self, data: Path) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(data)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert self.popen.stdout is not None
        assert self.popen.stdout.readline() == "up\n"

    def close(self) -> None:
        self.popen.terminate()
        self.popen.wait()
        if self.popen.stdout is not None:
            self.popen.stdout.close()


def servers(data: Path) -> list[int]:
    """The processes whose arguments or titles name the folder's servers."""
    mark = backing(Settings(data=data)).programs[0].argv[-1].removeprefix("cluster_name=")
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                argv = (entry / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if mark.encode() in argv:
                found.append(int(entry.name))
    return found


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Process]]:
    processes = [Process(tmp_path)]
    yield processes
    for process in processes:
        process.close()


def test_no_server_outlives_a_killed_supervisor(tmp_path, started):
    assert len(servers(tmp_path)) > 5
    started[0].popen.kill()
    deadline = time.monotonic() + 10
    while (left := servers(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert left == []


async def test_after_a_kill_of_the_supervisor_the_next_one_starts_at_once_with_all_that_was_written(tmp_path, started):
    back = backing(Settings(data=tmp_path))
    database = await asyncpg.connect(back.database_url)
    await database.execute("CREATE TABLE kept AS SELECT 7 AS seven")
    redis = Redis.from_url(back.redis_url)
    await redis.set("seven", 7)
    started[0].popen.kill()
    started.append(await asyncio.to_thread(Process, tmp_path))
    database.terminate()
    await redis.aclose()
    again = await asyncpg.connect(back.database_url)
    assert await again.fetchval("SELECT seven FROM kept") == 7
    await again.close()
    redis = Redis.from_url(back.redis_url)
    assert await redis.get("seven") == b"7"
    await redis.aclose()


def test_external_servers_are_used_as_they_are_named(tmp_path):
    settings = Settings.model_validate(
        {"data": tmp_path, "database": {"url": "postgresql://u:p@h/n"}, "redis": {"url": "redis://:p@h:1/2"}}
    )
    back = backing(settings)
    assert back.programs == ()
    assert back.environment == {"LUNA_DATABASE__URL": "postgresql://u:p@h/n", "LUNA_REDIS__URL": "redis://:p@h:1/2"}


def test_an_address_of_an_embedded_server_is_a_valid_setting(tmp_path, monkeypatch):
    back = backing(Settings(data=tmp_path))
    assert back.names == ("postgres", "redis")
    for name, value in back.environment.items():
        monkeypatch.setenv(name, value)
    assert backing(Settings(data=tmp_path)).programs == ()
