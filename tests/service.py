"""The whole service for tests: `luna up` with real servers, on free ports and in a folder of its own."""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import requests

from tests.packs import default_pack, models_folder
from tests.ports import free_ports

START_SECONDS = 90
STOP_SECONDS = 40


@dataclass
class Account:
    """An account of the service, and how to act as it."""

    account_id: str
    login: str
    password: str

    @property
    def auth(self) -> tuple[str, str]:
        """Credentials for `requests`."""
        return self.login, self.password

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Credentials for gRPC."""
        basic = base64.b64encode(f"{self.login}:{self.password}".encode()).decode()
        return (("authorization", f"Basic {basic}"),)


@dataclass
class Service:
    """A running service. Its processes may be killed by name, and the supervisor then starts them again."""

    data: Path
    rest_port: int
    grpc_port: int
    server_ports: list[int]
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def rest(self) -> str:
        """Address of REST without a path."""
        return f"http://127.0.0.1:{self.rest_port}"

    @property
    def target(self) -> str:
        """Address of gRPC: Envoy's."""
        return f"127.0.0.1:{self.grpc_port}"

    def behind(self, server: int = 0) -> str:
        """Address of one server's own port."""
        return f"127.0.0.1:{self.server_ports[server]}"

    @property
    def admin(self) -> Account:
        """The first administrator."""
        login, _, password = (self.data / "administrator").read_text().strip().partition(":")
        return Account("", login, password)

    def start(self) -> None:
        """Run `luna up` and wait until it is healthy."""
        with (self.data / "up.log").open("ab") as log:
            argv = [str(Path(sys.executable).parent / "luna"), "up"]
            self.process = subprocess.Popen(argv, env={**self.environment}, stdout=log, stderr=subprocess.STDOUT)
        self.wait()

    def wait(self, seconds: float = START_SECONDS) -> None:
        """Wait until the service is healthy."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process is not None and self.process.poll() is not None:
                break
            try:
                if all(requests.get(url, timeout=5).status_code == 200 for url in self._healths()):
                    return
            except requests.ConnectionError:
                pass
            time.sleep(0.1)
        raise AssertionError("the service did not come up:\n" + (self.data / "up.log").read_text())

    def _healths(self) -> list[str]:
        """What answers 200 once everything runs."""
        lambdas = f"http://127.0.0.1:{self.environment['LUNA_LAMBDAS__PORT']}/health"
        return [
            f"{self.rest}/6/healthcheck",
            *([lambdas] if self.environment["LUNA_LAMBDAS__ENABLED"] == "true" else []),
        ]

    def stop(self) -> None:
        """Ctrl-C."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(STOP_SECONDS)
            self.process = None

    def account(self, account_type: str = "user") -> Account:
        """A new account."""
        login, password = f"test-{uuid.uuid4()}@example.com", uuid.uuid4().hex
        body = {"login": login, "password": password, "account_type": account_type, "description": "test"}
        answer = requests.post(f"{self.rest}/6/accounts", json=body, timeout=30)
        assert answer.status_code == 201, answer.text
        return Account(answer.json()["account_id"], login, password)

    @contextmanager
    def channel(self, server: int | None = None) -> Iterator[grpc.Channel]:
        """A channel to the service, or to one of its servers past Envoy."""
        options = [("grpc.max_receive_message_length", 32 << 20), ("grpc.max_send_message_length", 32 << 20)]
        target = self.target if server is None else self.behind(server)
        with grpc.insecure_channel(target, options=options) as channel:
            yield channel

    def pids(self, name: str) -> list[int]:
        """Processes of the service whose command line tells that they are of a program."""
        pattern = {
            "server": r"luna\x00serve",
            "engine": r"luna\x00engine",
            "worker": r"luna\x00worker",
            "lambdas": r"luna\x00lambdas",
            "envoy": r"envoy.*envoy\.yaml",
        }[name]
        return [pid for pid in self._descendants() if re.search(pattern, _command_line(pid))]

    def _descendants(self) -> list[int]:
        assert self.process is not None
        parents = {int(p.name): _parent(p) for p in Path("/proc").iterdir() if p.name.isdigit()}
        found, known = [], {self.process.pid}
        for _ in range(4):
            for pid, parent in parents.items():
                if parent in known and pid not in known:
                    known.add(pid)
                    found.append(pid)
        return found


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@contextmanager
def running(servers: int = 1, *, lambdas: bool = False, **settings: str) -> Iterator[Service]:
    """A service with a fresh data folder, stopped at the end. Settings are those of LUNA_..., without the prefix.

    Only with `lambdas` it runs them: most tests have none, and need not wait for one more process.
    """
    default_pack()
    with tempfile.TemporaryDirectory(prefix="luna-test-", ignore_cleanup_errors=True) as folder:
        rest_port, grpc_port, *ports, lambda_port = free_ports(3 + 2 * servers)
        server_ports, socket_ports = ports[:servers], ports[servers:]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LUNA_")}
        environment |= {
            "LUNA_DATA": folder,
            "LUNA_MODELS": str(models_folder()),
            "LUNA_REST__PORT": str(rest_port),
            "LUNA_GRPC__PORT": str(grpc_port),
            "LUNA_GRPC__SERVERS": str(servers),
            "LUNA_WEBSOCKET__PORT": str(socket_ports[0]),
            "LUNA_LAMBDAS__ENABLED": "true" if lambdas else "false",
            "LUNA_LAMBDAS__PORT": str(lambda_port),
            # all tests together are one address, which may not fail more than ten times this often in a minute
            "LUNA_ACCESS__LOGIN_FAILURES": "10000",
            **{f"LUNA_{name}": value for name, value in settings.items()},
        }
        service = Service(Path(folder), rest_port, grpc_port, server_ports, environment)
        try:
            service.start()
            yield service
        finally:
            service.stop()
