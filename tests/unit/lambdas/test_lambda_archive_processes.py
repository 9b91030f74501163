"""The processes that look at archives of lambdas: what comes back, how many there are, and what they cannot do."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from server.errors import Busy
from server.lambda_archives import process as module
from server.lambda_archives.process import NOT_READ, ArchiveProcesses
from server.lambda_archives.reading import ArchiveRules
from tests.zip_archives import MAIN, zipped

RULES = ArchiveRules(bytes=16 << 20, unpacked_bytes=256 << 20, files=2000, ratio=200)
GOOD = zipped({"lambda_main.py": MAIN})
SLOW = zipped({"lambda_main.py": b"x\n" * (250 << 10)})
"""A valid file of Python that takes seconds to parse."""


def processes(**options: object) -> ArchiveProcesses:
    return ArchiveProcesses(RULES, **{"at_once": 2, "waiting": 4, **options})


def children() -> set[int]:
    """Processes that look at archives; one that has ended and waits to be reaped is none."""
    found = set()
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "server.lambda_archives" in one.cmdline():
                found.add(one.pid)
    return found


async def test_what_is_wrong_comes_back_and_nothing_where_nothing_is() -> None:
    checks = processes()
    assert await checks.problems(GOOD) == []
    assert await checks.problems(zipped({"../x": b""})) == ["'../x': its name leads out of the archive"]
    assert await checks.problems(b"") == ["the archive is no ZIP archive, or a broken one: BadZipFile"]
    assert len(await checks.problems(zipped({"../\udcff\N{SNOWMAN}".encode(errors="replace").decode(): b""}))) == 1


async def test_an_archive_that_is_too_large_costs_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MODULE", "no.such.module")
    assert "may have" in (await processes().problems(bytes((16 << 20) + 1)))[0]


async def test_a_process_that_ends_by_itself_is_a_problem_of_the_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MODULE", "no.such.module")
    assert await processes().problems(GOOD) == [NOT_READ]


async def test_more_archives_than_may_wait_are_refused_and_the_others_are_looked_at() -> None:
    checks = processes(at_once=1, waiting=2)
    found = await asyncio.gather(*(checks.problems(GOOD) for _ in range(6)), return_exceptions=True)
    assert found[:3] == [[], [], []]
    assert all(isinstance(one, Busy) for one in found[3:])
    assert await checks.problems(GOOD) == []


async def test_no_more_processes_run_than_may() -> None:
    checks = processes(at_once=2, waiting=10)
    looking = asyncio.gather(*(checks.problems(GOOD) for _ in range(8)))
    most = 0
    while not looking.done():
        most = max(most, len(children()))
        await asyncio.sleep(0.005)
    assert await looking == [[]] * 8
    assert 1 <= most <= 2


async def test_a_look_that_takes_too_long_is_ended() -> None:
    checks = processes(seconds=0.3)
    began = time.monotonic()
    assert await checks.problems(SLOW) == [NOT_READ]
    assert time.monotonic() - began < 3
    assert children() == set()


async def test_a_caller_that_goes_away_takes_the_process_with_it() -> None:
    checks = processes()
    looking = asyncio.create_task(checks.problems(SLOW))
    for _ in range(200):
        await asyncio.sleep(0.01)
        if children():
            break
    assert children()
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    assert children() == set()
    assert await checks.problems(GOOD) == []


async def test_the_event_loop_goes_on_while_an_archive_is_looked_at() -> None:
    files = {f"noise{number}": os.urandom(1 << 20) for number in range(12)}
    looking = asyncio.create_task(processes().problems(zipped({"lambda_main.py": MAIN} | files, zipfile.ZIP_STORED)))
    longest, last = 0.0, time.monotonic()
    while not looking.done():
        await asyncio.sleep(0.005)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
    assert await looking == []
    assert longest < 0.5


@pytest.mark.parametrize(
    "source",
    [
        b"x = " + b"(" * 100_000,
        b"x = " + b"-" * 400_000 + b"1",
        b"x = " + b"+".join([b"1"] * 200_000),
        b"x = " + b"[" * 90 + b"]" * 90 + b"\n" + b"x.y" * 100_000,
        b"x = '" + b"\\N{SNOWMAN}" * 40_000 + b"'",
        b"if x:\n" + b"".join(b" " * depth + b"if x:\n" for depth in range(1, 99)),
        b"f'{" * 500,
        b"# coding: idna\n",
        b"# coding: utf-16\nx",
        b"lambda: " * 50_000 + b"1",
    ],
)
async def test_no_source_stops_or_stalls_the_service(source: bytes) -> None:
    """Whatever becomes of the process, an answer comes back and says that the archive is not valid."""
    found = await processes().problems(zipped({"lambda_main.py": source}))
    assert len(found) == 1
    assert "lambda_main.py" in found[0] or found == [NOT_READ]


async def test_a_directory_of_very_many_entries_is_refused() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(100_000):
            archive.writestr(f"{number:x}", b"")
    assert len(out.getvalue()) < RULES.bytes
    found = await processes().problems(out.getvalue())
    assert found == ["the archive has 100000 files and folders, and may have 2000"]


LIMITED = r"""
import io, json, signal, sys
from server.lambda_archives import __main__ as module
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
rules = dict(bytes=1024, unpacked_bytes=1, files=1, ratio=1, requirements=[])
sys.stdin = io.TextIOWrapper(io.BytesIO(json.dumps(rules).encode() + b"\n"))
module.main()
print()
try:
    bytearray(2 << 30)
except MemoryError:
    print("memory")
try:
    open(sys.argv[1], "wb", 0).write(b"x")
except OSError:
    print("file")
"""


def test_a_process_that_looks_can_write_no_file_and_take_no_more_memory(tmp_path: Path) -> None:
    """The limits that it sets for itself stop what comes after them."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "file")],
        capture_output=True,
        check=True,
        text=True,
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.stdout.splitlines()[1:] == ["memory", "file"]


async def test_a_process_knows_nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    package = tmp_path / "looks.py"
    package.write_text(f"import os, json\nopen({str(seen)!r}, 'w').write(json.dumps(dict(os.environ)))\nprint('[]')\n")
    monkeypatch.setattr(module, "MODULE", "looks")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("LUNA_DATABASE__URL", "postgresql://secret")
    assert await processes().problems(GOOD) == []
    assert "secret" not in seen.read_text()
