"""The processes of a running service, and what may happen to them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from storage.embedded.sockets import mark
from tests.service import Service


def pids(service: Service, program: str) -> list[int]:
    """Processes of one program: server, worker, envoy, postgres (its postmaster only) or redis."""
    if program == "postgres":
        return [pid for pid, line in _marked(service) if "/postgres\0" in line]
    if program == "redis":
        return [pid for pid, line in _marked(service) if line.startswith(f"{mark(service.data)}-redis")]
    return service.pids(program)


def engine_processes(service: Service) -> list[int]:
    """The processes in which the servers' engines work on images."""
    found = []
    for child in [child for server in service.pids("server") for child in psutil.Process(server).children()]:
        # one that has just ended has no command line
        with suppress(psutil.Error):
            if "engines.crew" in child.cmdline():
                found.append(child.pid)
    return sorted(found)


def everything(service: Service) -> set[int]:
    """Every process that belongs to the service, children of PostgreSQL too."""
    programs = {pid for name in ("server", "worker", "envoy") for pid in service.pids(name)}
    return programs | {pid for pid, _ in _marked(service)}


def kill(service: Service, program: str) -> list[int]:
    """Kill -9. The processes that were ended."""
    found = pids(service, program)
    assert found, f"{program} does not run"
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return found


@contextmanager
def stopped(service: Service, program: str) -> Iterator[None]:
    """A program that does not answer, though its connections stay: every process of it is held, then let go."""
    found = pids(service, program)
    if program == "postgres":
        found = [pid for pid, line in _marked(service) if "-redis" not in line]
    assert found, f"{program} does not run"
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def until(true: Callable[[], bool], seconds: float) -> float:
    """Wait until something is true. The seconds that it took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, f"not true after {seconds} s"
        time.sleep(0.05)
    return time.monotonic() - began


def alive(pid: int) -> bool:
    """True where a process runs; one that has ended and waits for its parent does not."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _marked(service: Service) -> list[tuple[int, str]]:
    """Processes of the embedded servers: their titles carry a mark of the data folder."""
    name = mark(service.data)
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                line = (process / "cmdline").read_bytes().decode(errors="replace")
                if name in line:
                    found.append((int(process.name), line))
    return found
