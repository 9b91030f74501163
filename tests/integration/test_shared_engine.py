"""One engine process for two servers, under `luna up`: what they answer, what is counted, and what a crash does."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import grpc
import pytest
import requests
import skimage.data
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from luna.v6 import images_pb2, platform_pb2, platform_pb2_grpc, samples_pb2, samples_pb2_grpc

from tests.engines import metrics
from tests.ports import free_ports
from tests.robustness.faults import kill, pids, until
from tests.service import Account, Service, running

PORTRAIT = cv2.imencode(".jpg", skimage.data.astronaut()[..., ::-1])[1].tobytes()
METHOD = "luna.v6.Samples.DetectFaces"


@dataclass
class Shared:
    """A service with two servers that share an engine, and the ports of its metrics."""

    service: Service
    metrics: list[int]

    @property
    def engine(self) -> dict[tuple[str, ...], float]:
        """The metrics of the engine."""
        return metrics(self.metrics[2])


@pytest.fixture(scope="module")
def shared() -> Iterator[Shared]:
    port, *ports = free_ports(4)
    settings = {"ENGINE__SHARED": "true", "ENGINE__PORT": str(port), "METRICS__PORT": str(ports[0])}
    with running(servers=2, **settings) as one:
        yield Shared(one, ports)


@pytest.fixture(scope="module")
def someone(shared: Shared) -> Account:
    return shared.service.account()


@contextmanager
def samples(shared: Shared, server: int) -> Iterator[samples_pb2_grpc.SamplesStub]:
    with shared.service.channel(server) as channel:
        yield samples_pb2_grpc.SamplesStub(channel)


def detect(stub: samples_pb2_grpc.SamplesStub, account: Account, data: bytes = PORTRAIT) -> int:
    """How many faces there are."""
    request = samples_pb2.DetectFacesRequest(images=[images_pb2.ImageInput(data=data)])
    answer = stub.DetectFaces(request, metadata=account.metadata, timeout=30)
    return len(answer.images[0].detections.samples)


def test_both_servers_use_the_one_engine_and_have_no_model_of_their_own(shared: Shared, someone: Account) -> None:
    assert len(pids(shared.service, "server")) == 2
    assert len(pids(shared.service, "engine")) == 1
    for server in (0, 1):
        before = shared.engine.get(("luna_engine_turns_total", "detect", "ok"), 0)
        with samples(shared, server) as stub:
            assert [detect(stub, someone) for _ in range(3)] == [1] * 3
        assert shared.engine["luna_engine_turns_total", "detect", "ok"] == before + 3
        own = metrics(shared.metrics[server])
        assert not [name for name, *_ in own if name.startswith("luna_engine_network")]
        assert own["luna_engine_remote_seconds_count", "detect", "ok"] >= 3
        assert own["luna_rpc_seconds_count", "OK", METHOD] >= 3


def test_queue_host_and_compute_time_are_the_whole_of_a_call(shared: Shared, someone: Account) -> None:
    def times() -> tuple[float, float, float, float, float]:
        engine, server = shared.engine, metrics(shared.metrics[0])
        parts = [engine[f"luna_engine_{part}_seconds_sum", "detect"] for part in ("queue", "host", "compute")]
        return (
            *parts,
            server["luna_engine_remote_seconds_sum", "detect", "ok"],
            server["luna_rpc_seconds_sum", "OK", METHOD],
        )  # type: ignore[return-value]

    with samples(shared, 0) as stub:
        detect(stub, someone)
        before = times()
        for _ in range(20):
            detect(stub, someone)
    queue, host, compute, remote, rpc = (after - first for after, first in zip(times(), before, strict=True))
    assert 0 < queue < host
    assert compute > 0
    whole = queue + host + compute
    # what is left is the way there and back, a few milliseconds of each call
    assert whole < remote < rpc
    assert remote - whole < 0.5 * remote


def test_errors_of_the_engine_are_those_of_the_api(shared: Shared, someone: Account) -> None:
    answer = requests.post(
        f"{shared.service.rest}/6/images",
        data=b"nothing",
        headers={"Content-Type": "image/jpeg"},
        auth=someone.auth,
        timeout=30,
    )
    assert (answer.status_code, answer.json()["error_code"]) == (400, 18002)
    features = requests.get(f"{shared.service.rest}/6/features", auth=someone.auth, timeout=30)
    assert features.status_code == 200


def test_a_killed_engine_is_unavailable_and_comes_back_and_the_servers_stay(shared: Shared, someone: Account) -> None:
    servers = pids(shared.service, "server")
    (engine,) = kill(shared.service, "engine")
    with samples(shared, 0) as stub, shared.service.channel(1) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            for _ in range(100):
                detect(stub, someone)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        info = error_details_pb2.ErrorInfo()
        status = rpc_status.from_call(caught.value)
        assert status is not None
        assert any(one.Unpack(info) for one in status.details)
        assert (info.reason, info.metadata["error_code"]) == ("UNAVAILABLE", "11")
        with pytest.raises(grpc.RpcError, match="inference engine"):
            platform_pb2_grpc.PlatformStub(channel).CheckHealth(platform_pb2.CheckHealthRequest(), timeout=10)
        # what needs no engine is served all the same
        assert requests.get(f"{shared.service.rest}/6/faces", auth=someone.auth, timeout=10).status_code == 200
        began = time.monotonic()
        until(lambda: works(stub, someone), 30)
        print(f"back after {time.monotonic() - began:.1f} s")
    assert pids(shared.service, "server") == servers
    assert pids(shared.service, "engine") not in ([], [engine])
    shared.service.wait(30)


def test_an_engine_that_hangs_is_ended_by_the_deadline_of_the_call(shared: Shared, someone: Account) -> None:
    with samples(shared, 1) as stub:
        until(lambda: works(stub, someone), 30)
    (engine,) = pids(shared.service, "engine")
    os.kill(engine, signal.SIGSTOP)
    try:
        with samples(shared, 1) as stub, pytest.raises(grpc.RpcError) as caught:
            request = samples_pb2.DetectFacesRequest(images=[images_pb2.ImageInput(data=PORTRAIT)])
            stub.DetectFaces(request, metadata=someone.metadata, timeout=1)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    finally:
        os.kill(engine, signal.SIGCONT)
    with samples(shared, 1) as stub:
        until(lambda: works(stub, someone), 30)


def works(stub: samples_pb2_grpc.SamplesStub, account: Account) -> bool:
    try:
        return detect(stub, account) == 1
    except grpc.RpcError:
        return False
