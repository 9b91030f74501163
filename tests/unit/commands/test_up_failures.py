"""What `luna up` says where it cannot even begin, and what it leaves behind."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from pydantic import SecretStr
from rich.console import Console

from server.commands import administrator, up
from server.commands.schema import NoSchema, bring_up_at
from server.settings import Rest, Settings
from tests.ports import free_ports

LUNA = str(Path(sys.executable).with_name("luna"))


def luna_up(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LUNA, "up"], env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_data_folder_that_cannot_be_made_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = luna_up({"LUNA_DATA": str(tmp_path / "file" / "data")})
    assert ended.returncode == 1
    told = ended.stdout + ended.stderr
    assert f"{tmp_path}/file/data: Not a directory. LUNA_DATA names the data folder" in told
    assert "Traceback" not in told


def test_a_disk_that_is_full_leaves_no_administrator_without_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    settings = Settings(data=tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            administrator.ensure(settings)
    assert list(tmp_path.iterdir()) == []
    login, password = administrator.ensure(settings)
    assert login
    assert password
    assert administrator.ensure(settings) == (login, password)
    assert (tmp_path / administrator.FILE).stat().st_mode & 0o777 == 0o600


async def test_a_database_that_cannot_be_reached_is_told_with_the_reason_and_without_its_password() -> None:
    (port,) = free_ports(1)
    with pytest.raises(NoSchema) as caught:
        await bring_up_at(SecretStr(f"postgresql://luna:hunter2@127.0.0.1:{port}/luna"))
    assert "PostgreSQL cannot be reached" in str(caught.value)
    assert str(port) in str(caught.value)
    assert "hunter2" not in str(caught.value)


class Recovers(BaseHTTPRequestHandler):
    """The health of a service whose Redis comes up late."""

    answers: Iterator[tuple[int, bytes]] = iter(())

    def do_GET(self) -> None:
        status, body = next(self.answers)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


def test_what_keeps_a_service_from_being_healthy_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "PATIENCE_SECONDS", 0)
    down = (502, b'{"error_code": 11, "detail": "Redis cannot be reached"}')
    Recovers.answers = iter([down, down, (503, b"no JSON"), (200, b"{}")])
    with HTTPServer(("127.0.0.1", 0), Recovers) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        told = io.StringIO()
        settings = Settings(rest=Rest(port=server.server_address[1]))
        asyncio.run(up._until_healthy(settings, Console(file=told, width=200)))
        server.shutdown()
    assert told.getvalue().splitlines() == [
        "not healthy yet: Redis cannot be reached",
        "not healthy yet: REST answers 503",
    ]
