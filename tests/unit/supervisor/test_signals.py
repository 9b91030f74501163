"""A supervisor in a process of its own, and what signals do to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SCRIPT = """
import asyncio, sys
from pathlib import Path
from server.supervisor import Program, Supervisor

def say(event):
    print(event.what.value, event.program, event.pid or "", flush=True)

loop = "while :; do sleep 0.05; done"
programs = [
    Program("base", ("/bin/sh", "-c", loop)),
    Program("top", ("/bin/sh", "-c", sys.argv[2] + loop), depends_on=("base",), stop_seconds=60),
]
asyncio.run(Supervisor(Path(sys.argv[1]), programs, listener=say).run())
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a supervisor of two programs, `top` on `base`, and waits until both are ready."""
    processes: list[subprocess.Popen[str]] = []

    def run(prelude: str = "") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path), prelude],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[str], what: str) -> dict[str, int]:
    """Read events until one begins with `what`; the processes that were started, by name."""
    pids: dict[str, int] = {}
    assert process.stdout is not None
    for line in process.stdout:
        happening, name, *pid = line.split()
        if happening == "started":
            pids[name] = int(pid[0])
        if line.startswith(what):
            return pids
    pytest.fail(f"the supervisor ended before {what!r}")


def ended(pid: int, seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_all_programs_in_reverse_order(start, number):
    process = start()
    pids = read_until(process, "ready top")
    process.send_signal(number)
    rest, _ = process.communicate(timeout=20)
    assert [line.split()[:2] for line in rest.splitlines()] == [
        ["stopping", "top"],
        ["stopped", "top"],
        ["stopping", "base"],
        ["stopped", "base"],
    ]
    assert process.returncode == 0
    assert all(ended(pid) for pid in pids.values())


def test_a_second_signal_kills(start):
    process = start("trap '' TERM; ")
    read_until(process, "ready top")
    process.send_signal(signal.SIGINT)
    read_until(process, "stopping top")
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert time.monotonic() - begun < 5
    assert process.returncode == 0


def test_no_program_outlives_a_killed_supervisor(start):
    process = start("trap '' TERM INT HUP; ")
    pids = read_until(process, "ready top")
    process.kill()
    assert all(ended(pid) for pid in pids.values())


def test_a_folder_of_a_killed_supervisor_can_be_used_again(start):
    process = start()
    read_until(process, "ready top")
    process.kill()
    process.wait()
    again = start()
    read_until(again, "ready top")
