"""Processes of the service are killed under load: what was acknowledged stays, and the service comes back by itself.

README.md beside this file records what each fault does.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.robustness.faults import kill, pids, stopped, until
from tests.robustness.load import Load
from tests.service import Service, running

BACK_SECONDS = 20
"""How long the whole service may be away. On an idle machine it is one to three seconds."""


@pytest.fixture(scope="module")
def hardened() -> Iterator[Service]:
    """A service of this module's own, because its processes are killed."""
    with running() as one:
        yield one


@pytest.fixture(scope="module")
def load(hardened: Service) -> Load:
    """The load, and what it was promised, through all faults of this module."""
    return Load(hardened)


def recovers(service: Service, load: Load, programs: tuple[str, ...]) -> None:
    """Kill programs under load, wait until all works again, go on for a while, and verify."""
    with load.running() as promised:
        until(lambda: len(promised.deleted) > 3, 30)
        before = len(promised.faces) + len(promised.deleted)
        began = time.monotonic()
        killed = [pid for program in programs for pid in kill(service, program)]
        until(lambda: all(pids(service, one) and not set(pids(service, one)) & set(killed) for one in programs), 20)
        until(load.works, BACK_SECONDS)
        away = time.monotonic() - began
        until(lambda: len(promised.faces) + len(promised.deleted) > before + 20, 30)
    load.verify()
    print(f"{' and '.join(programs)}: back after {away:.1f} s, {promised.failures} calls failed")


@pytest.mark.parametrize("program", ["server", "postgres", "redis", "envoy", "worker"])
def test_a_killed_program_loses_nothing_and_comes_back(hardened: Service, load: Load, program: str) -> None:
    recovers(hardened, load, (program,))


@pytest.mark.parametrize("programs", [("postgres", "server"), ("redis", "postgres", "server", "worker", "envoy")])
def test_programs_that_are_killed_together_lose_nothing_and_come_back(
    hardened: Service, load: Load, programs: tuple[str, ...]
) -> None:
    recovers(hardened, load, programs)


def test_a_server_that_is_killed_again_and_again_comes_back_each_time(hardened: Service, load: Load) -> None:
    with load.running():
        for _ in range(2):
            (server,) = kill(hardened, "server")
            until(lambda server=server: pids(hardened, "server") not in ([], [server]), 20)  # type: ignore[misc]
        until(load.works, BACK_SECONDS)
    load.verify()


@pytest.mark.parametrize("program", ["postgres", "redis"])
def test_a_program_that_hangs_for_a_while_loses_nothing(hardened: Service, load: Load, program: str) -> None:
    with load.running() as promised:
        until(lambda: len(promised.deleted) > 3, 30)
        with stopped(hardened, program):
            time.sleep(2)
        until(load.works, BACK_SECONDS)
    load.verify()


def test_a_postgres_backend_that_is_killed_restarts_the_database_and_loses_nothing(
    hardened: Service, load: Load
) -> None:
    with load.running() as promised:
        until(lambda: len(promised.deleted) > 3, 30)
        (postmaster,) = pids(hardened, "postgres")
        backends = [pid for pid in _children(postmaster) if "luna-server" in _title(pid) or "luna luna" in _title(pid)]
        assert backends
        os.kill(backends[0], signal.SIGKILL)
        time.sleep(0.5)
        until(load.works, BACK_SECONDS)
        assert pids(hardened, "postgres") == [postmaster]
    load.verify()


def test_nothing_of_all_the_faults_was_a_lie(load: Load) -> None:
    assert load.promises.searches > 100
    load.verify()


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:  # noqa: PTH123 - a file of the kernel
        return [int(one) for one in file.read().split()]


def _title(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return ""
