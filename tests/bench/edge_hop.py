"""What Envoy adds to a small native call: the same call through it and past it, in turns.

    python tests/bench/edge_hop.py [--rounds 12] [--seconds 0.8]

Starts a service of its own with one server. Everything shares the machine's cores, the client too.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections import defaultdict

import grpc
import grpc.aio
from luna.v6 import faces_pb2
from rich.console import Console

from tests.service import Account, running

METHOD = "/luna.v6.Faces/ListFaces"
REQUEST = faces_pb2.ListFacesRequest(page_size=1).SerializeToString()
CALLERS = (1, 16)
CONNECTIONS = 4


async def measure(target: str, account: Account, callers: int, seconds: float) -> list[float]:
    """The seconds of each call of so many callers, one after another each."""
    own = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(target, options=own) for _ in range(min(callers, CONNECTIONS))]
    methods = [channel.unary_unary(METHOD) for channel in channels]
    for method in methods:
        await method(REQUEST, metadata=account.metadata)
    taken: list[float] = []
    end = time.perf_counter() + seconds

    async def repeat(number: int) -> None:
        while (began := time.perf_counter()) < end:
            await methods[number % len(methods)](REQUEST, metadata=account.metadata)
            taken.append(time.perf_counter() - began)

    await asyncio.gather(*(repeat(number) for number in range(callers)))
    for channel in channels:
        await channel.close()
    return taken


def main() -> None:
    """Measure and print: the median of the rounds' medians, and the calls a second."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=0.8)
    arguments = parser.parse_args()
    medians: dict[tuple[int, str], list[float]] = defaultdict(list)
    rates: dict[tuple[int, str], list[float]] = defaultdict(list)
    with running() as service:
        account = service.account()
        for _ in range(arguments.rounds):
            for callers in CALLERS:
                for way, target in (("through Envoy", service.target), ("past it", service.behind())):
                    taken = asyncio.run(measure(target, account, callers, arguments.seconds))
                    medians[callers, way].append(statistics.median(taken))
                    rates[callers, way].append(len(taken) / arguments.seconds)
    console = Console(highlight=False)
    for (callers, way), found in medians.items():
        rate = statistics.median(rates[callers, way])
        console.print(f"{callers:2} callers, {way:13}: {1000 * statistics.median(found):6.2f} ms, {rate:6.0f} calls/s")


if __name__ == "__main__":
    main()
