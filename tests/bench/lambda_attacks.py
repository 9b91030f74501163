"""What other calls notice while a lambda attacks: their latencies with and without it, in turns, in one service.

    python -m tests.bench.lambda_attacks [--rounds 5] [--seconds 6] [--only spin,dying]

Starts a service of its own (`luna up`) with one server and two lambdas: one answers politely, the other one obeys
whatever it is sent and is made anew for each window. Calls come at a fixed rate, however long their answers take.
Everything shares the machine's cores, the client too; so the figures are medians of windows, each beside one of the
other kind.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress

import aiohttp
from rich.console import Console
from rich.table import Table

from tests.lambda_archives import running_lambda
from tests.robustness.client import client, person
from tests.robustness.lambda_programs import OBEDIENT
from tests.service import Account, Service, running

RATE = 25.0
"""Calls of each kind in a second."""
FACES = 200
POLITE = "async def main(request): return 'well'"
SETTINGS = {
    "LAMBDAS__CALL_SECONDS": "5",
    "LAMBDAS__MEMORY_BYTES": str(256 << 20),
    "LAMBDAS__TEMPORARY_BYTES": str(32 << 20),
}
ATTACKS = {
    "spin": "while True: pass",
    "spin in 24 processes": """
import os
for _ in range(23):
    if os.fork() == 0:
        break
while True:
    pass
""",
    "fork bomb": """
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
""",
    "memory of one": """
held = []
while True:
    held.append(bytearray(1 << 20))
""",
    "memory of many": """
import os
for _ in range(20):
    if os.fork() == 0:
        break
held = [bytearray(b"x" * (1 << 20)) for _ in range(200)]
while True:
    pass
""",
    "temporary files": """
while True:
    try:
        with open("/tmp/x", "wb") as file:
            while True:
                file.write(bytes(1 << 20))
    except OSError:
        pass
""",
    "many small files": """
number = 0
while True:
    number += 1
    open(f"/tmp/{number}", "w").close()
""",
    "printing": "while True: print('x' * 200)",
    "reading files": """
import os
while True:
    for folder, _, files in os.walk("/usr/lib"):
        for name in files:
            try:
                open(os.path.join(folder, name), "rb").read()
            except OSError:
                pass
""",
    "answer without end": """
from luna_lambda import Response
async def run():
    async def pieces():
        while True:
            yield bytes(1 << 20)
    return Response(pieces())
""",
    "buffers of sockets": """
import socket
while True:
    held = []
    try:
        while True:
            held += socket.socketpair()
            held[-1].setblocking(False)
            try:
                while True:
                    held[-1].send(bytes(1 << 16))
            except BlockingIOError:
                pass
    except OSError:
        pass
""",
    "dying": "import os; os._exit(1)",
}

Call = Callable[[aiohttp.ClientSession], Awaitable[int]]


def calls(service: Service, account: Account, polite: str, face: str) -> dict[str, Call]:
    """What everybody else does meanwhile."""
    match = {"references": [{"type": "face", "id": face}], "candidates": [{"filters": {"origin": "faces"}, "limit": 3}]}

    async def version(session: aiohttp.ClientSession) -> int:
        async with session.get(f"{service.rest}/version") as answer:
            await answer.read()
            return answer.status

    async def matcher(session: aiohttp.ClientSession) -> int:
        async with session.post(f"{service.rest}/6/matcher/faces", json=match) as answer:
            await answer.read()
            return answer.status

    async def other(session: aiohttp.ClientSession) -> int:
        async with session.get(f"{service.rest}/6/lambdas/{polite}/proxy/main") as answer:
            await answer.read()
            return answer.status

    return {"version": version, "match": matcher, "another lambda": other}


async def window(session: aiohttp.ClientSession, kinds: dict[str, Call], seconds: float) -> dict[str, list[float]]:
    """Seconds that each call took, with RATE of each kind begun in a second."""
    loop = asyncio.get_running_loop()
    took: dict[str, list[float]] = defaultdict(list)

    async def one(name: str, call: Call) -> None:
        began = loop.time()
        try:
            status = await call(session)
        except aiohttp.ClientError:
            status = 0
        if status != 200:
            failures[name] += 1
        took[name].append(loop.time() - began)

    failures: dict[str, int] = defaultdict(int)
    running_calls = []
    began = loop.time()
    for number in range(int(seconds * RATE)):
        await asyncio.sleep(max(0.0, began + number / RATE - loop.time()))
        running_calls += [asyncio.create_task(one(name, call)) for name, call in kinds.items()]
    await asyncio.gather(*running_calls)
    if failures:
        Console(stderr=True).print(f"not answered with 200: {dict(failures)}")
    return took


async def attack(session: aiohttp.ClientSession, service: Service, lambda_id: str, code: str) -> None:
    """Send the attack again and again, until cancelled."""
    url = f"{service.rest}/6/lambdas/{lambda_id}/proxy/main"
    while True:
        with suppress(aiohttp.ClientError):
            async with session.post(url, data=code.encode()) as answer:
                await answer.read()
        await asyncio.sleep(0.1)


async def measure(service: Service, account: Account, polite: str, options: argparse.Namespace) -> Table:
    """A table of every attack."""
    with client(service, account) as one:
        faces = [one.enrol(person(number)) for number in range(FACES)]
    kinds = calls(service, account, polite, faces[0])
    table = Table("attack", *(f"{name}: p50, p99 ms without -> with (ratio of p99)" for name in kinds))
    chosen = [name for name in ATTACKS if not options.only or name in options.only.split(",")]
    headers = dict(account.metadata)
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as session:
        await window(session, kinds, 3)
        for name in chosen:
            without: dict[str, list[list[float]]] = defaultdict(list)
            under: dict[str, list[list[float]]] = defaultdict(list)
            for _ in range(options.rounds):
                for kind, took in (await window(session, kinds, options.seconds)).items():
                    without[kind].append(took)
                # a new one each time: nobody holds anything against it, and it waits for no restart
                obedient = await asyncio.to_thread(running_lambda, service, account, OBEDIENT)
                attacking = asyncio.create_task(attack(session, service, obedient, ATTACKS[name]))
                await asyncio.sleep(0.5)
                for kind, took in (await window(session, kinds, options.seconds)).items():
                    under[kind].append(took)
                attacking.cancel()
                await asyncio.gather(attacking, return_exceptions=True)
                async with session.delete(f"{service.rest}/6/lambdas/{obedient}") as answer:
                    assert answer.status == 204, await answer.text()
                await asyncio.sleep(2)
            row = name, *(compared(without[kind], under[kind]) for kind in kinds)
            table.add_row(*row)
            Console(width=200).print(*row, sep=" | ")
    return table


def compared(without: list[list[float]], under: list[list[float]]) -> str:
    """Medians and 99th percentiles of windows in milliseconds: their medians."""
    told, last = [], []
    for windows in (without, under):
        quantiles = [statistics.quantiles(took, n=100, method="inclusive") for took in windows]
        middle, high = (statistics.median(one[index] for one in quantiles) * 1000 for index in (49, 98))
        told.append(f"{middle:.1f}, {high:.1f}")
        last.append(high)
    return f"{' -> '.join(told)} ({last[1] / last[0]:.2f})"


def main() -> None:
    """Run the comparison and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--only", default="", help="names of attacks, separated by commas")
    options = parser.parse_args()
    with running(lambdas=True, **SETTINGS) as service:
        account = service.account()
        polite = running_lambda(service, account, POLITE)
        Console(width=200).print(asyncio.run(measure(service, account, polite, options)))


if __name__ == "__main__":
    main()
