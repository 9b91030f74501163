"""The program that follows events prints those that it should."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import requests

from tests.service import Account, Service

PROGRAM = Path(__file__).resolve().parent.parent.parent / "docs" / "how-to" / "follow_events.py"
PORTRAIT = {"detections": [], "tags": ["known"], "source": "door"}


def test_the_program_prints_the_events_with_its_tag_and_goes_on_from_a_cursor(
    service: Service, account: Account, tmp_path: Path
) -> None:
    program = tmp_path / "follow_events.py"
    program.write_text(PROGRAM.read_text().replace("127.0.0.1:50051", service.target))
    base = f"{service.rest}/6/handlers"
    made = requests.post(base, json={"handler_type": 1}, auth=account.auth, timeout=60)
    handler = made.json()["handler_id"]

    def save(tags: list[str]) -> str:
        body = {**PORTRAIT, "tags": tags}
        answer = requests.post(f"{base}/{handler}/events/raw", json=body, auth=account.auth, timeout=60)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["event_id"])

    first = save(["known"])
    save(["stranger"])
    second = save(["known"])
    lines = follow(program, account, "0", 2)
    assert [line.split()[1] for line in lines] == [first, second]
    third = save(["known"])
    (line,) = follow(program, account, lines[-1].split()[0], 1)
    assert line.split()[1:3] == [third, "door"]


def follow(program: Path, account: Account, cursor: str, count: int) -> list[str]:
    """The first lines that the program prints."""
    argv = [sys.executable, str(program), account.login, account.password, cursor]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        end = time.monotonic() + 60
        lines = []
        while len(lines) < count and time.monotonic() < end:
            lines.append(running.stdout.readline().strip())
        running.kill()
    return lines
