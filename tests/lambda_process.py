"""A lambda's code as its runners run it: a process of `python -m luna_lambda` with that environment and no other."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 20.0


@dataclass
class Running:
    """A process that answers calls on a Unix socket."""

    process: subprocess.Popen[bytes]
    client: httpx.Client
    log_file: Path
    lambda_id: str
    account_id: str

    @property
    def log(self) -> str:
        """What it wrote."""
        return self.log_file.read_text()

    def stop(self) -> int:
        """Tell it to stop; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@contextmanager
def base_folder() -> Iterator[Path]:
    """What lambdas import beside their own code, under the names that they know it by."""
    with tempfile.TemporaryDirectory(prefix="luna-lambda-base-") as folder:
        base = Path(folder)
        (base / "luna_lambda").symlink_to(ROOT / "server" / "lambda_sdk")
        (base / "luna").symlink_to(ROOT / "protos" / "luna")
        yield base


@contextmanager
def lambda_process(code: Path | Mapping[str, str], *, wait: bool = True, **variables: str) -> Iterator[Running]:
    """Run a folder, or files by their names. Variables are those of LUNA_LAMBDA_..., without the prefix."""
    with tempfile.TemporaryDirectory(prefix="luna-lambda-") as name, base_folder() as base:
        folder = Path(name)
        if isinstance(code, Mapping):
            for file, text in code.items():
                (folder / file).write_text(text)
            code = folder
        with socket.socket(socket.AF_UNIX) as listener, (folder / "log").open("wb") as log:
            listener.bind(str(folder / "socket"))
            listener.listen(16)
            lambda_id, account_id = str(uuid.uuid4()), variables.pop("ACCOUNT", str(uuid.uuid4()))
            environment = {
                "PATH": os.environ["PATH"],
                "LANG": "C.UTF-8",
                "HOME": name,
                "TMPDIR": name,
                "PYTHONUNBUFFERED": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONPATH": str(base),
                "LUNA_LAMBDA_FD": str(listener.fileno()),
                "LUNA_LAMBDA_CODE": str(code),
                "LUNA_LAMBDA_TYPE": "standalone",
                "LUNA_LAMBDA_ID": lambda_id,
                "LUNA_LAMBDA_VERSION": "3",
                "LUNA_LAMBDA_ACCOUNT": account_id,
                "LUNA_LAMBDA_REQUEST_BYTES": str(1 << 20),
                **{f"LUNA_LAMBDA_{key}": value for key, value in variables.items()},
            }
            process = subprocess.Popen(
                [sys.executable, "-m", "luna_lambda"],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[listener.fileno()],
                cwd=name,
            )
        with httpx.Client(
            transport=httpx.HTTPTransport(uds=str(folder / "socket")), base_url="http://lambda"
        ) as client:
            running = Running(process, client, folder / "log", lambda_id, account_id)
            try:
                if wait:
                    until_ready(running)
                yield running
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait(10)


def until_ready(running: Running, seconds: float = START_SECONDS) -> None:
    """Wait until its health says that calls may come."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and running.process.poll() is None:
        try:
            if running.client.get("/.luna/health", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.02)
    raise AssertionError("the lambda did not come up:\n" + running.log)


def described(code: Path) -> subprocess.CompletedProcess[str]:
    """What `python -m luna_lambda describe` says of a folder."""
    with base_folder() as base:
        return subprocess.run(
            [sys.executable, "-m", "luna_lambda", "describe", str(code)],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(base), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )


def error_of(answer: httpx.Response) -> tuple[int, str]:
    """LUNA's code of an error, and its detail."""
    body = json.loads(answer.content)
    return body["error_code"], body["detail"]
