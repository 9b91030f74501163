"""`luna up` from start to end: one at a time, an orderly stop, and everything there again the next time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from luna.v6 import images_pb2, samples_pb2, samples_pb2_grpc

from tests.ports import free_ports
from tests.robustness.client import client, person
from tests.robustness.faults import alive, everything, pids, until
from tests.service import Account, Service, running

LUNA = str(Path(sys.executable).with_name("luna"))


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """A service of this module's own, because it is stopped and started."""
    with running() as one:
        yield one


def second(service: Service) -> subprocess.CompletedProcess[str]:
    """`luna up` on a folder that is in use."""
    return subprocess.run([LUNA, "up"], env=dict(service.environment), capture_output=True, text=True, timeout=60)


def enrol(service: Service, account: Account, seed: int) -> tuple[str, str]:
    with client(service, account) as one:
        return one.enrol(person(seed)), one.remember(person(seed))


def found(service: Service, account: Account, seed: int, face_id: str, attribute_id: str) -> bool:
    with client(service, account) as one:
        return one.search(person(seed), limit=1) == [face_id] and one.remembered(attribute_id) == person(seed)


def test_a_second_up_on_the_folder_is_refused_and_the_first_goes_on(service: Service) -> None:
    until(lambda: all(programs(service).values()), 20)
    before = programs(service)
    ended = second(service)
    told = ended.stdout + ended.stderr
    assert ended.returncode == 1
    assert "Luna is already running in" in told
    assert str(service.data) in told.replace("\n", "")
    assert service.process is not None
    assert f"(process {service.process.pid})" in told.replace("\n", " ")
    assert "Traceback" not in told
    service.wait(5)
    assert programs(service) == before


def test_ctrl_c_ends_every_process_in_order_with_status_0_and_the_next_up_finds_everything(service: Service) -> None:
    account = service.account()
    ids = enrol(service, account, 1)
    processes = everything(service)
    assert len(processes) > 5
    assert service.process is not None
    service.process.send_signal(signal.SIGINT)
    assert service.process.wait(30) == 0
    assert [pid for pid in processes if alive(pid)] == []
    told = (service.data / "up.log").read_text()
    assert told.rstrip().endswith("stopped")
    assert "Traceback" not in told
    # PostgreSQL was shut down, not left to its recovery
    assert "database system is shut down" in (service.data / "logs" / "postgres.log").read_text()
    service.start()
    assert found(service, account, 1, *ids)


def test_ctrl_c_lets_a_call_end_that_is_under_way(service: Service) -> None:
    account = service.account()
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    large = cv2.imencode(".jpg", cv2.resize(noise, (4000, 4000), interpolation=cv2.INTER_LINEAR))[1].tobytes()
    request = samples_pb2.DetectFacesRequest(images=[images_pb2.ImageInput(data=large)])
    with service.channel() as channel:
        call = samples_pb2_grpc.SamplesStub(channel).DetectFaces.future(request, metadata=account.metadata, timeout=60)
        time.sleep(0.4)
        assert not call.done()
        assert service.process is not None
        service.process.send_signal(signal.SIGINT)
        assert len(call.result().images) == 1
    assert service.process.wait(30) == 0
    service.start()


def test_ctrl_c_to_the_whole_group_as_a_terminal_sends_it_is_orderly_too(service: Service) -> None:
    processes = everything(service)
    assert service.process is not None
    for pid in [service.process.pid, *service.pids("server"), *service.pids("worker")]:
        # the supervisor may have been quicker
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
    assert service.process.wait(30) == 0
    assert [pid for pid in processes if alive(pid)] == []
    service.start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_stop_that_was_asked_for_during_the_start_is_orderly(service: Service, number: signal.Signals) -> None:
    service.stop()
    with (service.data / "up.log").open("ab") as log:
        process = subprocess.Popen([LUNA, "up"], env=dict(service.environment), stdout=log, stderr=log)
    until(lambda: "postgres is ready" in (service.data / "up.log").read_text().rpartition("stopped")[2], 30)
    process.send_signal(number)
    assert process.wait(30) == 0
    service.start()


def test_a_killed_supervisor_takes_everything_with_it_and_the_next_up_finds_everything(service: Service) -> None:
    account = service.account()
    ids = enrol(service, account, 2)
    processes = everything(service)
    assert service.process is not None
    service.process.kill()
    service.process.wait(10)
    until(lambda: not any(alive(pid) for pid in processes - _backends(processes)), 15)
    began = time.monotonic()
    service.start()
    assert time.monotonic() - began < 30
    assert found(service, account, 2, *ids)
    assert second(service).returncode == 1


@pytest.mark.parametrize("setting", ["GRPC__PORT", "REST__PORT"])
def test_a_port_in_use_is_told_with_its_setting(service: Service, tmp_path: Path, setting: str) -> None:
    other = free_ports(2)
    environment = {
        **service.environment,
        "LUNA_DATA": str(tmp_path / "other"),
        "LUNA_REST__PORT": str(service.rest_port if setting == "REST__PORT" else other[0]),
        "LUNA_GRPC__PORT": str(service.grpc_port if setting == "GRPC__PORT" else other[1]),
    }
    ended = subprocess.run([LUNA, "up"], env=environment, capture_output=True, text=True, timeout=90, check=False)
    told = ended.stdout + ended.stderr
    assert ended.returncode == 1
    assert "could not be started" in told
    assert f"LUNA_{setting}" in told
    assert "Traceback" not in told
    service.wait(5)


def programs(service: Service) -> dict[str, list[int]]:
    return {name: pids(service, name) for name in ("server", "worker", "envoy", "postgres", "redis")}


def _backends(processes: set[int]) -> set[int]:
    """Processes of PostgreSQL other than its postmaster: they end when they next look for it."""
    found = set()
    for pid in processes:
        try:
            line = Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            continue
        if line.startswith("postgres: "):
            found.add(pid)
    return found
