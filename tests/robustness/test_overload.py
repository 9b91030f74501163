"""Ten times as many images as the service can take: it refuses what is too much, and stays what it was."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import pytest
import requests
import skimage.data
from grpc_health.v1 import health_pb2

from tests.robustness.flood import Order, flood
from tests.robustness.watch import watching
from tests.service import Account, Service, running

TIMES = 10
CAPACITY_SECONDS, FLOOD_SECONDS = 1.5, 4.0
QUEUE = 16
"""Images that may wait: so few that a slow machine is flooded within the test as well."""


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """A service of this module's own, with a short queue."""
    with running(ENGINE__MAX_QUEUE=str(QUEUE)) as one:
        yield one


@pytest.fixture(scope="module")
def image() -> bytes:
    return cv2.imencode(".jpg", skimage.data.astronaut()[:, :, ::-1])[1].tobytes()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", ["gRPC", "REST", "past Envoy"])
def test_what_is_too_much_is_refused_with_the_time_to_wait_and_all_else_is_served(
    service: Service, account: Account, image: bytes, way: str
) -> None:
    rest = way == "REST"
    target = {"gRPC": service.target, "REST": f"127.0.0.1:{service.rest_port}", "past Envoy": service.behind()}[way]

    def order(seconds: float, **load: float) -> Order:
        return Order(target, account.metadata[0][1], image, seconds, rest=rest, **load)  # type: ignore[arg-type]

    before = service.pids("server")
    flood(order(0.5, callers=4))
    capacity = flood(order(CAPACITY_SECONDS, callers=8))
    assert (capacity.refused, capacity.others) == (0, {})

    with watching(service, account, image) as watch:
        report = flood(order(FLOOD_SECONDS, rate=max(60, TIMES * capacity.goodput)))

    assert report.others == {}
    assert report.results > 0
    assert report.refused > report.results
    assert report.with_retry_info == report.refused
    assert report.results + report.refused == report.sent
    # it can be told meanwhile that the service is alive
    assert watch.problems == []
    assert set(watch.serving) == {health_pb2.HealthCheckResponse.SERVING}
    assert set(watch.healthy) == {200}
    # REST says the same in its way
    assert {status for status, _ in watch.detector} <= {201, 429}
    assert all(retry is not None and int(retry) >= 1 for status, retry in watch.detector if status == 429)

    assert service.pids("server") == before
    after = flood(order(0.5, callers=4))
    assert (after.refused, after.others) == (0, {})
    answer = requests.post(
        f"{service.rest}/6/detector",
        data=image,
        headers={"content-type": "image/jpeg"},
        auth=account.auth,
        timeout=30,
    )
    assert len(answer.json()["images"][0]["detections"]["samples"]) == 1
