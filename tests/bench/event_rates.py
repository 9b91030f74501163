"""How many events a second one service makes, of a photograph with one face and of raw events, over gRPC.

    python -m tests.bench.event_rates [--seconds 6] [--rounds 3]

Starts a service of its own with one server. Every event is stored, with its sample, descriptor and audit entry, before
it is answered, on a disk that is written to. Rows take turns; rates are medians of the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

import cv2
import grpc
import skimage.data
from luna.v6 import events_pb2, events_pb2_grpc, handlers_pb2, handlers_pb2_grpc, images_pb2
from rich.console import Console
from rich.table import Table

from tests.service import Account, Service, running

CALLERS = {"photograph": (1, 8), "raw event": (1, 8, 32)}

Call = Callable[[], Awaitable[object]]


def picture() -> bytes:
    """A photograph of 640x480 with one face, as JPEG."""
    photo = cv2.resize(skimage.data.astronaut()[:, :, ::-1], (640, 480), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", photo)[1].tobytes()


async def rate(call: Call, callers: int, seconds: float) -> tuple[float, list[float]]:
    """Calls a second of so many callers, and how long each took, in seconds."""
    end, taken = time.perf_counter() + seconds, []

    async def loop() -> None:
        while time.perf_counter() < end:
            began = time.perf_counter()
            await call()
            taken.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(loop() for _ in range(callers)))
    return len(taken) / (time.perf_counter() - began), taken


async def calls(channel: grpc.aio.Channel, account: Account) -> dict[str, Call]:
    """The calls that are measured, by their names."""
    handlers, events = handlers_pb2_grpc.HandlersStub(channel), events_pb2_grpc.EventsStub(channel)
    known = {"metadata": account.metadata, "timeout": 60}
    static = handlers_pb2.CreateHandlerRequest(handler_type=handlers_pb2.HANDLER_TYPE_STATIC)
    static.policies.SetInParent()
    made = await handlers.CreateHandler(static, **known)
    dynamic = handlers_pb2.CreateHandlerRequest(handler_type=handlers_pb2.HANDLER_TYPE_DYNAMIC)
    raw = await handlers.CreateHandler(dynamic, **known)
    generate = events_pb2.GenerateEventsRequest(
        handler_id=made.handler_id, sources=[images_pb2.Source(data=picture())], source="bench"
    )
    save = events_pb2.SaveEventRequest(
        handler_id=raw.handler_id, event=events_pb2.RawEvent(source="bench", tags=["bench"], external_id="1")
    )
    return {
        "photograph": lambda: events.GenerateEvents(generate, **known),
        "raw event": lambda: events.SaveEvent(save, **known),
    }


async def measure(service: Service, seconds: float, rounds: int, console: Console) -> None:
    """Measure, and print."""
    found: dict[tuple[str, int], list[tuple[float, list[float]]]] = {}
    async with grpc.aio.insecure_channel(service.target) as channel:
        measured = await calls(channel, service.account())
        for call in measured.values():
            await rate(call, 2, 1)
        for _ in range(rounds):
            for name, call in measured.items():
                for callers in CALLERS[name]:
                    found.setdefault((name, callers), []).append(await rate(call, callers, seconds))
    table = Table("event", "callers", "events/s", "p50 ms", "p99 ms")
    for (name, callers), runs in found.items():
        taken = sorted(one for _, each in runs for one in each)
        points = (1000 * taken[int(share * (len(taken) - 1))] for share in (0.5, 0.99))
        table.add_row(
            name, str(callers), f"{statistics.median(one for one, _ in runs):.0f}", *(f"{one:.1f}" for one in points)
        )
    console.print(table)


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    with running() as service:
        asyncio.run(measure(service, chosen.seconds, chosen.rounds, Console()))


if __name__ == "__main__":
    main()
