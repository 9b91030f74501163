"""Processes of the engine are killed while they work on images: each fails its image, and nothing else happens."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator

import cv2
import pytest
import requests
import skimage.data

from tests.robustness.faults import engine_processes, until
from tests.service import Account, Service, running

KILLED = 6


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """A service of this module's own, because its processes are killed."""
    with running() as one:
        yield one


def test_a_killed_process_fails_one_image_and_its_server_goes_on(service: Service) -> None:
    image = cv2.imencode(".jpg", skimage.data.astronaut()[:, :, ::-1])[1].tobytes()
    account: Account = service.account()
    before = service.pids("server")
    count = len(engine_processes(service))
    assert count == len(os.sched_getaffinity(0))
    answers: Counter[tuple[int, str]] = Counter()
    over = threading.Event()

    def ask() -> None:
        with requests.Session() as session:
            session.auth = account.auth
            while not over.is_set():
                answer = session.post(
                    f"{service.rest}/6/detector", data=image, headers={"Content-Type": "image/jpeg"}, timeout=30
                )
                answers[answer.status_code, "" if answer.status_code == 201 else answer.json()["detail"]] += 1

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(KILLED):
            time.sleep(0.7)
            until(lambda: len(engine_processes(service)) == count, 10)
            os.kill(random.choice(engine_processes(service)), signal.SIGKILL)
        until(lambda: len(engine_processes(service)) == count, 10)
    finally:
        over.set()
        for thread in threads:
            thread.join(30)
    print(dict(answers))
    failed = {answer: number for answer, number in answers.items() if answer[0] != 201}
    assert sum(failed.values()) <= KILLED
    # one that is killed before it was ready fails the call that waited for it
    ends = "was ended by SIGKILL", "has ended and cannot be started again"
    assert all(status == 500 and detail.endswith(ends) for status, detail in failed)
    assert answers[201, ""] > KILLED
    assert service.pids("server") == before
    assert requests.get(f"{service.rest}/6/healthcheck", timeout=5).status_code == 200
