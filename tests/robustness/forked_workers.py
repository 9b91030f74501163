"""Worker processes that start at once: a process that has imported the worker is forked for each of them.

`luna worker` takes seconds to import what it consists of. What runs in the fork is what that command runs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Forking:
    """The process that is forked. Workers are its children, and known by their ids."""

    process: subprocess.Popen[bytes] = field(
        default_factory=lambda: subprocess.Popen(
            [sys.executable, "-m", "tests.robustness.forked_workers"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
    )

    def start(self, environment: Mapping[str, str], log: Path) -> int:
        """Start a worker. Its process id."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"environment": dict(environment), "log": str(log)}).encode() + b"\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        """End it; workers that are left are not its business."""
        self.process.communicate(timeout=20)


def kill(pid: int) -> None:
    """Kill a worker, and wait until all of its threads are gone: the first one may end before those that have files."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end
        time.sleep(0.001)


def alive(pid: int) -> bool:
    """Whether a process is there that has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


def _serve() -> None:
    from server.commands import worker
    from server.settings import load

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for workers that were killed
    for line in sys.stdin.buffer:
        wanted = json.loads(line)
        if pid := os.fork():
            sys.stdout.write(f"{pid}\n")
            sys.stdout.flush()
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(wanted["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.clear()
        os.environ.update(wanted["environment"])
        worker.run(load())
        os._exit(0)


if __name__ == "__main__":
    _serve()
