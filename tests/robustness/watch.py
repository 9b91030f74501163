"""Looks at a service that is under load: is it healthy all the time, and what does REST answer meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
import requests
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.service import Account, Service

PAUSE_SECONDS = 0.1


@dataclass
class Watch:
    """What was seen: states of health, statuses of REST's healthcheck, answers of REST's detector; and how long."""

    serving: list[int] = field(default_factory=list)
    healthy: list[int] = field(default_factory=list)
    detector: list[tuple[int, str | None]] = field(default_factory=list)
    health_seconds: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@contextmanager
def watching(service: Service, account: Account, image: bytes) -> Iterator[Watch]:
    """Ask again and again for the length of the block; each kind of question in a thread of its own."""
    watch = Watch()
    over = threading.Event()

    with service.channel() as channel, requests.Session() as health, requests.Session() as detector:
        stub = health_pb2_grpc.HealthStub(channel)

        def serving() -> None:
            began = time.perf_counter()
            watch.serving.append(stub.Check(health_pb2.HealthCheckRequest(), timeout=30).status)
            watch.health_seconds.append(time.perf_counter() - began)

        def healthy() -> None:
            watch.healthy.append(health.get(f"{service.rest}/6/healthcheck", timeout=30).status_code)

        def detect() -> None:
            answer = detector.post(
                f"{service.rest}/6/detector",
                data=image,
                headers={"content-type": "image/jpeg"},
                auth=account.auth,
                timeout=60,
            )
            watch.detector.append((answer.status_code, answer.headers.get("retry-after")))

        def repeat(step: Callable[[], None]) -> None:
            while not over.is_set():
                try:
                    step()
                except (grpc.RpcError, requests.RequestException) as error:
                    watch.problems.append(repr(error))
                over.wait(PAUSE_SECONDS)

        threads = [threading.Thread(target=repeat, args=(step,)) for step in (serving, healthy, detect)]
        for thread in threads:
            thread.start()
        try:
            yield watch
        finally:
            over.set()
            for thread in threads:
                thread.join()
