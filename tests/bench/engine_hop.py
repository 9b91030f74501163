"""What it costs to ask an engine in another process, and how quickly a saturated one refuses.

    python tests/bench/engine_hop.py [--calls 60] [--seconds 10]

The same picture (640x480, JPEG) is detected in this process and through `luna engine` in turns, so that whatever else
the machine does falls on both. Then two engine threads are kept busy by more clients than the queue holds, and refusals
are timed as a server sees them.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from statistics import median, quantiles

import cv2
import skimage.data
import uvloop
from rich.console import Console
from rich.table import Table

from engines.engine import DefaultEngine
from server.domain.engine import Engine as Port
from server.errors import Busy
from server.inference.remote import RemoteEngine
from server.settings import Engine
from tests.engines import client, engine
from tests.packs import default_pack

CLIENTS, WORKERS, QUEUE = 14, 2, 8


async def timed(call: Callable[[], Awaitable[object]]) -> float:
    """Milliseconds of one call."""
    began = time.perf_counter()
    await call()
    return (time.perf_counter() - began) * 1000


async def compare(ports: Sequence[Port], call: Callable[[Port], Awaitable[object]], calls: int) -> list[list[float]]:
    """Milliseconds of calls, in turns."""
    taken: list[list[float]] = [[] for _ in ports]
    for number in range(calls + 3):
        for port, own in zip(ports, taken, strict=True):
            spent = await timed(lambda port=port: call(port))  # type: ignore[misc]
            if number >= 3:
                own.append(spent)
    return taken


async def refusals(remote: RemoteEngine, image: bytes, seconds: float) -> tuple[list[float], int]:
    """Milliseconds of refused calls of a saturated engine, and how many were served."""
    refused: list[float] = []
    served = 0
    end = time.perf_counter() + seconds

    async def ask() -> None:
        nonlocal served
        while time.perf_counter() < end:
            began = time.perf_counter()
            try:
                await remote.detect(image)
                served += 1
            except Busy:
                refused.append((time.perf_counter() - began) * 1000)
                await asyncio.sleep(0.02)

    await asyncio.gather(*(ask() for _ in range(CLIENTS)))
    return refused, served


async def run(calls: int, seconds: float) -> None:
    """Measure and print."""
    picture = cv2.resize(skimage.data.astronaut()[..., ::-1], (640, 480))
    image = cv2.imencode(".jpg", picture)[1].tobytes()
    table = Table("call", "own process, ms", "other process, ms", "difference of medians, ms")
    settings = {"ENGINE__WORKERS": str(WORKERS), "ENGINE__MAX_QUEUE": str(QUEUE)}
    async with engine(**settings) as process, client(process) as remote:
        local = DefaultEngine([default_pack()], Engine(workers=WORKERS, landmarks68=True))
        await local.start()
        warp = (await local.detect(image)).faces[0].warp
        named: dict[str, Callable[[Port], Awaitable[object]]] = {
            f"detect, {len(image) // 1024} KiB": lambda port: port.detect(image),
            "describe, 1 sample": lambda port: port.describe([warp]),
            "to_jpeg, nothing to do": lambda port: port.to_jpeg(image),
        }
        for name, call in named.items():
            own, other = await compare((local, remote), call, calls)
            table.add_row(name, f"{median(own):.2f}", f"{median(other):.2f}", f"{median(other) - median(own):.2f}")
        await local.close()
        refused, served = await refusals(remote, image, seconds)
    Console().print(table)
    if len(refused) > 1:
        last = quantiles(refused, n=100)[98]
        print(f"saturated: {served} served, {len(refused)} refused; median {median(refused):.1f} ms, p99 {last:.1f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    uvloop.run(run(options.calls, options.seconds))
