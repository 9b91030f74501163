"""Engine processes for tests: `luna engine`, on free ports, and what its metrics say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from engines.vision.raw_descriptors import aggregate
from server.inference.remote import RemoteEngine
from server.settings import Engine
from tests.packs import default_pack, models_folder
from tests.ports import free_ports

SECRET = "a secret of tests"
LUNA = str(Path(sys.executable).with_name("luna"))


@dataclass
class EngineProcess:
    """An engine process. Settings are those of LUNA_..., without the prefix."""

    settings: Mapping[str, str] = field(default_factory=dict)
    ports: list[int] = field(default_factory=lambda: free_ports(2))
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where it serves."""
        return f"127.0.0.1:{self.ports[0]}"

    def start(self, **more: str) -> None:
        """Run it; a client's start waits for it."""
        default_pack()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LUNA_")}
        settings = {
            "MODELS": str(models_folder()),
            "ENGINE__PORT": str(self.ports[0]),
            "ENGINE__SECRET": SECRET,
            "ENGINE__LANDMARKS68": "true",
            "METRICS__PORT": str(self.ports[1]),
            **self.settings,
            **more,
        }
        environment |= {f"LUNA_{name}": value for name, value in settings.items()}
        self.process = subprocess.Popen([LUNA, "engine"], env=environment)

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Send it a signal and wait. Its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(30)

    def metrics(self) -> dict[tuple[str, ...], float]:
        """Its metrics by name and labels."""
        return metrics(self.ports[1])


def metrics(port: int) -> dict[tuple[str, ...], float]:
    """The metrics of a process by their names and the values of their labels, in the order of the labels' names."""
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@asynccontextmanager
async def client(
    *engines: EngineProcess, secret: str = SECRET, start: bool = True, **more: object
) -> AsyncIterator[RemoteEngine]:
    """A server's side of engine processes, with further settings of the group."""
    address = ",".join(one.address for one in engines)
    settings = Engine.model_validate({"address": address, "secret": secret, **more})
    remote = RemoteEngine(settings, max_message_bytes=33 << 20, aggregate=aggregate)
    try:
        if start:
            await remote.start()
        yield remote
    finally:
        await remote.close()


@asynccontextmanager
async def engine(**settings: str) -> AsyncIterator[EngineProcess]:
    """An engine process of a test's own, ended behind it."""
    one = EngineProcess(settings)
    one.start()
    try:
        async with client(one):
            yield one
    finally:
        one.end()
