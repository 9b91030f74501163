"""What the service adds to a warm call of a lambda: REST through Envoy and gRPC, beside the same program past both.

    python tests/bench/lambda_calls.py [--rounds 12] [--seconds 0.8]

Starts a service of its own with one server and one lambda. Everything shares the machine's cores, the client too.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import grpc.aio
from luna.v6 import lambdas_pb2, lambdas_pb2_grpc
from rich.console import Console
from rich.table import Table

from tests.lambda_archives import running_lambda
from tests.service import Account, Service, running

MAIN = """
async def main(request):
    return {"length": len(await request.body())}
"""
CALLERS = (1, 8)
SIZES = (100, 100_000)
DIRECT = "its socket"

Call = Callable[[bytes], Awaitable[None]]


@asynccontextmanager
async def ways(service: Service, account: Account, lambda_id: str) -> AsyncIterator[dict[str, Call]]:
    """The ways to call it, each over connections that are kept."""
    async with AsyncExitStack() as stack:
        rest = await stack.enter_async_context(aiohttp.ClientSession(headers=dict(account.metadata)))
        (socket,) = (service.data / "lambdas").rglob("calls.sock")
        folder = os.open(socket.parent, os.O_PATH)
        stack.callback(os.close, folder)
        # the path of a socket has at most 107 bytes
        connector = aiohttp.UnixConnector(f"/proc/self/fd/{folder}/{socket.name}")
        direct = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(service.target))
        stub = lambdas_pb2_grpc.LambdasStub(channel)
        port = service.environment["LUNA_LAMBDAS__PORT"]

        def over_http(session: aiohttp.ClientSession, url: str) -> Call:
            async def call(body: bytes) -> None:
                async with session.post(url, data=body) as answer:
                    await answer.read()
                    assert answer.status == 200, answer.status

            return call

        async def native(body: bytes) -> None:
            request = lambdas_pb2.CallLambdaRequest(lambda_id=lambda_id, request={"path": "main", "body": body})
            pieces = [piece async for piece in stub.CallLambda(request, metadata=account.metadata)]
            assert pieces[0].head.status == 200

        path = f"/6/lambdas/{lambda_id}/proxy/main"
        yield {
            DIRECT: over_http(direct, "http://lambda/main"),
            "the lambda host": over_http(rest, f"http://127.0.0.1:{port}{path}"),
            "REST": over_http(rest, service.rest + path),
            "gRPC": native,
        }


async def measure(call: Call, body: bytes, callers: int, seconds: float) -> list[float]:
    """The seconds of each call of so many callers, one after another each."""
    await call(body)
    taken: list[float] = []
    end = time.perf_counter() + seconds

    async def repeat() -> None:
        while (began := time.perf_counter()) < end:
            await call(body)
            taken.append(time.perf_counter() - began)

    await asyncio.gather(*(repeat() for _ in range(callers)))
    return taken


async def compare(service: Service, account: Account, lambda_id: str, rounds: int, seconds: float) -> Table:
    """All ways in turns, so that what else the machine does falls on each of them."""
    found: dict[tuple[int, int, str], list[float]] = defaultdict(list)
    async with ways(service, account, lambda_id) as known:
        for _ in range(rounds):
            for callers in CALLERS:
                for size in SIZES:
                    for name, call in known.items():
                        found[callers, size, name] += await measure(call, bytes(size), callers, seconds)
    table = Table("callers", "bytes", "by", "median ms", "p99 ms", "added ms", "calls/s")
    for (callers, size, name), taken in found.items():
        median = statistics.median(taken)
        added = median - statistics.median(found[callers, size, DIRECT])
        p99 = statistics.quantiles(taken, n=100)[98]
        rate = len(taken) / rounds / seconds
        numbers = (f"{1000 * median:.2f}", f"{1000 * p99:.2f}", f"{1000 * added:.2f}", f"{rate:.0f}")
        table.add_row(str(callers), str(size), name, *numbers)
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=0.8)
    arguments = parser.parse_args()
    with running(lambdas=True) as service:
        account = service.account()
        lambda_id = running_lambda(service, account, MAIN)
        table = asyncio.run(compare(service, account, lambda_id, arguments.rounds, arguments.seconds))
    Console(highlight=False).print(table)


if __name__ == "__main__":
    main()
